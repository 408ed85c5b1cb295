"""The command: any mixture of good and bad files, formats that others read, and going on."""

from __future__ import annotations

import errno
import json
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO

from analytic_model import (
    draw_person,
    write_constant_detector,
    write_extractor,
    write_head,
)
from archive_files import write_zip
from human_edge_detection.cli.predict import run_predict
from human_edge_detection.core.errors import InputError
from human_edge_detection.core.images import save_image
from human_edge_detection.inference.options import PredictOptions

SIZE_HW = (100, 120)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    write_head(folder / "head.onnx")
    write_extractor(folder / "extractor.onnx")
    person = np.zeros((1, 7, 6), np.float32)
    person[0, 0] = [20, 20, 100, 110, 0.9, 0]
    write_constant_detector(folder / "detector.onnx", {"output0": person})
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three photos with one person each, and the COCO file that knows where."""
    coco: dict[str, list] = {"images": [], "annotations": []}
    coco["categories"] = [{"id": 1, "name": "person"}]
    for number in range(3):
        x1, y1, x2, y2 = 10 + 10 * number, 10, 70 + 10 * number, 90
        image, mask = draw_person(SIZE_HW, (x1, y1, x2, y2))
        name = f"p{number}.png"
        save_image(tmp_path / "photos" / name, image)
        entry = {"id": 100 + number, "file_name": name, "height": 100, "width": 120}
        coco["images"].append(entry)
        code = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
        coco["annotations"].append(
            {"id": 500 + number, "image_id": 100 + number, "category_id": 1, "iscrowd": 0,
             "bbox": [x1, y1, x2 - x1, y2 - y1], "area": int(mask.sum()),
             "segmentation": {"size": list(SIZE_HW), "counts": code["counts"].decode()}}
        )  # fmt: skip
    (tmp_path / "boxes.json").write_text(json.dumps(coco))
    return tmp_path


def options(models: Path, folder: Path, **changes: object) -> PredictOptions:
    values = {
        "source": (str(folder / "photos"),), "model": (models / "head.onnx",),
        "extractor": (str(models / "extractor.onnx"),), "output": folder / "out", "device": "cpu",
        "threads": 1, **changes,
    }  # fmt: skip
    return PredictOptions(**values)


def with_boxes(models: Path, folder: Path, **changes: object) -> PredictOptions:
    return options(models, folder, boxes=folder / "boxes.json", **changes)


def predictions(folder: Path) -> list[dict]:
    return json.loads((folder / "out" / "predictions.json").read_text())


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if "part" in path.name]


def test_coco_results_load_and_score_as_they_are(models, photos):
    assert run_predict(with_boxes(models, photos)) == 0
    found = predictions(photos)
    assert [(item["image_id"], item["annotation_id"], item["file_name"]) for item in found] == [
        (100, 500, "p0.png"), (101, 501, "p1.png"), (102, 502, "p2.png")
    ]  # fmt: skip
    truth = COCO(str(photos / "boxes.json"))
    loaded = truth.loadRes(str(photos / "out" / "predictions.json"))
    for item in found:
        ours = loaded.anns[loaded.getAnnIds(item["image_id"])[0]]
        mask = truth.annToMask(truth.anns[item["annotation_id"]])
        assert (truth.annToMask(ours) & mask).sum() / (truth.annToMask(ours) | mask).sum() > 0.95
    assert (photos / "out" / "overlay" / "p1.jpg").is_file()


def test_a_photo_whose_own_box_file_changed_is_done_again(models, photos, capsys):
    boxes = photos / "txt"
    boxes.mkdir()
    for number in range(2):
        (boxes / f"p{number}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    asked = options(models, photos, boxes=boxes)
    for count, changed in ((2, ""), (0, ""), (1, "0 0.5 0.5 0.5 0.5\n0 0.3 0.3 0.2 0.2\n")):
        if changed:
            (boxes / "p1.txt").write_text(changed)
        assert run_predict(asked) == 0
        assert capsys.readouterr().out.startswith(f"{count} files done")
    assert [item["image_id"] for item in predictions(photos)] == [1, 2, 2]


def test_photos_out_of_archives_give_the_same_and_are_done_once(models, photos, capsys):
    files = {path.name: path.read_bytes() for path in (photos / "photos").glob("*.png")}
    archive = write_zip(photos / "photos.zip", {f"top/{name}": files[name] for name in files})
    assert run_predict(with_boxes(models, photos)) == 0
    found = predictions(photos)
    packed = with_boxes(models, photos, source=(str(archive),), output=photos / "packed")
    assert run_predict(packed) == 0
    assert json.loads((photos / "packed" / "predictions.json").read_text()) == found
    assert run_predict(packed) == 0
    assert f"{len(files)} files were done before" in capsys.readouterr().out


def test_every_kind_of_result(models, photos):
    kinds = "overlay,labels,cutouts,polygons"
    assert run_predict(with_boxes(models, photos, save=kinds, draw_boxes=True)) == 0
    out = photos / "out"
    labels = np.asarray(Image.open(out / "labels" / "p0.png"))
    assert labels.dtype == np.uint16 and labels.shape == SIZE_HW and set(labels.flat) == {0, 1}
    cutout = Image.open(out / "cutouts" / "p0" / "001.png")
    assert cutout.mode == "RGBA"
    polygons = json.loads((out / "polygons" / "p0.json").read_text())
    assert polygons["size_hw"] == [100, 120] and polygons["people"][0]["annotation_id"] == 500
    assert Image.open(out / "overlay" / "p0.jpg").size == (120, 100)
    assert not (out / "predictions.json").exists() and leftovers(out) == []


def test_cutouts_of_people_who_are_gone_are_removed(models, photos):
    assert run_predict(with_boxes(models, photos, save="cutouts")) == 0
    folder = photos / "out" / "cutouts" / "p0"
    for name in ("002.png", "1000.png", "001.txt", "mine.png"):
        (folder / name).write_bytes(b"old")
    (folder / "003.png").mkdir()  # of a photo p0/003.png.jpg
    (folder / "004.png").symlink_to(folder / "mine.png")
    assert run_predict(with_boxes(models, photos, save="cutouts", overwrite=True)) == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        "001.png", "001.txt", "003.png", "004.png", "mine.png",
    ]  # fmt: skip


def test_nothing_to_write_is_refused():
    with pytest.raises(InputError, match="--save names nothing to write: choose from overlay"):
        PredictOptions(source=("a.jpg",), save=" , ")


def test_one_bad_file_is_reported_and_the_rest_is_done(models, photos, capsys):
    (photos / "photos" / "p1.png").write_bytes((photos / "photos" / "p1.png").read_bytes()[:200])
    assert run_predict(with_boxes(models, photos)) == 1
    assert [item["image_id"] for item in predictions(photos)] == [100, 102]
    assert "p1.png" in capsys.readouterr().out
    save_image(photos / "photos" / "p1.png", draw_person(SIZE_HW, (20, 10, 80, 90))[0])
    overlay = photos / "out" / "overlay" / "p0.jpg"
    before = overlay.stat().st_mtime_ns
    assert run_predict(with_boxes(models, photos)) == 0
    assert sorted(item["image_id"] for item in predictions(photos)) == [100, 101, 102]
    assert overlay.stat().st_mtime_ns == before
    assert (
        "1 files done" in (text := capsys.readouterr().out) and "2 files were done before" in text
    )


def test_a_run_that_was_stopped_goes_on(models, photos, monkeypatch):
    from human_edge_detection.inference import batch as predict_run

    real, calls = predict_run.PredictRun._segment, []

    def interrupted(self, *arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, *arguments)

    monkeypatch.setattr(predict_run.PredictRun, "_segment", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_predict(with_boxes(models, photos))
    assert len(predictions(photos)) == 2 and leftovers(photos) == []
    assert run_predict(with_boxes(models, photos)) == 0
    assert len(calls) == 4 and len(predictions(photos)) == 3


def test_other_settings_need_a_word(models, photos):
    run_predict(with_boxes(models, photos))
    with pytest.raises(InputError, match=r"--threshold: 0\.5, now 0\.7"):
        run_predict(with_boxes(models, photos, threshold=0.7))
    assert run_predict(with_boxes(models, photos, threshold=0.7, overwrite=True)) == 0


def test_bad_boxes_are_left_out_and_counted_each_time(models, photos, capsys):
    table = "file,x1,y1,x2,y2\np0.png,10,10,70,90\np0.png,50,10,20,90\np1.png,nan,1,2,3\n"
    (photos / "boxes.csv").write_text(table)
    settings = options(models, photos, boxes=photos / "boxes.csv")
    assert run_predict(settings) == 1
    text = capsys.readouterr().out
    assert "boxes.csv line 3" in text and "not finite" in text and "1 files left out" in text
    assert len(predictions(photos)) == 1
    assert run_predict(settings) == 1


def test_boxes_refer_to_the_upright_photo(models, photos):
    """A photo that lies on its side in the file, with boxes of the upright picture."""
    image, mask = draw_person((120, 100), (10, 20, 60, 110))
    exif = Image.Exif()
    exif[274] = 6
    path = photos / "photos" / "turned.png"
    Image.fromarray(np.ascontiguousarray(np.rot90(image))).save(path, exif=exif)
    (photos / "boxes.csv").write_text("file,x1,y1,x2,y2\nturned.png,10,20,60,110\n")
    settings = options(models, photos, boxes=photos / "boxes.csv", source=(str(path),))
    assert run_predict(settings) == 0
    (result,) = predictions(photos)
    found = rle.decode(result["segmentation"]).astype(bool)
    assert found.shape == (120, 100) and (found & mask).sum() / (found | mask).sum() > 0.9


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "P", "I;16", "gif"])
def test_files_of_every_mode(models, photos, mode):
    image = Image.fromarray(draw_person(SIZE_HW, (10, 10, 70, 90))[0])
    path = photos / "photos" / ("odd.gif" if mode == "gif" else "odd.tif")
    if mode == "gif":
        image.save(path, save_all=True, append_images=[image])
    elif mode == "I;16":
        Image.fromarray(np.zeros(SIZE_HW, np.uint16)).save(path)
    else:
        image.convert(mode).save(path)
    settings = options(models, photos, detector=models / "detector.onnx", source=(str(path),))
    assert run_predict(settings) == 0 and len(predictions(photos)) == 1


def test_one_pass_and_image_ids_from_numbers(models, photos):
    (photos / "photos" / "p0.png").rename(photos / "photos" / "000000000042.png")
    settings = options(models, photos, extractor=(), detector=models / "detector.onnx")
    assert run_predict(settings) == 0
    ids = {item["file_name"]: item["image_id"] for item in predictions(photos)}
    assert ids == {"000000000042.png": 42, "p1.png": 2, "p2.png": 3}
    assert "annotation_id" not in predictions(photos)[0]


def test_a_list_on_standard_input(models, photos, monkeypatch, capsys):
    lines = [f"{photos / 'photos' / 'p0.png'}\n", "gone.png\n"]
    monkeypatch.setattr("sys.stdin", iter(lines))
    settings = options(models, photos, source=("-",), detector=models / "detector.onnx")
    assert run_predict(settings) == 1
    assert len(predictions(photos)) == 1 and "gone.png" in capsys.readouterr().out


def test_boxes_that_know_no_photo_or_two_photos_at_once(models, photos):
    (photos / "boxes.csv").write_text("file,x1,y1,x2,y2\nother.png,1,2,3,4\n")
    with pytest.raises(InputError, match=r"names none of the 3 photos"):
        run_predict(options(models, photos, boxes=photos / "boxes.csv"))
    save_image(photos / "photos" / "deep" / "p0.png", np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(InputError, match=r"both match 'p0.png'"):
        run_predict(with_boxes(models, photos, recursive=True))


def test_a_full_disk_stops_the_run_and_loses_nothing(models, photos, monkeypatch):
    from human_edge_detection.core import files

    real, written = files.os.fsync, []

    def full_after_two(number: int) -> None:
        written.append(number)
        if len(written) == 4:  # after the log and the overlays of two photos
            raise OSError(errno.ENOSPC, "No space left on device")
        real(number)

    monkeypatch.setattr(files.os, "fsync", full_after_two)
    with pytest.raises(InputError, match="No space left"):
        run_predict(with_boxes(models, photos, workers=1))
    assert len(predictions(photos)) == 2 and leftovers(photos) == []
    assert run_predict(with_boxes(models, photos)) == 0 and len(predictions(photos)) == 3


def test_an_output_that_is_a_file(models, photos):
    (photos / "out").touch()
    with pytest.raises(InputError, match="output .*out is a file: name a folder"):
        run_predict(with_boxes(models, photos))


def write_video(path: Path, frames: int = 8) -> None:
    movie = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (128, 128))
    for number in range(frames):
        image, _ = draw_person((128, 128), (20 + 2 * number, 20, 90, 110))
        movie.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    movie.release()


def test_a_video_gives_an_overlay_video_and_one_line_a_frame(models, photos):
    video = photos / "film.mp4"
    write_video(video)
    settings = options(
        models, photos, source=(str(video),), detector=models / "detector.onnx", every=3,
        save="overlay,coco,labels",
    )  # fmt: skip
    assert run_predict(settings) == 0
    out = photos / "out"
    lines = [json.loads(line) for line in (out / "video" / "film.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == [0, 3, 6]
    assert lines[1]["seconds"] == pytest.approx(0.3)
    assert rle.decode(lines[0]["people"][0]["segmentation"]).sum() > 1000
    overlay = cv2.VideoCapture(str(out / "video" / "film.mp4"))
    assert overlay.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    assert (out / "labels" / "film" / "000006.png").is_file() and leftovers(out) == []
    assert predictions(photos) == []


def test_a_video_with_tracks_has_its_numbers_in_every_result(models, photos):
    pytest.importorskip("trackers")
    video = photos / "film.mp4"
    write_video(video, 4)
    settings = options(
        models, photos, source=(str(video),), detector=models / "detector.onnx", track=True,
        save="overlay,coco,labels,cutouts,polygons",
    )  # fmt: skip
    assert run_predict(settings) == 0
    out = photos / "out"
    lines = [json.loads(line) for line in (out / "video" / "film.jsonl").read_text().splitlines()]
    assert [[person["track_id"] for person in line["people"]] for line in lines] == [[1]] * 4
    labels = cv2.imread(str(out / "labels" / "film" / "000003.png"), cv2.IMREAD_UNCHANGED)
    assert np.unique(labels).tolist() == [0, 1]
    assert (out / "cutouts" / "film" / "000003" / "001.png").is_file()
    people = json.loads((out / "polygons" / "film" / "000003.json").read_text())["people"]
    assert people[0]["track_id"] == 1
    with pytest.raises(InputError, match="other settings"):
        run_predict(replace(settings, track=False))


def test_tracks_need_a_video_and_the_package(models, photos, monkeypatch):
    with pytest.raises(InputError, match="--track is for videos, and SOURCE names none"):
        run_predict(with_boxes(models, photos, track=True))
    write_video(photos / "film.mp4", 2)
    monkeypatch.setitem(sys.modules, "trackers", None)
    settings = options(
        models, photos, source=(str(photos / "film.mp4"),), detector=models / "detector.onnx",
        track=True,
    )  # fmt: skip
    with pytest.raises(InputError, match="needs the package trackers"):
        run_predict(settings)


def test_damaged_videos(models, photos, capsys):
    whole, cut = photos / "whole.avi", photos / "cut.avi"
    movie = cv2.VideoWriter(str(whole), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 64))
    rng = np.random.default_rng(0)
    for _ in range(20):
        movie.write(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))
    movie.release()
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (photos / "no.mp4").write_bytes(b"not a video")
    settings = options(
        models, photos, source=tuple(str(photos / name) for name in ("no.mp4", "cut.avi")),
        detector=models / "detector.onnx",
    )  # fmt: skip
    assert run_predict(settings) == 1
    text = capsys.readouterr().out
    assert "no.mp4 is not a video" in text and "cut.avi is damaged or cut off" in text
    assert (photos / "out" / "video" / "cut.jsonl").read_text().count("\n") > 3


def test_a_head_without_boxes_is_one_error_before_the_first_photo(models, photos, capsys):
    alone = options(models, photos)
    with pytest.raises(InputError, match=r"head\.onnx finds no people by itself: give their boxes"):
        run_predict(alone)
    assert "skipped" not in capsys.readouterr().err
    assert {path.name for path in (photos / "out").rglob("*")} == {".predict.jsonl"}
    assert run_predict(with_boxes(models, photos)) == 0  # the same output, now with boxes


def test_boxes_are_not_for_videos(models, photos):
    write_video(photos / "film.mp4", 2)
    with pytest.raises(InputError, match="a video needs a --detector"):
        run_predict(with_boxes(models, photos, source=(str(photos / "film.mp4"),)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": ()}, "needs a SOURCE"),
        ({"save": "overlay,video"}, "--save 'video'"),
        ({"threshold": 1.5}, "--threshold must be between 0 and 1"),
        ({"every": 0}, "--every must be at least 1"),
        ({"boxes": Path("a"), "detector": Path("b")}, "give one"),
    ],
)
def test_contradictions_are_refused_by_flag(changes, message):
    with pytest.raises(InputError, match=message):
        PredictOptions(**{"source": ("a.jpg",), **changes})
