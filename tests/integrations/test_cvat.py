"""CVAT's own data types and decoder take what the functions give."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from analytic_model import draw_person, write_constant_detector, write_extractor, write_head
from human_edge_detection.core.errors import InputError
from human_edge_detection.integrations import cvat

SIZE_HW = (128, 160)
BOX = (20.0, 20.0, 100.0, 110.0)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("model")
    people = np.zeros((1, 7, 6), np.float32)
    # the detector reads 128x128: the photo is scaled by 0.8 and starts at y 12.8
    people[0, 0] = [*(0.8 * np.float32(BOX) + np.float32([0, 12.8, 0, 12.8])), 0.9, 0]
    people[0, 1] = [100, 20, 120, 60, 0.4, 0]  # where nobody is
    return {
        "model": str(write_head(folder / "head.onnx")),
        "extractor": str(write_extractor(folder / "extractor.onnx")),
        "detector": str(write_constant_detector(folder / "d.onnx", {"output0": people})),
    }


@pytest.fixture(scope="module")
def photo() -> tuple[Image.Image, np.ndarray]:
    pixels, mask = draw_person(SIZE_HW, BOX)
    return Image.fromarray(pixels).convert("RGBA"), mask


def overlap(points: list[float], mask: np.ndarray) -> float:
    masks = pytest.importorskip("cvat_sdk.masks")
    found = masks.decode_mask(points, image_height=SIZE_HW[0], image_width=SIZE_HW[1])
    return float((found & mask).sum() / (found | mask).sum())


def context(least: float | None = None, polygons: bool = False) -> SimpleNamespace:
    return SimpleNamespace(frame_name="a.jpg", conf_threshold=least, conv_mask_to_poly=polygons)


def test_everybody_in_a_photo(files, photo):
    pytest.importorskip("cvat_sdk", reason="needs the extra [cvat]")
    image, mask = photo
    function = cvat.create(label="pedestrian", **files)
    assert [label.name for label in function.spec.labels] == ["pedestrian"]
    (shape,) = function.detect(context(), image)  # the empty mask is left out
    assert (shape.type.value, shape.label_id, shape.frame) == ("mask", 0, 0)
    assert overlap(shape.points, mask) > 0.9
    assert function.detect(context(0.95), image) == []
    (outline,) = function.detect(context(polygons=True), image)
    xs, ys = np.reshape(outline.points, (-1, 2)).T
    assert outline.type.value == "polygon" and outline.group == 1
    assert abs(xs.min() - 20) < 2 and abs(xs.max() - 100) < 2 and abs(ys.min() - 20) < 2


def test_the_person_in_a_box(files, photo):
    pytest.importorskip("cvat_sdk", reason="needs the extra [cvat]")
    image, mask = photo
    function = cvat.create(boxes=True, **files)
    assert function.spec.min_bounding_boxes == 1 and function.spec.min_pos_points == 0
    prepared = function.preprocess_image(SimpleNamespace(), image)
    prompt = SimpleNamespace(bounding_box=(BOX[:2], BOX[2:]))
    (shape,) = function.detect(SimpleNamespace(), prepared, prompt)
    assert shape.type == "mask" and overlap(shape.points, mask) > 0.9
    nobody = SimpleNamespace(bounding_box=((120.0, 5.0), (150.0, 60.0)))
    assert function.detect(SimpleNamespace(), prepared, nobody) == []


def test_a_head_alone_needs_boxes(files):
    pytest.importorskip("cvat_sdk", reason="needs the extra [cvat]")
    with pytest.raises(InputError, match="finds no people by itself"):
        cvat.create(**{**files, "detector": None})


def test_without_the_package_the_error_says_what_to_install(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "cvat_sdk.auto_annotation", None)
    monkeypatch.setitem(sys.modules, "cvat_sdk", None)
    with pytest.raises(InputError, match=r"pip install 'human-edge-detection\[cvat\]'"):
        cvat.create(boxes=True, **files)
