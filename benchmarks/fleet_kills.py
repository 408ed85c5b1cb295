"""A run of ``fleet`` of which a node and then the driver are killed, against ``predict``.

Links ``--count`` photos, the first ``--distinct`` of a folder again and again, under new names.
Starts a Ray cluster of a head and two nodes on this machine, begins a run there, kills a node after
a quarter of the blocks and the driver after half, repeats the command, and compares every mask with
those of ``predict`` in the same photo. Prints what happened when.

    uv run --extra fleet python benchmarks/fleet_kills.py photos/ --count 2048 --distinct 512
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from pyarrow import parquet

from human_edge_detection.data.photos import IMAGE_SUFFIXES

STARTED = time.perf_counter()
MEMORY = 400 << 20


def say(text: str) -> None:
    """Print a line with the time."""
    print(f"{time.perf_counter() - STARTED:6.1f} s  {text}", flush=True)


def link_photos(photos: list[Path], folder: Path, count: int) -> None:
    """Links to photos, named by numbers."""
    folder.mkdir()
    for number in range(count):
        photo = photos[number % len(photos)].resolve()
        (folder / f"{number:06}{photo.suffix}").symlink_to(photo)


def masks_of(path: Path, distinct: int) -> list[tuple[Any, ...]]:
    """Each person of COCO results: the number of the photo that was linked, box, score and RLE."""
    return [
        (r["image_id"] % distinct, *r["bbox"], r["score"], r["segmentation"]["counts"])
        for r in json.loads(path.read_text())
    ]


def command(name: str, *words: object) -> list[str]:
    """A command of this package."""
    return [sys.executable, "-m", "human_edge_detection", name, *map(str, words)]


def blocks_done(output: Path) -> set[str]:
    """The names of the results that are whole."""
    return {path.name for path in (output / "masks").glob("0*.parquet")}


def wait_for(process: subprocess.Popen[bytes], output: Path, count: int) -> set[str]:
    """Wait until so many blocks are done."""
    while len(done := blocks_done(output)) < count:
        assert process.poll() is None, "it ended too early"
        time.sleep(0.02)
    return done


def run_with_kills(photos: Path, output: Path, count: int, block: int) -> None:
    """Begin, kill a node, kill the driver, and go on."""
    from ray.cluster_utils import Cluster

    blocks = -(-count // block)
    small = {"num_cpus": 1, "object_store_memory": MEMORY}
    cluster = Cluster(initialize_head=True, head_node_args=small | {"include_dashboard": False})
    nodes = [cluster.add_node(**small) for _ in range(2)]
    cluster.wait_for_nodes()
    say(f"cluster of a head and two nodes; {count} photos in {blocks} blocks of {block}")
    words = command("fleet", photos, "--output", output, "--block", block, "--address")
    words += [cluster.address, "--actors", "2:2"]
    process = subprocess.Popen(words)
    done = wait_for(process, output, blocks // 4)
    cluster.remove_node(nodes[1], allow_graceful=False)
    started = len(list((output / "started").iterdir()))
    say(f"node killed: {len(done)} blocks done, {started} in hand")
    done = wait_for(process, output, blocks // 2)
    times = {name: (output / "masks" / name).stat().st_mtime_ns for name in done}
    process.kill()
    process.wait()
    started = len(list((output / "started").iterdir()))
    say(f"driver killed: {len(blocks_done(output))} blocks done, {started} in hand")
    process = subprocess.Popen(words)
    assert process.wait() == 0
    again = sum((output / "masks" / name).stat().st_mtime_ns != at for name, at in times.items())
    say(f"the same command ended; {again} blocks that were done were written again")
    cluster.shutdown()


def rows_of(output: Path) -> list[dict[str, Any]]:
    """All rows of the results."""
    files = [output / "masks" / name for name in sorted(blocks_done(output))]
    return [row for path in files for row in parquet.ParquetFile(path).read().to_pylist()]


def main() -> None:
    """Run, compare, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=2048)
    parser.add_argument("--distinct", type=int, default=512)
    parser.add_argument("--block", type=int, default=32)
    flags = parser.parse_args()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with tempfile.TemporaryDirectory() as place:
        photos, output, alone = (Path(place, name) for name in ("photos", "fleet", "alone"))
        found = sorted(p for p in flags.photos.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        found = found[: flags.distinct]
        link_photos(found, photos, flags.count)
        link_photos(found, alone, len(found))
        run_with_kills(photos, output, flags.count, flags.block)
        rows = rows_of(output)
        ids = [row["id"] for row in rows]
        say(f"{len(ids)} rows, {len(set(ids))} photos, {flags.count - len(set(ids))} missing")
        errors = sum(row["error"] is not None for row in rows)
        people = sum(len(row["people"]) for row in rows)
        seconds = sum(row["seconds"] for row in rows) / len(rows)
        say(f"{errors} errors, {people} people, {1000 * seconds:.1f} ms of a worker a photo")
        predict = command("predict", alone, "--output", Path(place, "predicted"))
        subprocess.run([*predict, "--save", "coco", "--device", "cpu"], check=True)
        gather = command("gather", output, "--output", Path(place, "gathered"), "--overlays", 0)
        subprocess.run(gather, check=True)
        theirs, ours = (
            masks_of(Path(place, name, "predictions.json"), len(found))
            for name in ("predicted", "gathered")
        )
        wanted = set(theirs)
        equal = sum(mask in wanted for mask in ours)
        often = Counter(number % len(found) for number in range(flags.count))
        due = sum(often[mask[0]] for mask in theirs)
        say(f"{len(ours)} masks, {equal} equal to those of predict, which makes {due} of them")


if __name__ == "__main__":
    main()
