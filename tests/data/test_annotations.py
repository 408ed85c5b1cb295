"""COCO files are read with their faults named, skipped and counted."""

import gc
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as mask_api

from human_edge_detection.core.errors import InputError
from human_edge_detection.data.annotations import Person, check_size, decode_mask
from human_edge_detection.data.coco_reader import load_photos

SQUARE = [1.0, 1.0, 4.0, 1.0, 4.0, 3.0, 1.0, 3.0]


def _person(identity: int, image_id: int = 1, **changes: Any) -> dict[str, Any]:
    record = {
        "id": identity,
        "image_id": image_id,
        "category_id": 1,
        "bbox": [1, 1, 3, 2],
        "area": 6,
        "iscrowd": 0,
        "segmentation": [SQUARE],
    }
    return record | changes


def _content(people: list[dict[str, Any]], images: int = 1) -> dict[str, Any]:
    return {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "height": 5, "width": 8}
            for i in range(1, images + 1)
        ],
        "annotations": people,
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "dog"}],
    }


def _write(folder: Path, content: Any) -> Path:
    path = folder / "ann.json"
    path.write_text(json.dumps(content))
    return path


def _load(folder: Path, people: list[dict[str, Any]], images: int = 1) -> Any:
    path = _write(folder, _content(people, images))
    return load_photos(path, folder, check_files=False, max_fault_share=0.9)


def test_people_are_grouped_and_other_categories_left_out(tmp_path: Path) -> None:
    people = [_person(1), _person(2, 2), _person(3, 1, category_id=2), _person(4, 2)]
    photos, faults = _load(tmp_path, people, images=3)
    assert faults == []
    assert [photo.id for photo in photos] == [1, 2]
    assert [person.id for person in photos[1].people] == [2, 4]
    assert photos[0].size_hw == (5, 8)
    assert photos[0].path == tmp_path / "1.jpg"
    assert photos[0].exhaustive
    box = photos[0].people[0].box_xyxy
    assert box.dtype == np.float32
    np.testing.assert_array_equal(box, [1, 1, 4, 3])


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"image_id": 99}, "unknown image"),
        ({"bbox": [1, 1, 0, 2]}, "bad box"),
        ({"bbox": [1, 1, -3, 2]}, "bad box"),
        ({"bbox": [9, 1, 3, 2]}, "bad box"),
        ({"bbox": [6, 1, 30, 2]}, "bad box"),
        ({"bbox": [1, 1, float("nan"), 2]}, "bad box"),
        ({"bbox": [1, 1, "3", 2]}, "bad box"),
        ({"bbox": None}, "bad box"),
        ({"area": "large"}, "bad record"),
    ],
)
def test_a_faulty_person_is_skipped_by_id(
    tmp_path: Path, changes: dict[str, Any], kind: str
) -> None:
    photos, faults = _load(tmp_path, [_person(1), _person(77, **changes)])
    assert [person.id for person in photos[0].people] == [1]
    assert [fault.kind for fault in faults] == [kind]
    assert "77" in faults[0].where


@pytest.mark.parametrize(
    "shape",
    [
        [[1, 1, 2, 2]],
        [SQUARE, [1, 1, 2, 2, 3]],
        [[1, 1, 4, 1, float("nan"), 3]],
        [[1, 1, 4, 1, 1e9, 3]],
        [["a", "b", "c", "d", "e", "f"]],
        {"size": [5, 9], "counts": [45]},
        {"size": [5, 8], "counts": [3, 4]},
        {"size": [5, 8], "counts": 7},
        {"counts": [40]},
        "text",
    ],
)
def test_a_faulty_mask_leaves_a_box_of_unknown_shape(tmp_path: Path, shape: Any) -> None:
    photos, faults = _load(tmp_path, [_person(1), _person(77, segmentation=shape)])
    assert [person.has_mask for person in photos[0].people] == [True, False]
    assert [fault.kind for fault in faults] == ["bad mask"]


def test_a_box_that_sticks_out_a_little_is_clipped(tmp_path: Path) -> None:
    photos, faults = _load(tmp_path, [_person(1, bbox=[-0.5, 1, 9, 4.2])])
    assert faults == []
    np.testing.assert_array_equal(photos[0].people[0].box_xyxy, [0, 1, 8, 5])


def test_photos_with_nobody_to_learn_from_are_left_out(tmp_path: Path) -> None:
    people = [_person(1), _person(2, 2, segmentation=[]), _person(3, 3, iscrowd=1)]
    photos, _ = _load(tmp_path, people, images=4)
    assert [photo.id for photo in photos] == [1]


def test_too_many_faults_are_an_error(tmp_path: Path) -> None:
    path = _write(tmp_path, _content([_person(1), _person(2, bbox=[0, 0, 0, 0])]))
    with pytest.raises(InputError, match=r"1 of 2 people are faulty.*annotation 2"):
        load_photos(path, tmp_path, check_files=False)


