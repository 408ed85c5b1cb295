"""Train, validate, draw and export a person mask head: ``uv run main.py --help``."""

import sys

from human_edge_detection.cli import train_main

if __name__ == "__main__":
    sys.exit(train_main())
