"""One of the processes that ``test_distributed`` starts: trains a little and saves what it has."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import torch

from human_edge_detection.data.annotations import Photo
from human_edge_detection.data.augment import Augmentation
from human_edge_detection.training.distributed import Processes, StopRequest, joined_processes
from tiny_run import TinyTrainer as Trainer
from tiny_run import make_trainer, write_photos


def train_epoch(photos: list[Photo], head: str, batch_size: int, processes: Processes) -> Trainer:
    """A trainer after one epoch of plain gradient descent on photos as they are."""
    trainer = make_trainer(
        photos, head=head, amount=Augmentation(), batch_size=batch_size, optimizer="sgd",
        lr=0.1, epochs=1, warmup_steps=0, processes=processes,
    )  # fmt: skip
    means = trainer.train_epoch(trainer.progress, StopRequest(), lambda *_: None)
    trainer.epoch_means = means.values()  # type: ignore[attr-defined]
    return trainer


def half_steps(photos: list[Photo], processes: Processes) -> Trainer:
    """A trainer after three float16 steps, the first of which overflows in one process alone."""
    trainer = make_trainer(
        photos, amp=True, amp_dtype="float16", gradient_clip=0.5, ema=0.9, batch_size=1, epochs=1,
        processes=processes,
    )  # fmt: skip
    weight = trainer.model["head"].trunk.classify.weight  # type: ignore[union-attr]
    factor = float("inf") if processes.rank == 1 else 1.0
    hook = weight.register_hook(lambda gradient: gradient * factor)  # type: ignore[operator]
    trainer.half_scales = []  # type: ignore[attr-defined]

    def on_step(scalars: dict[str, float], _step: int) -> None:
        hook.remove()
        trainer.half_scales.append(scalars["loss_scale"])  # type: ignore[attr-defined]

    trainer.train_epoch(trainer.progress, StopRequest(), on_step)
    return trainer


def work(folder: Path) -> None:
    """Train both heads and save what each process ended with; then the second one fails."""
    torch.set_num_threads(1)
    with joined_processes("cpu") as processes:
        with processes.first_alone():
            photos = write_photos(folder)
        found = {"order": processes.gather([processes.rank, "x"])}
        found |= {"any": [processes.any(processes.rank == 1), processes.any(False)]}
        for head in ("spec", "lite"):
            trainer = train_epoch(photos, head, 1, processes)
            found[head] = trainer.model.state_dict()
            found[f"{head} means"] = trainer.epoch_means  # type: ignore[attr-defined]
            found[f"{head} progress"] = asdict(trainer.progress)
        half = half_steps(photos, processes)
        found["half"], found["half mean"] = half.model.state_dict(), half.average.weights  # type: ignore[union-attr]
        found["half scales"] = half.half_scales  # type: ignore[attr-defined]
        torch.save(found, folder / f"rank_{processes.rank}.pt")
        assert not processes.any(False), "both have saved"
        assert processes.is_first, "the second process fell over"
        while True:  # until the other one's end is noticed
            processes.any(False)


if __name__ == "__main__":
    work(Path(sys.argv[1]))
