"""Several models validated as one: the mean of their probabilities, shared extractors run once."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from human_edge_detection.cli.validate import check_members
from human_edge_detection.core.errors import InputError
from human_edge_detection.core.images import read_image
from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.core.structures import FloatArray, RoiSample
from human_edge_detection.data.coco_reader import load_photos
from human_edge_detection.data.dataset import PhotoDataset
from human_edge_detection.evaluation.models import (
    DatasetOf,
    SharedExtractor,
    open_ensemble,
    open_model_file,
)
from human_edge_detection.evaluation.robustness import JitteredPhotos
from human_edge_detection.export.head import export_end_to_end, export_head
from human_edge_detection.inference.ensemble import RoiProbs, mean_probs
from human_edge_detection.inference.predictor import MaskPredictor
from human_edge_detection.masks.probabilities import softmax
from human_edge_detection.modeling.heads import build_head
from human_edge_detection.modeling.weights import read_trained
from human_edge_detection.runtime.feature_extractor import YOLOv9FeatureExtractor
from human_edge_detection.runtime.model_files import INT8_HEAD_NAME, WEIGHTS_DIR
from human_edge_detection.training.checkpoints import save_checkpoint
from people_set import write_people_set
from stand_in import write_stand_in
from tiny_command import ENVIRONMENT, MAIN
from tiny_person import write_person_checkpoint

torch.set_num_threads(1)
SPEC = ModelSpec("lite", ("map",), (8,), (8.0,), image_size=(96, 96), roi_size=4)


def write_model(path: Path, seed: int, spec: ModelSpec = SPEC) -> Path:
    torch.manual_seed(seed)
    head = build_head(spec)
    torch.nn.init.normal_(head.trunk.classify.weight)  # type: ignore[arg-type, union-attr]
    weights = {f"head.{name}": w for name, w in head.state_dict().items()}
    save_checkpoint(path, {"spec": spec.to_dict(), "weights": weights})
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set, an extractor, and two random heads."""
    folder = tmp_path_factory.mktemp("ensemble")
    write_people_set(folder)
    write_stand_in(folder / "net.onnx", layer="map", channels=8, size_hw=("H", "W"))
    for seed in (0, 1):
        write_model(folder / f"seed_{seed}.pth", seed)
    trained = read_trained(folder / "seed_0.pth")
    export_head(trained.model()["head"], trained.spec, folder / "head.onnx")
    export_end_to_end(
        trained.model()["head"], trained.spec, folder / "net.onnx", folder / "whole.onnx"
    )
    return folder


@pytest.fixture(scope="module")
def samples(folder: Path) -> list[RoiSample]:
    dataset = dataset_of(folder)(SPEC)
    return [dataset[index] for index in range(len(dataset))]


def logits_of(folder: Path, samples: list[RoiSample], *names: str) -> FloatArray:
    net = str(folder / "net.onnx")
    paths = [folder / name for name in names]
    if len(paths) == 1:
        with open_model_file(paths[0], net, "cpu") as model:
            return model.infer_on(dataset_of(folder))(samples)
    with open_ensemble(paths, net, "cpu") as model:
        return model.infer_on(dataset_of(folder))(samples)


def dataset_of(folder: Path) -> DatasetOf:
    photos, _ = load_photos(next(folder.glob("*.json")), folder)
    return lambda spec: PhotoDataset(photos, spec)


def test_members_are_averaged(folder: Path, samples: list[RoiSample]) -> None:
    one, other = (softmax(logits_of(folder, samples, f"seed_{s}.pth")) for s in (0, 1))
    assert np.abs(one - other).max() > 0.1
    both = softmax(logits_of(folder, samples, "seed_0.pth", "seed_1.pth"))
    np.testing.assert_allclose(both, (one + other) / 2, atol=1e-5)


@pytest.mark.parametrize("other", ["seed_0.pth", "head.onnx", "whole.onnx"])
def test_an_ensemble_of_a_model_with_itself_is_the_model(
    folder: Path, samples: list[RoiSample], other: str
) -> None:
    alone = softmax(logits_of(folder, samples, "seed_0.pth"))
    np.testing.assert_allclose(
        softmax(logits_of(folder, samples, "seed_0.pth", other)), alone, atol=1e-4
    )


