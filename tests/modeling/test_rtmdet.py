"""RTMDet-nano in torch: the same numbers as its published ONNX file, and a start for training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.options import changed
from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.export.person_model import export_person_model
from human_edge_detection.inference.predictor import MaskPredictor
from human_edge_detection.modeling.heads import build_head
from human_edge_detection.modeling.initial import find_start, new_model
from human_edge_detection.modeling.person_extractor import (
    DEVIATION_RGB,
    MEAN_RGB,
    ConvWeights,
    PersonExtractor,
    fill_convolutions,
    read_convolutions,
)
from human_edge_detection.modeling.weights import read_trained
from human_edge_detection.runtime.model_files import HEAD_NAME
from human_edge_detection.training.checkpoints import save_checkpoint
from human_edge_detection.training.inputs import PhotoSets
from human_edge_detection.training.optim import make_optimizer
from human_edge_detection.training.options import TrainOptions
from human_edge_detection.training.setup import make_run
from human_edge_detection.training.state import Means
from tiny_run import AMOUNT, write_photos

torch.set_num_threads(1)

SPEC = ModelSpec(
    "lite", PersonExtractor.layers, PersonExtractor.channels, PersonExtractor.strides, (96, 64),
    small_branch=True,
)  # fmt: skip
MAPS = ("onnx::Conv_752", "onnx::Conv_811", "onnx::Conv_1001", "onnx::Conv_1039", "onnx::Conv_1077")
LOGITS, BOXES = "onnx::Sigmoid_1402", "y.28"


@pytest.fixture(scope="module")
def published(shared_dir: Path) -> Path:
    path = shared_dir / "models" / "rtmdet_nano_person.onnx"
    if not path.is_file():
        pytest.skip(f"needs the published RTMDet-nano; {path} is absent")
    return path


@pytest.fixture(scope="module")
def model() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict({"head": build_head(SPEC), "extractor": PersonExtractor()}).eval()


@pytest.mark.parametrize("shape", [(2, 64, 96), (1, 320, 416), (1, 192, 32)])
@torch.no_grad()
def test_maps_scores_and_boxes_are_those_of_the_published_file(
    published: Path, shape: tuple[int, int, int]
) -> None:
    file = onnx.load(published)
    del file.graph.output[:]
    names = [*MAPS, LOGITS, BOXES]
    file.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    extractor = PersonExtractor().eval()
    extractor.begin_with(published)
    images = np.random.default_rng(0).random((shape[0], 3, *shape[1:]), np.float32)
    plain = (255 * images.transpose(0, 2, 3, 1) - MEAN_RGB) / DEVIATION_RGB
    bgr = np.ascontiguousarray(plain[..., ::-1].transpose(0, 3, 1, 2), np.float32)
    expected = ort.InferenceSession(file.SerializeToString()).run(names, {"input": bgr})

    maps, candidates = extractor(torch.from_numpy(images))
    fine = extractor.backbone((torch.from_numpy(images) - extractor.mean) / extractor.deviation)[0]
    assert candidates is not None
    found = [fine, *maps[1:], candidates.logits[..., None], candidates.boxes]
    for name, ours, theirs in zip(names, found, expected, strict=True):
        assert ours.shape == theirs.shape
        assert np.abs(ours.numpy() - theirs).max() < 1e-4 * np.abs(theirs).max(), name


@torch.no_grad()
def test_maps_and_candidates_have_the_promised_shapes(model: nn.ModuleDict) -> None:
    maps, found = model["extractor"](torch.rand(2, 3, 96, 64))
    sides = [(int(96 / s), int(64 / s)) for s in SPEC.strides]
    assert [tuple(m.shape) for m in maps] == [
        (2, c, *side) for c, side in zip(SPEC.channels, sides, strict=True)
    ]
    assert found.boxes.shape == (2, 12 * 8 + 6 * 4 + 3 * 2, 4)
    assert found.points[:2].tolist() == [[0, 0], [8, 0]]
    assert found.points[-1].tolist() == [32, 64]
    assert found.strides[-1] == 32
    assert model["head"](maps, torch.tensor([[0, 4, 4, 40.0, 60]])).shape == (1, 3, 56, 56)


def test_another_network_is_refused_by_what_it_has(tmp_path: Path, person_folder: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_convolutions(tmp_path / "none.onnx")
    (tmp_path / "cut.onnx").write_bytes(b"cut")
    with pytest.raises(InputError, match="not a whole ONNX file"):
        read_convolutions(tmp_path / "cut.onnx")
    with pytest.raises(InputError, match=r"norms folded|convolutions instead of"):
        PersonExtractor().begin_with(person_folder / "person_extractor.onnx")
    given = ConvWeights(torch.zeros(8, 3, 3, 3), torch.zeros(8))
    with pytest.raises(InputError, match=r"convolution 0 has the shape \[8, 3, 3, 3\]"):
        fill_convolutions([nn.Conv2d(3, 4, 3)], [given], tmp_path)


def test_a_run_begins_with_the_published_file(published: Path) -> None:
    options = changed(
        TrainOptions(), train_extractor=True, train_detector=True, init_from=str(published)
    )
    assert find_start(options.start.init_from) is None
    model = new_model(SPEC, with_extractor=True, with_detector=True, published=str(published))
    first = read_convolutions(published)[0].weight
    assert torch.equal(model["extractor"].backbone.stem[0].conv.weight, first.flip(1))
    with pytest.raises(InputError, match="needs --train_extractor"):
        changed(TrainOptions(), init_from=str(published))


def test_everything_published_has_its_own_learning_rate(model: nn.ModuleDict) -> None:
    options = changed(TrainOptions(), train_extractor=True, lr=1e-2, backbone_lr=1e-3)
    groups = make_optimizer(model, options.optim, options.peak_lr).param_groups
    published = ("backbone", "neck", "detector")
    count = sum(len(list(getattr(model["extractor"], part).parameters())) for part in published)
    assert sum(len(g["params"]) for g in groups if g["lr_factor"] < 1) == count
    assert sum(len(g["params"]) for g in groups) == len(list(model.parameters()))


@pytest.mark.parametrize("backbone_lr", [0.0, 1e-3])
def test_frozen_parts_stay_and_others_learn(tmp_path: Path, backbone_lr: float) -> None:
    photos = write_photos(tmp_path, 2)
    by_box = [replace(person, segmentation=None) for person in photos[0].people]
    photos.append(replace(photos[0], people=tuple(by_box)))
    options = changed(
        TrainOptions(), train_extractor=True, train_detector=True, image_size=(64, 64),
        num_workers=0, ema=0.9,
        batch_size=3, device="cpu", min_roi_size=4.0, checkpoint_dir=tmp_path, warmup_steps=0,
        backbone_lr=backbone_lr, weight_decay=0.1, head_widths=(16, 16, 8),
    )  # fmt: skip
    torch.manual_seed(0)
    spec = replace(SPEC, image_size=(64, 64), widths=(16, 16, 8))
    run = make_run(options, spec, PhotoSets(photos, photos), None)
    trainer = run.trainer
    trainer.dataset.augmentation = replace(AMOUNT, zoom=0.0, color=0.0, flip=False)
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    batch = next(iter(trainer.loader(run.progress)))
    trainer.model.train()
    costs = [trainer.train_step([batch], Means(), run.progress) for _ in range(8)]
    assert costs[-1]["ce"] < costs[0]["ce"]
    after = trainer.model.state_dict()
    published = tuple(f"extractor.{part}." for part in PersonExtractor.pretrained)
    moved = [
        k for k, v in after.items() if k.startswith(published) and not torch.equal(v, before[k])
    ]
    assert bool(moved) is (backbone_lr > 0)
    assert not torch.equal(
        after["extractor.fine.own.0.weight"], before["extractor.fine.own.0.weight"]
    )
    assert (costs[0]["score"] > 0) is (backbone_lr > 0)


def test_checkpoint_opens_and_its_files_predict(model: nn.ModuleDict, tmp_path: Path) -> None:
    path = tmp_path / "best_model.pth"
    save_checkpoint(path, {"spec": SPEC.to_dict(), "weights": model.state_dict()})
    trained = read_trained(path)
    assert isinstance(trained.model()["extractor"], PersonExtractor)
    errors, _ = export_person_model(trained.model(), SPEC, tmp_path)
    assert max(errors.values()) < 1e-4
    with MaskPredictor(tmp_path / HEAD_NAME, device="cpu") as predictor:
        image = np.random.default_rng(2).integers(0, 255, (70, 50, 3), np.uint8)
        masks = predictor.segment(image, score=0.0)
    assert masks.binary().shape[1:] == (70, 50)
