"""The command ``fleet``: a job's blocks go through Ray, on this machine or on a cluster."""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from human_edge_detection.core import usable_cpus
from human_edge_detection.core.errors import InputError, one_line
from human_edge_detection.fleet import places
from human_edge_detection.fleet.blocks import ReadBlock, SegmentBlock
from human_edge_detection.fleet.job import Job, begun
from human_edge_detection.fleet.options import FleetOptions
from human_edge_detection.fleet.rows import READ_AHEAD_BYTES

HOPELESS = 1000
"""A run whose first so many photos all have errors ends, unless all may have errors."""

REPORT_SECONDS = 10.0
REACH_SECONDS = 10.0


def run_fleet(options: FleetOptions) -> int:
    """Do what the options say and print a summary.

    Returns:
        0, or 1 if more than ``max_errors`` of the photos have errors.

    Raises:
        InputError: nothing could be started, all photos have errors, or the output cannot be
            written; what was finished until then is kept, and the same command continues.
    """
    import ray  # noqa: F401  # missing, it is named before the photos are listed

    with begun(options) as job:
        todo = job.unfinished()
        tally = Tally(job, job.size(todo), options.max_errors)
        if todo:
            with cluster(options):
                tally.started = time.perf_counter()
                for block in segmented(job, todo, options):
                    tally.add(block)
    return tally.summarise()


