"""The spec head against its plain form: same numbers, time in turn, memory at 100 people.

The plain form copies its image's features for every ROI and takes all ROIs at once.

uv run python benchmarks/spec_head.py [--people 1 5 20] [--rounds 5] [--memory_people 100] \
    [--max_rois N] [--threads N]

CPU time counts all threads, and other programs on the machine do not disturb it much.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.core.structures import FloatArray
from human_edge_detection.export.head import head_model
from human_edge_detection.modeling.reference_head import ReferenceHead
from human_edge_detection.runtime.head import HeadSession
from human_edge_detection.runtime.sessions import SessionOptions

SPEC = ModelSpec("spec", ("map",), (1024,), (8.0,))
ALL_AT_ONCE = 1000


class PlainSpecHead(ReferenceHead):
    """The same weights without any of the shortcuts."""

    def forward(self, features: Sequence[Tensor], rois: Tensor) -> Tensor:
        """See :meth:`ReferenceHead.forward`."""
        copies = features[0][rois[:, 0].long()]
        height, width = features[0].shape[-2:]
        steps = (torch.arange(28, dtype=torch.float32) + 0.5) / 28
        boxes = rois[:, 1:] / 8
        x = boxes[:, 0:1] + (boxes[:, 2:3] - boxes[:, 0:1]) * steps
        y = boxes[:, 1:2] + (boxes[:, 3:4] - boxes[:, 1:2]) * steps
        grid_x = (x * 2 / width - 1)[:, None, :].expand(-1, 28, -1)
        grid_y = (y * 2 / height - 1)[:, :, None].expand(-1, -1, 28)
        grid = torch.stack([grid_x, grid_y], dim=3)
        x = functional.grid_sample(copies, grid, padding_mode="border", align_corners=False)
        return self.body(self.project(x))


def feeds(people: int) -> tuple[FloatArray, FloatArray]:
    """A map float32 [1, 1024, 80, 80] and ROIs float32 [people, 5]."""
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 400, (people, 2))
    boxes = np.concatenate([np.zeros((people, 1)), low, low + rng.uniform(30, 240, (people, 2))], 1)
    return rng.standard_normal((1, 1024, 80, 80)).astype(np.float32), boxes.astype(np.float32)


def peak_memory(path: Path, people: int, max_rois: int | None) -> float:
    """MiB that one run adds to a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (path, people, max_rois))


def _measure(path: Path, people: int, max_rois: int | None) -> float:
    features, rois = feeds(people)
    head = HeadSession(path, SessionOptions("cpu", max_rois=max_rois))
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from what is there now
    before = _peak()
    head([features], rois)
    return _peak() - before


def _peak() -> float:
    """MiB of the process's largest size, on Linux."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def main() -> None:
    """Print the difference of the logits, times in turn, and memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, nargs="*", default=(1, 5, 20))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory_people", type=int, default=100)
    parser.add_argument("--max_rois", type=int)
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    ours, plain = ReferenceHead(1024, 8.0), PlainSpecHead(1024, 8.0)
    plain.load_state_dict(ours.state_dict())
    with TemporaryDirectory() as folder:
        paths = {"ours": Path(folder) / "ours.onnx", "plain": Path(folder) / "plain.onnx"}
        for path, head in zip(paths.values(), (ours, plain), strict=True):
            path.write_bytes(head_model(head, SPEC).SerializeToString())
        chunks = {"ours": arguments.max_rois, "plain": ALL_AT_ONCE}
        heads = {
            name: HeadSession(
                path, SessionOptions("cpu", max_rois=chunks[name], threads=arguments.threads)
            )
            for name, path in paths.items()
        }
        print("| people | largest difference | ours, ms | plain, ms | ours / plain | CPU time |")
        print("|---|---|---|---|---|---|")
        for people in arguments.people:
            features, rois = feeds(people)
            logits = [head([features], rois) for head in heads.values()]
            times = np.array([_in_turn(heads, features, rois) for _ in range(arguments.rounds)])
            one, other = 1000 * np.median(times[:, :, 0], axis=0)
            wall, cpu = np.median(times[:, 0] / times[:, 1], axis=0)
            worst = np.abs(logits[0] - logits[1]).max()
            shown = f"{one:.0f} | {other:.0f} | {wall:.2f} | {cpu:.2f}"
            print(f"| {people} | {worst:.1e} | {shown} |", flush=True)
        del heads
        people = arguments.memory_people
        memory = {name: peak_memory(path, people, chunks[name]) for name, path in paths.items()}
    print(f"\n{people} people: ours {memory['ours']:.0f} MiB, plain {memory['plain']:.0f} MiB")


def _in_turn(
    heads: dict[str, HeadSession], features: FloatArray, rois: FloatArray
) -> list[tuple[float, float]]:
    """Each head's seconds, by the clock and of the processor."""
    seconds = []
    for head in heads.values():
        started, used = time.perf_counter(), time.process_time()
        head([features], rois)
        seconds.append((time.perf_counter() - started, time.process_time() - used))
    return seconds


if __name__ == "__main__":
    main()
