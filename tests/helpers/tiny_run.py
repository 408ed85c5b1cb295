"""A training run small enough for tests: noise photos, pooled features, a narrow head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from human_edge_detection.core.options import changed
from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.data.annotations import Person, Photo
from human_edge_detection.data.augment import Augmentation
from human_edge_detection.data.dataset import PhotoDataset
from human_edge_detection.modeling.features import Batch
from human_edge_detection.modeling.lite_head import LiteHead
from human_edge_detection.modeling.losses import RoiMaskLoss
from human_edge_detection.modeling.reference_head import ReferenceHead
from human_edge_detection.training.distributed import ALONE, Processes
from human_edge_detection.training.options import TrainOptions
from human_edge_detection.training.state import Progress
from human_edge_detection.training.trainer import Trainer

SIZE = 64
SPEC = ModelSpec(
    head="lite", layers=("a", "b"), channels=(3, 3), strides=(4.0, 8.0),
    image_size=(SIZE, SIZE), roi_size=4,
)  # fmt: skip
OPTIONS = changed(
    TrainOptions(),
    epochs=3,
    batch_size=2,
    lr=0.01,
    num_workers=0,
    warmup_steps=2,
    device="cpu",
    min_roi_size=4.0,
)
AMOUNT = Augmentation(zoom=0.2, color=0.2, box=0.05, flip=True)


def box_person(number: int, x1: float, y1: float, x2: float, y2: float) -> Person:
    """A rectangular person, known by a polygon."""
    box = np.array([x1, y1, x2, y2], np.float32)
    outline = [float(v) for v in (x1, y1, x2, y1, x2, y2, x1, y2)]
    return Person(number, box, [outline], False, float((x2 - x1) * (y2 - y1)))


def write_photos(folder: Path, count: int = 5) -> list[Photo]:
    """Photos of noise with two bright rectangular people each, of whom the first is nearer."""
    rng = np.random.default_rng(0)
    photos = []
    for number in range(count):
        people = (
            box_person(10 * number + 1, 4 + number, 8, 30 + number, 60),
            box_person(10 * number + 2, 36 + number, 4, 58, 40 + 2 * number),
        )
        image = rng.integers(0, 90, (SIZE, SIZE, 3), np.uint8)
        for person in people:
            x1, y1, x2, y2 = person.box_xyxy.astype(int)
            image[y1:y2, x1:x2] = rng.integers(150, 255, 3, np.uint8)
        name = f"photo_{number}.png"
        cv2.imwrite(str(folder / name), image)
        photos.append(Photo(number, name, (SIZE, SIZE), people, folder))
    return photos


def pooled_features(batch: Batch) -> list[Tensor]:
    """A frozen network's stand-in: the photo itself, averaged at strides 4 and 8."""
    assert batch.images is not None
    images = batch.images.float() / 255
    return [functional.avg_pool2d(images, 4), functional.avg_pool2d(images, 8)]


class TinyTrainer(Trainer):
    """A trainer with the progress that a run would hold, also in its state."""

    progress: Progress

    def state(self) -> dict[str, Any]:
        return {**super().state(), "progress": self.progress.saved()}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.progress = Progress.restored(state, self.photos_a_batch)


def make_trainer(
    photos: list[Photo],
    *,
    head: str = "lite",
    amount: Augmentation = AMOUNT,
    seed: int = 0,
    processes: Processes = ALONE,
    **changes: object,
) -> TinyTrainer:
    """A trainer with a narrow head and fresh weights; ``changes`` are of the options."""
    torch.manual_seed(seed)
    options = changed(OPTIONS, **changes)
    network: nn.Module
    if head == "lite":
        network = LiteHead(SPEC.channels, SPEC.strides, 8, 8, 4, SPEC.roi_size)
    else:
        network = ReferenceHead(SPEC.channels[0], SPEC.strides[0], SPEC.roi_size)
    dataset = PhotoDataset(photos, SPEC, amount, min_roi_size=options.data.min_roi_size, seed=7)
    trainer = TinyTrainer(
        nn.ModuleDict({"head": network}), pooled_features, RoiMaskLoss((0.6, 0.8, 1.6)), dataset,
        options.optim, options.loop, peak_lr=options.peak_lr, device=torch.device("cpu"),
        processes=processes,
    )  # fmt: skip
    trainer.progress = Progress()
    return trainer
