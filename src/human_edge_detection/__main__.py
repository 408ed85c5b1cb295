"""``python -m human_edge_detection`` is ``human-edge-detection``."""

import sys

from human_edge_detection.cli import main

if __name__ == "__main__":
    sys.exit(main())
