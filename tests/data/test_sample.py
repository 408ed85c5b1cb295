"""The drawn sample set: repeatable, exact, overlapping, COCO-readable."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from human_edge_detection.core.boxes import box_iou
from human_edge_detection.data.sample import SamplePaths, draw_crowd, write_sample_set
from human_edge_detection.data.sample.brush import Cloth, Sheet, disc, tube
from human_edge_detection.data.sample.person import STANCES, Person, draw_person
from human_edge_detection.data.sample.scene import PLACES


def test_crowd_has_the_promised_shapes() -> None:
    image, masks, boxes = draw_crowd(3, (240, 320), people=5)
    assert image.shape == (240, 320, 3) and image.dtype == np.uint8
    assert masks.shape == (5, 240, 320) and masks.dtype == np.bool_
    assert boxes.shape == (5, 4) and boxes.dtype == np.float32


def test_nobody_and_a_tiny_picture_are_possible() -> None:
    image, masks, boxes = draw_crowd(0, (48, 64), people=0)
    assert image.shape == (48, 64, 3) and masks.shape == (0, 48, 64) and boxes.shape == (0, 4)
    assert draw_crowd(0, (32, 32), people=3)[0].shape == (32, 32, 3)


def test_same_seed_same_picture_other_seed_another() -> None:
    first, again, other = (draw_crowd(seed, (200, 260), people=3) for seed in (7, 7, 8))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert (first[0] != other[0]).any()


def test_no_pixel_belongs_to_two_and_boxes_fit() -> None:
    _, masks, boxes = draw_crowd(1, (240, 320), people=6)
    assert masks.sum(axis=0).max() == 1
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.astype(int), strict=True):
        assert mask.sum() >= 80
        window = mask[y1:y2, x1:x2]
        assert window.sum() == mask.sum()
        assert all(edge.any() for edge in (window[0], window[-1], window[:, 0], window[:, -1]))


def test_people_really_overlap() -> None:
    crowds = [draw_crowd(seed, (240, 320), people=6)[2] for seed in range(4)]
    overlaps = [np.triu(box_iou(boxes, boxes), 1).max() for boxes in crowds]
    assert np.mean(overlaps) > 0.15


@pytest.mark.parametrize("place", PLACES)
def test_every_place_can_be_drawn_upright_and_wide(place: str) -> None:
    for size_hw in ((200, 120), (96, 220)):
        image, masks, _ = draw_crowd(0, size_hw, 2, place)
        assert image.shape == (*size_hw, 3)
        assert 1 <= len(masks) <= 2
        assert image.std() > 10


@pytest.mark.parametrize("stance", range(len(STANCES)))
def test_a_person_stands_on_the_ground_and_is_one_unit_tall(stance: int) -> None:
    person = Person(np.random.default_rng(0), stance)
    lift = STANCES[stance, 9]
    assert max(leg[2, 1] for leg in person.limbs[2:]) == pytest.approx(-0.035 - lift, abs=0.01)
    if stance == 0:  # the others may bend their knees or lean
        assert person.head[1] - person.head_size / 2 == pytest.approx(-1, abs=0.02)


def test_a_figure_outside_the_picture_is_empty_but_known_by_its_area() -> None:
    foot_xy, light = np.array([-200.0, 60.0]), np.array([0.0, -1.0])
    layer = draw_person(np.random.default_rng(0), foot_xy, 60, light, (64, 64))
    assert layer.alpha.size == 0 and layer.color.size == 0
    assert layer.area > 200
    inside = draw_person(np.random.default_rng(0), np.array([100.0, 90.0]), 60, light, (120, 160))
    assert (inside.alpha >= 0.5).sum() == inside.area == layer.area


def sheet() -> Sheet:
    """A unit square around the origin, 50 or more pixels a unit, light from above."""
    bounds = np.array([[-1.0, -1.0], [1.0, 1.0]])
    return Sheet(bounds, np.array([100.0, 100.0]), 50, np.array([0.0, -1.0]))


def test_painted_disc_has_the_area_of_a_disc() -> None:
    paper = sheet()
    paper.paint(disc((0, 0), 0.5), (200, 100, 50), volume=0, shadow=0)
    assert paper.alpha.sum() / paper.scale**2 == pytest.approx(np.pi / 4, rel=0.05)
    layer = paper.layer((200, 200))
    assert layer.alpha.sum() / 50**2 == pytest.approx(np.pi / 4, rel=0.05)
    assert layer.window == (slice(50, 150), slice(50, 150))
    np.testing.assert_allclose(layer.color[50, 50], (200, 100, 50), rtol=1e-5)


def test_light_from_above_brightens_the_top() -> None:
    paper = sheet()
    paper.paint(tube([(-0.4, 0), (0.4, 0)], [0.3, 0.3]), Cloth((100, 100, 100)), softness=0.1)
    layer = paper.layer((200, 200))
    assert layer.color[38, 50, 0] > 100 > layer.color[62, 50, 0]


def test_stripes_alternate_between_both_colours() -> None:
    paper = sheet()
    square = np.array([(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)])
    cloth = Cloth((200, 0, 0), (0, 200, 0), waves=(0, 2 * np.pi))  # one period a unit
    paper.paint([square], cloth, volume=0, shadow=0)
    color = paper.layer((200, 200)).color
    np.testing.assert_allclose(color[50, [20, 50, 80]], [(0, 200, 0)] * 3, atol=1)
    np.testing.assert_allclose(color[25, [20, 50, 80]], [(200, 0, 0)] * 3, atol=1)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SamplePaths:
    return write_sample_set(tmp_path_factory.mktemp("data"), n_train=2, n_val=1)


def test_set_is_coco(sample: SamplePaths) -> None:
    coco = COCO(str(sample.train_ann))
    assert len(coco.imgs) == 2 and coco.loadCats([1])[0]["name"] == "person"
    for image_id, facts in coco.imgs.items():
        photo = cv2.imread(str(sample.train_img_dir / facts["file_name"]))
        assert photo.shape == (facts["height"], facts["width"], 3)
        people = coco.imgToAnns[image_id]
        assert people
        for person in people:
            mask = coco.annToMask(person)
            assert mask.sum() == person["area"]
            np.testing.assert_array_equal(coco_mask.toBbox(person["segmentation"]), person["bbox"])


def test_second_writing_keeps_what_is_whole_and_repairs_what_is_not(sample: SamplePaths) -> None:
    root = sample.train_ann.parent.parent
    first = sample.train_ann.read_bytes()
    photo = next(sample.train_img_dir.glob("*.jpg"))
    content, stamp = photo.read_bytes(), photo.stat().st_mtime_ns
    assert write_sample_set(root, n_train=2, n_val=1) == sample
    assert photo.stat().st_mtime_ns == stamp
    photo.unlink()
    sample.val_ann.write_text("{")
    write_sample_set(root, n_train=2, n_val=1)
    assert photo.read_bytes() == content and sample.train_ann.read_bytes() == first
    assert len(json.loads(sample.val_ann.read_text())["images"]) == 1


def test_train_and_val_differ(sample: SamplePaths) -> None:
    name = "000000000001.jpg"
    assert (sample.train_img_dir / name).read_bytes() != (sample.val_img_dir / name).read_bytes()


def test_no_partial_files_stay(sample: SamplePaths) -> None:
    assert not list(Path(sample.train_ann.parent.parent).rglob(".*"))
