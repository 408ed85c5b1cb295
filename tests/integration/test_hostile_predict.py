"""What strangers send to ``predict``: each file is named and skipped, the others are done."""

from __future__ import annotations

import io
import json
import os
import random
import tarfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from analytic_model import draw_person, write_constant_detector, write_extractor, write_head
from human_edge_detection.cli import main
from human_edge_detection.inference import resume_log, writers

BOX = [10, 10, 40, 50]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    write_head(folder / "head.onnx")
    write_extractor(folder / "extractor.onnx")
    person = np.zeros((1, 7, 6), np.float32)
    person[0, 0] = [*BOX, 0.9, 0]
    write_constant_detector(folder / "detector.onnx", {"output0": person})
    return folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, inside another in which nothing may appear."""
    folder = tmp_path / "outside" / "work"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


def photo(color: int = 0) -> bytes:
    buffer = io.BytesIO()
    image, _ = draw_person((64, 48), BOX)
    Image.fromarray(np.maximum(image, np.uint8(color))).save(buffer, "PNG")
    return buffer.getvalue()


def arguments(models: Path, *more: object) -> list[str]:
    return [
        "predict", *map(str, more), "--model", str(models / "head.onnx"), "--device", "cpu",
        "--extractor", str(models / "extractor.onnx"), "--output", "o/out", "--threads", "1",
    ]  # fmt: skip


def found(models: Path, *more: object) -> int:
    return main([*arguments(models, *more), "--detector", str(models / "detector.onnx")])


def done() -> list[str]:
    """The photos in predictions.json."""
    return [item["file_name"] for item in json.loads(Path("o/out/predictions.json").read_text())]


def outside(place: Path) -> list[Path]:
    """What lies beside the output, or above the folder, but for the inputs."""
    return [*(path for path in place.parent.iterdir() if path != place), *Path("o").glob("[!o]*")]


NAMES = ["../../up.png", "/abs.png", "a/../../../b.png", "C:/drive.png", "x\ny.png", "./././c.png"]


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_names_in_archives_stay_in_the_output(models, place, kind):
    if kind == "zip":
        with zipfile.ZipFile("t.zip", "w") as archive:
            for name in NAMES:
                archive.writestr(name, photo())
    else:
        with tarfile.open("t.tar", "w") as packed:
            for name in NAMES:
                info = tarfile.TarInfo(name)
                info.size = len(photo())
                packed.addfile(info, io.BytesIO(photo()))
    assert found(models, f"t.{kind}", "--save", ",".join(writers.FORMATS)) == 0
    overlays = sorted(path.name for path in Path("o/out/overlay").rglob("*.jpg"))
    assert overlays == ["abs.jpg", "b.jpg", "c.jpg", "drive.jpg", "up.jpg", "x_y.jpg"]
    assert outside(place) == []


def test_a_pattern_that_climbs_stays_in_the_output(models, place):
    Path("in/c1/d").mkdir(parents=True)
    Path("in/x.png").write_bytes(photo())
    assert found(models, "in/c*/d/../../x.png") == 0
    assert Path("o/out/overlay/x.jpg").is_file() and outside(place) == []


def test_links_in_the_output_are_not_followed(models, place):
    Path("p.png").write_bytes(photo())
    Path("victim").mkdir()
    Path("o/out").mkdir(parents=True)
    Path("o/out/overlay").symlink_to(place / "victim")
    assert found(models, "p.png") == 1 and not list(Path("victim").iterdir())
    Path("o/out/overlay").unlink()
    Path("text").write_text("mine")
    Path("o/out/predictions.json").unlink()
    Path("o/out/predictions.json").symlink_to(place / "text")
    assert found(models, "p.png") == 0 and Path("text").read_text() == "mine"


def damage(kind: int, path: Path) -> None:
    """Write a photo that is damaged in one of twenty ways."""
    rng, data = random.Random(kind), photo()
    jpeg = io.BytesIO()
    Image.open(io.BytesIO(data)).save(jpeg, "JPEG")
    tiff = io.BytesIO()
    Image.open(io.BytesIO(data)).save(tiff, "TIFF")
    header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
    contents = [
        b"", b"\0" * 100, data[:20], data[:-30], jpeg.getvalue()[:30], jpeg.getvalue()[:200],
        tiff.getvalue()[:50], b"II*\0" + bytes(rng.randbytes(60)), b"GIF89a", b"BM" + data,
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", b"DDS " + data, data[8:],
        header + (70000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0" + data[29:],
        b"RIFF\xff\xff\xff\xffWEBPVP8 " + data, rng.randbytes(500), b"<html>sign in</html>",
        data[:60] + rng.randbytes(40) + data[100:], b"P6 9999999999 9 255\n", b"8BPS" + data,
    ]  # fmt: skip
    path.write_bytes(contents[kind])


def damaged_photos(folder: Path, count: int, each: int) -> tuple[list[str], list[str]]:
    """Names of whole and of damaged photos, one of ``each`` being damaged."""
    folder.mkdir()
    bad = []
    for number in range(count):
        path = folder / f"p{number:04}.png"
        if number % each == each - 1:
            damage(number // each % 20, path)
            bad.append(path.name)
        else:
            path.write_bytes(photo())
    return sorted({path.name for path in folder.iterdir()} - set(bad)), bad


@pytest.mark.parametrize(
    "count", [40, pytest.param(1000, marks=pytest.mark.slow)], ids=["few", "thousand"]
)
def test_damaged_photos_are_named_and_the_others_are_done(models, place, capsys, count):
    each = 2 if count == 40 else 10
    good, bad = damaged_photos(Path("in"), count, each)
    rows = [f"{name},{','.join(map(str, BOX))}\n" for name in sorted(good + bad)]
    Path("boxes.csv").write_text("file,x1,y1,x2,y2\n" + "".join(rows))
    for _ in range(2):  # a repeat tries the damaged ones again
        assert main(arguments(models, "in", "--boxes", "boxes.csv", "--save", "coco")) == 1
        assert done() == good
        output = capsys.readouterr()
        lines = [line for line in output.err.splitlines() if line.startswith("skipped: ")]
        assert sorted(Path(line.split()[1].rstrip(":")).name for line in lines) == bad
        assert f"{len(bad)} skipped:" in output.out
        assert "Traceback" not in output.err and max(map(len, lines)) < 700


def test_any_exception_in_one_file_is_that_files_alone(models, place, monkeypatch, capsys):
    damaged_photos(Path("in"), 6, 100)
    real, calls = writers.write_picture, []

    def failing(output, picture):
        calls.append(picture.name)
        if picture.name == "p0002":
            raise MemoryError
        if picture.name == "p0003":
            raise KeyError("a defect")
        return real(output, picture)

    monkeypatch.setattr("human_edge_detection.inference.batch.write_picture", failing)
    assert found(models, "in") == 1 and len(done()) == 4
    text = capsys.readouterr().out
    assert "p0002.png: does not fit into memory" in text and "p0003.png: cannot be" in text


def test_photos_of_a_list_that_vanish_or_cannot_be(models, place, monkeypatch, capsys):
    damaged_photos(Path("in"), 3, 100)
    os.mkfifo("pipe.png")
    Path("loop.png").symlink_to("loop.png")
    lines = ["in/p0000.png", "in/p0002.png", "pipe.png", "loop.png", "x" * 300, "a\0b.png", "/"]
    monkeypatch.setattr("sys.stdin", iter(f"{line}\n" for line in lines[:2]))
    assert found(models, "-") == 0
    Path("in/p0000.png").unlink()
    monkeypatch.setattr("sys.stdin", iter(f"{line}\n" for line in lines[:6]))
    assert found(models, "-") == 1
    text = capsys.readouterr().out
    assert "p0000.png: no such image file" in text and "pipe.png is no regular file" in text
    assert "5 skipped" in text and "1 files were done before" in text


def test_sound_sources_beside_damaged_ones(models, place, capsys):
    Path("p.png").write_bytes(photo())
    Path("bad.zip").write_bytes(b"PK\x03\x04 cut")
    os.mkfifo("pipe.zip")
    long = "l" * 245 + ".png"
    Path(long).write_bytes(photo())
    assert found(models, "bad.zip", "pipe.zip", "p.png", long, "--save", "overlay,cutouts") == 1
    assert "2 skipped" in capsys.readouterr().out
    assert Path("o/out/overlay/p.jpg").is_file()
    assert Path("o/out/overlay", "l" * 245 + ".jpg").is_file()
    assert found(models, "bad.zip") == 2 and found(models, "pipe.zip") == 2


@pytest.mark.parametrize(
    "wrong",
    [
        ["SOURCE"], ["p.png", "--model", "pipe"], ["p.png", "--model", "/dev/zero"],
        ["p.png", "--model", "x" * 300], ["p.png", "--boxes", "pipe"], ["x" * 300], ["a\0b"],
        ["loop"], ["p.png", "--boxes", "loop"], ["p.png", "--output", "loop"],
        ["p.png", "--boxes", "x" * 300], ["p.png", "--boxes", "a\0b"],
        ["p.png", "--output", "a\0b"],
    ],
    ids=lambda wrong: " ".join(wrong).replace("\0", "0")[:30],
)  # fmt: skip
def test_paths_that_cannot_be_used_end_in_one_line(models, place, capsys, wrong):
    Path("p.png").write_bytes(photo())
    os.mkfifo("pipe")
    Path("loop").symlink_to("loop")
    assert main([*arguments(models), *wrong[1:], "--", wrong[0]]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]


HUGE = "9" * 5000
BOX_FILES = {
    "deep.json": "[" * 100_000, "digits.json": '[{"image_id": ' + HUGE + "}]",
    "infinite.json": '{"images": [{"id": Infinity, "file_name": "p.png"}], "annotations": []}',
    "cell.csv": "file,x1,y1,x2,y2\n" + "x" * 131_073 + ",1,2,3,4\n", "binary.json": "\udcff",
    "nested.json": '{"images": [[[]]], "annotations": 5}', "null.json": "null", "none.csv": "\0",
}  # fmt: skip


@pytest.mark.parametrize("name", BOX_FILES)
def test_box_files_that_hold_nonsense_end_in_one_line(models, place, capsys, name):
    Path("p.png").write_bytes(photo())
    Path(name).write_text(BOX_FILES[name], errors="surrogateescape")
    assert main(arguments(models, "p.png", "--boxes", name)) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: boxes") and name in last and len(last) < 700


def test_numbers_beyond_floats_lose_their_box_alone(models, place, capsys):
    Path("p.png").write_bytes(photo())
    boxes = [[*BOX[:2], 30, 40], [0, 0, 10**400, 5], [0, 0, 1e39, 5], [-3e38, 0, 6e38, 5]]
    items = [
        {"id": 2**70 + i, "image_id": 1, "category_id": 1, "bbox": box}
        for i, box in enumerate(boxes)
    ]
    items.append({**items[0], "score": 1e39})
    coco = {"images": [{"id": 1, "file_name": "p.png"}], "annotations": items}
    Path("b.json").write_text(json.dumps(coco))
    assert main(arguments(models, "p.png", "--boxes", "b.json")) == 1
    assert "4 boxes left out" in capsys.readouterr().out and done() == ["p.png"]


def test_yolo_files_are_looked_for_in_their_folder_alone(models, place):
    Path("images").mkdir()
    Path("images/a.png").write_bytes(photo())
    Path("images/a.txt").write_text("a caption of the photo")
    Path("labels").mkdir()
    Path("labels/a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    for source in (place / "images" / "a.png", Path("labels/../images/a.png")):
        assert main(arguments(models, source, "--boxes", "labels", "--overwrite")) == 0
        assert done() == ["a.png"]


def test_limits_of_pixels_and_people(models, place, capsys):
    for name in ("a.png", "b.png"):
        Path(name).write_bytes(photo())
    table = "file,x1,y1,x2,y2\n" + "a.png,1,2,30,40\n" * 5 + "b.png,1,2,30,40\n"
    Path("b.csv").write_text(table)
    few = arguments(models, "a.png", "b.png", "--boxes", "b.csv", "--max_people", 4)
    assert main(few) == 1 and done() == ["b.png"]
    assert "a.png has 5 boxes, more than max_people 4" in capsys.readouterr().out
    assert found(models, "a.png", "--max_pixels", 3000, "--overwrite") == 1 and done() == []
    assert "64 pixels, more than max_pixels 3000" in capsys.readouterr().out


def write_film(path: str, frames: int) -> None:
    film = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 64))
    rng = np.random.default_rng(0)
    for _ in range(frames):
        film.write(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))
    film.release()


def test_a_video_that_was_not_written_whole_does_not_count(models, place, monkeypatch, capsys):
    write_film("film.avi", 6)
    Path("p.png").write_bytes(photo())
    real = cv2.VideoWriter

    class FullDisk:
        fourcc = real.fourcc

        def __init__(self, path, *more):
            self.path, self.film = path, real(path, *more)
            self.isOpened, self.write = self.film.isOpened, self.film.write

        def release(self):
            self.film.release()
            os.truncate(self.path, os.path.getsize(self.path) // 2)

    with monkeypatch.context() as patch:
        patch.setattr(cv2, "VideoWriter", FullDisk)
        assert found(models, "film.avi", "p.png", "--save", "overlay") == 1
    assert "film.mp4 cannot be written whole" in capsys.readouterr().out
    assert not Path("o/out/video/film.mp4").exists() and Path("o/out/overlay/p.jpg").exists()
    assert found(models, "film.avi", "p.png", "--save", "overlay") == 0
    assert "1 files done" in capsys.readouterr().out


def test_a_cut_video_is_tried_again_and_the_next_is_done(models, place, capsys):
    write_film("whole.avi", 12)
    data = Path("whole.avi").read_bytes()
    Path("cut.avi").write_bytes(data[: len(data) // 2])
    for _ in range(2):
        assert found(models, "cut.avi", "whole.avi") == 1
        assert "1 skipped" in (text := capsys.readouterr().out) and "left out" not in text
    assert Path("o/out/video/whole.mp4").is_file() and Path("o/out/video/cut.mp4").is_file()


LOGS = [
    b"\xff\xfe\x00", b"[]\n", b"null\n", b'{"a": 1}\nnull\n', b'{"path": "x"}\n5\n"t"\n',
    b"[" * 100_000, b'{}\n{"path": "x", "name": "y"}\n', b'{}\n{"path": 1, "name": [], "stamp": 2}',
    b"\0" * 50,
]  # fmt: skip


@pytest.mark.parametrize("content", LOGS, ids=lambda content: repr(content[:20]))
def test_damaged_logs_do_not_count(models, place, content):
    Path("p.png").write_bytes(photo())
    assert found(models, "p.png") == 0
    log = Path("o/out", resume_log.LOG_NAME)
    settings = log.read_bytes().splitlines()[0]
    log.write_bytes(content)
    assert found(models, "p.png") in (0, 2)  # 2: settings that differ are refused
    log.write_bytes(settings + b"\n" + content + b"\n")
    assert found(models, "p.png") == 0 and done() == ["p.png"]


def test_one_run_for_an_output(models, place, capsys):
    Path("p.png").write_bytes(photo())
    with resume_log.reserved(Path("o/out")):
        assert found(models, "p.png") == 2
        assert "in use by another run" in capsys.readouterr().err
    Path("o/out", resume_log.LOCK_NAME).touch()  # as a killed run leaves it
    partial = Path("o/out/overlay/.0123456789abcdef.part.jpg")
    partial.parent.mkdir(parents=True)
    partial.touch()
    assert found(models, "p.png") == 0
    assert not partial.exists() and not Path("o/out", resume_log.LOCK_NAME).exists()


def lying_detector(path: Path, kind: int, shape: list[object], body: str = "Identity") -> None:
    """A detector that takes images of another type or size, or whose one operation fails."""
    image = helper.make_tensor_value_info("images", kind, shape)
    out = helper.make_tensor_value_info("out", kind, None)
    size = helper.make_tensor("size", TensorProto.INT64, [2], [7, -1])
    inputs = ["images", "size"] if body == "Reshape" else ["images"]
    node = helper.make_node(body, inputs, ["out"])
    graph = helper.make_graph([node], "d", [image], [out], [size])
    opsets = [helper.make_opsetid("", 16)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)


@pytest.mark.parametrize(
    "facts",
    [
        {"mask_size": "58"}, {"mask_size": "57"}, {"mask_size": "1000000"}, {"mask_size": "0"},
        {"image_size": "[1e999, 128]"}, {"roi_padding": "NaN"}, {"roi_padding": "-1"},
        {"strides": "[4, 8]"}, {"small_side": "NaN"}, {"small_side": "9"}, {"layers": '["a", "b"]'},
        {"format": "human_edge_detection.end_to_end", "image_size": "[16384, 16384]"},
        {"image_size": "[" * 9999},
    ],
    ids=str,
)  # fmt: skip
def test_heads_whose_metadata_lies_are_named(models, place, capsys, facts):
    Path("p.png").write_bytes(photo())
    write_head(Path("lie.onnx"), **facts)
    words = ["predict", "p.png", "--model", "lie.onnx", "--device", "cpu", "--output", "o/out"]
    ends = "end_to_end" in str(facts)
    words += ["--detector", str(models / "detector.onnx")]
    words += [] if ends else ["--extractor", str(models / "extractor.onnx")]
    assert main(words) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ") and "onnx" in last and len(last) < 700


@pytest.mark.parametrize(
    ("kind", "shape", "body"),
    [
        (TensorProto.INT64, [1, 3, 64, 64], "Identity"),
        (TensorProto.STRING, [1, 3, 64, 64], "Identity"),
        (TensorProto.FLOAT, [1, 3, 64, 64], "Reshape"),
        (TensorProto.FLOAT, [1, 3, 200_000, 200_000], "Identity"),
        (TensorProto.FLOAT, [1, 3, 0, 64], "Identity"), (TensorProto.FLOAT, [3, 64], "Identity"),
        (TensorProto.FLOAT, [10**9, 3, 64, 64], "Identity"),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("flag", ["--detector", "--extractor"])
def test_networks_that_lie_about_their_images_are_named(
    models, place, capfd, kind, shape, body, flag
):
    Path("p.png").write_bytes(photo())
    lying_detector(Path("lie.onnx"), kind, shape, body)
    assert main([*arguments(models, "p.png"), flag, "lie.onnx"]) == 2
    output = capfd.readouterr()
    last = output.err.splitlines()[-1]
    assert last.startswith("error: ") and "lie.onnx" in last and len(last) < 700
    assert "EP Error" not in output.out
