"""The person model's extractor: shapes, strides, export, and a training step of all of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import nn

from human_edge_detection.cli import main
from human_edge_detection.core.errors import InputError
from human_edge_detection.core.images import save_image
from human_edge_detection.core.options import changed
from human_edge_detection.export.person_model import export_person_model
from human_edge_detection.inference.predictor import MaskPredictor
from human_edge_detection.modeling.person_extractor import (
    LAYERS,
    new_person_extractor,
)
from human_edge_detection.runtime.head import HeadSession
from human_edge_detection.runtime.model_files import EXTRACTOR_NAME, HEAD_NAME
from human_edge_detection.training.finish import predict_command
from human_edge_detection.training.inputs import PhotoSets
from human_edge_detection.training.optim import make_optimizer
from human_edge_detection.training.options import OptimOptions, TrainOptions
from human_edge_detection.training.state import Means
from tiny_person import SPEC, new_person_model
from tiny_run import AMOUNT, write_photos

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def model() -> nn.ModuleDict:
    return new_person_model()


@torch.no_grad()
def test_maps_and_candidates_have_the_promised_shapes(model: nn.ModuleDict) -> None:
    maps, found = model["extractor"](torch.rand(2, 3, 96, 64))
    assert [tuple(m.shape) for m in maps] == [(2, 32, 24, 16), (2, 64, 12, 8)]
    count = 12 * 8 + 6 * 4 + 3 * 2
    assert found.boxes.shape == (2, count, 4)
    assert found.logits.shape == (2, count)
    assert (found.boxes[..., 2:] > found.boxes[..., :2]).all()
    assert found.points[0].tolist() == [4, 4]
    assert found.points[-1].tolist() == [48, 80]


@torch.no_grad()
def test_untrained_detector_is_sure_of_nothing(model: nn.ModuleDict) -> None:
    scores = model["extractor"](torch.rand(1, 3, 64, 64))[1].logits.sigmoid()
    assert scores.max() < 0.1


def test_imagenet_weights_fill_the_backbone() -> None:
    extractor = new_person_extractor(with_detector=False)
    assert extractor.detector is None
    assert len(extractor.backbone.blocks) == 14
    assert extractor.backbone.stem.norm.running_var.std() > 0


def test_exported_files_answer_batches_like_torch(
    model: nn.ModuleDict, person_folder: Path
) -> None:
    session = ort.InferenceSession(str(person_folder / EXTRACTOR_NAME))
    images = np.random.default_rng(1).random((3, 3, 96, 64), np.float32)
    found = dict(
        zip(
            ["stride4", "stride8", "boxes", "scores"],
            session.run(None, {"images": images}),
            strict=True,
        )
    )
    with torch.no_grad():
        maps, candidates = model["extractor"](torch.from_numpy(images))
    np.testing.assert_allclose(found["stride4"], maps[0].numpy(), atol=1e-4)
    np.testing.assert_allclose(found["boxes"], candidates.boxes.numpy(), rtol=1e-4, atol=1e-2)
    facts = HeadSession(person_folder / HEAD_NAME).facts
    assert facts.layers == LAYERS
    assert facts.image_size == (96, 64)


def test_a_sure_detector_is_not_taken_for_a_wrong_one(tmp_path: Path) -> None:
    trained = new_person_model()
    for score in trained["extractor"].detector.score:
        torch.nn.init.constant_(score.bias, -15.0)  # noise looks like nobody at all
    errors, _ = export_person_model(trained, SPEC, tmp_path)
    assert errors["scores"] < 1e-6


def test_predictor_finds_people_and_masks_in_one_pass(person_folder: Path) -> None:
    with MaskPredictor(person_folder / HEAD_NAME, device="cpu") as predictor:  # finds its extractor
        image = np.random.default_rng(2).integers(0, 255, (70, 50, 3), np.uint8)
        masks = predictor.segment(image, score=0.0)
    assert len(masks.boxes_xyxy) > 0
    assert masks.binary().shape[1:] == (70, 50)


def test_the_command_told_for_a_person_model_needs_no_boxes_and_no_extractor(
    person_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = person_folder / HEAD_NAME
    told = predict_command(head, person_folder / EXTRACTOR_NAME)
    assert told == f"predict PHOTO --model {head}"
    monkeypatch.chdir(tmp_path)
    save_image(Path("PHOTO.png"), np.zeros((96, 64, 3), np.uint8))
    assert main(told.replace("PHOTO", "PHOTO.png").split()) == 0
    assert Path("predictions/predictions.json").is_file()


def test_backbone_has_its_own_learning_rate(model: nn.ModuleDict) -> None:
    groups = make_optimizer(model, OptimOptions(backbone_lr=1e-3), 1e-2).param_groups
    factors = sorted({round(group["lr_factor"], 6) for group in groups})
    assert factors == [0.1, 1.0]
    assert sum(len(g["params"]) for g in groups) == len(list(model.parameters()))


def test_joint_steps_lower_the_loss(tmp_path: Path) -> None:
    from human_edge_detection.training.setup import make_run

    photos = write_photos(tmp_path, 2)
    options = changed(
        TrainOptions(), train_extractor=True, train_detector=True, image_size=(64, 64),
        num_workers=0, batch_size=2, device="cpu", min_roi_size=4.0, checkpoint_dir=tmp_path,
        warmup_steps=0,
    )  # fmt: skip
    spec = replace(SPEC, image_size=(64, 64))
    run = make_run(options, spec, PhotoSets(photos, photos), None)
    trainer = run.trainer
    trainer.dataset.augmentation = replace(AMOUNT, zoom=0.0, color=0.0, flip=False)
    batch = next(iter(trainer.loader(run.progress)))
    trainer.model.train()
    costs = [trainer.train_step([batch], Means(), run.progress) for _ in range(12)]
    assert costs[-1]["loss"] < 0.7 * costs[0]["loss"]
    assert costs[-1]["score"] < costs[0]["score"]
    assert all(sample.people is not None for sample in batch.samples)
    assert any(name.startswith("extractor.backbone") for name in trainer.state()["weights"])


@pytest.mark.parametrize(
    ("values", "flag"),
    [
        ({"train_detector": True}, "--train_detector needs --train_extractor"),
        ({"train_extractor": True, "onnx_model": "a.onnx"}, "--onnx_model"),
        ({"train_extractor": True, "image_size": (640, 500)}, "--image_size"),
        ({"train_extractor": True, "layers": ("a",)}, "--layers"),
    ],
)
def test_contradicting_options_are_refused(values: dict[str, object], flag: str) -> None:
    with pytest.raises(InputError, match=flag):
        changed(TrainOptions(), **values)