@contextmanager
def cluster(options: FleetOptions) -> Iterator[None]:
    """Ray, joined where an address is given, else started on this machine.

    Raises:
        InputError: there is no cluster at the address, or Ray does not start here.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    address = _address(options)
    own: dict[str, Any] = {"address": address}
    if not address:
        cpus = max(usable_cpus(), options.cpus)
        own = {
            "address": "local", "num_cpus": cpus, "include_dashboard": False,
            "object_store_memory": 2 * _readers(cpus) * READ_AHEAD_BYTES,
        }  # fmt: skip
    _reach(address)
    try:
        ray.init(logging_level=logging.ERROR, log_to_driver=False, **own)
    except Exception as error:  # of no class of its own where a machine is too busy
        what = (
            f"--address {address}: Ray cannot be reached there"
            if address
            else "Ray does not start on this machine: if it is busy or short of memory, try later"
        )
        raise InputError(f"{what} ({one_line(str(error), 300)})") from error
    try:
        yield
    finally:
        ray.shutdown()


def _address(options: FleetOptions) -> str | None:
    return options.address or os.environ.get("RAY_ADDRESS")


def _reach(address: str | None) -> None:
    """Refuse an address where nobody listens, which Ray tries for minutes."""
    host, _, port = (address or "").rpartition("://")[2].rpartition(":")
    if port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), REACH_SECONDS).close()
        except OSError as error:
            raise InputError(f"--address {address}: no Ray cluster listens ({error})") from error


def segmented(job: Job, blocks: Sequence[int], options: FleetOptions) -> Iterator[dict[str, Any]]:
    """What each block came to, in the order in which they are finished.

    Ray is given one number a block. (``from_arrow`` would start a task for each: 2 GB of the
    driver's memory for ten million photos.) Tasks read ahead, which take no CPU's place, so that
    they run however many workers there are.

    Raises:
        InputError: a worker could not open the model, or not write its results.
    """
    import ray
    from ray.data import ActorPoolStrategy, DataContext, TaskPoolStrategy

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.target_max_block_size = None  # a block of ours stays whole
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    settings = options.segment
    least, most = options.pool_size() or _usual_size(options)
    readers = _readers(most or int(ray.cluster_resources().get("CPU", 0)))
    done = (
        ray.data.from_items([{"block": block} for block in blocks], override_num_blocks=len(blocks))
        .map_batches(
            ReadBlock(job.manifest),
            batch_format="pyarrow",
            batch_size=None,
            num_cpus=0,
            compute=TaskPoolStrategy(readers),
        )
        .map_batches(
            SegmentBlock,
            fn_constructor_args=(job, settings, settings.fingerprint()),
            batch_format="pyarrow",
            batch_size=None,
            zero_copy_batch=True,
            num_cpus=options.cpus,
            num_gpus=options.gpus or None,
            compute=ActorPoolStrategy(
                min_size=least, max_size=most, max_tasks_in_flight_per_actor=2
            ),
        )
    )
    try:
        for batch in done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            yield from batch.to_pylist()
    except ray.exceptions.RayError as error:
        raise _unwrapped(error) from error


def _readers(workers: int) -> int:
    """Blocks that are read at once."""
    return 2 * max(workers, 2)


def _usual_size(options: FleetOptions) -> tuple[int, int | None]:
    """Here as many workers as there is room for; on a cluster from one to as many as it allows."""
    import ray

    if _address(options):
        return 1, None
    room = usable_cpus() // options.cpus
    if options.gpus:
        room = min(room, int(ray.cluster_resources().get("GPU", 0) / options.gpus))
    return max(room, 1), max(room, 1)


def _unwrapped(error: Exception) -> Exception:
    """The error of ours inside Ray's, which keeps it as text; or Ray's own."""
    found = re.findall(r"InputError: (.*)", str(error))
    return InputError(found[-1]) if found else error


@dataclass
class Tally:
    """Counts of a run, which tells how far it is.

    Attributes:
        job: what is done.
        todo: photos of this run.
        max_errors: fraction of them that may have errors.
        photos: photos that are finished.
        people: people in them.
        errors: photos without masks.
        first_error: what was wrong with the first of them.
        started: when the run began, seconds of ``perf_counter``.
    """

    job: Job
    todo: int
    max_errors: float
    photos: int = 0
    people: int = 0
    errors: int = 0
    first_error: str = ""
    started: float = field(default_factory=time.perf_counter)
    _told: float = field(default_factory=time.perf_counter)
    _blocks: list[int] = field(default_factory=list)

    def add(self, block: dict[str, Any]) -> None:
        """Count a block, and report now and then.

        Raises:
            InputError: no photo could be segmented so far; the blocks count as not done.
        """
        self.photos += block["photos"]
        self.people += block["people"]
        self.errors += block["errors"]
        self.first_error = self.first_error or block["error"] or ""
        if self.errors == self.photos and self.max_errors < 1:
            self._blocks.append(block["block"])
            if self.photos >= HOPELESS or self.photos == self.job.photos:
                for number in self._blocks:
                    places.remove(self.job.result(number))
                raise InputError(
                    f"all of the first {self.photos} photos have errors, so the run ends "
                    f"(--max_errors 1 goes on); the first is: {self.first_error}"
                )
        now = time.perf_counter()
        if now - self._told >= REPORT_SECONDS or self.photos == self.todo:
            self._told = now
            print(self._progress(now - self.started), file=sys.stderr, flush=True)

    def _progress(self, seconds: float) -> str:
        speed = self.photos / max(seconds, 1e-9)
        left = timedelta(seconds=round((self.todo - self.photos) / max(speed, 1e-9)))
        errors = f", {self.errors} with errors" if self.errors else ""
        return f"{self.photos:,} of {self.todo:,} photos, {speed:.1f} photos/s, {left} left{errors}"

    def summarise(self) -> int:
        """Print what was done, and return the exit code."""
        job, seconds = self.job, time.perf_counter() - self.started
        speed = f"{self.photos / max(seconds, 1e-9):.1f} photos/s"
        print(f"{self.photos} photos done ({self.people} people, {speed}) in {job.output}")
        if before := job.photos - self.todo:
            print(f"{before} photos were done before")
        if job.left_out:
            print(f"{job.left_out} photos left out, because --boxes has no boxes for them")
        if self.errors:
            print(f"{self.errors} photos have errors, such as: {one_line(self.first_error)}")
        print(f"next: human-edge-detection gather {job.output}")
        return 1 if self.errors > self.max_errors * max(self.photos, 1) else 0
