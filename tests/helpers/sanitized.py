"""Damaged annotations and results in this process, without limits: for an address sanitizer.

    CFLAGS='-fsanitize=address -g -O1' LDFLAGS=-fsanitize=address \\
        uv pip install --no-binary pycocotools --reinstall pycocotools
    LD_PRELOAD=$(gcc -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0 \\
        python tests/helpers/sanitized.py --cases 2000 --seed 1

The sanitizer ends the process where pycocotools first reads or writes outside its memory.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "src")]

from fuzz_readers import READERS  # noqa: E402
from human_edge_detection.core.errors import InputError  # noqa: E402
from human_edge_detection.core.rle import decode_segmentation, encode_mask  # noqa: E402

NAMES = ("read_annotations", "score_results")


def damage_masks(count: int, seed: int) -> Counter[str]:
    """Sound counts of random masks with characters changed, decoded where they pass the check."""
    import numpy as np

    rng, found = np.random.default_rng(seed), Counter[str]()
    for _ in range(count):
        size = tuple(int(side) for side in rng.integers(1, 60, 2))
        rle = encode_mask(rng.random(size) < rng.random())
        counts = bytearray(rle["counts"].encode())
        for _ in range(int(rng.integers(0, 4))):
            counts[rng.integers(len(counts))] = rng.integers(40, 120)
        cut = int(rng.integers(1, len(counts) + 1)) if rng.random() < 0.3 else len(counts)
        try:
            decode_segmentation({"size": list(size), "counts": bytes(counts[:cut]).decode()}, size)
            found["mask decoded"] += 1
        except ValueError:
            found["mask refused"] += 1
    return found


def main() -> None:
    """Run the cases and print how many were read and refused."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=2000, help="of each reader")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    found = damage_masks(10 * given.cases, given.seed)
    for reader in (reader for reader in READERS if reader.read.__name__ in NAMES):
        files = reader.files()
        with tempfile.TemporaryDirectory() as folder:
            for number in range(given.cases):
                name = list(files)[number % len(files)]
                source = random.Random(f"{given.seed} {reader.read.__name__} {number}")
                path = Path(folder) / name
                path.write_bytes(reader.damaged(name, files[name], source))
                try:
                    reader.read(path)
                    found[f"{reader.read.__name__} read"] += 1
                except InputError:
                    found[f"{reader.read.__name__} refused"] += 1
    print(dict(found))


if __name__ == "__main__":
    main()
