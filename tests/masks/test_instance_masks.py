import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.geometry import AxisTransform
from human_edge_detection.masks import fusion
from human_edge_detection.masks.drawing import person_colors
from human_edge_detection.masks.fusion import RULES
from human_edge_detection.masks.instance_masks import InstanceMasks
from human_edge_detection.masks.probabilities import softmax

SIZE_HW = (60, 90)


def some_people(fuse="arbitrate", **fields):
    """Three people: two that overlap, one outside the image."""
    rois = np.array([[5, 5, 50.5, 55], [30, 2, 80, 58.3], [95, 70, 120, 90]], np.float32)
    yy, xx = np.mgrid[:56, :56]
    inside = 28 - np.hypot(xx - 28, yy - 28)
    logits = np.stack([-inside / 6, inside / 6, np.full((56, 56), -3.0)])
    probs = softmax(np.stack([logits, logits * 1.5, logits])).astype(np.float16)
    return InstanceMasks(probs, rois, rois + 1, SIZE_HW, fuse=fuse, **fields)


@pytest.mark.parametrize("fuse", list(RULES))
def test_binary_iter_binary_and_label_map_agree(fuse):
    people = some_people(fuse)
    binary, labels = people.binary(0.5), people.label_map(0.5)
    assert binary.shape == (3, *SIZE_HW)
    assert labels.dtype == np.int32
    assert binary[0].any() and binary[1].any() and not binary[2].any()
    for whole, (mask, (x1, y1, x2, y2)) in zip(binary, people.iter_binary(0.5), strict=True):
        np.testing.assert_array_equal(whole[y1:y2, x1:x2], mask)
        assert whole.sum() == mask.sum()
    np.testing.assert_array_equal(binary.any(axis=0), labels > 0)
    if fuse == "independent":
        assert (binary.sum(axis=0) > 1).any()
    else:
        np.testing.assert_array_equal(binary, labels[None] == np.arange(1, 4)[:, None, None])


@pytest.mark.parametrize("fuse", ["independent", "arbitrate"])
def test_masks_taken_in_turn_with_others_stay_whole(fuse):
    first, second = some_people(fuse), some_people("arbitrate", scores=np.float32([0.3, 0.9, 1]))
    second = replace(second, rois_xyxy=second.rois_xyxy[[1, 0, 2]])
    wanted = [list(people.iter_binary()) for people in (first, second)]
    turns = zip(first.iter_binary(), second.iter_binary(), strict=True)
    for number, found in enumerate(turns):
        second.label_map(0.2)
        for people in (0, 1):
            np.testing.assert_array_equal(found[people][0], wanted[people][number][0])
            assert found[people][1] == wanted[people][number][1]


def test_a_mask_moves_with_its_person():
    people = some_people()
    labels = people.label_map()
    moved = replace(
        people, rois_xyxy=people.rois_xyxy + np.float32([7, 3, 7, 3]), size_hw=(80, 100)
    )
    np.testing.assert_array_equal(moved.label_map()[3:63, 7:97][:58, :88], labels[:58, :88])
    flipped = replace(
        people,
        rois_xyxy=AxisTransform.flip_x(90).to_input(people.rois_xyxy),
        probs=people.probs[..., ::-1],
    )
    assert (flipped.label_map()[:, ::-1] == labels).mean() > 0.999
    double = replace(people, rois_xyxy=people.rois_xyxy * 2, size_hw=(120, 180)).label_map()
    assert (double[::2, ::2] == labels).mean() > 0.97


def test_coco_results_decode_to_the_masks():
    people = some_people(scores=np.float32([0.9, 0.25, 0.5]), ids=(11, 12, 13))
    results = people.to_coco(image_id=7, file_name="a.jpg")
    for result, mask in zip(results, people.binary(), strict=True):
        np.testing.assert_array_equal(coco_mask.decode(result["segmentation"]), mask)
    first = results[0]
    assert list(first) == [
        "image_id", "file_name", "annotation_id", "category_id", "bbox", "score", "segmentation",
    ]  # fmt: skip
    assert (first["image_id"], first["annotation_id"], first["category_id"]) == (7, 11, 1)
    assert first["bbox"] == [6.0, 6.0, 45.5, 50.0]
    assert [result["score"] for result in results] == [0.9, 0.25, 0.5]
    assert "annotation_id" not in some_people().to_coco()[0]
    assert "file_name" not in some_people().to_coco()[0]