def test_missing_photos_are_counted(tmp_path: Path) -> None:
    path = _write(tmp_path, _content([_person(i, i) for i in range(1, 4)], images=3))
    for name in ("1.jpg", "3.jpg"):
        (tmp_path / name).touch()
    photos, faults = load_photos(path, tmp_path, max_fault_share=0.5)
    assert [photo.id for photo in photos] == [1, 3]
    assert faults[0].kind == "missing image"
    with pytest.raises(InputError, match=r"1 of 3 photos.*2\.jpg"):
        load_photos(path, tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        load_photos(path, tmp_path / "nowhere")


def test_image_ids_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    content = _content([_person(1)])
    content["images"][0]["id"] = "one"
    with pytest.raises(InputError, match="'one' is not a whole number"):
        load_photos(_write(tmp_path, content), tmp_path, check_files=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ('{"images": [', "not JSON"),
        ("[1, 2]", "no list 'images'"),
        ('{"images": [{}], "annotations": {}}', "no list 'annotations'"),
        ('{"images": [{}], "annotations": []}', "'annotations' is empty"),
        (json.dumps(_content([])), "'annotations' is empty"),
        (json.dumps(_content([_person(1)]) | {"images": [{"id": 1}]}), "file_name"),
        (json.dumps(_content([_person(1, segmentation=[])])), "no person in it"),
        (
            json.dumps(
                _content([_person(1)])
                | {"categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]}
            ),
            "cat, dog",
        ),
    ],
)
def test_what_is_no_annotation_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "ann.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        load_photos(path, tmp_path, check_files=False)
    assert "ann.json" in str(caught.value)


def test_repeated_image_ids_are_refused(tmp_path: Path) -> None:
    content = _content([_person(1)])
    path = _write(tmp_path, content | {"images": content["images"] * 2})
    with pytest.raises(InputError, match="image id 1 stands for several"):
        load_photos(path, tmp_path, check_files=False)


def test_the_only_category_is_taken_whatever_its_name(tmp_path: Path) -> None:
    content = _content([_person(1, category_id=7)]) | {"categories": [{"id": 7, "name": "human"}]}
    photos, _ = load_photos(_write(tmp_path, content), tmp_path, check_files=False)
    assert len(photos) == 1


def _as_person(shape: Any) -> Person:
    return Person(1, np.array([0, 0, 8, 5], np.float32), shape, False, 6.0)


def test_all_kinds_of_masks_decode_alike() -> None:
    expected = np.zeros((5, 8), bool)
    expected[1:3, 1:4] = True
    packed = mask_api.encode(np.asfortranarray(expected.astype(np.uint8)))
    runs = [6, 2, 3, 2, 3, 2, 22]
    text = packed["counts"].decode()
    for shape in (
        [SQUARE],
        {"size": [5, 8], "counts": runs},
        {"size": [5, 8], "counts": text},
    ):
        mask = decode_mask(_as_person(shape), (5, 8))
        assert mask.dtype == np.bool_
        np.testing.assert_array_equal(mask, expected)


def test_several_polygons_are_one_mask() -> None:
    other = [5.0, 0.0, 8.0, 0.0, 8.0, 2.0, 5.0, 2.0]
    assert decode_mask(_as_person([SQUARE, other]), (5, 8)).sum() == 12


def test_a_mask_that_cannot_be_decoded_is_named() -> None:
    with pytest.raises(InputError, match="annotation 1"):
        decode_mask(_as_person({"size": [4, 4], "counts": [16]}), (5, 8))
    with pytest.raises(ValueError, match="only a box"):
        decode_mask(_as_person(None), (5, 8))


def test_a_photo_of_another_size_is_refused(tmp_path: Path) -> None:
    photo = _load(tmp_path, [_person(1)])[0][0]
    check_size(photo, np.zeros((5, 8, 3), np.uint8))
    with pytest.raises(InputError, match=r"1\.jpg has 9x5.*8x5"):
        check_size(photo, np.zeros((5, 9, 3), np.uint8))
    with pytest.raises(InputError, match="EXIF"):
        check_size(photo, np.zeros((8, 5, 3), np.uint8))


def test_many_annotations_load_in_no_time(tmp_path: Path) -> None:
    people = [_person(i, 1 + i % 2000) for i in range(20000)]
    path = _write(tmp_path, _content(people, images=2000))
    start = time.process_time()  # other programs do not count
    photos, _ = load_photos(path, tmp_path, check_files=False)
    assert len(photos) == 2000
    assert time.process_time() - start < 5


def test_the_real_files_load_without_a_fault(shared_dir: Path) -> None:
    folder = shared_dir / "data" / "people"
    photos, faults = load_photos(folder / "coco_val.json", folder / "images")
    people = [person for photo in photos for person in photo.people]
    assert (len(photos), len(faults)) == (181, 0)
    assert sum(person.is_target for person in people) == 563
    assert sum(person.is_crowd for person in people) == 9


def test_the_garbage_collector_is_as_it_was_after_loading(tmp_path):
    for enabled in (True, False):
        (gc.enable if enabled else gc.disable)()
        try:
            with pytest.raises(InputError):
                load_photos(tmp_path / "none.json", tmp_path)
            assert gc.isenabled() == enabled
        finally:
            gc.enable()
