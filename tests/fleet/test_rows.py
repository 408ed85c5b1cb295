"""The work on tables of photos: masks as of the predictor, errors by kind, killers of readers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow", reason="needs the extra fleet")

from fleet_photos import kill_reader, photo_bytes, write_photos  # noqa: E402
from human_edge_detection import MaskPredictor, read_image  # noqa: E402
from human_edge_detection.fleet import SegmentRows, SegmentSettings, read_rows  # noqa: E402
from human_edge_detection.fleet.careful import ChildReader  # noqa: E402
from human_edge_detection.fleet.fetch import PhotoBytes, RowFailure  # noqa: E402
from human_edge_detection.fleet.manifest import read_block, write_manifest  # noqa: E402
from human_edge_detection.fleet.sources import Photo, find_photos  # noqa: E402
from human_edge_detection.inference.boxes import BoxRow, ImageBoxes  # noqa: E402

pytestmark = pytest.mark.fleet


def manifest(folder: Path, photos: list[Photo]) -> pa.Table:
    write_manifest(str(folder / "manifest"), photos, 256)
    return read_block(str(folder / "manifest"), 0)


@pytest.fixture(scope="module")
def segment() -> SegmentRows:
    return SegmentRows()


def test_people_are_those_of_the_predictor(segment: SegmentRows, tmp_path: Path) -> None:
    photos = list(find_photos([str(write_photos(tmp_path / "photos", 3))]))
    box = ImageBoxes.from_rows([BoxRow((10, 10, 60, 80), 0.5, "", 7)])
    photos.append(photos[0]._replace(boxes=box))
    rows = segment(read_rows(manifest(tmp_path, photos))).to_pylist()
    assert [row["id"] for row in rows] == [0, 1, 2, 3]
    assert [row["error"] for row in rows] == [None] * 4
    assert sum(len(row["people"]) for row in rows[:3]) > 0
    with MaskPredictor(device="cpu", threads=1) as predictor:
        for row, photo in zip(rows, photos, strict=True):
            image = read_image(photo.uri)
            given = None if photo.boxes is None else photo.boxes.boxes_xyxy
            scores, ids = (None, None) if given is None else ([0.5], [7])
            masks = predictor.segment(image, boxes_xyxy=given, scores=scores, ids=ids)
            assert (row["height"], row["width"]) == image.shape[:2]
            assert row["seconds"] > 0 and row["file_name"] == photo.name
            for person, wanted in zip(row["people"], masks.coco_people(), strict=True):
                assert person["counts"] == wanted["segmentation"]["counts"]
                assert person["bbox"] == wanted["bbox"] and person["score"] == wanted["score"]
                assert person["area"] == wanted["area"]
                assert person["box_id"] == wanted.get("annotation_id")


def test_each_error_is_that_of_one_row_and_names_its_step(
    segment: SegmentRows, tmp_path: Path
) -> None:
    folder = write_photos(tmp_path / "photos", 1)
    whole = folder / "100.jpg"
    (folder / "cut.jpg").write_bytes(whole.read_bytes()[:900])
    (folder / "junk.jpg").write_bytes(b"junk")
    other_size = ImageBoxes(
        np.zeros((0, 4), np.float32), np.zeros(0, np.float32), size_hw=(5, 5), file_name="x"
    )
    many = ImageBoxes.from_rows([BoxRow((0, 0, 9, 9), 1, "")] * 6000)
    photos = [
        Photo(str(folder / "none.jpg"), "none.jpg"),
        Photo(str(folder / "cut.jpg"), "cut.jpg"),
        Photo(str(folder / "junk.jpg"), "junk.jpg"),
        Photo(str(whole), "100.jpg", boxes=other_size),
        Photo(str(whole), "100.jpg", boxes=many),
        Photo(str(whole), "100.jpg", fault="it was known before"),
        Photo(str(whole), "100.jpg"),
    ]
    table = manifest(tmp_path, photos)
    for rows in (table, read_rows(table)):
        found = segment(rows).to_pylist()
        kinds = ["read", "decode", "decode", "boxes", "boxes", "read", None]
        assert [row["error_kind"] for row in found] == kinds
        texts = [row["error"] for row in found]
        assert "none.jpg does not exist" in texts[0] and "damaged or truncated" in texts[1]
        assert "junk.jpg is not an image" in texts[2] and "states 5x5" in texts[3]
        assert "6000 boxes, more than max_people 5000" in texts[4]
        assert texts[5] == "it was known before" and found[3]["file_name"] == "x"
        assert [row["people"] for row in found[:6]] == [[]] * 6
        assert found[0]["height"] is None and found[3]["height"] == 96


def test_what_is_not_read_ahead_is_read_by_the_worker(segment: SegmentRows, tmp_path: Path) -> None:
    table = manifest(tmp_path, list(find_photos([str(write_photos(tmp_path / "photos", 4))])))
    some = read_rows(table, most_bytes=len(photo_bytes(0)) + 1)
    assert [data is None for data in some.column("data").to_pylist()] == [False, False, True, True]
    every = segment(read_rows(table)).drop_columns("seconds")
    assert segment(some).drop_columns("seconds") == every
    assert segment(table).drop_columns("seconds") == every
    assert len(segment(read_rows(table.slice(0, 0)))) == 0


def test_a_photo_that_kills_its_reader_is_a_row_with_an_error(
    segment: SegmentRows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("human_edge_detection.fleet.careful.read_image", kill_reader)
    folder = write_photos(tmp_path / "photos", 3)
    (folder / "101.jpg").write_bytes(b"KILL")
    table = read_rows(manifest(tmp_path, list(find_photos([str(folder)]))))
    first, killer, last = segment(table, careful=True).to_pylist()
    assert killer["error_kind"] == "killed" and "decoding it kills the process" in killer["error"]
    assert first["error"] is None and last["error"] is None
    with ChildReader() as read, pytest.raises(RowFailure, match="killed"):
        read(PhotoBytes("a", b"KILL"), max_pixels=9)


def test_settings_name_the_models_files(tmp_path: Path) -> None:
    marks = SegmentSettings().fingerprint()
    assert marks["--model"] is not None and marks["--model"].startswith("person_head_int8.onnx ")
    assert SegmentSettings(gpu=True).fingerprint() != marks
