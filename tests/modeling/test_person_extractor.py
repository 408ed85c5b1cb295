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
from human_edge_detection.modeling.initial import new_model
from human_edge_detection.modeling.person_extractor import PersonExtractor
from human_edge_detection.modeling.weights import TrainedWeights, read_trained
from human_edge_detection.runtime.head import HeadSession
from human_edge_detection.runtime.model_files import EXTRACTOR_NAME, HEAD_NAME, shipped_weights
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


def test_a_fresh_head_stands_on_the_shipped_extractor() -> None:
    model = new_model(SPEC, with_extractor=True, with_detector=False)
    shipped = read_trained(shipped_weights()).weights
    assert model["extractor"].detector is None
    for name, value in model["extractor"].state_dict().items():
        assert torch.equal(value, shipped[f"extractor.{name}"])


def test_another_extractor_is_refused_with_a_way_out(model: nn.ModuleDict, tmp_path: Path) -> None:
    spec = replace(SPEC, layers=("stride4", "stride8"), channels=(32, 64), strides=(4.0, 8.0))
    with pytest.raises(InputError, match=r"old\.pth holds an extractor of maps stride4 stride8"):
        TrainedWeights(tmp_path / "old.pth", spec, model.state_dict()).model()


def test_exported_files_answer_batches_like_torch(
    model: nn.ModuleDict, person_folder: Path
) -> None:
    session = ort.InferenceSession(str(person_folder / EXTRACTOR_NAME))
    images = np.random.default_rng(1).random((3, 3, 96, 64), np.float32)
    found = dict(
        zip(
            [*PersonExtractor.layers, "boxes", "scores"],
            session.run(None, {"images": images}),
            strict=True,
        )
    )
    with torch.no_grad():
        maps, candidates = model["extractor"](torch.from_numpy(images))
    np.testing.assert_allclose(found["stride4"], maps[0].numpy(), atol=1e-4)
    np.testing.assert_allclose(found["boxes"], candidates.boxes.numpy(), rtol=1e-4, atol=1e-2)
    facts = HeadSession(person_folder / HEAD_NAME).facts
    assert facts.layers == PersonExtractor.layers
    assert facts.image_size == (96, 64)


def test_a_sure_detector_is_not_taken_for_a_wrong_one(tmp_path: Path) -> None:
    trained = new_person_model()
    for level in trained["extractor"].detector.levels:
        torch.nn.init.constant_(level.score.bias, -15.0)  # noise looks like nobody at all
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
