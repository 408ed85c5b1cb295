import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from analytic_model import draw_person, write_constant_detector, write_extractor, write_head
from human_edge_detection.core.errors import InputError
from human_edge_detection.inference.predictor import MaskPredictor
from human_edge_detection.inference.video_tracker import VideoTracker
from human_edge_detection.masks.carry import MOST_WEIGHT
from human_edge_detection.masks.instance_masks import InstanceMasks

SIZE_HW = (120, 200)
SIDES = np.float32([30, 60])


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("model")
    head, extractor = write_head(folder / "head.onnx"), write_extractor(folder / "extractor.onnx")
    person = np.zeros((1, 7, 6), np.float32)
    person[0, 0] = [20, 20, 100, 110, 0.9, 0]
    detector = write_constant_detector(folder / "detector.onnx", {"output0": person})
    with MaskPredictor(head, extractor, detector, device="cpu", threads=1) as opened:
        yield opened


def walkers(frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes float32 [frames, 2, 4] of two people who pass each other, and a black picture."""
    steps = np.arange(frames, dtype=np.float32)
    xs = np.stack([20 + 4 * steps, 150 - 4 * steps], axis=1)
    low = np.stack([xs, np.broadcast_to(np.float32([20, 40]), xs.shape)], axis=2)
    return np.concatenate([low, low + SIDES], axis=2), np.zeros((*SIZE_HW, 3), np.uint8)


def test_each_person_keeps_a_number_whatever_the_order_of_the_boxes(predictor: MaskPredictor):
    pytest.importorskip("trackers")
    boxes, image = walkers(30)
    tracker, rng = VideoTracker(predictor, fps=10), np.random.default_rng(0)
    for frame, people in enumerate(boxes):
        order = rng.permutation(2)
        given = people[order] + rng.normal(0, 0.7, (2, 4)).astype(np.float32)
        masks = tracker.segment(image, boxes_xyxy=given, ids=order.tolist())
        assert masks.track_ids == (1, 2)  # from the first frame on, by rising number
        if frame == 0:
            owners = masks.ids
        assert masks.ids == owners
        np.testing.assert_array_equal(masks.boxes_xyxy, given[np.argsort(order)[list(owners)]])


def test_who_was_hidden_keeps_the_number_and_who_is_faint_needs_one(predictor: MaskPredictor):
    pytest.importorskip("trackers")
    boxes, image = walkers(14)
    tracker = VideoTracker(predictor, fps=10, score=0.5)
    for frame, people in enumerate(boxes):
        if frame in (5, 6, 7):
            masks = tracker.segment(image, boxes_xyxy=people[:1])
            assert masks.track_ids == (1,)
            continue
        stray = np.float32([[170, 2, 199, 30]])
        scores = [0.9, 0.15 if frame == 12 else 0.8, 0.2]
        masks = tracker.segment(image, boxes_xyxy=np.concatenate([people, stray]), scores=scores)
        assert masks.track_ids == (1, 2)
        np.testing.assert_allclose(masks.scores, np.float32(scores[:2]))


def test_who_is_seen_once_leaves_the_others_alone(predictor: MaskPredictor):
    pytest.importorskip("trackers")
    boxes, image = walkers(4)
    tracker = VideoTracker(predictor, fps=10)
    seen = [slice(0, 2), slice(0, 1), slice(0, 1), slice(0, 2)]
    found = [
        tracker.segment(image, boxes_xyxy=people[rows]).track_ids
        for people, rows in zip(boxes, seen, strict=True)
    ]
    assert found == [(1, 2), (1,), (1,), (1, 3)]


def test_a_doubtful_second_box_steals_no_number(predictor: MaskPredictor):
    pytest.importorskip("trackers")
    boxes, image = walkers(8)
    tracker = VideoTracker(predictor, fps=10)
    for frame, people in enumerate(boxes):
        second = people[:1] + np.float32([4, -2, 8, 2])  # as good as the first, or better
        given = np.concatenate([people, second])
        masks = tracker.segment(image, boxes_xyxy=given, scores=[0.8, 0.4, 0.6])
        assert masks.track_ids == (1, 2), frame
        np.testing.assert_array_equal(masks.boxes_xyxy, people)


def test_the_detector_finds_the_people(predictor: MaskPredictor):
    pytest.importorskip("trackers")
    image, mask = draw_person((128, 128), (20, 20, 100, 110))
    tracker = VideoTracker(predictor)
    for _ in range(3):
        masks = tracker.segment(image, prepared=predictor.prepare(image))
        assert masks.track_ids == (1,)
        both, either = (masks.binary()[0] & mask).sum(), (masks.binary()[0] | mask).sum()
        assert both / either > 0.9
    assert len(tracker.segment(image, boxes_xyxy=np.zeros((0, 4)))) == 0


def test_people_and_scores_are_those_of_a_photo(tmp_path: Path):
    """Two sure boxes of one person: the masks tell, as in photos, that they are one."""
    pytest.importorskip("trackers")
    image, _ = draw_person((128, 128), (20, 20, 100, 110))
    found = np.zeros((1, 7, 6), np.float32)
    found[0, :2] = [20, 20, 100, 110, 0.9, 0], [20, 20, 100, 72, 0.85, 0]
    names = write_head(tmp_path / "head.onnx"), write_extractor(tmp_path / "extractor.onnx")
    detector = write_constant_detector(tmp_path / "detector.onnx", {"output0": found})
    with MaskPredictor(*names, detector, device="cpu", threads=1) as predictor:
        assert len(predictor.detect(image)) == 2
        tracker, photo = VideoTracker(predictor), predictor.segment(image, 0.1)
        for _ in range(2):
            masks = tracker.segment(image)
            assert masks.track_ids == (1,)
            np.testing.assert_allclose(masks.scores, photo.scores[:1], rtol=1e-6)


def test_scores_take_the_frames_before_as_evidence():
    pytest.importorskip("trackers")
    box, probs = np.float32([[20, 20, 100, 110]]), np.full((1, 3, 28, 28), 1 / 3, np.float32)
    given = iter([0.9, 0.5, 0.2])

    def segment(frame: np.ndarray, lowest: float, **_: object) -> InstanceMasks:
        return InstanceMasks(probs, box, box, SIZE_HW, np.float32([next(given)]))

    tracker, odds = VideoTracker(SimpleNamespace(segment=segment)), 0.0
    for score in (0.9, 0.5, 0.2):
        own = np.log(score / (1 - score))
        odds = (own + MOST_WEIGHT * odds) / (1 + MOST_WEIGHT) if odds else own
        (found,) = tracker.segment(np.zeros((*SIZE_HW, 3), np.uint8)).scores
        assert found == pytest.approx(1 / (1 + np.exp(-odds)), abs=1e-5)


def test_without_the_package_the_error_says_what_to_install(
    predictor: MaskPredictor, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "trackers", None)
    with pytest.raises(InputError, match=r"pip install 'human-edge-detection\[track\]'"):
        VideoTracker(predictor)


def test_frames_per_second_are_a_number_over_0(predictor: MaskPredictor):
    pytest.importorskip("trackers")
    with pytest.raises(InputError, match="fps must be over 0, but got 0"):
        VideoTracker(predictor, fps=0)
