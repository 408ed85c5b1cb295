"""Prints time and memory of loading an annotation file as large as COCO train2017's (on Linux).

A second process, forked like a loader worker, then opens every photo's annotations; the memory that
it does not share is printed too. With a path, a file written there before is used again:

uv run python benchmarks/coco_size.py [PATH]
"""

from __future__ import annotations

import json
import random
import resource
import sys
import time
from collections.abc import Sequence
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TextIO

from human_edge_detection.data.annotations import Photo
from human_edge_detection.data.coco_reader import load_photos

IMAGES, ANNOTATIONS, CATEGORIES = 118_287, 860_001, 80
PEOPLE_PERCENT = 31
CORNERS = (8, 14, 20, 26, 40)


def peak_memory_mb() -> float | None:
    """Most memory that this process ever held, MiB; None where the system has no such number."""
    status = Path("/proc/self/status")
    if status.exists():  # not ru_maxrss, which on Linux begins with the parent's
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 2**20 if sys.platform == "darwin" else most / 1024


def write_list(file: TextIO, name: str, items: Any) -> None:
    """Write ``"name": [...]`` item by item."""
    file.write(f'"{name}":[')
    for number, item in enumerate(items):
        file.write(("," if number else "") + json.dumps(item))
    file.write("]")


def image(number: int) -> dict[str, Any]:
    """An entry of ``images`` with the fields that COCO's have."""
    return {
        "license": 3, "file_name": f"{number:012d}.jpg", "height": 480, "width": 640,
        "coco_url": f"http://images.example.org/train2017/{number:012d}.jpg",
        "date_captured": "2013-11-14 11:18:45", "id": number,
        "flickr_url": f"http://farm.example.com/{number}/640x.jpg",
    }  # fmt: skip


def annotation(number: int, polygon: list[float]) -> dict[str, Any]:
    """An entry of ``annotations``: a polygon and the box around it."""
    xs, ys = polygon[::2], polygon[1::2]
    box = [min(xs), min(ys), round(max(xs) - min(xs), 2), round(max(ys) - min(ys), 2)]
    other = 2 + number % (CATEGORIES - 1)
    return {
        "segmentation": [polygon], "area": 1234.5, "iscrowd": 0, "bbox": box, "id": number + 1,
        "image_id": 1 + number * 7919 % IMAGES,
        "category_id": 1 if number % 100 < PEOPLE_PERCENT else other,
    }  # fmt: skip


def write_file(path: Path) -> None:
    """Write the annotation file, 0.4 GB."""
    rng = random.Random(0)
    polygons = [
        [round(rng.uniform(0, 400), 2) for _ in range(2 * rng.choice(CORNERS))] for _ in range(500)
    ]
    names = [{"id": i, "name": "person" if i == 1 else f"thing {i}"} for i in range(1, 81)]
    with open(path, "w") as file:
        file.write("{")
        write_list(file, "categories", names)
        file.write(",")
        write_list(file, "images", (image(n) for n in range(1, IMAGES + 1)))
        file.write(",")
        people = (annotation(n, polygons[n % len(polygons)]) for n in range(ANNOTATIONS))
        write_list(file, "annotations", people)
        file.write("}")


def private_mb() -> float:
    """Memory of this process that no other one shares, MiB."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private")) / 1024


def open_all(photos: Sequence[Photo], answer: Connection) -> None:
    """Open every photo's people and send their number, the CPU seconds and the private memory."""
    before, started = private_mb(), time.process_time()
    people = sum(len(photo.people) for photo in photos)
    answer.send((people, time.process_time() - started, private_mb() - before))


def main() -> None:
    """Write, load, print."""
    with TemporaryDirectory() as folder:
        path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(folder) / "instances.json"
        if not path.exists():
            write_file(path)
        wall, cpu = time.perf_counter(), time.process_time()
        photos, _ = load_photos(path, folder, check_files=False)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{len(photos)} photos: {wall:.1f} s, of CPU {cpu:.1f} s, peak memory {peak:.0f} MiB, "
          f"then {private_mb():.0f} MiB")  # fmt: skip
    fork, (here, there) = get_context("fork"), Pipe()
    worker = fork.Process(target=open_all, args=(photos, there))
    worker.start()
    people, cpu, own = here.recv()
    worker.join()
    print(f"{people} people opened in a worker: {cpu:.1f} s of CPU, {own:.0f} MiB of its own")


if __name__ == "__main__":
    main()
