"""Boxes in, masks out, with an analytic model: masks must sit on their people, whatever happens."""

from __future__ import annotations

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from analytic_model import (
    draw_person,
    write_constant_detector,
    write_extractor,
    write_head,
)
from human_edge_detection.core.errors import InputError
from human_edge_detection.inference.predictor import MaskPredictor
from human_edge_detection.masks.candidates import SURELY_SAME

BOX = (20.0, 10.0, 90.0, 80.0)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    write_head(folder / "head.onnx")
    write_extractor(folder / "extractor.onnx")
    person = np.zeros((1, 7, 6), np.float32)
    person[0, 0] = [40, 50, 80, 100, 0.9, 0]
    person[0, 1] = [90, 50, 110, 100, 0.4, 0]
    write_constant_detector(folder / "detector.onnx", {"output0": person})
    return folder


def open_predictor(files: Path, **settings: object) -> MaskPredictor:
    names = {"extractor": files / "extractor.onnx", **settings}
    return MaskPredictor(files / "head.onnx", device="cpu", threads=1, **names)


@pytest.fixture(scope="module")
def predictor(files: Path) -> MaskPredictor:
    return open_predictor(files)


def edge_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Mean width in pixels of the strip in which two masks differ."""
    edge = np.count_nonzero(second[1:] != second[:-1]) + np.count_nonzero(
        second[:, 1:] != second[:, :-1]
    )
    return float(np.count_nonzero(first != second) / max(edge, 1))


def predicted(predictor: MaskPredictor, image: np.ndarray, box: tuple[float, ...]) -> np.ndarray:
    predictor.set_image(image)
    return np.asarray(predictor.predict([box]).binary()[0])


@pytest.mark.parametrize(
    ("size_hw", "box"),
    [
        ((128, 128), (30, 20, 90, 100)),  # no scaling
        ((200, 90), (10, 60, 80, 190)),  # portrait
        ((90, 200), (110, 5, 190, 85)),  # landscape
        ((61, 127), (3, 4, 60, 58)),  # odd
        ((40, 33), (2, 2, 31, 39)),  # enlarged
        ((500, 30), (2, 100, 28, 400)),  # extreme
    ],
)
def test_the_mask_lies_on_the_person_in_any_geometry(predictor, size_hw, box):
    image, mask = draw_person(size_hw, box)
    found = predicted(predictor, image, box)
    pixel = max(1.0, max(size_hw) / 128)  # of the network's input, in source pixels
    assert edge_distance(found, mask) < pixel
    assert (found & mask).sum() / (found | mask).sum() > (0.65 if pixel > 3 else 0.85)


@pytest.mark.parametrize("seed", range(6))
def test_the_mask_moves_with_its_person(predictor, seed):
    """Shift, flip and scale of photo and box are shift, flip and scale of the mask."""
    rng = np.random.default_rng(seed)
    height, width = (int(value) for value in rng.integers(100, 180, 2))
    x1, y1 = rng.uniform(2, 25, 2)
    x2, y2 = x1 + rng.uniform(40, 60), y1 + rng.uniform(40, 60)
    dx, dy = (int(value) for value in rng.integers(0, 14, 2))
    image, _ = draw_person((height, width), (x1, y1, x2, y2))
    found = predicted(predictor, image, (x1, y1, x2, y2))

    moved = predicted(
        predictor,
        np.roll(image, (dy, dx), (0, 1)),
        (x1 + dx, y1 + dy, x2 + dx, y2 + dy),
    )
    assert edge_distance(moved, np.roll(found, (dy, dx), (0, 1))) < 1

    flipped = predicted(
        predictor, np.ascontiguousarray(image[:, ::-1]), (width - x2, y1, width - x1, y2)
    )
    assert edge_distance(flipped, found[:, ::-1]) < 1

    twice = np.repeat(np.repeat(image, 2, axis=0), 2, axis=1)
    scaled = predicted(predictor, twice, (2 * x1, 2 * y1, 2 * x2, 2 * y2))
    assert edge_distance(scaled, np.repeat(np.repeat(found, 2, axis=0), 2, axis=1)) < 2


def test_a_wider_photo_only_changes_the_letterbox(predictor):
    image, _ = draw_person((120, 120), BOX)
    wide = np.zeros((120, 160, 3), np.uint8)
    wide[:, :120] = image
    found = predicted(predictor, image, BOX)
    assert edge_distance(predicted(predictor, wide, BOX)[:, :120], found) < 1


def test_boxes_over_the_edge_give_masks_inside(predictor):
    image, mask = draw_person((100, 100), (-30, -20, 60, 70))
    predictor.set_image(image)
    masks = predictor.predict([(-30, -20, 60, 70)])
    assert edge_distance(masks.binary()[0], mask) < 1.5
    huge = predictor.predict([(-1e6, -1e6, 1e6, 1e6)])
    assert huge.rois_xyxy.tolist() == [[0, 0, 100, 100]]
    assert edge_distance(huge.binary()[0], mask) < 1.5


def test_empty_and_outside_boxes_keep_their_rows(predictor):
    predictor.set_image(draw_person((100, 120), BOX)[0])
    boxes = [(5, 5, 5, 60), BOX, (500, 500, 600, 600), (40, 40, 40, 40), (-9, -9, -5, -5)]
    masks = predictor.predict(boxes, ids=[1, 2, 3, 4, 5])
    areas = masks.binary().sum(axis=(1, 2))
    assert areas[1] > 2000 and areas[[0, 2, 3, 4]].sum() == 0
    assert masks.ids == (1, 2, 3, 4, 5)


@pytest.mark.parametrize("boxes", [[], np.zeros((0, 4)), np.zeros((0, 4), np.float32)])
def test_no_boxes(predictor, boxes):
    predictor.set_image(np.zeros((30, 40, 3), np.uint8))
    masks = predictor.predict(boxes)
    assert masks.binary().shape == (0, 30, 40) and masks.label_map().max() == 0
    assert masks.to_coco() == []


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 300), (5000, 300)])
def test_extreme_photos(predictor, size_hw):
    height, width = size_hw
    predictor.set_image(np.full((*size_hw, 3), (255, 0, 0), np.uint8))
    masks = predictor.predict([(0, 0, width, height)])
    assert masks.binary().shape == (1, *size_hw)
    if size_hw != (1, 300):  # half a pixel high in the network's input
        assert masks.binary().mean() > 0.95


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([(1, 2, np.nan, 4)], r"boxes_xyxy\[0\] must be finite"),
        ([(1, 2, 3, 4), (1, 2, np.inf, 4)], r"boxes_xyxy\[1\] must be finite"),
        ([(1, 2, 3, 4), (9, 2, 3, 4)], r"boxes_xyxy\[1\] is reversed.*width, height"),
        ([1, 2, 3, 4], r"shape \[N, 4\]"),
        ("abc", "not usable"),
    ],
)
def test_wrong_boxes_are_named_by_row(predictor, boxes, message):
    predictor.set_image(np.zeros((30, 40, 3), np.uint8))
    with pytest.raises(InputError, match=message):
        predictor.predict(boxes)


def test_wrong_scores_ids_and_images(predictor):
    predictor.set_image(np.zeros((30, 40, 3), np.uint8))
    with pytest.raises(InputError, match="scores must be 1"):
        predictor.predict([BOX], scores=[1, 2])
    with pytest.raises(InputError, match="ids must be 1"):
        predictor.predict([BOX], ids=[1, 2])
    for image in (np.zeros((3, 4), np.uint8), np.zeros((3, 4, 3)), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(InputError, match=r"must be uint8 \[H, W, 3\] RGB"):
            predictor.set_image(image)
    with pytest.raises(InputError, match="but got str"):
        predictor.set_image("photo.jpg")


def test_predict_before_set_image(files):
    with open_predictor(files) as fresh, pytest.raises(RuntimeError, match="set_image"):
        fresh.predict([BOX])


def test_chunks_do_not_change_the_masks(files, predictor):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (100, 120, 3), dtype=np.uint8)
    low = rng.uniform(0, 60, (70, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, 50, (70, 2))], axis=1)
    predictor.set_image(image)
    wanted = predictor.predict(boxes)
    for max_rois in (1, 7, 1000):
        with open_predictor(files, max_rois=max_rois) as other:
            other.set_image(image)
            found = other.predict(boxes)
            assert np.abs(found.probs - wanted.probs).max() < 1e-6
            assert (found.label_map() == wanted.label_map()).all()


def test_threads_share_a_predictor(files, predictor):
    photos = [draw_person((100, 120), (10 + 5 * n, 10, 60 + 5 * n, 80))[0] for n in range(8)]
    boxes = [(10 + 5 * n, 10, 60 + 5 * n, 80) for n in range(8)]

    def mask(n: int) -> np.ndarray:
        return predictor.decode(predictor.encode(predictor.prepare(photos[n])), [boxes[n]]).binary()

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(mask, range(8)))
    assert all((together[n] == mask(n)).all() for n in range(8))


def test_a_pickled_predictor_opens_its_files_again(files, predictor):
    image, _ = draw_person((100, 120), BOX)
    with pickle.loads(pickle.dumps(predictor)) as copy:
        assert (predicted(copy, image, BOX) == predicted(predictor, image, BOX)).all()


def test_close_frees_the_sessions(files):
    with open_predictor(files) as used:
        used.set_image(draw_person((100, 120), BOX)[0])
    with pytest.raises(RuntimeError, match="the predictor is closed"):
        used.predict([BOX])
    with pytest.raises(RuntimeError, match="closed"):
        used.set_image(draw_person((100, 120), BOX)[0])


def test_segment_with_a_separate_detector(files, predictor):
    image = np.full((128, 128, 3), (255, 0, 0), np.uint8)
    with open_predictor(files, detector=files / "detector.onnx") as both:
        masks = both.segment(image)
        assert masks.boxes_xyxy.tolist() == [[40, 50, 80, 100], [90, 50, 110, 100]]
        assert masks.scores.tolist() == pytest.approx([0.9, 0.4])
        assert len(both.segment(image, score=0.5)) == 1 == len(both.detect(image, 0.5))
    with pytest.raises(InputError, match="finds no people by itself"):
        predictor.segment(image)
    for given in ({"scores": [0.5]}, {"ids": [7]}):
        with pytest.raises(InputError, match="scores and ids belong to boxes_xyxy"):
            predictor.segment(image, **given)


def test_detector_and_extractor_in_one_file_run_once(files, monkeypatch):
    """Named twice or once, the file's one pass gives boxes and features."""
    image, _ = draw_person((128, 128), (40, 50, 80, 100))
    with open_predictor(files, detector=files / "detector.onnx") as separate:
        wanted = separate.segment(image)
    for extractor in (files / "detector.onnx", None):
        with open_predictor(
            files, extractor=extractor, detector=files / "detector.onnx"
        ) as one_pass:
            assert one_pass._detector is None
            found = one_pass.segment(image)
        assert np.abs(found.probs - wanted.probs).max() < 1e-6


