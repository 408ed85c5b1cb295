"""Check every component on this machine, one line each: ``uv run test_pipeline.py``."""

import sys

from human_edge_detection.cli import check_main

if __name__ == "__main__":
    sys.exit(check_main())
