"""What ``fleet`` costs the machine that starts it, for any number of photos, which are made up.

Lists ``--photos`` names, makes the manifest, and sends ``--blocks`` blocks through Ray to workers
that do nothing (all of them with ``--blocks 0``). Prints the largest memory of this process so far,
and the time of each step.

    uv run --extra fleet python benchmarks/fleet_scale.py --photos 10000000 --blocks 2000
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa

from human_edge_detection.fleet import cluster
from human_edge_detection.fleet.job import begun
from human_edge_detection.fleet.options import FleetOptions


class IdleReader:
    """In place of ``ReadBlock``: the block's number alone."""

    def __init__(self, manifest: str) -> None:
        """Reads nothing."""

    def __call__(self, numbers: pa.Table) -> pa.Table:
        """The table itself."""
        return numbers


class IdleWorker:
    """In place of ``SegmentBlock``: sums up a block that was not worked on."""

    def __init__(self, *arguments: object) -> None:
        """Opens nothing."""

    def __call__(self, numbers: pa.Table) -> pa.Table:
        """One row, as of a block of 256 photos."""
        zero = pa.array([0])
        error = pa.array([None], pa.string())
        (number,) = numbers.column("block").to_pylist()
        values = {"photos": [256], "people": zero, "errors": zero, "error": error}
        return pa.table({"block": [number], **values})


def told(what: str, started: float) -> None:
    """Print the time since ``started`` and the largest memory of this process."""
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{what}: {time.perf_counter() - started:.1f} s, {memory:.0f} MB", flush=True)


def main() -> None:
    """List, make the manifest, and send blocks through Ray."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=1_000_000)
    parser.add_argument("--blocks", type=int, default=2000)
    parser.add_argument("--folder", type=Path, default=None)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=flags.folder) as folder:
        names = Path(folder, "list.txt")
        with open(names, "w") as file:
            for number in range(flags.photos):
                file.write(f"s3://bucket/year/2026/camera/{number % 97:03}/{number:012}.jpg\n")
        started = time.perf_counter()
        told("before", started)
        options = FleetOptions((str(names),), f"{folder}/out")
        with begun(options) as job:
            told(f"manifest of {job.photos:,} photos", started)
            size = sum(path.stat().st_size for path in Path(job.manifest).iterdir())
            print(f"  {size / job.photos:.1f} bytes a photo")
            todo = job.unfinished()
            blocks = todo[: flags.blocks] if flags.blocks else todo
            places: Any = cluster
            places.ReadBlock, places.SegmentBlock = IdleReader, IdleWorker
            with cluster.cluster(options):
                started, done = time.perf_counter(), 0
                for done, _ in enumerate(cluster.segmented(job, blocks, options), start=1):
                    if done in (1, 10) or done % 1000 == 0:
                        told(f"{done} of {len(blocks)} blocks", started)
                told(f"{done} blocks through Ray", started)


if __name__ == "__main__":
    main()