def doubt(score: float, surer: float) -> float:
    """The score of a candidate whose mask is that of a surer one."""
    free = score * (1 - SURELY_SAME * surer)
    return free / (free + 1 - score)


def crowd_detector(folder: Path) -> Path:
    """A detector of three candidates: a person, the same once more, and a neighbour."""
    people = np.zeros((1, 7, 6), np.float32)
    people[0, 0] = [40, 50, 80, 100, 0.9, 0]
    people[0, 1] = [41, 52, 83, 100, 0.6, 0]
    people[0, 2] = [90, 50, 110, 100, 0.4, 0]
    return write_constant_detector(folder / "crowd.onnx", {"output0": people})


def test_duplicates_that_the_detector_found_are_left_out_given_boxes_never(files, tmp_path):
    image = np.full((128, 128, 3), (255, 0, 0), np.uint8)
    with open_predictor(files, detector=crowd_detector(tmp_path)) as predictor:
        everybody = predictor.detect(image)
        assert len(everybody) == 3
        assert predictor.segment(image).scores.tolist() == pytest.approx([0.9, 0.4])
        assert predictor.segment(image, score=0.05).scores.tolist() == pytest.approx(
            [0.9, doubt(0.6, 0.9), 0.4]
        )
        given = predictor.segment(
            image, boxes_xyxy=everybody.boxes_xyxy, scores=everybody.scores, ids=[7, 8, 9]
        )
    assert (given.ids, given.scores.tolist()) == ((7, 8, 9), pytest.approx([0.9, 0.6, 0.4]))