def test_a_shared_extractor_sees_each_photo_once(
    folder: Path, samples: list[RoiSample], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    run = YOLOv9FeatureExtractor.__call__

    def counted(extractor: YOLOv9FeatureExtractor, images: FloatArray) -> list[FloatArray]:
        seen.append(len(images))
        return run(extractor, images)

    monkeypatch.setattr(YOLOv9FeatureExtractor, "__call__", counted)
    paths = [folder / name for name in ("seed_0.pth", "head.onnx", "seed_1.pth")]
    with open_ensemble(paths, str(folder / "net.onnx"), "cpu") as model:
        infer = model.infer_on(dataset_of(folder))
        for count in (1, 2):
            infer(samples)
            assert sum(seen) == count * len(samples)


def test_maps_are_kept_for_one_photo() -> None:
    asked: list[int] = []

    class Doubled:
        channels, strides = (3,), (1.0,)

        def __call__(self, images: FloatArray) -> list[FloatArray]:
            asked.append(len(images))
            return [2 * images]

        def close(self) -> None: ...

    photos = np.random.default_rng(0).random((2, 1, 3, 2, 2), np.float32)
    shared = SharedExtractor(Doubled())
    for count, photo in enumerate(photos, start=1):
        shared.forget()
        for _ in range(3):
            np.testing.assert_array_equal(shared(photo)[0], 2 * photo)
        assert len(asked) == count


def test_margins_and_grids_may_differ(folder: Path, tmp_path: Path) -> None:
    wide = write_model(tmp_path / "wide.pth", 1, replace(SPEC, roi_padding=0.3, roi_size=6))
    paths, net = [folder / "seed_0.pth", wide], str(folder / "net.onnx")
    of = dataset_of(folder)
    members = []
    for path in paths:
        with open_model_file(path, net, "cpu") as model:
            own = of(model.spec)
            sample = own[0]
            members.append(RoiProbs(softmax(model.infer_on(of)([sample])), own.rois_source(sample)))
    with open_ensemble(paths, net, "cpu") as both:
        assert (both.spec.roi_padding, both.spec.mask_size) == (0.3, 12)
        dataset = of(both.spec)
        sample = dataset[0]
        found = softmax(both.infer_on(of)([sample]))
    expected = mean_probs(members, dataset.rois_source(sample), 12)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_what_cannot_be_averaged_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    first = folder / "seed_0.pth"
    with pytest.raises(InputError, match="--ensemble averages models, but CKPT names 1"):
        check_members([first])
    with pytest.raises(InputError, match=r"but results\.json holds finished masks"):
        check_members([first, Path("results.json")])
    other = write_model(tmp_path / "other.pth", 0, replace(SPEC, image_size=(64, 96)))
    with pytest.raises(InputError, match=r"seed_0.pth has --image_size 96 96.*other.pth 64 96"):
        open_ensemble([first, other], str(folder / "net.onnx"), "cpu")
    with pytest.raises(InputError, match=r"wide\.pth does not fit .* 9 channels at stride 8"):
        wide = write_model(tmp_path / "wide.pth", 0, replace(SPEC, channels=(9,)))
        open_ensemble([first, wide], str(folder / "net.onnx"), "cpu")
    other_net = write_stand_in(tmp_path / "net.onnx", layer="map", channels=6, size_hw=(96, 96))
    with pytest.raises(
        InputError, match=r"head\.onnx does not fit .* 8 channels .* gives .* 6 channels"
    ):
        open_model_file(folder / "head.onnx", str(other_net), "cpu")


def test_person_models_join_with_their_own_extractors(
    folder: Path, samples: list[RoiSample], tmp_path: Path
) -> None:
    person = write_person_checkpoint(tmp_path / "person.pth", with_detector=False)
    size = (96, 96)
    net = str(folder / "net.onnx")
    of = dataset_of(folder)
    frozen = write_model(tmp_path / "frozen.pth", 0, replace(SPEC, roi_size=28))
    parts = []
    for path in (frozen, person):
        with open_model_file(path, net, "cpu", size) as model:
            parts.append(softmax(model.infer_on(of)(samples)))
    with open_ensemble([frozen, person], net, "cpu", size) as both:
        found = softmax(both.infer_on(of)(samples))
    np.testing.assert_allclose(found, (parts[0] + parts[1]) / 2, atol=1e-5)


def test_a_person_model_is_scored_as_it_predicts_at_both_sizes(folder: Path) -> None:
    path = WEIGHTS_DIR / INT8_HEAD_NAME
    of = dataset_of(folder)
    with open_model_file(path, None, "cpu", (256, 256)) as model:
        dataset = of(model.spec)
        found = softmax(model.infer_on(of)([dataset[0], dataset[1]]))
        joined = dataset[0]
    with open_ensemble([path, path], None, "cpu", (256, 256)) as both:
        np.testing.assert_allclose(softmax(both.infer_on(of)([joined])), found[:2], atol=1e-6)
    with MaskPredictor(path, device="cpu", image_size=256) as predictor:
        masks = [
            predictor.segment(read_image(photo.file), boxes_xyxy=dataset.person_boxes(index))
            for index, photo in enumerate(dataset.photos[:2])
        ]
    assert model.spec.image_size == (256, 256)
    np.testing.assert_allclose(found, np.concatenate([m.probs for m in masks]), atol=1e-6)
    with pytest.raises(InputError, match="256 128 does not fit .* give its longest side twice"):
        open_model_file(path, None, "cpu", (256, 128))


def test_a_person_model_is_scored_in_shifted_boxes_of_those_with_a_mask(folder: Path) -> None:
    path = WEIGHTS_DIR / INT8_HEAD_NAME
    photos, _ = load_photos(folder / "people.json", folder)
    first, second = photos[0].people
    bad = replace(first, segmentation={"size": [3, 3], "counts": [9]})
    shifted = partial(JitteredPhotos, [replace(photos[0], people=(bad, second))], amount=0.2)
    with open_model_file(path, None, "cpu", (256, 256)) as model:
        dataset = shifted(model.spec)
        sample = dataset[0]
        found = softmax(model.infer_on(shifted)([sample]))
    assert sample.person_ids.tolist() == [second.id]
    box = dataset.person_boxes(0)[1:]
    assert (box != second.box_xyxy).any()
    with MaskPredictor(path, device="cpu", image_size=256) as predictor:
        masks = predictor.segment(read_image(photos[0].file), boxes_xyxy=box)
    np.testing.assert_allclose(found, masks.probs, atol=1e-6)
    np.testing.assert_allclose(dataset.rois_source(sample), masks.rois_xyxy, atol=1e-3)
    with open_ensemble([path, path], None, "cpu", (256, 256)) as both:
        np.testing.assert_allclose(softmax(both.infer_on(shifted)([sample])), found, atol=1e-6)


def test_validate_shows_the_ensemble_as_one_more_row(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "seed_0.pth", tmp_path / "same.pth")
    command = [
        sys.executable, str(MAIN.parent / "validate.py"), str(folder / "seed_0.pth"),
        str(tmp_path / "same.pth"), "--ensemble", "--val_ann", str(next(folder.glob("*.json"))),
        "--val_img_dir", str(folder), "--onnx_model", str(folder / "net.onnx"), "--num_workers",
        "0", "--device", "cpu", "--bootstrap", "20", "--no_visualization",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "validation_results" / "report.json").read_text())
    names = [model["name"] for model in report["models"]]
    assert names == ["seed_0.pth", "same.pth", "ensemble"]
    alone, _, together = report["models"]
    for name, (value, *_) in alone["headline"].items():
        assert together["headline"][name][0] == pytest.approx(value, abs=1e-4), name
    assert together["losses"] == pytest.approx(alone["losses"], abs=1e-4)
    assert "ensemble" in done.stdout
