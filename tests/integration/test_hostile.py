"""Hostile files through the commands: one line that names the file, no crash, hang or traceback.

Each test is a defect that was found by attack. What damaged files in general do is ``test_fuzz``.
"""

from __future__ import annotations

import json
import os
import stat
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from archive_files import write_tar, write_zip
from human_edge_detection.cli import main
from human_edge_detection.core.errors import InputError
from human_edge_detection.core.rle import encode_mask
from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.data import targets
from human_edge_detection.data.annotations import Person, Photo
from human_edge_detection.data.coco_reader import load_photos
from human_edge_detection.data.dataset import PhotoDataset
from human_edge_detection.data.photos import PhotoStore
from human_edge_detection.data.targets import PhotoMasks
from human_edge_detection.evaluation.predictions import read_predictions

SIZE = [40, 50]
SQUARE = [5.0, 5.0, 20.0, 5.0, 20.0, 30.0, 5.0, 30.0]


def command(*words: object) -> subprocess.CompletedProcess[str]:
    """The real command line; what hangs is ended after a minute."""
    return subprocess.run(
        [sys.executable, "-m", "human_edge_detection", *map(str, words)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def refusal(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line with which a command refuses its input."""
    assert main([str(word) for word in words]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and len(lines[0]) < 600
    return lines[0]


def content(people: int = 20) -> dict[str, list[Any]]:
    """Sound annotations, one person a photo."""
    return {
        "images": [
            {"id": i, "file_name": f"{i}.png", "height": SIZE[0], "width": SIZE[1]}
            for i in range(people)
        ],
        "annotations": [
            {"id": 100 + i, "image_id": i, "category_id": 1, "iscrowd": 0, "area": 375,
             "bbox": [5, 5, 15, 25], "segmentation": [SQUARE]}
            for i in range(people)
        ],
        "categories": [{"id": 1, "name": "person"}],
    }  # fmt: skip


def written(path: Path, value: object, **texts: str) -> Path:
    """The value as JSON; ``texts`` replace text in it."""
    text = json.dumps(value)
    for old, new in texts.items():
        text = text.replace(f'"{old}"', new)
    path.write_text(text)
    return path


def damaged_runs() -> list[str]:
    """Compressed counts that made the C code write behind its memory, or leave memory unset."""
    mask = np.zeros(SIZE, np.bool_)
    mask[5:30, 5:20] = True
    sound = encode_mask(mask)["counts"]
    return [
        "o" * 40, sound[:-1] + "o", sound + "o", sound[: len(sound) // 2], sound + sound,
        "0" * 30, sound[:9] + "\x00" + sound[9:], "Pmmmm7", "~" * 8, sound + "é",
    ]  # fmt: skip


def with_masks(masks: list[Any]) -> dict[str, list[Any]]:
    annotations = content(len(masks))
    for person, mask in zip(annotations["annotations"], masks, strict=True):
        person["segmentation"] = mask
    return annotations


# C2 and H6: masks that reach C code


def test_damaged_runs_end_no_process_and_are_reported(tmp_path: Path) -> None:
    masks = [{"size": SIZE, "counts": counts} for counts in damaged_runs()] * 2
    ann = written(tmp_path / "rle_crash.json", with_masks(masks))
    stats = command("stats", ann, "--output", tmp_path / "stats.json")
    assert stats.returncode == 2 and "Traceback" not in stats.stderr
    assert "rle_crash.json: 20 of 20 people are faulty" in stats.stderr
    assert "annotation 100 (image 0): RLE counts" in stats.stderr
    checked = command("check_data", ann, tmp_path)
    assert checked.returncode == 1 and "Traceback" not in checked.stderr
    assert "MEND  20 x bad mask" in checked.stdout
    assert "nothing to mend" not in checked.stdout
    cut = command("subset", ann)
    assert cut.returncode == 0, cut.stderr  # it decodes no mask and keeps each as it stands


def test_a_few_damaged_runs_are_boxes_for_training(tmp_path: Path) -> None:
    masks: list[Any] = [[SQUARE]] * 90
    masks += [{"size": SIZE, "counts": counts} for counts in damaged_runs()[:9]]
    annotations = with_masks(masks)
    for person in annotations["annotations"]:
        person["image_id"] //= 10  # ten people a photo
    annotations["images"] = annotations["images"][:10]
    for image in annotations["images"]:
        Image.new("RGB", (SIZE[1], SIZE[0])).save(tmp_path / image["file_name"])
    ann = written(tmp_path / "ann.json", annotations)
    photos, faults = load_photos(ann, tmp_path)
    assert [fault.kind for fault in faults] == ["bad mask"] * 9
    dataset = PhotoDataset(photos, ModelSpec("lite", ("a",), (4,), (4.0,), (64, 64), 4))
    assert len(photos) == 9  # in the tenth nobody is left
    assert sum(len(dataset[i].person_ids) for i in range(len(photos))) == 90


@pytest.mark.parametrize(
    "shape",
    [[[0, 0, 1e9, 0, 1e9, 1e9]], [[0, 0, 1e308, 0, 1e308, 1e308]], [[1, 2, 3]], [[[1, 2]]], "o", 5,
     {"size": SIZE, "counts": [-5, 2005]}, {"size": SIZE, "counts": [2**32, 2000 - 2**32]},
     {"size": [2**31, 2**31], "counts": "0"}, {"size": SIZE, "counts": None}],
)  # fmt: skip
def test_shapes_that_no_mask_has(shape: Any, tmp_path: Path) -> None:
    annotations = content()
    annotations["annotations"][3]["segmentation"] = shape
    _, faults = load_photos(
        written(tmp_path / "ann.json", annotations), tmp_path, check_files=False
    )
    assert [(fault.kind, fault.where) for fault in faults] == [
        ("bad mask", "annotation 103 (image 3)")
    ]
    results = [{"image_id": 3, "category_id": 1, "score": 1, "segmentation": shape}]
    path = written(tmp_path / "results.json", results)
    person = Person(1, np.array([5, 5, 20, 30], np.float32), [SQUARE], False, 375.0)
    photo = Photo(3, "3.png", (SIZE[0], SIZE[1]), (person,), tmp_path)
    with pytest.raises(InputError, match=r"results\.json, entry 0 \(photo 3\)"):
        read_predictions(path, [photo])


# M2: annotations

DIGITS = "9" * 5000
IMAGE_FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"id": 2**70}, "whole number"),
    ({"id": "DIGITS"}, "whole number"),
    ({"id": float("nan")}, "whole number"),
    ({"height": 100_000, "width": 100_000}, "pixels"),
    ({"height": 2**31 - 1, "width": 2**31 - 1}, "pixels"),
    ({"height": 1, "width": 70_000_000}, "a side of more than"),
    ({"height": float("inf")}, "height"),
    ({"width": 0}, "at least 1"),
    ({"width": "DIGITS"}, "width"),
    ({"file_name": 5}, "file_name 5"),
    ({"file_name": "../../etc/passwd"}, "file_name '../../etc/passwd' is not a name below"),
    ({"file_name": "/dev/zero"}, "file_name '/dev/zero'"),
    ({"file_name": "a\0b.png"}, r"file_name 'a\x00b.png'"),
    ({"file_name": "a\nb.png"}, r"file_name 'a\nb.png'"),
]


@pytest.mark.parametrize(("change", "words"), IMAGE_FAULTS, ids=lambda value: str(value)[:40])
def test_a_faulty_photo_is_named_by_its_id_and_skipped(
    change: dict[str, Any], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    annotations = content()
    annotations["images"][3] |= change
    if change.keys() == {"id"}:
        annotations["annotations"].pop(3)
    ann = written(tmp_path / "ann.json", annotations, DIGITS=DIGITS)
    photos, faults = load_photos(ann, tmp_path, check_files=False)
    assert len(photos) == 19
    (fault,) = faults
    assert fault.kind == "bad image" and words in fault.text
    assert fault.where == "image 3" or "id" in change
    assert main(["subset", str(ann), "--sizes", "5"]) == 0
    subset = json.loads((tmp_path / "ann_person_only_no_crowd.json").read_text())
    assert [image["id"] for image in subset["images"]] == [*range(3), *range(4, 20)]
    assert main(["check_data", str(ann), str(tmp_path)]) == 1
    assert "MEND  1 x bad image" in capsys.readouterr().out
    for image in annotations["images"][:3]:
        image |= change
    written(ann, annotations, DIGITS=DIGITS)
    for name in ("stats", "subset"):  # more than a tenth
        assert "ann.json: 4 of 20 photos are faulty" in refusal(capsys, name, ann)


def test_a_file_name_may_lie_in_folders_below(tmp_path: Path) -> None:
    """COCO's own names have none, many other sets' have; one that leaves the folder is no name."""
    annotations = content(12)
    (tmp_path / "train/day 1").mkdir(parents=True)
    for image in annotations["images"]:
        image["file_name"] = f"./train/day 1/{image['file_name']}"
        Image.new("RGB", (SIZE[1], SIZE[0])).save(tmp_path / image["file_name"])
    annotations["images"][3]["file_name"] = str(tmp_path / "train/day 1/3.png")
    ann = written(tmp_path / "ann.json", annotations)
    photos, faults = load_photos(ann, tmp_path)
    assert len(photos) == 11 and all(photo.file.exists() for photo in photos)
    (fault,) = faults
    assert fault.text.endswith("write it relative to that folder")
    stored, _ = load_photos(ann, PhotoStore([tmp_path]))
    assert [photo.file.read()[:4] for photo in stored] == [b"\x89PNG"] * 11


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"id": "DIGITS"}, "bad record"),
        ({"id": float("nan")}, "bad record"),
        ({"area": 10**400}, "bad record"),
        ({"bbox": [0, 0, 10**200, 10**200]}, "bad box"),
        ({"bbox": [0, 0, "DIGITS", 5]}, "bad box"),
        ({"bbox": ["x" * 5000] * 4}, "bad box"),
        ({"image_id": "DIGITS"}, "unknown image"),
        ({"image_id": "a" * 5000}, "unknown image"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_faulty_person_is_named_in_a_few_words(
    change: dict[str, Any], kind: str, tmp_path: Path
) -> None:
    annotations = content()
    annotations["annotations"][3] |= change
    ann = written(tmp_path / "ann.json", annotations, DIGITS=DIGITS)
    _, faults = load_photos(ann, tmp_path, check_files=False)
    assert [fault.kind for fault in faults] == [kind]
    assert len(faults[0].text) < 200


def test_a_number_of_any_length_elsewhere_disturbs_nobody(tmp_path: Path) -> None:
    annotations = content()
    annotations["annotations"][3]["extra"] = "DIGITS"
    ann = written(tmp_path / "ann.json", annotations, DIGITS=DIGITS)
    photos, faults = load_photos(ann, tmp_path, check_files=False)
    assert not faults and all(photo.people[0].has_mask for photo in photos)


@pytest.mark.parametrize("identity", ["Infinity", "NaN", DIGITS, "1.5", "null", '"1"'])
def test_a_category_without_a_usable_id(
    identity: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    annotations = content()
    annotations["categories"][0]["id"] = "ID"
    ann = written(tmp_path / "ann.json", annotations, ID=identity)
    for name in ("stats", "subset"):
        assert "ann.json: the id of category 'person' must be" in refusal(capsys, name, ann)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a":' * 100_000, '{"images":' + "[" * 100_000, '{"images":[' + "[" * 2000,
     '{"images":[' + "[" * 900 + "]" * 900 + "]}", "", "\0" * 99, DIGITS, '{"images":' + DIGITS],
    ids=lambda text: f"{text[:12]!r} of {len(text)}",
)  # fmt: skip
def test_what_is_no_annotation_file(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ann = tmp_path / "ann.json"
    ann.write_text(text)
    for words in (("stats", ann), ("subset", ann), ("check_data", ann, tmp_path)):
        assert "ann.json" in refusal(capsys, *words)


def test_pipes_devices_folders_and_links_without_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    for words in (("stats", pipe), ("subset", pipe), ("check_data", pipe, tmp_path)):
        found = command(*words)
        assert found.returncode == 2 and "no regular file" in found.stderr
    ann = written(tmp_path / "ann.json", content())
    os.mkfifo(tmp_path / "pipe.zip")
    found = command("check_data", ann, tmp_path / "pipe.zip")
    assert found.returncode == 2 and "pipe.zip is no regular file" in found.stderr
    loop = tmp_path / "loop.json"
    loop.symlink_to(loop)
    for path, words in (
        (tmp_path, "is a folder"), (Path("/dev/zero"), "no regular file"), (loop, "no usable path"),
        (tmp_path / ("l" * 300), "no usable path"), (tmp_path / "none.json", "no such annotation"),
    ):  # fmt: skip
        assert words in refusal(capsys, "stats", path)
        if path != tmp_path:
            assert path.name[:40] in refusal(capsys, "check_data", ann, path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ann = written(tmp_path / "ann.json", content())
    ann.chmod(0)
    assert "Permission denied" in refusal(capsys, "stats", ann)
    ann.chmod(stat.S_IRUSR)


def test_masks_larger_than_the_memory_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = Person(1, np.array([5, 5, 20, 30], np.float32), [SQUARE], False, 375.0)
    with pytest.raises(InputError, match=r"a\.png: the masks of 1 people .* do not fit"):
        PhotoMasks(Photo(1, "a.png", (2**31 - 1, 2**31 - 1), (person,), tmp_path))
    monkeypatch.setattr(targets, "MAX_MASK_BYTES", 500)
    masks = PhotoMasks(Photo(1, "a.png", (SIZE[0], SIZE[1]), (person,) * 4, tmp_path))
    assert masks.known.tolist() == [True, True, False, False]


# M10


def test_turned_tiffs_have_the_size_that_is_annotated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    annotations = content(8)
    for orientation, image in enumerate(annotations["images"], start=1):
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = (SIZE[0], SIZE[1]) if orientation > 4 else (SIZE[1], SIZE[0])
        image["file_name"] = f"{orientation}.tif"
        Image.new("RGB", stored, (orientation, 0, 0)).save(
            tmp_path / f"{orientation}.tif", exif=exif
        )
    ann = written(tmp_path / "ann.json", annotations)
    for flags in ([], ["--decode"]):
        assert main(["check_data", str(ann), str(tmp_path), *flags]) == 0
        assert "nothing to mend" in capsys.readouterr().out


# C1 and H1: archives


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_names_of_members_stay_below_the_archive(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    names = {
        "../../escaped.jpg": "escaped.jpg", "../" * 12 + "tmp/x.jpg": "tmp/x.jpg",
        "/etc/a.jpg": "etc/a.jpg", "C:/b.jpg": "b.jpg", "a//./c.jpg": "a/c.jpg",
        "d/../../e.jpg": "e.jpg", "line\nbreak.jpg": "line_break.jpg",
    }  # fmt: skip
    nameless = {} if write is write_zip else {"..": b"x"}
    path = write(tmp_path / "photos", {name: name.encode() for name in names} | nameless)
    store = PhotoStore([path])
    assert {name: store.read(name).decode() for name in store.names()} == {
        plain: name for name, plain in names.items()
    }


def test_a_bomb_is_refused_by_its_own_list(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "bomb.zip", {"a.png": b"\0" * 10**6, "b.png": b"b"})
    data = bytearray(path.read_bytes())
    place = data.index(b"PK\x01\x02") + 24
    data[place : place + 4] = struct.pack("<I", 3 << 30)
    path.write_bytes(data)
    store = PhotoStore([path])
    with pytest.raises(InputError, match=r"bomb\.zip, member a\.png: unpacks to 3221225472 bytes"):
        store.read("a.png")
    assert store.read("b.png") == b"b"


def test_a_bomb_that_hides_its_size_is_not_unpacked(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "bomb.zip", {"a.png": b"\0" * (64 << 20)})
    data = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        place = data.index(mark) + offset
        data[place : place + 4] = struct.pack("<I", 1000)
    path.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(InputError, match=r"member a\.png: is damaged \(it has not the 1000 bytes"):
        PhotoStore([path]).read("a.png")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_lies_of_a_zip_are_told_with_the_member(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    for offset, size, value in ((42, 4, 0xFFFFFFF0), (20, 4, 0x7FFFFFFF), (20, 4, 3), (24, 4, 7)):
        write_zip(path, {"a.png": b"a" * 500}, zipfile.ZIP_STORED)
        data = bytearray(path.read_bytes())
        place = data.index(b"PK\x01\x02") + offset
        data[place : place + size] = value.to_bytes(size, "little")
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"a\.zip"):
            PhotoStore([path]).read("a.png")


@pytest.mark.parametrize("size", [-1024, -(2**62), 2**40, 2**62])
def test_sizes_of_a_tar_that_lead_back_or_far(size: int, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"a.png": b"a" * 500, "b.png": b"b"})
    data = bytearray(path.read_bytes())
    data[124:136] = (size % 2**96).to_bytes(12, "big")
    data[124] = 0xFF if size < 0 else 0x80
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    path.write_bytes(data)
    found = command("check_data", written(tmp_path / "ann.json", content()), path)
    assert found.returncode == 2 and "Traceback" not in found.stderr
    assert "a.tar" in found.stderr and len(found.stderr.splitlines()) == 1
