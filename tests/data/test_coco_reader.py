"""Reading gives what the file holds, whatever its order and form; what is faulty is named."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from human_edge_detection.core.errors import InputError
from human_edge_detection.data.annotations import Photo, decode_mask
from human_edge_detection.data.coco_file import CocoFile
from human_edge_detection.data.coco_reader import load_photos
from human_edge_detection.data.photo_table import ChosenPhotos, joined

SQUARE = [1.0, 1.0, 4.0, 1.0, 4.0, 3.0, 1.0, 3.0]
RUNS = {"size": [6, 9], "counts": [7, 3, 44]}


def odd_content() -> dict[str, Any]:
    """People of every kind in photos with odd names, other things and other members between."""
    names = ["é/日本.jpg", 'quote".jpg', "back\\slash.jpg", "😀.jpg"]
    images = [
        {"id": 7 - i, "file_name": name, "height": 6, "width": 9, "extra": {"a": [1, {"b": []}]}}
        for i, name in enumerate(names)
    ]
    images[1] |= {"source": "web", "exhaustive": False}
    person = {"category_id": 3, "bbox": [1, 1, 3, 2], "area": 6.25, "iscrowd": 0}
    return {
        "info": {"images": [1, 2], "annotations": "not these"},
        "annotations": [
            person | {"id": 10**18, "image_id": 6, "segmentation": [SQUARE]},
            {"id": 1, "image_id": 7, "category_id": 1, "bbox": [0, 0, 1, 1], "caption": "]}"},
            person | {"id": 2, "image_id": 7, "segmentation": RUNS, "iscrowd": 1},
            person | {"id": 3, "image_id": 6, "category_id": 3.0, "segmentation": [SQUARE] * 2},
            person | {"id": 4, "image_id": 7, "segmentation": [[v + 0.1 for v in SQUARE]]},
            person | {"image_id": 4, "segmentation": [SQUARE], "keypoints": []},
            person | {"id": 6, "image_id": 4, "segmentation": []},
        ],
        "licenses": [],
        "images": images,
        "categories": [{"id": 1, "name": "dog"}, {"id": 3, "name": "Person", "skeleton": [[1, 2]]}],
    }


def facts(photos: Sequence[Photo]) -> list[Any]:
    """Everything about some photos, comparable."""
    return [
        (p.id, p.file_name, p.size_hw, p.source, p.exhaustive,
         [(q.id, q.box_xyxy.tolist(), q.segmentation, q.is_crowd, q.area) for q in p.people])
        for p in photos
    ]  # fmt: skip


def expected() -> list[Any]:
    """What the odd content says, written out."""
    box = [1.0, 1.0, 4.0, 3.0]
    slanted = [[v + 0.1 for v in SQUARE]]
    return [
        (7, "é/日本.jpg", (6, 9), "", True,
         [(2, box, RUNS, True, 6.25), (4, box, slanted, False, 6.25)]),
        (6, 'quote".jpg', (6, 9), "web", False,
         [(10**18, box, [SQUARE], False, 6.25), (3, box, [SQUARE] * 2, False, 6.25)]),
        (4, "😀.jpg", (6, 9), "", True,
         [(5, box, [SQUARE], False, 6.25), (6, box, None, False, 6.25)]),
    ]  # fmt: skip


@pytest.mark.parametrize("form", ["compact", "indented", "plain letters", "BOM", "backwards"])
def test_the_columns_hold_what_the_file_says(tmp_path: Path, form: str) -> None:
    content = odd_content()
    if form == "backwards":
        content = dict(reversed(content.items()))
    text = json.dumps(
        content, ensure_ascii=form != "plain letters", indent=2 if form == "indented" else None
    )
    path = tmp_path / "odd.json"
    path.write_bytes(text.encode("utf-8-sig" if form == "BOM" else "utf-8"))
    photos, faults = load_photos(path, tmp_path, check_files=False)
    assert facts(photos) == expected()
    assert faults == []


def test_of_a_member_that_comes_twice_the_last_counts(tmp_path: Path) -> None:
    content = odd_content()
    text = json.dumps(content)
    for key in ("images", "annotations", "categories"):
        for other in ("[]", "5", json.dumps(content[key][:1])):
            path = tmp_path / "twice.json"
            path.write_text(f'{{"{key}":{other},' + text[1:])
            assert facts(load_photos(path, tmp_path, check_files=False)[0]) == expected()
            path.write_text(text[:-1] + f',"{key}":5}}')
            with pytest.raises(InputError, match=f"no list '{key}'"):
                load_photos(path, tmp_path)


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        (5, "bad record"),
        ("person", "bad record"),
        ({"id": 10**30}, "bad record"),
        ({"area": 10**400}, "bad record"),
        ({"area": float("nan")}, "bad record"),
        ({"bbox": [1, 1, 10**400, 2]}, "bad box"),
        ({"image_id": 7.0}, "unknown image"),
        ({"image_id": [7]}, "unknown image"),
        ({"segmentation": [[1, 1, 10**400, 1, 1, 4]]}, "bad mask"),
        ({"segmentation": {"size": 6, "counts": [54]}}, "bad mask"),
        ({"segmentation": {"size": [6, 9], "counts": ["a"]}}, "bad mask"),
        ({"segmentation": {"size": [6, 9], "counts": [27.0, 27]}}, "bad mask"),
    ],
)
def test_what_no_record_can_be_is_a_fault(tmp_path: Path, record: Any, kind: str) -> None:
    content = odd_content()
    if isinstance(record, dict):
        record = content["annotations"][0] | {"id": 77} | record
    content["annotations"].append(record)
    path = tmp_path / "odd.json"
    path.write_text(json.dumps(content))
    photos, faults = load_photos(path, tmp_path, check_files=False, max_fault_share=0.5)
    assert [fault.kind for fault in faults] == [kind]
    kept = [person.id for photo in photos for person in photo.people]
    assert (77 in kept) == (kind == "bad mask")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": 2**70}, "id"),
        ({"id": 7.0}, "7.0 is not a whole number"),
        ({"height": 2**40}, "height"),
        ({"width": None}, "width"),
    ],
)
def test_unusable_images_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    content = odd_content()
    content["images"][2] |= change
    path = tmp_path / "odd.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        load_photos(path, tmp_path, check_files=False)


def test_every_truncation_is_no_json(tmp_path: Path) -> None:
    data = json.dumps(odd_content()).encode()
    path = tmp_path / "cut.json"
    for end in range(0, len(data), 7):
        path.write_bytes(data[:end])
        with pytest.raises(InputError, match=r"cut\.json is not JSON"):
            CocoFile(path)


def test_nesting_without_end_is_no_json(tmp_path: Path) -> None:
    path = tmp_path / "deep.json"
    path.write_text('{"images":' + "[" * 200_000)
    with pytest.raises(InputError, match="not JSON"):
        CocoFile(path)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "{", '{"a"', '{"a":', '{"a":[', '{"a":[1', '{"a":[1,', '{"a":[1,]}', '{"a":[1 2]}',
        '{"a":[1]', '{"a":[1]}}', '{"a":[1]} x', '{"a" [1]}', '{"a":[1] "b":2}', "{a:1}",
        '{"a":tru}', '{"a":[01]}', '{"a":[1.]}', '{"a":"\\x"}', '{"a":"\\u12"}', "{1:2}",
        '{"a":"line\nbreak"}', '{"a":["unterminated]}', "{,}", '{"a":[,1]}', '{"a":[1],}',
        '{"a":NaN', '{"a":NaN} x',
    ],
)  # fmt: skip
def test_what_json_refuses_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError):
        json.loads(text)
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"broken\.json is not JSON .*: is the file whole"):
        CocoFile(path)


def test_the_place_of_a_fault_is_given_in_bytes(tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_bytes('{"é":[1,22 3]}'.encode())
    with pytest.raises(InputError, match=r"\(byte 12\)"):
        CocoFile(path)


@pytest.mark.parametrize("text", ["[]", "5", "null", "[NaN]", '"text"'])
def test_json_that_is_no_object_has_no_lists(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(InputError, match="no list 'images'"):
        CocoFile(path)


def test_bad_utf_8_in_a_name_is_no_json(tmp_path: Path) -> None:
    path = tmp_path / "latin.json"
    path.write_bytes(json.dumps(odd_content(), ensure_ascii=False).encode().replace(b"\xc3", b""))
    with pytest.raises(InputError, match="not JSON"):
        CocoFile(path)


def test_names_that_are_no_unicode_survive(tmp_path: Path) -> None:
    content = odd_content()
    content["images"][0]["file_name"] = "caf\udce9.jpg"  # how Python reads Latin-1 names
    path = tmp_path / "odd.json"
    path.write_text(json.dumps(content))
    photos, _ = load_photos(path, tmp_path, check_files=False)
    assert photos[0].file_name == "caf\udce9.jpg"
    assert facts(photos)[1:] == expected()[1:]


@pytest.fixture
def photos(tmp_path: Path) -> Sequence[Photo]:
    path = tmp_path / "odd.json"
    path.write_text(json.dumps(odd_content()))
    return load_photos(path, tmp_path, check_files=False)[0]


def test_a_table_is_a_sequence(photos: Sequence[Photo]) -> None:
    assert facts(list(photos)) == expected()
    assert facts([photos[-1]]) == expected()[-1:]
    assert facts(photos[1:]) == expected()[1:]
    assert facts(photos[::-1][:2]) == expected()[:0:-1]
    with pytest.raises(IndexError):
        photos[3]


def test_chosen_photos_may_repeat_and_join(photos: Sequence[Photo]) -> None:
    assert joined([photos]) is photos
    assert facts(joined([photos, photos[:1]])) == expected() + expected()[:1]
    twice = ChosenPhotos([photos], np.array([[0, 2], [0, 2], [0, 0]]))
    assert [photo.id for photo in twice] == [4, 4, 7]


def test_photos_reach_other_processes_whole_and_small(photos: Sequence[Photo]) -> None:
    sent = pickle.dumps(photos)
    assert facts(pickle.loads(sent)) == expected()
    assert len(sent) < 6000


def test_a_persons_outline_is_read_when_the_photo_is(photos: Sequence[Photo]) -> None:
    person = photos[2].people[0]
    assert decode_mask(person, (6, 9)).sum() == 6
    with pytest.raises(ValueError, match="read-only"):
        person.box_xyxy[0] = 5


def test_photos_of_boxes_alone_are_read_where_they_suffice(tmp_path: Path) -> None:
    content = odd_content()
    for annotation in content["annotations"]:
        annotation["segmentation"] = []
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="no person in it has a mask"):
        load_photos(path, tmp_path, check_files=False)
    photos, _ = load_photos(path, tmp_path, check_files=False, boxes_suffice=True)
    assert [photo.id for photo in photos] == [7, 6, 4]
    assert not any(person.is_target for photo in photos for person in photo.people)
