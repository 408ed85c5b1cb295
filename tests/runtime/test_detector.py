"""The detector: layouts recognised, boxes in the photo's own pixels, one pass with features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analytic_model import write_constant_detector
from human_edge_detection.core.errors import InputError
from human_edge_detection.core.structures import Detections
from human_edge_detection.runtime.detector import DetectorSession, holds_detector
from human_edge_detection.runtime.detector_layouts import (
    Layout,
    class_names,
    of_photo,
    recognise,
)
from human_edge_detection.runtime.sessions import ON_CPU, SessionOptions

PHOTO = np.zeros((64, 128, 3), np.uint8)  # letterboxed into 128x128 with 32 rows above
WHOLE_BODY = "yolov9_n_wholebody25_post_0100_1x3x480x640.onnx"


def raw(rows: list[list[float]], anchors: int = 200) -> np.ndarray:
    """[1, 4 + classes, anchors] from a few anchors."""
    filled = rows + [[0.0] * len(rows[0])] * (anchors - len(rows))
    return np.array(filled, np.float32).T[None]


def open_detector(tmp_path: Path, outputs: dict[str, np.ndarray], **settings: object):
    file_settings = {k: settings.pop(k) for k in ("names", "size_hw") if k in settings}
    path = write_constant_detector(tmp_path / "detector.onnx", outputs, **file_settings)
    return DetectorSession(path, ON_CPU, **settings)


def people_in(detector: DetectorSession) -> Detections:
    return detector.run([detector.prepare(PHOTO)])[0][0]


def test_raw_boxes_come_back_in_source_pixels_after_suppression(tmp_path):
    rows = [
        [64, 64, 40, 20, 0.9, 0.0],  # cx cy w h in the 128x128 input
        [65, 64, 40, 20, 0.8, 0.0],  # the same person again
        [20, 64, 20, 20, 0.5, 0.0],
        [20, 64, 20, 20, 0.0, 0.99],  # another class
        [100, 64, 20, 20, 0.29, 0.0],  # below the score
    ]
    found = people_in(open_detector(tmp_path, {"output0": raw(rows)}))
    assert np.allclose(found.boxes_xyxy, [[44, 22, 84, 42], [10, 22, 30, 42]])
    assert np.allclose(found.scores, [0.9, 0.5])


def test_end_to_end_rows_of_other_classes_are_left_out(tmp_path):
    rows = np.zeros((1, 9, 6), np.float32)
    rows[0, 0] = [10, 42, 30, 62, 0.7, 0]
    rows[0, 1] = [50, 42, 70, 62, 0.9, 3]
    found = people_in(open_detector(tmp_path, {"output0": rows}))
    assert np.allclose(found.boxes_xyxy, [[10, 10, 30, 30]])


def test_whole_body_rows(tmp_path):
    rows = np.array([[0, 0, 0.6, 10, 42, 30, 62], [0, 7, 0.9, 0, 40, 9, 50]], np.float32)
    found = people_in(open_detector(tmp_path, {"batchno_classid_score_x1y1x2y2": rows}))
    assert np.allclose(found.boxes_xyxy, [[10, 10, 30, 30]])


def test_boxes_and_scores_of_our_own_model(tmp_path):
    outputs = {
        "boxes": np.array([[[10, 42, 30, 62], [10, 42, 31, 62]]], np.float32),
        "scores": np.array([[0.5, 0.8]], np.float32),
    }
    detector = open_detector(tmp_path, outputs)
    assert np.allclose(people_in(detector).boxes_xyxy, [[10, 10, 31, 30]])
    assert holds_detector(tmp_path / "detector.onnx")


def test_the_person_class_is_read_from_the_names_in_the_file(tmp_path):
    rows = [[64, 64, 40, 20, 0.0, 0.9]]
    detector = open_detector(tmp_path, {"output0": raw(rows)}, names=("dog", "person"))
    assert len(people_in(detector)) == 1
    other = DetectorSession(tmp_path / "detector.onnx", ON_CPU, person_class=0)
    assert len(people_in(other)) == 0


def test_mask_coefficients_of_a_segmentation_export_are_no_classes(tmp_path):
    rows = [[64, 64, 40, 20, 0.9, *[5.0] * 32]]
    outputs = {"output0": raw(rows), "output1": np.zeros((1, 32, 8, 8), np.float32)}
    assert len(people_in(open_detector(tmp_path, outputs, names=("person",)))) == 1
    with pytest.raises(InputError, match="person_class 1 is not one of the detector's 1"):
        people_in(DetectorSession(tmp_path / "detector.onnx", ON_CPU, person_class=1))


def test_nobody_is_a_result(tmp_path):
    found = people_in(open_detector(tmp_path, {"output0": raw([[0.0] * 84])}))
    assert found.boxes_xyxy.shape == (0, 4)


def test_boxes_are_cut_to_the_photo_and_those_beside_it_vanish(tmp_path):
    rows = np.zeros((1, 7, 6), np.float32)
    rows[0, 0] = [-10, 20, 30, 150, 0.9, 0]
    rows[0, 1] = [10, 0, 30, 20, 0.9, 0]  # in the letterbox's border
    rows[0, 2] = [np.nan, 0, 1, 1, 0.9, 0]
    found = people_in(open_detector(tmp_path, {"output0": rows}))
    assert np.allclose(found.boxes_xyxy, [[0, 0, 30, 64]])


@pytest.mark.parametrize(
    ("shapes", "kind"),
    [
        ({"output0": (1, 84, 8400)}, "raw"),
        ({"output0": (1, 5, 8400)}, "raw"),
        ({"output0": (1, 300, 6)}, "end2end"),
        ({"output0": (1, 116, 8400), "output1": (1, 32, 160, 160)}, "raw"),
        ({"batchno_classid_score_x1y1x2y2": (0, 7)}, "wholebody"),
        ({"stride4": (1, 8, 9, 9), "boxes": (1, 99, 4), "scores": (1, 99)}, "boxes_scores"),
    ],
)
def test_layouts_are_recognised_from_shapes(shapes, kind):
    assert recognise(shapes)[0] == kind
    assert recognise(shapes, kind)[0] == kind


def test_what_is_no_detector_is_named_with_its_outputs(tmp_path):
    with pytest.raises(InputError, match=r"features \[1, 80, 8, 8\].*known are"):
        open_detector(tmp_path, {"features": np.zeros((1, 80, 8, 8))})
    with pytest.raises(InputError, match="as 'end2end'"):
        open_detector(tmp_path, {"output0": raw([[0.0] * 6])}, layout="end2end")
    with pytest.raises(InputError, match="cannot be read"):  # YOLOv5, with its objectness
        open_detector(tmp_path, {"output0": np.zeros((1, 999, 85))})


def test_one_pass_yields_features_too(tmp_path):
    rows = [[64, 64, 40, 20, 0.9]]
    detector = open_detector(tmp_path, {"output0": raw(rows)}, layers=("pooled",))
    ((people, (pooled,)),) = detector.run([detector.prepare(np.full((64, 128, 3), 255, np.uint8))])
    assert len(people) == 1 and pooled.shape == (1, 3, 32, 32)
    assert pooled[0, :, 16, 16] == pytest.approx(1.0)
    assert (detector.channels, detector.strides) == ((3,), (4.0,))
    with pytest.raises(InputError, match="no tensor 'nonsense'.*name the extractor"):
        DetectorSession(tmp_path / "detector.onnx", ON_CPU, layers=("nonsense",))


def test_open_input_size_takes_the_given_one(tmp_path):
    detector = open_detector(
        tmp_path, {"output0": raw([[0.0] * 5])}, size_hw=None, image_size_hw=(96, 160)
    )
    assert detector.input_size_hw == (96, 160)


def test_a_network_of_free_size_gets_each_photo_in_a_frame_of_its_own(tmp_path):
    person = {"output0": np.array([[[16, 32, 64, 96, 0.9, 0]]], np.float32)}
    path = write_constant_detector(
        tmp_path / "free.onnx", person, None, metadata={"size_multiple": "32"}
    )
    detector = DetectorSession(path, ON_CPU, image_size_hw=(128, 128))
    wide, tall = np.zeros((200, 400, 3), np.uint8), np.zeros((300, 90, 3), np.uint8)
    assert detector.prepare(wide).tensor.shape == (1, 3, 64, 128)
    assert detector.prepare(tall).tensor.shape == (1, 3, 128, 64)
    found = detector.run([detector.prepare(wide), detector.prepare(tall)])
    np.testing.assert_allclose(found[0][0].boxes_xyxy, [[50, 100, 200, 200]])  # cut to the photo
    left = (16 - 13) * 90 / 38  # the photo's 38 columns begin at x = 13
    np.testing.assert_allclose(found[1][0].boxes_xyxy, [[left, 75, 90, 225]], rtol=1e-5)


def test_a_multiple_that_the_size_is_none_of_is_named(tmp_path):
    person = {"output0": np.array([[[16, 32, 64, 96, 0.9, 0]]], np.float32)}
    for text, message in (
        ("48", "image_size 128 does not fit .*multiple of 48 from 96 on"),
        ("many", "size_multiple 'many'.*export it again"),
        ("-32", "size_multiple '-32'.*export it again"),
    ):
        path = write_constant_detector(
            tmp_path / "free.onnx", person, None, metadata={"size_multiple": text}
        )
        with pytest.raises(InputError, match=message):
            DetectorSession(path, ON_CPU, image_size_hw=(128, 128))


def test_class_names():
    assert class_names({"names": "{0: 'person', 1: 'bicycle'}"}) == ["person", "bicycle"]
    assert class_names({"names": "['a', 'b']"}) == ["a", "b"]
    assert class_names({"names": "import os"}) == class_names({}) == []


def test_a_file_that_is_no_onnx(tmp_path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no model at all")
    with pytest.raises(InputError, match=r"broken\.onnx"):
        DetectorSession(path, ON_CPU)
    with pytest.raises(InputError, match="does not exist"):
        DetectorSession(tmp_path / "missing.onnx", ON_CPU)


def test_a_closed_detector_says_so(tmp_path):
    with open_detector(tmp_path, {"output0": raw([[0.0] * 5])}) as detector:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        people_in(detector)


def test_the_real_whole_body_file_in_one_pass(shared_dir):
    """Its inner 480x640 is read from the graph, and its boxes and features fit together."""
    path = shared_dir / "models" / WHOLE_BODY
    if not path.is_file():
        pytest.skip(f"needs {path}")
    layers = ("/model.2/Concat_output_0", "/model.14/Concat_output_0")
    detector = DetectorSession(path, SessionOptions("cpu", threads=1), layers=layers)
    assert detector.input_size_hw == (480, 640)
    assert (detector.channels, detector.strides) == ((32, 80), (4.0, 8.0))
    ((people, maps),) = detector.run([detector.prepare(np.zeros((300, 200, 3), np.uint8))])
    assert len(people) == 0
    assert [item.shape for item in maps] == [(1, 32, 120, 160), (1, 80, 60, 80)]


def test_each_photo_gets_its_rows_of_a_pass_over_several() -> None:
    rows = np.array([[1, 0, 0.9, 1, 2, 3, 4], [0, 0, 0.8, 5, 6, 7, 8]], np.float32)
    body = Layout("wholebody", ("rows",))
    assert of_photo(body, [rows], 0, 2)[0].tolist() == [rows[1].tolist()]
    assert of_photo(body, [rows], 1, 3)[0].tolist() == [rows[0].tolist()]
    assert of_photo(body, [rows], 2, 3)[0].shape == (0, 7)
    boxes, scores = np.arange(24.0).reshape(3, 2, 4), np.arange(6.0).reshape(3, 2)
    own = of_photo(Layout("boxes_scores", ("boxes", "scores")), [boxes, scores], 1, 3)
    assert own[0].tolist() == [[[8, 9, 10, 11], [12, 13, 14, 15]]] and own[1].tolist() == [[2, 3]]
