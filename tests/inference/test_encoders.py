"""The full and the half size of a photo: who is found and cut out in which, and how they join."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from analytic_model import write_extractor, write_head
from human_edge_detection.core.geometry import AxisTransform, letterbox_transform
from human_edge_detection.core.images import EncodedImage, PreparedImage
from human_edge_detection.core.structures import Detections, ImageArray
from human_edge_detection.inference.encoders import TwoSizeEncoder, of_sizes
from human_edge_detection.inference.predictor import MaskPredictor
from human_edge_detection.runtime.model_files import EXTRACTOR_NAME, HEAD_NAME, WEIGHTS_DIR

FULL = AxisTransform((2.0, 2.0), (0.0, 96.0))
"""A photo of 384x288 in a frame of 768x768."""


def square(side: float, at: float = 0.0) -> list[float]:
    return [at, at, at + side, at + side]


def full_picture() -> PreparedImage:
    return PreparedImage(np.zeros((1, 3, 768, 768), np.float32), FULL, (288, 384))


def test_small_people_count_in_the_full_size_large_ones_in_the_half_one() -> None:
    boxes = np.array([square(79), square(80), square(159), square(160), [9, 9, 9, 30]], np.float32)
    assert of_sizes(boxes, full_picture()).tolist() == [
        [True, True, True, False, True],
        [False, True, True, True, False],
    ]
    assert of_sizes(np.zeros((0, 4), np.float32), full_picture()).shape == (2, 0)


def test_only_what_of_a_box_lies_in_the_photo_has_a_size() -> None:
    boxes = np.array([[-900, -900, 79, 79], [350, 250, 1e30, 1e30], [0, 0, 1e30, 1e30]], np.float32)
    assert of_sizes(boxes, full_picture()).tolist() == [[True, True, False], [False, False, True]]


class FixedDetector:
    """Finds the same people at each size of a photo, by the width of the frame."""

    def __init__(self, **people: Detections) -> None:
        self._people = people

    def prepare(self, image: ImageArray, size_hw: tuple[int, int] = (768, 768)) -> PreparedImage:
        shape = (image.shape[0], image.shape[1])
        tensor = np.zeros((1, 3, *size_hw), np.float32)
        return PreparedImage(tensor, letterbox_transform(shape, size_hw), shape)

    def run(
        self, pictures: list[PreparedImage], score: float
    ) -> list[tuple[Detections, list[np.ndarray]]]:
        widths = [picture.tensor.shape[3] for picture in pictures]
        return [(self._people[f"at_{width}"], [np.full((1,), width)]) for width in widths]


def test_people_of_both_sizes_are_joined_best_first_and_once() -> None:
    def people(*rows: tuple[list[float], float]) -> Detections:
        return Detections(
            np.array([box for box, _ in rows], np.float32), np.array([s for _, s in rows])
        )

    detector = FixedDetector(
        at_768=people((square(40), 0.9), (square(120, 150), 0.6), (square(200), 0.95)),
        at_384=people((square(121, 150), 0.7), (square(201), 0.5), (square(40), 0.99)),
    )
    encoder = TwoSizeEncoder(detector, (384, 384))  # type: ignore[arg-type]
    (encoded,) = encoder.encode([encoder.prepare(np.zeros((288, 384, 3), np.uint8))], 0.3)
    assert encoded.people is not None
    # One of 200 pixels counts in the half size alone, one of 40 in the full, one of 120 in both.
    assert encoded.people.boxes_xyxy.tolist() == [square(40), square(121, 150), square(201)]
    assert encoded.people.scores.tolist() == pytest.approx([0.9, 0.7, 0.5])
    (half,) = encoded.others
    assert (encoded.features[0], half.features[0], half.people) == (768, 384, None)


@pytest.fixture(scope="module")
def shipped() -> MaskPredictor:
    return MaskPredictor(WEIGHTS_DIR / HEAD_NAME, device="cpu", threads=1)


def test_a_mask_is_of_one_size_or_the_mean_of_both(shipped: MaskPredictor) -> None:
    """The head on each size by itself gives the same answers."""
    image = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    boxes = [(10.0, 10.0, 70.0, 90.0), (30.0, 20.0, 160.0, 150.0), (0.0, 0.0, 390.0, 290.0)]
    encoded = shipped.encode(shipped.prepare(image))
    assert encoded.prepared.tensor.shape[2:] == (576, 768)
    assert encoded.others[0].prepared.tensor.shape[2:] == (288, 384)
    head = shipped._heads._members[0].head
    found = shipped.decode(encoded, boxes)

    def alone(view: EncodedImage) -> np.ndarray:
        rois = view.prepared.transform.to_input(found.rois_xyxy)
        return head.probabilities(view.features, np.insert(rois, 0, 0, axis=1))

    full, half = alone(encoded), alone(encoded.others[0])
    wanted = np.stack([full[0], (full[1] + half[1]) / 2, half[2]])
    assert np.abs(found.probs - wanted).max() < 1e-5


def test_other_models_beside_it_keep_their_own_pictures(
    shipped: MaskPredictor, tmp_path: Path
) -> None:
    """The probabilities are the mean of both models', each with its own pictures of the photo."""
    head, extractor = tmp_path / "head.onnx", tmp_path / "extractor.onnx"
    write_head(head, roi_padding=str(shipped._heads._members[0].head.facts.roi_padding))
    write_extractor(extractor)
    image = np.random.default_rng(1).integers(0, 256, (200, 320, 3), np.uint8)
    boxes = [(10.0, 10.0, 60.0, 80.0), (0.0, 0.0, 300.0, 190.0)]
    own = WEIGHTS_DIR / HEAD_NAME
    parts = [shipped.segment(image, boxes_xyxy=boxes)]
    with MaskPredictor(head, extractor, device="cpu") as other:
        parts.append(other.segment(image, boxes_xyxy=boxes))
    for models in ([own, head], [head, own]):
        paths = [None if model == own else extractor for model in models]
        with MaskPredictor(models, paths, device="cpu", threads=1) as both:
            assert len(both.prepare(image).others) == 2
            found = both.segment(image, boxes_xyxy=boxes)
        assert np.abs(found.probs - (parts[0].probs + parts[1].probs) / 2).max() < 1e-5


def test_half_of_a_small_size_is_no_picture() -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    for size, others in ((96, 0), (128, 1)):
        with MaskPredictor(device="cpu", image_size=size) as predictor:
            assert len(predictor.prepare(image).others) == others


def test_a_detector_of_its_own_looks_at_both_sizes_too(
    shipped: MaskPredictor, tmp_path: Path
) -> None:
    head, extractor = tmp_path / "head.onnx", tmp_path / "extractor.onnx"
    write_head(head, image_size=json.dumps([768, 768]))
    write_extractor(extractor)
    image = np.random.default_rng(2).integers(0, 256, (400, 300, 3), np.uint8)
    wanted = shipped.detect(image, 0.001)
    with MaskPredictor(head, extractor, WEIGHTS_DIR / EXTRACTOR_NAME, device="cpu") as separate:
        found = separate.detect(image, 0.001)
    assert len(found.scores) == len(wanted.scores) > 0
    np.testing.assert_allclose(found.boxes_xyxy, wanted.boxes_xyxy, atol=1e-2)