def test_a_models_own_people_have_its_probabilities(files, tmp_path):
    """Score weights count where the head's own network finds the people, nowhere else."""
    image = np.full((128, 128, 3), (255, 0, 0), np.uint8)
    head = write_head(tmp_path / "head.onnx", score_weights=[-0.5, 1.0, 0.5])
    finder = crowd_detector(tmp_path)
    with MaskPredictor(head, finder, finder, device="cpu", threads=1) as predictor:
        masks = predictor.segment(image, score=0.01)
        odds = -0.5 + np.log(np.array([9, 1.5, 2 / 3])) + 0.5 * np.log(9)  # quality cut to 0.9
        first, second, third = 1 / (1 + np.exp(-odds))
        wanted = [first, doubt(second, first), third]
        assert masks.scores.tolist() == pytest.approx(wanted, rel=1e-4)
        assert predictor.candidate_score(0.5) < 0.4 < 0.5 < third
        assert len(predictor.segment(image, score=0.5)) == 2
    with MaskPredictor(head, files / "extractor.onnx", finder, device="cpu", threads=1) as other:
        assert other.candidate_score(0.8) == 0.8
        assert other.segment(image).scores.tolist() == pytest.approx([0.9, 0.4])


def test_a_head_that_does_not_fit_is_refused(files, tmp_path):
    wide = write_head(tmp_path / "wide.onnx", channels=[80], strides=[8])
    with pytest.raises(InputError, match=r"does not fit.*80 channels at stride 8.*3 channels at"):
        MaskPredictor(wide, files / "extractor.onnx", device="cpu")
    renamed = write_head(tmp_path / "renamed.onnx", layers=["other"])
    with pytest.raises(InputError, match="no tensor 'other'"):
        MaskPredictor(renamed, files / "extractor.onnx", device="cpu")
    odd = write_head(tmp_path / "odd.onnx", geometry="stretch")
    with pytest.raises(InputError, match="geometry 'stretch'"):
        MaskPredictor(odd, files / "extractor.onnx", device="cpu")
    with pytest.raises(InputError, match="not a head that this project exported"):
        MaskPredictor(files / "extractor.onnx", files / "extractor.onnx", device="cpu")


