"""What is finished is known to the next run; names and ids never clash."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from human_edge_detection.core.errors import InputError
from human_edge_detection.inference.resume_log import LOG_NAME, ResumeLog
from human_edge_detection.inference.sources import Source


def photo(folder: Path, name: str) -> Source:
    path = folder / "photos" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return Source(path, Path(name).name)


def test_a_second_log_knows_what_the_first_finished(tmp_path):
    first, second = photo(tmp_path, "a.jpg"), photo(tmp_path, "b.jpg")
    log = ResumeLog(tmp_path / "out", {"threshold": 0.5})
    assert log.finished(first, first.stamp()) is None
    log.add(first, "a", first.stamp(), image_id=3, results=[{"image_id": 3}])
    again = ResumeLog(tmp_path / "out", {"threshold": 0.5})
    assert again.finished(first, first.stamp())["image_id"] == 3
    assert again.finished(second, second.stamp()) is None
    anew = ResumeLog(tmp_path / "out", {"threshold": 0.5}, overwrite=True)
    assert anew.finished(first, first.stamp()) is None


def test_a_photo_that_changed_is_not_finished(tmp_path):
    source = photo(tmp_path, "a.jpg")
    log = ResumeLog(tmp_path / "out", {})
    log.add(source, "a", source.stamp(), image_id=1, results=[{"image_id": 1, "old": True}])
    source.path.write_bytes(b"another photo")
    assert log.finished(source, source.stamp()) is None
    log.add(source, "a", source.stamp(), image_id=1, results=[{"image_id": 1}])
    assert list(log.results()) == [{"image_id": 1}]


def test_a_line_cut_off_by_a_crash_does_not_count(tmp_path):
    first, second = photo(tmp_path, "a.jpg"), photo(tmp_path, "b.jpg")
    log = ResumeLog(tmp_path / "out", {})
    log.add(first, "a", first.stamp(), image_id=1, results=[])
    log.add(second, "b", second.stamp(), image_id=2, results=[])
    path = tmp_path / "out" / LOG_NAME
    path.write_text(path.read_text()[:-20])
    again = ResumeLog(tmp_path / "out", {})
    assert again.finished(first, first.stamp()) and not again.finished(second, second.stamp())
    again.add(second, "b", second.stamp(), image_id=2, results=[])
    assert ResumeLog(tmp_path / "out", {}).finished(second, second.stamp())


def test_other_settings_are_refused_by_flag(tmp_path):
    source = photo(tmp_path, "a.jpg")
    log = ResumeLog(tmp_path, {"--threshold": 0.4, "--fuse": "max"})
    log = ResumeLog(tmp_path, {"--threshold": 0.5, "--fuse": "max"})  # nothing was finished before
    log.add(source, "a", source.stamp(), image_id=1, results=[])
    with pytest.raises(InputError, match=r"--threshold: 0\.5, now 0\.6.*overwrite it"):
        ResumeLog(tmp_path, {"--threshold": 0.6, "--fuse": "max"})
    ResumeLog(tmp_path, {"--threshold": 0.6}, overwrite=True)


def test_names_and_ids_are_given_once(tmp_path):
    log = ResumeLog(tmp_path / "out", {})
    jpg, png = photo(tmp_path, "a.jpg"), photo(tmp_path, "a.png")
    other, third = photo(tmp_path, "x/a.jpg"), photo(tmp_path, "y/a.jpg")
    assert log.claim(jpg, 5) == ("a", 5) == log.claim(jpg, 5)
    assert log.claim(png, 5) == ("a_png", 6)
    assert log.claim(other, 2) == ("a_jpg", 2)
    assert log.claim(third, 7) == ("a_jpg_2", 7)
    log.add(png, "a_png", png.stamp(), image_id=6, results=[])
    assert ResumeLog(tmp_path / "out", {}).claim(jpg, 6) == ("a", 7)


def test_predictions_are_one_json_list(tmp_path):
    log = ResumeLog(tmp_path / "out", {})
    assert json.loads(log.write_predictions().read_text()) == []
    for number, name in ((2, "a.jpg"), (1, "b.jpg")):
        twice = [{"image_id": number}] * 2
        log.add(photo(tmp_path, name), name, [1, 2], image_id=number, results=twice)
    found = json.loads(log.write_predictions().read_text())
    assert [item["image_id"] for item in found] == [1, 1, 2, 2]


def test_an_output_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"output .*file.* cannot be written"):
        ResumeLog(tmp_path / "file" / "out", {})
