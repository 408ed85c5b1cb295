"""Structured input by Hypothesis: annotations, masks as text, box files, boxes, names.

``test_fuzz`` changes bytes of sound files; here whole structures are drawn, so that shrinking ends
at the smallest one that is treated wrongly. The draws are the same every time.
"""

from __future__ import annotations

import json
import math
import string
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest

from human_edge_detection.core.boxes import box_areas, check_boxes, padded_rois
from human_edge_detection.core.errors import InputError
from human_edge_detection.core.files import plain_name
from human_edge_detection.core.geometry import letterbox_transform
from human_edge_detection.core.rle import decode_segmentation, encode_mask, segmentation_fault
from human_edge_detection.data.coco_file import CocoFile
from human_edge_detection.data.coco_reader import load_photos
from human_edge_detection.inference.box_files import open_boxes

hypothesis = pytest.importorskip("hypothesis", reason="needs hypothesis, of the group dev")
from hypothesis import strategies as st  # noqa: E402

SIZE = (7, 9)
PIXELS = SIZE[0] * SIZE[1]


def drawn(examples: int = 100) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The same draws every time, however busy the machine is."""
    return hypothesis.settings(
        derandomize=True, database=None, deadline=None, max_examples=examples,
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip


NUMBERS = st.one_of(
    st.integers(-3, 70), st.floats(-20, 80), st.floats(), st.integers(),
    st.sampled_from([2**31, 2**63, 2**70, 10**400, -0.0, 1e39, 1e308]),
)  # fmt: skip
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=8))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
RUN_TEXT = st.text(st.characters(min_codepoint=40, max_codepoint=115), max_size=12)


@st.composite
def sound_masks(draw: Any) -> np.ndarray:
    bits = draw(st.integers(0, 2**PIXELS - 1))
    return np.array([bits >> i & 1 for i in range(PIXELS)], np.bool_).reshape(SIZE)


def written_out(counts: str) -> list[int]:
    """The run lengths of compressed counts, digit by digit as COCO describes them."""
    runs: list[int] = []
    value = shift = 0
    for code in (ord(character) - 48 for character in counts):
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            value -= (1 << shift) if code & 16 else 0
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return runs


def filled(runs: list[int]) -> np.ndarray:
    """The mask of run lengths, column by column, the background's run first."""
    values = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return values.reshape(SIZE[::-1]).T


@drawn(60)
@hypothesis.given(sound_masks())
def test_a_mask_survives_its_text_and_its_runs(mask: np.ndarray) -> None:
    rle = encode_mask(mask)
    runs = written_out(rle["counts"])
    for shape in (rle, {**rle, "counts": rle["counts"].encode()}, {**rle, "counts": runs}):
        assert segmentation_fault(shape, SIZE) == ""
        np.testing.assert_array_equal(decode_segmentation(shape, SIZE), mask)
    np.testing.assert_array_equal(filled(runs), mask)


@drawn(150)
@hypothesis.given(st.one_of(RUN_TEXT, st.tuples(sound_masks(), st.integers(0, 40), RUN_TEXT)))
def test_counts_that_pass_decode_as_they_are_written_out(drawn_counts: Any) -> None:
    """Random text, and sound text that is overwritten at some place."""
    counts = drawn_counts
    if isinstance(drawn_counts, tuple):
        mask, at, new = drawn_counts
        sound = encode_mask(mask)["counts"]
        counts = sound[:at] + new + sound[at + len(new) :]
    shape = {"size": list(SIZE), "counts": counts}
    if segmentation_fault(shape, SIZE):
        with pytest.raises(ValueError):
            decode_segmentation(shape, SIZE)
        return
    runs = written_out(counts)
    assert min(runs) >= 0 and sum(runs) == PIXELS
    np.testing.assert_array_equal(decode_segmentation(shape, SIZE), filled(runs))


@drawn(80)
@hypothesis.given(
    st.one_of(
        VALUES,
        st.lists(st.lists(NUMBERS, max_size=9), max_size=3),
        st.fixed_dictionaries(
            {"size": st.just(list(SIZE)), "counts": st.lists(NUMBERS, max_size=5)}
        ),
        st.fixed_dictionaries({"size": VALUES, "counts": VALUES}),
    )
)
def test_any_segmentation_is_decoded_or_refused(shape: Any) -> None:
    if segmentation_fault(shape, SIZE):
        with pytest.raises(ValueError):
            decode_segmentation(shape, SIZE)
    else:
        assert decode_segmentation(shape, SIZE).shape == SIZE


