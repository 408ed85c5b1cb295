"""The size at which a photo enters the networks: its own frame, or the one that is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analytic_model import draw_person, write_constant_detector, write_head
from human_edge_detection.core.errors import InputError
from human_edge_detection.inference.predictor import MaskPredictor
from human_edge_detection.runtime.model_files import WEIGHTS_DIR

pytestmark = pytest.mark.skipif(
    not (WEIGHTS_DIR / "person_extractor.onnx").is_file(), reason="needs the model that ships"
)


@pytest.mark.parametrize(
    ("size_hw", "frame_hw"), [((300, 400), (576, 768)), ((400, 300), (768, 576))]
)
def test_a_photo_enters_the_shipped_model_in_a_frame_of_its_own(size_hw, frame_hw):
    height, width = size_hw
    image, _ = draw_person(size_hw, (0.2 * width, 0.1 * height, 0.7 * width, 0.9 * height))
    boxes = [(0.2 * width, 0.1 * height, 0.7 * width, 0.9 * height)]
    with MaskPredictor(device="cpu", threads=1) as predictor:
        assert predictor.prepare(image).tensor.shape == (1, 3, *frame_hw)
        found = predictor.segment(image, boxes_xyxy=boxes)
        predictor._encoder._detector.multiple = 0
        assert predictor.prepare(image).tensor.shape == (1, 3, 768, 768)
        wanted = predictor.segment(image, boxes_xyxy=boxes)
    assert np.abs(found.probs - wanted.probs).mean() < 0.03  # the border is seen less


def test_the_narrowest_frame_has_masks_too():
    image = np.full((9, 900, 3), 200, np.uint8)
    with MaskPredictor(device="cpu", threads=1) as predictor:
        assert predictor.prepare(image).tensor.shape == (1, 3, 32, 768)
        found = predictor.segment(image, boxes_xyxy=[(100, 0, 300, 9)])
    assert np.isfinite(found.probs).all()


def test_the_size_of_photos_in_the_network_can_be_chosen():
    image, _ = draw_person((300, 400), (100, 40, 300, 280))
    masks = {}
    for size, frame_hw in ((None, (576, 768)), (256, (192, 256)), (640, (480, 640))):
        with MaskPredictor(device="cpu", threads=1, image_size=size) as predictor:
            assert predictor.prepare(image).tensor.shape == (1, 3, *frame_hw)
            masks[size] = predictor.segment(image, boxes_xyxy=[(100, 40, 300, 280)]).binary()[0]
    for size in (256, 640):
        union = (masks[None] | masks[size]).sum()
        assert (masks[None] & masks[size]).sum() > 0.8 * union


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (500, "image_size 500 does not fit .*multiple of 32 from 64 on"),
        (32, "image_size 32 does not fit .*multiple of 32 from 64 on"),
        (0, "image_size must be .*0"),
        (12.5, "image_size"),
    ],
)
def test_sizes_that_do_not_fit_are_named(size, message):
    with pytest.raises(InputError, match=message):
        MaskPredictor(device="cpu", image_size=size)


def test_a_network_of_one_size_refuses_others(tmp_path: Path):
    write_head(tmp_path / "head.onnx")
    write_constant_detector(tmp_path / "extractor.onnx", {"output0": np.zeros((1, 7, 6))})
    with pytest.raises(InputError, match="image_size.*256.*extractor.onnx.*fixed to"):
        MaskPredictor(
            tmp_path / "head.onnx", tmp_path / "extractor.onnx", device="cpu", image_size=256
        )