def test_supervision_gets_boxes_masks_and_scores():
    pytest.importorskip("supervision")
    people = some_people(scores=np.float32([0.9, 0.25, 0.5]))
    detections = people.to_supervision()
    np.testing.assert_array_equal(detections.mask, people.binary())
    np.testing.assert_allclose(detections.confidence, [0.9, 0.25, 0.5])
    np.testing.assert_array_equal(detections.xyxy, people.boxes_xyxy)
    assert detections.tracker_id is None
    tracked = replace(people, track_ids=(7, 2, 4)).to_supervision()
    np.testing.assert_array_equal(tracked.tracker_id, [7, 2, 4])
    np.testing.assert_array_equal(tracked[1:2].mask, people.binary()[1:2])


def test_supervision_without_compact_masks_gets_dense_ones(monkeypatch):
    supervision = pytest.importorskip("supervision")
    monkeypatch.delattr(supervision, "CompactMask", raising=False)
    people = some_people()
    mask = people.to_supervision().mask
    assert isinstance(mask, np.ndarray)
    np.testing.assert_array_equal(mask, people.binary())


def test_track_ids_number_people_in_every_result():
    people = some_people(track_ids=(9, 3, 5))
    plain = replace(people, track_ids=())
    labels = people.label_map()
    assert plain.numbers == (1, 2, 3) and people.numbers == (9, 3, 5)
    np.testing.assert_array_equal(labels == 9, plain.label_map() == 1)
    np.testing.assert_array_equal(labels == 3, plain.label_map() == 2)
    np.testing.assert_array_equal(people.binary(), plain.binary())
    assert [result["track_id"] for result in people.to_coco()] == [9, 3, 5]
    assert "track_id" not in plain.to_coco()[0]
    image = np.full((*SIZE_HW, 3), 100, np.uint8)
    drawn = people.overlay(image, numbers=False, alpha=1)
    y, x = np.argwhere(labels == 9)[0]
    np.testing.assert_array_equal(drawn[y, x], person_colors(9)[8])


def test_without_supervision_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(InputError, match="pip install supervision"):
        some_people().to_supervision()


def test_polygons_cutouts_and_overlay():
    people = some_people()
    image = np.full((*SIZE_HW, 3), 100, np.uint8)
    polygons = people.polygons()
    assert len(polygons[0]) == 1
    assert polygons[2] == []
    cutouts = people.cutouts(image)
    assert cutouts[2].shape == (0, 0, 4)
    assert (cutouts[0][..., 3] > 0).sum() == people.binary()[0].sum()
    drawn = people.overlay(image, numbers=False)
    changed = (drawn != image).any(axis=2)
    np.testing.assert_array_equal(changed, people.label_map() > 0)
    assert (image == 100).all()
    people.overlay(image)[:] = 0  # like every other result it may be changed
    with pytest.raises(ValueError, match="image must be uint8"):
        people.overlay(image[:-1])
    with pytest.raises(ValueError, match="tags must be empty or 3 long, but got 1"):
        people.overlay(image, tags=["Ann"])