def sound_coco() -> dict[str, list[Any]]:
    """Ten photos with one person each."""
    square = [[1.0, 1.0, 6.0, 1.0, 6.0, 5.0, 1.0, 5.0]]
    person = {"category_id": 1, "iscrowd": 0, "area": 20, "bbox": [1, 1, 5, 4]}
    return {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 7, "width": 9} for i in range(10)],
        "annotations": [
            {**person, "id": i, "image_id": i, "segmentation": square} for i in range(10)
        ],
        "categories": [{"id": 1, "name": "person"}],
    }


FIELDS = (
    *(("images", key) for key in ("id", "file_name", "height", "width", "source", "exhaustive")),
    *(("annotations", key) for key in
      ("id", "image_id", "category_id", "iscrowd", "area", "bbox", "segmentation")),
    ("categories", "id"), ("categories", "name"),
)  # fmt: skip
FIELD_VALUES = st.one_of(
    VALUES, st.lists(NUMBERS, min_size=4, max_size=4), st.lists(st.lists(NUMBERS, max_size=8)),
    st.fixed_dictionaries({"size": st.just(list(SIZE)), "counts": st.one_of(RUN_TEXT, VALUES)}),
)  # fmt: skip
CHANGES = st.lists(st.tuples(st.sampled_from(FIELDS), FIELD_VALUES), min_size=1, max_size=3)


@drawn(100)
@hypothesis.given(
    st.lists(st.tuples(st.sampled_from(FIELDS), FIELD_VALUES), min_size=1, max_size=3)
)
def test_annotations_are_read_or_refused(changes: list[tuple[tuple[str, str], Any]]) -> None:
    content = sound_coco()
    for (group, key), value in changes:
        content[group][0][key] = value
    path = FOLDER / "ann.json"
    path.write_text(json.dumps(content))
    try:
        photos, faults = load_photos(path, FOLDER, check_files=False)
    except InputError as error:
        assert "ann.json" in str(error) and "\n" not in str(error)
        return
    assert len(photos) + len(faults) >= 9
    for photo in photos:
        height, width = photo.size_hw
        assert not PurePosixPath(photo.file_name).is_absolute()
        assert ".." not in PurePosixPath(photo.file_name).parts
        for person in photo.people:
            x1, y1, x2, y2 = person.box_xyxy.tolist()
            assert 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height
            assert math.isfinite(person.area)
            if person.has_mask:
                assert decode_segmentation(person.segmentation, photo.size_hw).shape == (
                    height, width,
                )  # fmt: skip


@drawn(40)
@hypothesis.given(st.lists(VALUES, max_size=3), st.lists(VALUES, max_size=3), VALUES)
def test_lists_of_anything_are_no_annotations(images: Any, annotations: Any, other: Any) -> None:
    content = {"images": images, "annotations": annotations, "categories": other}
    path = FOLDER / "lists.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"lists\.json"):
        load_photos(path, FOLDER, check_files=False)


@drawn(40)
@hypothesis.given(st.dictionaries(st.text(max_size=5), VALUES, max_size=4))
def test_other_members_of_a_file_are_kept_as_json_reads_them(other: dict[str, Any]) -> None:
    content = {**other, **sound_coco()}
    path = FOLDER / "members.json"
    path.write_text(json.dumps(content))
    members = CocoFile(path).members
    assert list(members) == list(content)
    for key, value in content.items():
        assert same(json.loads(bytes(members[key])), json.loads(json.dumps(value)))


def same(first: Any, second: Any) -> bool:
    """Equal, NaN too."""
    return bool(json.dumps(first) == json.dumps(second))


BOX_ROWS = st.lists(st.one_of(NUMBERS, st.text(string.printable, max_size=6)), max_size=7)


