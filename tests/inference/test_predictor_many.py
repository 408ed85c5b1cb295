"""Several photos at once: the same masks as one by one, together on a GPU and in turn on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from analytic_model import draw_person, write_constant_detector, write_extractor, write_head
from human_edge_detection.core.errors import InputError
from human_edge_detection.core.structures import ImageArray
from human_edge_detection.inference.predictor import MaskPredictor
from human_edge_detection.masks.instance_masks import InstanceMasks
from human_edge_detection.runtime.model_files import HEAD_NAME, WEIGHTS_DIR
from human_edge_detection.runtime.providers import CUDA, TENSORRT

SIZES_HW = ((120, 160), (90, 60), (200, 200), (31, 77))
BOXES = [
    [(20, 10, 90, 80), (30, 20, 100, 110), (5, 5, 5, 60)],
    [],
    [(0, 0, 200, 200)],
    [(9, 3, 40, 30)],
]


def photos() -> list[ImageArray]:
    rng = np.random.default_rng(0)
    found = []
    for size_hw, boxes in zip(SIZES_HW, BOXES, strict=True):
        image = rng.integers(0, 255, (*size_hw, 3), dtype=np.uint8)
        for box in boxes[:1]:
            person, mask = draw_person(size_hw, box)
            image[mask] = person[mask]
        found.append(image)
    return found


def one_by_one(predictor: MaskPredictor) -> list[InstanceMasks]:
    return [
        predictor.segment(image, boxes_xyxy=boxes)
        for image, boxes in zip(photos(), BOXES, strict=True)
    ]


def together(predictor: MaskPredictor) -> list[InstanceMasks]:
    encoded = predictor.encode_many([predictor.prepare(image) for image in photos()])
    return predictor.decode_many(encoded, BOXES)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    write_head(folder / "head.onnx")
    write_head(folder / "wide.onnx", roi_padding="0.3")
    write_extractor(folder / "extractor.onnx")
    person = np.zeros((1, 7, 6), np.float32)
    person[0, 0] = [40, 50, 80, 100, 0.9, 0]
    write_constant_detector(folder / "detector.onnx", {"output0": person})
    return folder


@pytest.mark.parametrize("models", [["head.onnx"], ["head.onnx", "wide.onnx"]])
@pytest.mark.parametrize("finder", [False, True])
def test_on_a_cpu_they_are_equal_bit_for_bit(files, models, finder):
    """With one head or two, over an extractor or over a detector that finds features too."""
    heads = [files / name for name in models]
    names = {"detector": files / "detector.onnx"} if finder else {}
    names |= {} if finder else {"extractor": files / "extractor.onnx"}
    with MaskPredictor(heads, **names, device="cpu", threads=1) as predictor:
        for alone, found in zip(one_by_one(predictor), together(predictor), strict=True):
            assert np.array_equal(alone.probs, found.probs)
            assert np.array_equal(alone.rois_xyxy, found.rois_xyxy)
            assert alone.size_hw == found.size_hw
            assert alone.to_coco() == found.to_coco()


def test_several_networks_and_their_people(files):
    heads = [files / "head.onnx", files / "wide.onnx"]
    detector = files / "detector.onnx"
    extractors = [files / "extractor.onnx", detector]
    with MaskPredictor(heads, extractors, detector, device="cpu", threads=1) as predictor:
        encoded = predictor.encode_many([predictor.prepare(image) for image in photos()])
        assert [len(photo.people) for photo in encoded] == [1, 1, 1, 1]
        for alone, found in zip(one_by_one(predictor), together(predictor), strict=True):
            assert np.array_equal(alone.probs, found.probs)


def test_scores_and_ids_go_with_their_photo(files):
    with MaskPredictor(files / "head.onnx", files / "extractor.onnx", device="cpu") as predictor:
        encoded = predictor.encode_many([predictor.prepare(image) for image in photos()])
        scores = [[0.9, 0.8, 0.7], None, [0.5], None]
        first, second, third, fourth = predictor.decode_many(
            encoded, BOXES, scores, [(7, 8, 9), None, (4,), None]
        )
        assert first.scores.tolist() == pytest.approx([0.9, 0.8, 0.7]) and first.ids == (7, 8, 9)
        assert len(second) == 0 and third.ids == (4,) and fourth.scores.tolist() == [1]
        assert predictor.encode_many([]) == predictor.decode_many([], []) == []
        with pytest.raises(InputError, match="scores must be of 4 photos, but got 1"):
            predictor.decode_many(encoded, BOXES, [[0.5]])
        with pytest.raises(InputError, match="scores must be of 4 photos, but got 2"):
            predictor.decode_many(encoded, BOXES, np.full((2, 1), 0.5))
        with pytest.raises(InputError, match="boxes_xyxy must be of 4 photos, but got 0"):
            predictor.decode_many(encoded, [])


@pytest.fixture
def shipped() -> Iterator[MaskPredictor]:
    """The shipped model with its float head, as it runs on GPUs."""
    with MaskPredictor(WEIGHTS_DIR / HEAD_NAME, device="cpu", threads=1) as predictor:
        yield predictor


@pytest.mark.parametrize("provider", [CUDA, TENSORRT])
def test_on_a_gpu_they_pass_together_and_differ_by_rounding(shipped, monkeypatch, provider):
    """A CPU runs it here; the provider is a name alone."""
    detector, head = shipped._encoder._detector, shipped._heads._members[0].head
    monkeypatch.setattr(detector, "multiple", 0)
    alone = one_by_one(shipped)
    monkeypatch.setattr(detector, "provider", provider)
    monkeypatch.setattr(head, "provider", provider)
    monkeypatch.setattr(head, "_buckets", provider == TENSORRT)
    counts = []
    for network in (detector, head):

        def spy(first, *rest, run=network._run):
            counts.append(len(first["features_0"] if isinstance(first, dict) else first))
            return run(first, *rest)

        monkeypatch.setattr(network, "_run", spy)
    found = together(shipped)
    assert counts == [4] * 4  # the network and the head, at the full size and at half
    for one, other in zip(alone, found, strict=True):
        assert one.probs.shape == other.probs.shape
        assert np.abs(one.probs - other.probs).max(initial=0) < 1e-4
        assert np.array_equal(one.label_map(), other.label_map())
    del counts[:]
    encoded = shipped.encode_many([shipped.prepare(image) for image in photos()[:3]])
    assert len(shipped.decode_many(encoded, BOXES[:3])) == 3
    # None of the first three photos has people of both sizes: the head runs once.
    assert counts == ([4] * 3 if provider == TENSORRT else [3] * 3)
