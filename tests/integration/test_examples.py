"""The scripts of examples/ run as their page tells, on drawn photos, with the model that ships."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from human_edge_detection.core.images import read_image, save_image
from human_edge_detection.data.annotations import Photo
from human_edge_detection.data.coco_reader import load_photos
from human_edge_detection.data.sample import draw_crowd
from human_edge_detection.runtime.model_files import shipped_weights

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
SIZE_HW = (240, 320)


def run_example(name: str, folder: Path, *arguments: str) -> str:
    """What an example prints, run in a folder."""
    paths = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments], cwd=folder, text=True,
        capture_output=True, check=False, env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three drawn photos, one of them with a YOLO label file beside it."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "photos").mkdir()
    for number in range(3):
        image, _, boxes = draw_crowd([1, number], SIZE_HW, 3)
        save_image(folder / "photos" / f"{number}.png", image)
    x1, y1, x2, y2 = (boxes / [*SIZE_HW[::-1], *SIZE_HW[::-1]]).T
    rows = np.stack([0 * x1, (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], axis=1)
    np.savetxt(folder / "labels.txt", np.vstack([rows, [5, 0.5, 0.5, 0.1, 0.1]]))
    return folder


def test_boxes_from_yolo(photos: Path) -> None:
    text = run_example("boxes_from_yolo.py", photos, "photos/2.png", "labels.txt", "cutouts")
    assert text == "3 people in cutouts\n"
    for path in (photos / "cutouts").iterdir():
        assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).shape[2] == 4


def test_video(photos: Path) -> None:
    film = cv2.VideoWriter(
        str(photos / "film.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, SIZE_HW[::-1]
    )
    frame = cv2.imread(str(photos / "photos" / "0.png"))
    for _ in range(3):
        film.write(frame)
    film.release()
    assert run_example("video.py", photos, "film.mp4", "tinted.mp4") == "3 frames in tinted.mp4\n"
    tinted = cv2.VideoCapture(str(photos / "tinted.mp4"))
    is_there, found = tinted.read()
    assert is_there and found.shape == frame.shape


def test_blur_people(photos: Path) -> None:
    text = run_example("blur_people.py", photos, "photos/0.png", "blurred.png")
    before, after = read_image(photos / "photos" / "0.png"), read_image(photos / "blurred.png")
    changed = (before != after).any(axis=-1)
    people = int(re.match(r"(\d+) people hidden", text)[1])
    assert before.shape == after.shape
    assert bool(people) == bool(changed.any()) and not changed.all()


def test_prelabelled_photos_can_be_trained_on(photos: Path) -> None:
    text = run_example("prelabel.py", photos, "photos", "labels.json")
    content = json.loads((photos / "labels.json").read_text())
    assert [image["file_name"] for image in content["images"]] == ["0.png", "1.png", "2.png"]
    assert text.startswith(f"{len(content['annotations'])} people in 3 photos")
    loaded: list[Photo] = []
    if content["annotations"]:
        found, faults = load_photos(photos / "labels.json", photos / "photos")
        loaded = list(found)
        assert not faults
    assert sum(len(photo.people) for photo in loaded) == len(content["annotations"])


@pytest.mark.slow
@pytest.mark.usefixtures("no_handover")
def test_train_on_own_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="needs the extra train")
    from human_edge_detection.modeling.weights import read_trained

    images, people = [], []
    (tmp_path / "photos").mkdir()
    for number in range(5):
        image, _, boxes = draw_crowd([2, number], SIZE_HW, 2)
        save_image(tmp_path / "photos" / f"{number}.png", image)
        size = {"height": SIZE_HW[0], "width": SIZE_HW[1]}
        images.append({"id": number + 1, "file_name": f"{number}.png", **size})
        for x1, y1, x2, y2 in boxes.tolist():
            people.append({
                "id": len(people) + 1, "image_id": number + 1, "category_id": 1, "iscrowd": 0,
                "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1),
                "segmentation": [[x1, y1, x2, y1, x2, y2, x1, y2]],
            })  # fmt: skip
    content = {"images": images, "annotations": people}
    content["categories"] = [{"id": 1, "name": "person"}]
    (tmp_path / "a.json").write_text(json.dumps(content))
    small = (
        "--epochs 1 --image_size 64 64 --train_image_size 64 64 --num_workers 0 --device cpu "
        "--min_roi_size 4"
    )
    monkeypatch.chdir(tmp_path)
    script = runpy.run_path(str(EXAMPLES / "train_on_own_photos.py"))
    height, width = read_trained(shipped_weights()).spec.image_size
    assert f"--image_size {height} {width}" in script["FLAGS"]  # as the shipped model reads photos
    assert script["main"]("photos", "a.json", "mine", *small.split()) == 0
    assert Path("mine/best_model.pth").is_file()
    assert len(json.loads(Path("mine/val.json").read_text())["images"]) == 1


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: str(path.stem))
def test_a_script_without_arguments_tells_its_use(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [str(path)])
    with pytest.raises(SystemExit, match=r": [A-Z]+ [A-Z]+"):
        runpy.run_path(str(path), run_name="__main__")


def test_the_page_names_every_script() -> None:
    text = (EXAMPLES / "README.md").read_text("utf-8")
    scripts = {path.name for path in EXAMPLES.glob("*.py")}
    assert set(re.findall(r"\]\((\w+\.py)\)", text)) == scripts
    assert set(re.findall(r"python examples/(\w+\.py)", text)) == scripts
    assert len(scripts) == 5
