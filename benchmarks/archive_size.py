"""Lists a zip and a tar of as many photos as COCO train2017 has and reads some, also from a folder.

uv run python benchmarks/archive_size.py
"""

from __future__ import annotations

import io
import pickle
import random
import tarfile
import time
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

from human_edge_detection.data.photos import PhotoFile, PhotoStore

COUNT, READ, LENGTH = 118_287, 5_000, 2_000
NAMES = [f"{number:012d}.jpg" for number in range(1, COUNT + 1)]


def write_files(folder: Path) -> None:
    """Write the archives, and the photos to be read as files of their own."""
    data = random.Random(0).randbytes(LENGTH)
    with (
        zipfile.ZipFile(folder / "p.zip", "w") as packed,
        tarfile.open(folder / "p.tar", "w") as tar,
    ):
        for name in NAMES:
            packed.writestr(f"train2017/{name}", data)
            info = tarfile.TarInfo(f"train2017/{name}")
            info.size = LENGTH
            tar.addfile(info, io.BytesIO(data))
    for name in NAMES[:READ]:
        (folder / name).write_bytes(data)


def read_some(place: Path | PhotoStore) -> float:
    """CPU microseconds to read a photo's bytes, in random order."""
    names = random.Random(1).sample(NAMES[:READ], READ)
    started = time.process_time()
    for name in names:
        PhotoFile(place, name).read()
    return (time.process_time() - started) / READ * 1e6


def main() -> None:
    """Write, list, read, tell."""
    with TemporaryDirectory() as text:
        folder = Path(text)
        write_files(folder)
        print(f"folder: {read_some(folder):.0f} µs a photo")
        for name in ("p.zip", "p.tar"):
            started = time.process_time()
            store = PhotoStore([folder / name])
            listed = time.process_time() - started
            sent = len(pickle.dumps(store)) / 1e6
            print(f"{name}: listed in {listed:.1f} s of CPU, {sent:.1f} MB to send to a worker, "
                  f"{read_some(store):.0f} µs a photo")  # fmt: skip


if __name__ == "__main__":
    main()
