"""Boxes from files: the declared formats read, everything else refused with a way out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from human_edge_detection.core.errors import InputError
from human_edge_detection.inference.box_files import open_boxes
from human_edge_detection.inference.boxes import BoxFile, ImageBoxes

COCO: dict[str, Any] = {
    "images": [
        {"id": 7, "file_name": "a.jpg", "width": 100, "height": 50},
        {"id": 9, "file_name": "sub/b.jpg", "width": 100, "height": 50},
    ],
    "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "dog"}],
    "annotations": [
        {"id": 31, "image_id": 7, "category_id": 1, "bbox": [10, 5, 20, 30]},
        {"id": 32, "image_id": 7, "category_id": 2, "bbox": [0, 0, 5, 5]},
        {"id": 33, "image_id": 7, "category_id": 1, "bbox": [0, 0, 50, 50], "iscrowd": 1},
    ],
}


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def boxes_of(found: BoxFile, path: str, size_hw: tuple[int, int] = (50, 100)) -> ImageBoxes:
    key = found.key(path)
    assert key is not None
    return found.read(key).for_photo(size_hw)


def test_coco_annotations_keep_their_ids(tmp_path):
    found = open_boxes(write(tmp_path / "coco.json", COCO))
    boxes = boxes_of(found, "photos/a.jpg")
    assert boxes.boxes_xyxy.tolist() == [[10, 5, 30, 35]]
    assert (boxes.image_id, boxes.annotation_ids, boxes.file_name) == (7, (31,), "a.jpg")
    assert len(boxes_of(found, "photos/sub/b.jpg").boxes_xyxy) == 0
    assert len(boxes_of(found, "elsewhere/b.jpg").boxes_xyxy) == 0
    assert found.key("photos/c.jpg") is None


def test_ids_may_be_texts(tmp_path):
    texts = [{**item, "image_id": str(item["image_id"])} for item in COCO["annotations"]]
    found = open_boxes(write(tmp_path / "coco.json", {**COCO, "annotations": texts}))
    assert boxes_of(found, "a.jpg").annotation_ids == (31,)
    texts = [{**item, "category_id": str(item["category_id"])} for item in COCO["annotations"]]
    found = open_boxes(write(tmp_path / "coco.json", {**COCO, "annotations": texts}))
    assert boxes_of(found, "a.jpg").annotation_ids == (31,)
    results = [{"image_id": number, "category_id": kind, "bbox": [1, 2, 3, 4]}
               for number, kind in ((12, 1), ("12", "1"), (12, 2))]  # fmt: skip
    found = open_boxes(write(tmp_path / "r.json", results))
    assert len(boxes_of(found, "12.jpg").boxes_xyxy) == 2


def test_a_number_with_and_without_zeros_is_one_entry(tmp_path):
    found = open_boxes(write(tmp_path / "r.json", [{"image_id": 12, "bbox": [1, 2, 3, 4]}]))
    assert found.key("12.jpg") == found.key("000012.jpg") == "12"


def test_a_byte_order_mark_and_rows_without_text_are_no_boxes(tmp_path):
    table = "\ufefffile,x1,y1,x2,y2\na.jpg,1,2,3,4\n   \n,,,,\n"
    found = open_boxes(write(tmp_path / "b.csv", table))
    assert boxes_of(found, "a.jpg").boxes_xyxy.tolist() == [[1, 2, 3, 4]]
    (tmp_path / "labels").mkdir()
    write(tmp_path / "labels" / "a.txt", "\ufeff0 0.5 0.5 0.5 1")
    assert len(boxes_of(open_boxes(tmp_path / "labels"), "a.jpg").boxes_xyxy) == 1


def test_coco_results_by_image_id_or_by_file_name(tmp_path):
    results = [{"image_id": 12, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]
    found = open_boxes(write(tmp_path / "r.json", results))
    boxes = boxes_of(found, "photos/000000000012.jpg")
    assert boxes.boxes_xyxy.tolist() == [[1, 2, 4, 6]] and boxes.scores.tolist() == [0.5]
    assert boxes.image_id == 12 and boxes.annotation_ids is None
    assert found.key("photos/other.jpg") is None
    named = [{**results[0], "file_name": "x/other.jpg", "annotation_id": 5}]
    boxes = boxes_of(open_boxes(write(tmp_path / "n.json", named)), "x/other.jpg")
    assert (boxes.image_id, boxes.annotation_ids, boxes.file_name) == (12, (5,), "x/other.jpg")


def test_csv_with_and_without_scores(tmp_path):
    table = "file,x1,y1,x2,y2,score\na.jpg,1,2,3,4,0.25\n\na.jpg,5,6,7,8,1\nb.jpg,0,0,9,9,1\n"
    boxes = boxes_of(open_boxes(write(tmp_path / "b.csv", table)), "a.jpg")
    assert boxes.boxes_xyxy.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert boxes.scores.tolist() == [0.25, 1]
    bare = write(tmp_path / "bare.csv", "a.jpg,1,2,3,4\n")
    with pytest.raises(InputError, match=r"first line must be file,x1.*boxes_format csv"):
        open_boxes(bare)
    assert boxes_of(open_boxes(bare, "csv"), "a.jpg").scores.tolist() == [1]


def test_yolo_txt_are_parts_of_the_photo(tmp_path):
    write(tmp_path / "a.txt", "0 0.5 0.5 0.2 0.4\n1 0.5 0.5 1 1\n0 0.25 0.5 0.1 0.2 0.75\n")
    (tmp_path / "sub").mkdir()
    write(tmp_path / "sub" / "a.txt", "")
    found = open_boxes(tmp_path)
    boxes = boxes_of(found, "photos/a.jpg")
    assert np.allclose(boxes.boxes_xyxy, [[40, 15, 60, 35], [20, 20, 30, 30]])
    assert boxes.scores.tolist() == [1, 0.75]
    assert len(boxes_of(found, "photos/sub/a.jpg").boxes_xyxy) == 0
    assert found.key("photos/b.jpg") is None
    everything = open_boxes(tmp_path, person_class=1)
    assert boxes_of(everything, "photos/a.jpg").boxes_xyxy.tolist() == [[0, 0, 100, 50]]


def test_unusable_boxes_become_faults_and_the_rest_stays(tmp_path):
    table = (
        "file,x1,y1,x2,y2\n"
        "a.jpg,1,2,3,4\na.jpg,nan,2,3,4\na.jpg,9,2,3,4\na.jpg,3,2,3,4\na.jpg,500,0,600,9\n"
        "a.jpg,-20,-20,500,500\n"
    )
    boxes = boxes_of(open_boxes(write(tmp_path / "b.csv", table)), "a.jpg")
    assert boxes.boxes_xyxy.tolist() == [[1, 2, 3, 4], [-20, -20, 500, 500]]
    words = ("line 3: box", "reversed", "empty", "outside the photo of 100x50")
    assert len(boxes.faults) == 4
    assert all(word in fault for word, fault in zip(words, boxes.faults, strict=True))


def test_ids_stay_with_their_boxes_when_some_are_left_out(tmp_path):
    content = json.loads(json.dumps(COCO))
    content["annotations"] += [
        {"id": 40, "image_id": 7, "category_id": 1, "bbox": [0, 0, 0, 5]},
        {"id": 41, "image_id": 7, "category_id": 1, "bbox": [200, 0, 5, 5]},
        {"id": 42, "image_id": 7, "category_id": 1, "bbox": [0, 0, 5, 5]},
    ]
    boxes = boxes_of(open_boxes(write(tmp_path / "coco.json", content)), "a.jpg")
    assert boxes.annotation_ids == (31, 42) and len(boxes.faults) == 2
    assert "annotation 40" in boxes.faults[0]


def test_the_upright_size_must_agree(tmp_path):
    found = open_boxes(write(tmp_path / "coco.json", COCO))
    with pytest.raises(InputError, match=r"photo is 50x100.*states 100x50.*upright"):
        boxes_of(found, "a.jpg", (100, 50))
    with pytest.raises(InputError, match="photo is 99x50"):
        boxes_of(found, "a.jpg", (50, 99))


def test_a_file_name_that_several_entries_have_needs_its_folders(tmp_path):
    table = "file,x1,y1,x2,y2\nx/a.jpg,1,2,3,4\ny/a.jpg,5,6,7,8\n"
    found = open_boxes(write(tmp_path / "b.csv", table))
    assert boxes_of(found, "photos/y/a.jpg").boxes_xyxy.tolist() == [[5, 6, 7, 8]]
    with pytest.raises(InputError, match=r"could be x/a\.jpg or y/a\.jpg"):
        found.key("photos/a.jpg")


@pytest.mark.parametrize(
    ("name", "content", "kind", "message"),
    [
        ("b.txt", "a.jpg 1 2 3 4", "auto", "ending '.txt'.*boxes_format coco"),
        ("b.json", "{", "auto", "is not JSON"),
        ("b.json", {"shapes": []}, "auto", "neither COCO annotations"),
        ("b.json", [1, 2], "auto", "neither COCO annotations"),
        ("b.json", [{"image_id": 1, "bbox": [1, 2]}], "auto", "neither COCO annotations"),
        ("b.json", COCO, "coco_results", "holds coco, not coco_results"),
        ("b.csv", "", "auto", "first line must be"),
        (
            "b.csv",
            "file,x1,y1,x2,y2\na.jpg,1,2,3",
            "auto",
            "line 2: has 4 columns, must be file,x1",
        ),
        ("b.csv", "file,x1,y1,x2,y2\na.jpg,1,2,3,x", "auto", "line 2.*could not convert"),
        ("b.csv", "file,cx,cy,w,h\na.jpg,1,2,3,4", "csv", "first line must be"),
        ("b.csv", "file,x1,y1,x2,y2\n", "yolo", "is a file, which boxes_format yolo"),
    ],
)
def test_anything_else_is_refused_with_the_way_out(tmp_path, name, content, kind, message):
    with pytest.raises(InputError, match=message):
        open_boxes(write(tmp_path / name, content), kind)


def test_missing_files_and_odd_folders(tmp_path):
    with pytest.raises(InputError, match="no such boxes file"):
        open_boxes(tmp_path / "missing.json")
    with pytest.raises(InputError, match="no .txt file"):
        open_boxes(tmp_path)
    write(tmp_path / "a.txt", "0 0.1 0.1 0.2 0.2 0.3 0.3 0.4 0.4\n")
    with pytest.raises(InputError, match="a.txt line 1: has 9 numbers.*polygons"):
        boxes_of(open_boxes(tmp_path), "a.jpg")
    write(tmp_path / "a.txt", "0 50 25 20 20\n")
    with pytest.raises(InputError, match="not pixels"):
        boxes_of(open_boxes(tmp_path), "a.jpg")


def test_categories_without_a_person(tmp_path):
    content = {**COCO, "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]}
    with pytest.raises(InputError, match="no category 'person' among cat, dog"):
        open_boxes(write(tmp_path / "coco.json", content))
    only = {**COCO, "categories": [{"id": 1, "name": "pedestrian"}]}
    assert len(boxes_of(open_boxes(write(tmp_path / "o.json", only)), "a.jpg").boxes_xyxy) == 1
