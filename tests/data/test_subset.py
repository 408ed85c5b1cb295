"""People-only subsets of an official COCO file."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from human_edge_detection.core.errors import InputError
from human_edge_detection.data.coco_file import CocoFile
from human_edge_detection.data.subset import (
    Subset,
    SubsetOptions,
    draw_photos,
    encode_subset,
    keep_people,
    run_subset,
)


def _official(photos: int = 12) -> dict[str, Any]:
    """Each photo has a person and a dog; photo 2 a crowd region, photo 3 the dog alone."""
    images = [
        {"id": i, "file_name": f"{i}.jpg", "height": 9, "width": 9} for i in range(1, photos + 1)
    ]
    annotations = [
        {"id": 10 * i + kind, "image_id": i, "category_id": kind, "iscrowd": int(i == kind + 1)}
        for i in range(1, photos + 1)
        for kind in (1, 2)
        if (i, kind) != (3, 1)
    ]
    categories = [{"id": 1, "name": "person"}, {"id": 2, "name": "dog"}]
    return {
        "info": {"year": 2017},
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }


def _people(folder: Path, photos: int) -> Subset:
    path = folder / "official.json"
    path.write_text(json.dumps(_official(photos), indent=1))
    return keep_people(CocoFile(path))


def _content(subset: Subset) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(encode_subset(subset))
    return content


def _ids(subset: Subset) -> list[int]:
    return [image["id"] for image in _content(subset)["images"]]


def test_only_people_and_no_crowds_are_kept(tmp_path: Path) -> None:
    kept = _content(_people(tmp_path, 5))
    assert [image["id"] for image in kept["images"]] == [1, 4, 5]
    assert [item["id"] for item in kept["annotations"]] == [11, 41, 51]
    assert kept["annotations"][0] == _official(5)["annotations"][0]
    assert kept["categories"] == [{"id": 1, "name": "person"}]
    assert kept["info"] == {"year": 2017}
    assert list(kept) == ["info", "images", "annotations", "categories"]


def test_subsets_are_seeded_and_nested(tmp_path: Path) -> None:
    people = _people(tmp_path, 40)
    small, large = draw_photos(people, 5, seed=1), draw_photos(people, 20, seed=1)
    assert len(_ids(small)) == 5
    assert set(_ids(small)) < set(_ids(large))
    assert _content(small) == _content(draw_photos(people, 5, seed=1))
    assert _ids(small) != _ids(draw_photos(people, 5, seed=2))
    assert {item["image_id"] for item in _content(small)["annotations"]} == set(_ids(small))
    with pytest.raises(InputError, match="there are 38"):
        draw_photos(people, 39)


def test_other_members_are_copied_as_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "wide.json"
    text = json.dumps(_official(5) | {"info": ["été", 1.50, {}]}, ensure_ascii=False, indent=1)
    path.write_bytes(text.replace("1.5", "1.50").encode("utf-8-sig"))
    subset = encode_subset(keep_people(CocoFile(path))).decode()
    assert json.loads(subset)["info"] == ["été", 1.5, {}] and "1.50" in subset
    assert len(json.loads(subset)["annotations"]) == 3


def test_the_command_names_its_files_after_the_official_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "instances_val2017.json"
    path.write_text(json.dumps(_official()))
    with caplog.at_level(logging.WARNING):
        run_subset(SubsetOptions(ann=(path,), output_dir=tmp_path / "out", sizes=(4, 500)))
    names = sorted(item.name for item in (tmp_path / "out").iterdir())
    stem = "instances_val2017_person_only_no_crowd"
    assert names == [f"{stem}.json", f"{stem}_4.json"]
    assert "500" in caplog.text


def test_sizes_below_one_are_refused() -> None:
    with pytest.raises(InputError, match="--sizes 0"):
        SubsetOptions(sizes=(0,))
