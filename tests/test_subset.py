"""People-only subsets of an official COCO file."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from human_edge_detection.config import SubsetOptions
from human_edge_detection.errors import InputError
from human_edge_detection.subset import keep_people, make_subset, run_subset


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


def _ids(content: dict[str, Any]) -> list[int]:
    return [image["id"] for image in content["images"]]


def test_only_people_and_no_crowds_are_kept() -> None:
    kept = keep_people(_official(5), 1)
    assert _ids(kept) == [1, 4, 5]
    assert [item["id"] for item in kept["annotations"]] == [11, 41, 51]
    assert kept["categories"] == [{"id": 1, "name": "person"}]
    assert kept["info"] == {"year": 2017}


def test_subsets_are_seeded_and_nested() -> None:
    people = keep_people(_official(40), 1)
    small, large = make_subset(people, 5, seed=1), make_subset(people, 20, seed=1)
    assert len(_ids(small)) == 5
    assert set(_ids(small)) < set(_ids(large))
    assert small == make_subset(people, 5, seed=1)
    assert _ids(small) != _ids(make_subset(people, 5, seed=2))
    assert {item["image_id"] for item in small["annotations"]} == set(_ids(small))
    with pytest.raises(InputError, match="there are 38"):
        make_subset(people, 39)


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