def test_missing_parts_say_what_to_pass(files, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("human_edge_detection.runtime.model_files.WEIGHTS_DIR", tmp_path)
        with pytest.raises(InputError, match=r"no person model ships.*model checkpoints"):
            MaskPredictor(device="cpu")
    with pytest.raises(InputError, match="without model"):
        MaskPredictor(extractor=files / "extractor.onnx")
    with pytest.raises(InputError, match="head without its extractor"):
        MaskPredictor(files / "head.onnx", device="cpu")
    with pytest.raises(InputError, match=r"missing\.onnx does not exist"):
        open_predictor(files, extractor=tmp_path / "missing.onnx")
    with pytest.raises(InputError, match="fuse 'best'"):
        open_predictor(files, fuse="best")
    with pytest.raises(InputError, match="max_rois must be an integer of at least 1"):
        open_predictor(files, max_rois=0)


def test_no_torch_and_no_onnx_on_this_path(files):
    """A fresh interpreter in which neither can be imported."""
    code = f"""
import sys
sys.modules["torch"] = sys.modules["onnx"] = None
import numpy as np
from human_edge_detection.inference.predictor import MaskPredictor
from human_edge_detection.inference.writers import FORMATS
import human_edge_detection.cli.predict
with MaskPredictor({str(files / "head.onnx")!r}, {str(files / "extractor.onnx")!r},
                   {str(files / "detector.onnx")!r}, device="cpu") as predictor:
    masks = predictor.segment(np.full((128, 128, 3), (255, 0, 0), np.uint8))
    assert masks.binary().any(), "no mask"
    masks.to_coco(), masks.overlay(np.zeros((128, 128, 3), np.uint8)), masks.polygons()
assert not [name for name in sys.modules if name.split(".")[0] in ("torch", "onnx")
            and sys.modules[name]]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "wrong",
    [
        {"threads": 3.5}, {"threads": -1}, {"max_rois": 1.5}, {"device": 5}, {"providers": 5},
        {"providers": [5]}, {"model": 5}, {"model": b"x"}, {"model": "x" * 300}, {"model": "a\0b"},
        {"detector": 5}, {"extractor": 5}, {"person_class": "x"}, {"person_class": -1},
        {"fuse": 5},
    ],
    ids=str,
)  # fmt: skip
def test_wrong_arguments_are_named(files, wrong):
    given = {"model": files / "head.onnx", "extractor": files / "extractor.onnx", **wrong}
    with pytest.raises(InputError, match=next(iter(wrong)) + "|cannot be read"):
        MaskPredictor(**given)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (([[-3e38, -3e38, 3e38, 3e38]],), "boxes_xyxy"), (([[10**400, 1, 2, 3]],), "boxes_xyxy"),
        ((None,), "boxes_xyxy"), (([["a", 1, 2, 3]],), "boxes_xyxy"), (([BOX], ["x"]), "scores"),
        (([BOX], 5), "scores"), (([BOX], [np.nan]), "scores"), (([BOX], None, ["x"]), "ids"),
        (([BOX], None, [np.nan]), "ids"), (([BOX], None, [1.5]), "ids"), (([BOX], None, 5), "ids"),
    ],
    ids=str,
)  # fmt: skip
def test_wrong_boxes_scores_and_ids_are_named(files, arguments, name):
    with open_predictor(files) as predictor:
        predictor.set_image(np.zeros((64, 64, 3), np.uint8))
        with pytest.raises(InputError, match=name):
            predictor.predict(*arguments)
        masks = predictor.predict([BOX])
        for threshold in (np.nan, "x", None):
            with pytest.raises(InputError, match="threshold must be a finite number"):
                masks.binary(threshold)