def test_nobody():
    nobody = InstanceMasks(np.zeros((0, 3, 56, 56)), np.zeros((0, 4)), np.zeros((0, 4)), SIZE_HW)
    image = np.zeros((*SIZE_HW, 3), np.uint8)
    assert len(nobody) == 0
    assert nobody.binary().shape == (0, *SIZE_HW)
    assert not nobody.label_map().any()
    assert nobody.to_coco() == nobody.polygons() == nobody.cutouts(image) == []
    np.testing.assert_array_equal(nobody.overlay(image, boxes=True), image)
    pytest.importorskip("supervision")
    assert len(nobody.to_supervision()) == 0


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("probs", np.zeros((3, 2, 56, 56)), "probs must have shape"),
        ("rois_xyxy", np.zeros((2, 4)), "rois_xyxy must have 3 rows"),
        ("scores", np.ones(4), "scores must have 3 rows"),
        ("ids", (1,), "ids must be empty or 3 long"),
        ("track_ids", (1, 2), "track_ids must be empty or 3 different numbers over 0"),
        ("track_ids", (1, 2, 2), "track_ids must be empty or 3 different numbers over 0"),
        ("track_ids", (0, 1, 2), "track_ids must be empty or 3 different numbers over 0"),
        ("fuse", "best", "fuse must be one of arbitrate"),
    ],
)
def test_what_does_not_fit_is_refused(field, value, text):
    with pytest.raises(ValueError, match=text):
        replace(some_people(), **{field: value})


def test_three_hundred_people_in_4k_take_few_frames():
    size_hw, count = (2160, 3840), 300
    low = np.random.default_rng(0).uniform(0, 1, (count, 2)) * [3700, 1900]
    rois = np.concatenate([low, low + np.array([140, 260])], axis=1).astype(np.float32)
    one = some_people().probs[:1]
    people = InstanceMasks(np.repeat(one, count, axis=0), rois, rois, size_hw)
    frame = size_hw[0] * size_hw[1]
    tracemalloc.start()
    with ThreadPoolExecutor(1) as pool:  # a thread that has kept no memory yet
        counts = pool.submit(lambda: [int(mask.sum()) for mask, _ in people.iter_binary()])
        pixels = sum(counts.result())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert pixels > 1e6
    assert peak < 4 * frame + 24e6  # the int32 label map and one band


def test_the_pixels_are_fused_once_for_each_threshold(monkeypatch):
    calls = []

    def counted(*arguments):
        calls.append(arguments[4])
        return fuse(*arguments)

    fuse = fusion.fuse
    monkeypatch.setattr(fusion, "fuse", counted)
    people, image = some_people(), np.zeros((*SIZE_HW, 3), np.uint8)
    people.to_coco(), people.polygons(), people.cutouts(image), people.overlay(image)
    assert calls == [0.5]
    people.binary(0.3), people.label_map(0.3)
    assert calls == [0.5, 0.3]
    assert replace(people, fuse="max").label_map(0.3).any()
    assert calls == [0.5, 0.3, 0.3]


def test_a_changed_label_map_changes_no_other_result():
    people = some_people()
    whole = people.binary()
    people.label_map()[:] = 0
    np.testing.assert_array_equal(people.binary(), whole)


@pytest.mark.parametrize("alpha", [2, -0.1, float("nan"), None])
def test_an_opacity_that_is_none_is_refused(alpha):
    with pytest.raises(InputError, match="alpha must be"):
        some_people().overlay(np.zeros((*SIZE_HW, 3), np.uint8), alpha=alpha)


@pytest.mark.filterwarnings("error")
def test_a_person_whose_pixels_are_all_others_has_empty_results():
    one = some_people().select(np.array([0]))
    probs = np.concatenate([one.probs, one.probs])
    probs[1, 1] *= 0.6  # owns nothing beside the other
    both = replace(
        one,
        probs=probs,
        rois_xyxy=np.tile(one.rois_xyxy, (2, 1)),
        boxes_xyxy=np.tile(one.boxes_xyxy, (2, 1)),
        scores=np.float32([0.9, 0.47]),
    )
    image = np.zeros((*SIZE_HW, 3), np.uint8)
    assert not both.binary()[1].any() and both.binary()[0].any()
    assert both.cutouts(image)[1].shape == (0, 0, 4)
    assert both.coco_people()[1]["area"] == 0 and both.polygons()[1] == []
    assert both.overlay(image, boxes=True).any()
