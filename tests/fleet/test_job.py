"""A job in its output: begun, continued, refused; and what is gathered of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="needs the extra fleet")

from fleet_photos import do_blocks, do_job, results, write_boxes, write_photos
from human_edge_detection import cli
from human_edge_detection.core.errors import InputError
from human_edge_detection.core.options import changed
from human_edge_detection.fleet import places
from human_edge_detection.fleet.gather import run_gather
from human_edge_detection.fleet.job import begun, read_job
from human_edge_detection.fleet.options import FleetOptions, GatherOptions

pytestmark = pytest.mark.fleet


def test_a_job_goes_on_where_it_was_left(tmp_path: Path) -> None:
    folder = write_photos(tmp_path / "photos", 7)
    options = FleetOptions((str(folder),), str(tmp_path / "out"), block=2)
    with begun(options) as job:
        assert job.unfinished() == [0, 1, 2, 3] and job.size([0, 3]) == 3
        assert [block["photos"] for block in do_blocks(job, options, most=2)] == [2, 2]
    first = results(options.output)
    write_photos(folder, 9)  # after the photos were listed
    with begun(options) as job:
        assert job.photos == 7 and job.unfinished() == [2, 3]
        with pytest.raises(InputError, match="in use by another run"), begun(options):
            pass
        do_blocks(job, options)
        assert job.unfinished() == []
    rows = results(options.output)
    assert rows[:4] == first and [row["id"] for row in rows] == list(range(7))


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("threshold", 0.4, "--threshold: 0.5, now 0.4"),
        ("block", 3, "--block: 2, now 3"),
        ("source", ("/",), "SOURCE: "),
        ("gpus", 1.0, "--model: person_head_int8.onnx .* now person_head.onnx"),
    ],
)
def test_other_settings_are_refused(tmp_path: Path, flag: str, value: object, message: str) -> None:
    folder = write_photos(tmp_path / "photos", 1)
    options = FleetOptions((str(folder),), str(tmp_path / "out"), block=2)
    with begun(options):
        pass
    refused = f"holds results of other settings .{message}.*: name another output"
    with pytest.raises(InputError, match=refused), begun(changed(options, **{flag: value})):
        pass
    with begun(changed(options, actors="7", max_errors=1.0)) as job:
        assert job.photos == 1


def test_a_list_that_was_cut_off_is_made_anew(tmp_path: Path) -> None:
    folder = write_photos(tmp_path / "photos", 3)
    options = FleetOptions((str(folder),), str(tmp_path / "out"), block=2)
    with begun(options) as job:
        Path(job.output, "job.json").unlink()
    (folder / "101.jpg").unlink()
    with begun(options) as job:
        assert job.photos == 2
    Path(job.output, "job.json").write_text("{}")
    with pytest.raises(InputError, match=r"job\.json is damaged"):
        read_job(job.output)
    with pytest.raises(InputError, match="holds no results of fleet"):
        read_job(str(tmp_path / "photos"))


def test_a_block_that_a_worker_died_over_is_done_with_care(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = []
    real = "human_edge_detection.fleet.rows.ChildReader"
    from human_edge_detection.fleet.careful import ChildReader

    monkeypatch.setattr(real, lambda: used.append(1) or ChildReader())
    folder = write_photos(tmp_path / "photos", 4)
    options = FleetOptions((str(folder),), str(tmp_path / "out"), block=2)
    with begun(options) as job:
        places.write(job.mark(1), b"")
        do_blocks(job, options)
        assert len(used) == 1 and not places.exists(job.mark(1))
        assert [row["error"] for row in results(job.output)] == [None] * 4


def test_an_output_inside_the_source_is_not_read(tmp_path: Path) -> None:
    folder = write_photos(tmp_path / "photos", 2)
    options = FleetOptions((str(folder),), str(folder / "out"), recursive=True, block=2)
    assert [row["file_name"] for row in do_job(options)] == ["100.jpg", "101.jpg"]
    (folder / "out" / "job.json").unlink()
    with begun(options) as job:
        assert job.photos == 2


def test_another_model_on_a_worker_is_refused(tmp_path: Path) -> None:
    from human_edge_detection.fleet.blocks import SegmentBlock

    options = FleetOptions((str(write_photos(tmp_path / "photos", 1)),), str(tmp_path / "out"))
    with begun(options) as job, pytest.raises(InputError, match="the model on this machine"):
        SegmentBlock(job, options.segment, {"--model": "person_head.onnx 123"})


def strip(path: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(path.read_text())
    return sorted(found, key=lambda result: (result["image_id"], result["bbox"]))


@pytest.mark.parametrize("with_boxes", [False, True])
def test_what_is_gathered_is_what_predict_writes(
    tmp_path: Path, with_boxes: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_photos(tmp_path / "photos", 6)
    (folder / "999.jpg").write_bytes(b"junk")
    boxes = write_boxes(tmp_path / "boxes.json", 5) if with_boxes else None
    options = FleetOptions((str(folder),), str(tmp_path / "out"), boxes=boxes, block=4)
    do_job(options)
    gathered = tmp_path / "gathered"
    assert run_gather(GatherOptions(options.output, gathered, overlays=3)) == 0
    flags = ["--boxes", str(boxes)] if boxes else []
    flags += ["--output", str(tmp_path / "predicted"), "--save", "coco", "--device", "cpu"]
    assert cli.main(["predict", str(folder), *flags, "--threads", "1"]) == 1
    found = strip(gathered / "predictions.json")
    assert found == strip(tmp_path / "predicted" / "predictions.json") and found
    summary = json.loads((gathered / "summary.json").read_text())
    assert summary["photos"] == summary["finished"] == (5 if boxes else 7)
    assert summary["people"] == len(found)
    if boxes:
        assert summary["errors"] == {} and summary["faults"] == 5 and summary["drawn"] == 3
        assert read_job(options.output).left_out == 2
    else:
        assert summary["errors"] == {"decode": 1} and summary["drawn"] in (2, 3)
        assert summary["listed"][0]["uri"] == str(folder / "999.jpg")
        assert "1 with errors, met at: decode" in capsys.readouterr().out
    drawn = sorted(path.name for path in (gathered / "overlay").iterdir())
    assert len(drawn) == summary["drawn"] and drawn[0].startswith("0000000")


def test_gathering_what_is_not_finished(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):  # whose photos have the same numbers
        write_photos(tmp_path / "photos" / name, 2)
    options = FleetOptions(
        (str(tmp_path / "photos"),), str(tmp_path / "out"), recursive=True, block=3
    )
    with begun(options) as job:
        with pytest.raises(InputError, match="has no finished block yet"):
            run_gather(GatherOptions(options.output, tmp_path / "gathered"))
        do_blocks(job, options, most=1)
    assert run_gather(GatherOptions(options.output, tmp_path / "gathered", overlays=0)) == 1
    assert "3 of 4 photos" in capsys.readouterr().out
    found = json.loads((tmp_path / "gathered" / "predictions.json").read_text())
    numbers = {(result["image_id"], result["file_name"]) for result in found}
    assert numbers <= {(1, "a/100.jpg"), (2, "a/101.jpg"), (3, "b/100.jpg")} and len(numbers) > 1
