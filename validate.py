"""Score checkpoints, exports and results of other tools: ``uv run validate.py --help``."""

import sys

from human_edge_detection.cli import validate_main

if __name__ == "__main__":
    sys.exit(validate_main())
