"""What ``check_data`` finds, on a set that has one fault of each kind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as mask_api

from human_edge_detection.cli.data import (
    ADVICE,
    LEAK,
    NOTES,
    CheckDataOptions,
    check_split,
    leak_findings,
    run_check_data,
)
from human_edge_detection.core.errors import InputError
from human_edge_detection.core.images import save_image
from human_edge_detection.data.annotations import Finding, Person, Photo
from human_edge_detection.data.checks import (
    file_findings,
    mask_bounds,
    people_findings,
    repeated_ids,
    same_content,
)
from human_edge_detection.data.photos import PhotoFile, open_photos

SQUARE = [10.0, 10, 30, 10, 30, 40, 10, 40]


def person(number: int = 1, box: tuple[float, ...] = (10, 10, 30, 40), **facts: Any) -> Person:
    values: dict[str, Any] = {"segmentation": [SQUARE], "is_crowd": False, "area": 600.0, **facts}
    return Person(number, np.array(box, np.float32), **values)


def photo(*people: Person, number: int = 1, name: str = "a.png", folder: Path = Path()) -> Photo:
    return Photo(number, name, (60, 80), people, folder)


def kinds(findings: Any) -> list[str]:
    return [item.kind for item in findings]


def write_photo(path: Path, seed: int, size_hw: tuple[int, int] = (60, 80)) -> None:
    pixels = np.random.default_rng(seed).integers(0, 255, (*size_hw, 3), np.uint8)
    save_image(path, pixels)


def write_split(
    ann: Path, folder: Path, seeds: dict[str, int], **changes: dict[str, Any]
) -> tuple[Path, Path]:
    """A COCO file with one sound person a photo, and the photos; ``changes`` mend an entry."""
    images, people = [], []
    for number, (name, seed) in enumerate(seeds.items(), start=1):
        image = {"id": number, "file_name": f"{name}.png", "height": 60, "width": 80}
        images.append(image | changes.get(f"image_{name}", {}))
        write_photo(folder / f"{name}.png", seed)
        item = {
            "id": 10 * number, "image_id": number, "category_id": 1, "iscrowd": 0, "area": 600,
            "bbox": [10, 10, 20, 30], "segmentation": [SQUARE],
        }  # fmt: skip
        people.append(item | changes.get(f"person_{name}", {}))
    content = {"images": images, "annotations": people, "categories": [{"id": 1, "name": "person"}]}
    ann.write_text(json.dumps(content))
    return ann, folder


def test_a_sound_person_gives_no_finding():
    assert not list(people_findings(photo(person()), 16))


def test_the_box_of_a_mask_in_each_format():
    mask = np.zeros((60, 80), np.uint8)
    mask[10:40, 10:30] = 1
    compressed = mask_api.encode(np.asfortranarray(mask))
    counts = [10 * 60 + 10, *([30, 30] * 19), 30, 4800 - 10 * 60 - 10 - 19 * 60 - 30]
    for shape in ([SQUARE], compressed, {"size": [60, 80], "counts": counts}):
        assert mask_bounds(person(segmentation=shape), (60, 80)).tolist() == [10, 10, 30, 40]
    assert mask_bounds(person(segmentation=None), (60, 80)) is None


@pytest.mark.parametrize(
    ("box", "fits"),
    [
        ((8, 8, 32, 42), True),  # within the slack
        ((10, 10, 30, 44), True),  # IoU 0.88
        ((10, 10, 50, 40), False),  # twice as wide
        ((40, 10, 60, 40), False),  # beside
    ],
)
def test_boxes_against_masks(box, fits):
    found = kinds(people_findings(photo(person(box=box)), 16))
    assert found == ([] if fits else ["box does not fit its mask"])


def test_crowds_tiny_people_and_people_annotated_twice():
    small = person(2, (10, 10, 18, 40), segmentation=None)
    people = [person(), person(3), small, person(4, is_crowd=True)]
    found = list(people_findings(photo(*people), 16))
    assert kinds(found) == ["person annotated twice", "tiny person", "crowd region"]
    assert found[0] == Finding(
        "person annotated twice", "annotation 3 (image 1)",
        "has the box and area of annotation 1",
    )  # fmt: skip


def test_ids_that_two_annotations_share():
    photos = [photo(person(7)), photo(person(7), number=2), photo(person(8), number=3)]
    assert [(item.where, item.text) for item in repeated_ids(photos)] == [
        ("annotation 7", "in the images 1 and 2")
    ]


def test_missing_wrong_and_damaged_photos(tmp_path):
    path = tmp_path / "a.png"
    write_photo(path, 0)
    here, gone = photo(folder=tmp_path), photo(folder=tmp_path / "none")
    assert not list(file_findings(here))
    assert kinds(file_findings(gone)) == ["missing photo"]
    write_photo(path, 0, (80, 60))
    found = list(file_findings(here))
    assert found[0].text == "is 60x80, annotated as 80x60 (turned: EXIF?)"
    write_photo(path, 0)
    path.write_bytes(path.read_bytes()[:-2000])
    assert not list(file_findings(here))
    assert kinds(file_findings(here, decode=True)) == ["unreadable photo"]
    path.write_bytes(b"nothing")
    assert kinds(file_findings(here)) == ["unreadable photo"]


def test_only_files_of_equal_length_and_content_are_the_same(tmp_path):
    for name, data in {"a": b"one", "b": b"two", "c": b"one", "d": b"longer"}.items():
        (tmp_path / name).write_bytes(data)
    assert same_content([PhotoFile(tmp_path, name) for name in "abcda"]) == [
        [tmp_path / "a", tmp_path / "c"]
    ]


def test_photos_are_looked_for_in_all_folders(tmp_path):
    ann, first = write_split(tmp_path / "t.json", tmp_path / "first", {"a": 1, "b": 2})
    second = tmp_path / "second"
    second.mkdir()
    (first / "b.png").rename(second / "b.png")
    assert kinds(check_split(ann, first, 16, False).findings) == ["missing photo"]
    assert not check_split(ann, open_photos([first, second], "IMG_DIR"), 16, False).findings


def test_leaks_are_told_by_content_and_notes_by_name(tmp_path):
    train = write_split(tmp_path / "t.json", tmp_path / "train", {"a": 1, "b": 2, "c": 3})
    val = write_split(tmp_path / "v.json", tmp_path / "val", {"x": 1, "b": 9, "z": 4})
    splits = [check_split(ann, folder, 16, False) for ann, folder in (train, val)]
    found = list(leak_findings(*splits))
    assert kinds(found) == [LEAK, "name in train and val"]
    assert found[0].where.endswith("x.png") and found[0].text.endswith("a.png")
    assert kinds(leak_findings(splits[0], splits[0])) == [LEAK] * 3


def test_the_whole_command(tmp_path, capsys):
    same = {"file_name": "a.png"}
    ann, folder = write_split(
        tmp_path / "t.json", tmp_path / "train", {"a": 1, "b": 2, "c": 2, "d": 3, "e": 4},
        image_d=same, person_e={"bbox": [0, 0, 0, 9]}, person_b={"bbox": [40, 10, 20, 30]},
    )  # fmt: skip
    out = tmp_path / "found.json"
    options = CheckDataOptions(ann, (folder,), val_ann=ann, examples=1, output=out)
    assert run_check_data(options) == 1
    text = capsys.readouterr().out
    for line in (
        "MEND  1 x photo listed twice", "MEND  1 x photo stored twice", "MEND  1 x bad box",
        "MEND  1 x box does not fit its mask", "x photo in train and val",
    ):  # fmt: skip
        assert line in text
    content = json.loads(out.read_text())
    assert set(content) == {str(ann), "leaks"}
    assert {item["kind"] for item in content[str(ann)]} >= {"bad box", "photo listed twice"}


def test_a_sound_set_ends_with_zero_and_missing_arguments_with_a_hint(tmp_path, capsys):
    ann, folder = write_split(tmp_path / "t.json", tmp_path / "train", {"a": 1})
    assert run_check_data(CheckDataOptions(ann, (folder,))) == 0
    assert "nothing to mend" in capsys.readouterr().out
    with pytest.raises(InputError, match="needs ANN and IMG_DIR"):
        run_check_data(CheckDataOptions(ann))
    with pytest.raises(InputError, match="needs --val_ann"):
        CheckDataOptions(ann, (folder,), val_img_dir=(folder,))
    with pytest.raises(InputError, match="does not exist"):
        run_check_data(CheckDataOptions(ann, (tmp_path / "none",)))


def test_every_note_has_its_advice():
    assert set(NOTES) <= set(ADVICE)


def test_the_command_line(tmp_path):
    ann, folder = write_split(tmp_path / "t.json", tmp_path / "train", {"a": 1})
    (folder / "a.png").unlink()
    command = [sys.executable, "-m", "human_edge_detection", "check_data", str(ann), str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1, result.stderr
    assert "MEND  1 x missing photo" in result.stdout
