"""Runs every stage once on a drawn crowd and reports which work: behind ``test_pipeline.py``.

The stages import what they check, so that the options load no torch and a stage whose package is
missing fails by itself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.options import BUILTIN, DEFAULT_ONNX_MODEL, DEVICES, option

PHOTOS, MAX_ROIS, STEPS = 2, 4, 6
"""Photos, people of each and steps of the trial: enough to see a loss fall in seconds."""


@dataclass(frozen=True)
class CheckOptions:
    """What ``test_pipeline.py`` takes."""

    onnx_model: str | None = option(
        None,
        f"feature extractor: an ONNX file, or '{BUILTIN}' (default: {DEFAULT_ONNX_MODEL}, "
        f"else '{BUILTIN}')",
    )
    layers: tuple[str, ...] = option((), "tensors of the extractor to use")
    device: str = option("auto", "where to run", choices=DEVICES)


@dataclass
class _Check:
    """The stages in order, in an empty folder; each leaves in ``made`` what later ones need."""

    options: CheckOptions
    folder: Path
    made: dict[str, Any] = field(default_factory=dict)

    def stages(self) -> list[tuple[str, Callable[[], str]]]:
        """Name and function of each stage; the function returns what it found as text."""
        return [
            ("sample pictures", self.draw),
            ("annotations and targets", self.read),
            ("feature extractor", self.extract),
            ("heads, loss, gradients", self.learn),
            ("evaluation", self.score),
            ("export to ONNX", self.export),
            ("prediction without torch", self.predict),
            ("overlay", self.overlay),
        ]

    def draw(self) -> str:
        from human_edge_detection.data.sample import write_sample_set

        self.made["paths"] = write_sample_set(self.folder / "data", n_train=PHOTOS, n_val=1)
        return f"{PHOTOS + 1} pictures drawn"

    def read(self) -> str:
        from human_edge_detection.data.coco_reader import load_photos

        paths = self.made["paths"]
        photos, faults = load_photos(paths.train_ann, paths.train_img_dir)
        people = sum(len(photo.people) for photo in photos)
        if faults or not people:
            raise RuntimeError(f"{len(faults)} faults in the drawn annotations")
        self.made["photos"] = photos
        return f"{people} people in {len(photos)} pictures"

    def extract(self) -> str:
        import numpy as np

        from human_edge_detection.core.spec import ModelSpec
        from human_edge_detection.export.person_model import open_extractor

        options = self.options
        extractor = open_extractor(options.onnx_model, options.layers, (640, 640), options.device)
        self.made["extractor"] = extractor
        self.made["spec"] = ModelSpec(
            "lite", extractor.layers, extractor.channels, extractor.strides,
            extractor_sha=extractor.sha,
        )  # fmt: skip
        maps = extractor(np.zeros((1, 3, 640, 640), np.float32))
        shapes = ", ".join("x".join(map(str, m.shape[1:])) for m in maps)
        return f"{extractor.path.name}: {shapes}"

    def learn(self) -> str:
        import torch

        from human_edge_detection.data.dataset import PhotoDataset
        from human_edge_detection.modeling.features import collate, extracted_features
        from human_edge_detection.modeling.heads import build_head
        from human_edge_detection.modeling.losses import RoiMaskLoss

        dataset = PhotoDataset(self.made["photos"], self.made["spec"], max_rois=MAX_ROIS)
        batch = collate([dataset[0]])
        maps = extracted_features(self.made["extractor"])(batch)
        head, loss = build_head(self.made["spec"]), RoiMaskLoss()
        optimizer = torch.optim.AdamW(head.parameters(), lr=2e-3)
        costs = []
        for _ in range(STEPS):
            optimizer.zero_grad()
            cost = loss(head(maps, batch.rois), batch.targets)["total"]
            cost.backward()
            optimizer.step()
            costs.append(float(cost.detach()))
        if not costs[-1] < costs[0]:
            raise RuntimeError(f"the loss does not fall: {costs[0]:.3f} to {costs[-1]:.3f}")
        self.made["head"], self.made["dataset"] = head, dataset
        return f"loss {costs[0]:.2f} to {costs[-1]:.2f} in {STEPS} steps"

    def score(self) -> str:
        import torch

        from human_edge_detection.evaluation.evaluate import evaluate
        from human_edge_detection.modeling.features import extracted_features, torch_infer

        model = torch.nn.ModuleDict({"head": self.made["head"]})
        features = extracted_features(self.made["extractor"])
        infer = torch_infer(model, features, torch.device("cpu"))
        return f"mIoU {evaluate(self.made['dataset'], infer).miou:.3f} (a new head)"

    def export(self) -> str:
        from human_edge_detection.export.head import export_head

        self.made["onnx"] = self.folder / "head.onnx"
        checks = export_head(self.made["head"], self.made["spec"], self.made["onnx"])
        return f"ONNX Runtime - torch at most {max(c.error for c in checks):.0e}"

    def predict(self) -> str:
        import numpy as np

        from human_edge_detection.core.images import read_image
        from human_edge_detection.inference.predictor import MaskPredictor

        photo = self.made["photos"][0]
        image = read_image(photo.file)
        boxes = np.stack([person.box_xyxy for person in photo.people])
        extractor = self.made["extractor"].path
        with MaskPredictor(self.made["onnx"], extractor, device=self.options.device) as predictor:
            predictor.set_image(image)
            masks = predictor.predict(boxes)
        self.made["image"], self.made["masks"] = image, masks
        return f"{len(masks)} masks of {masks.size_hw[1]}x{masks.size_hw[0]} pixels"

    def overlay(self) -> str:
        from human_edge_detection.core.images import save_image

        picture = self.made["masks"].overlay(self.made["image"])
        save_image(self.folder / "overlay.png", picture)
        return f"{picture.shape[1]}x{picture.shape[0]} picture written"


def run_check(options: CheckOptions) -> int:
    """Print one line per stage, ok or the reason; return 0 if all are ok, else 1."""
    import torch

    logging.getLogger("human_edge_detection").setLevel(logging.ERROR)
    torch.manual_seed(0)
    with TemporaryDirectory() as folder:
        check = _Check(options, Path(folder))
        for name, stage in check.stages():
            started = time.perf_counter()
            try:
                text, mark = stage(), "ok    "
            except (InputError, RuntimeError, ValueError, OSError, ImportError) as error:
                text, mark = str(error), "FAILED"
            print(f"{mark} {name:26s} {time.perf_counter() - started:6.1f} s  {text}", flush=True)
            if mark == "FAILED":
                print("the stages after it need this one and were not run")
                return 1
        check.made["extractor"].close()
    return 0