@drawn(60)
@hypothesis.given(st.lists(BOX_ROWS, max_size=4), st.sampled_from(["csv", "txt"]))
def test_tables_of_boxes_are_read_or_refused(rows: list[list[Any]], kind: str) -> None:
    folder = FOLDER / kind
    folder.mkdir(exist_ok=True)
    path = folder / f"1.{kind}"
    separator = "," if kind == "csv" else " "
    lines = [separator.join(map(str, row)) for row in rows]
    if kind == "csv":
        lines = ["file,x1,y1,x2,y2", *(f"1.jpg,{line}" for line in lines)]
    path.write_text("\n".join(lines), errors="replace")
    check_box_file(folder if kind == "txt" else path)


@drawn(80)
@hypothesis.given(
    st.one_of(
        VALUES,
        st.lists(
            st.fixed_dictionaries(
                {"image_id": st.one_of(st.just(1), SCALARS)},
                optional={"bbox": FIELD_VALUES, "score": SCALARS, "file_name": SCALARS,
                          "category_id": SCALARS, "annotation_id": SCALARS},
            ),
            max_size=4,
        ),
    )
)  # fmt: skip
def test_results_as_boxes_are_read_or_refused(content: Any) -> None:
    path = FOLDER / "results.json"
    path.write_text(json.dumps(content))
    check_box_file(path)


def check_box_file(path: Path) -> None:
    """Read the boxes of one photo: finite numbers, or an error that names the file."""
    try:
        file = open_boxes(path)
        key = file.key("1.jpg")
        found = None if key is None else file.read(key)
    except InputError as error:
        assert path.name in str(error)
        return
    if found is not None:
        assert found.boxes_xyxy.shape == (len(found.scores), 4)
        assert np.isfinite(found.boxes_xyxy).all() and np.isfinite(found.scores).all()


ROWS = st.lists(st.lists(st.floats(width=32), min_size=4, max_size=4), max_size=5)
SIDES = st.integers(1, 5000)


@drawn(100)
@hypothesis.given(ROWS, st.floats(0, 10), st.tuples(SIDES, SIDES))
def test_rois_hold_their_boxes_and_stay_in_the_photo(
    rows: list[list[float]], padding: float, size_hw: tuple[int, int]
) -> None:
    try:
        boxes = check_boxes(np.array(rows, np.float32).reshape(-1, 4))
    except InputError as error:
        assert "boxes_xyxy" in str(error)
        return
    rois = padded_rois(boxes, padding, size_hw)
    height, width = size_hw
    assert rois.shape == boxes.shape and np.isfinite(rois).all()
    assert (rois >= 0).all() and (rois <= [width, height, width, height]).all()
    inside = padded_rois(boxes, 0.0, size_hw)
    assert (rois[:, :2] <= inside[:, :2]).all() and (rois[:, 2:] >= inside[:, 2:]).all()
    assert (box_areas(rois) >= 0).all()


@drawn(60)
@hypothesis.given(st.tuples(SIDES, SIDES), st.tuples(st.integers(32, 2000), st.integers(32, 2000)))
def test_a_photo_fits_its_letterbox_and_the_way_back_is_the_same(
    source_hw: tuple[int, int], size_hw: tuple[int, int]
) -> None:
    transform = letterbox_transform(source_hw, size_hw)
    whole = np.array([[0, 0, source_hw[1], source_hw[0]]], np.float32)
    inside = transform.to_input(whole)
    assert (inside >= -1e-3).all()
    assert (inside[:, 2:] <= np.array(size_hw[::-1]) + 1e-3).all()
    np.testing.assert_allclose(transform.to_source(inside), whole, rtol=1e-4, atol=1e-2)


PARTS = st.sampled_from(["..", ".", "", "a", "b.jpg", "C:", "\0", "\n", "…", "\\", " "])
NAMES = st.one_of(st.text(max_size=20), st.lists(PARTS, max_size=6).map("/".join))


@drawn(150)
@hypothesis.given(NAMES)
def test_plain_names_stay_below_their_folder(name: str) -> None:
    try:
        plain = plain_name(name)
    except InputError as error:
        assert "\n" not in str(error)
        return
    path = PurePosixPath(plain)
    assert not path.is_absolute() and path.parts
    assert not {"..", ".", ""} & set(plain.split("/"))
    assert plain.isprintable() or not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in plain)
    assert plain_name(plain) == plain


@pytest.fixture(autouse=True, scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A folder for all draws: fixtures of a function would be made once for all of them."""
    global FOLDER
    FOLDER = tmp_path_factory.mktemp("drawn")


FOLDER = Path()
