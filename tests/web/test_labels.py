"""The page's pipeline, onnxruntime-web in Node, against ``MaskPredictor``: whose each pixel is.

``HED_WEB_CROWDS=20 HED_WEB_PHOTOS=30 pytest tests/web/test_labels.py -s`` compares more pictures
and prints the tables of docs/web.md. Times are a processor's, so that other work does not count.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from human_edge_detection import MaskPredictor
from human_edge_detection.core.images import read_image
from human_edge_detection.data.sample.scene import draw_crowd
from human_edge_detection.runtime.model_files import EXTRACTOR_NAME, WEIGHTS_DIR

HERE = Path(__file__).parent
WEB = HERE.parents[1] / "web"
CROWDS = int(os.environ.get("HED_WEB_CROWDS", "5"))
PHOTOS = int(os.environ.get("HED_WEB_PHOTOS", "5"))
SIZES_HW = ((480, 640), (427, 640), (640, 480), (512, 512), (360, 640), (720, 1080), (300, 400))
LEAST_EQUAL = {"float": 0.999, "int8": 0.98}
MEAN_EQUAL = {"float": 0.9999, "int8": 0.995}
"""An 8-bit head answers maps that differ by a millionth with masks that differ as much as these."""
BOX = (200.0, 100.0, 320.0, 400.0)

Photo = tuple[str, np.ndarray]

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(shutil.which("node") is None, reason="needs Node, which is not installed"),
    pytest.mark.skipif(
        not (WEB / "node_modules" / "esbuild").is_dir(),
        reason="needs the page's packages: npm ci in web/",
    ),
]


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's files and facts, as the page reads them."""
    folder = tmp_path_factory.mktemp("model")
    subprocess.run([sys.executable, WEB / "write_files.py", folder], check=True)
    return folder


def run_page(
    photos: list[Photo], model_folder: Path, head: str, folder: Path, **more: Any
) -> list[dict[str, Any]]:
    """What the page's pipeline finds in some photos."""
    questions = []
    for number, (_, image) in enumerate(photos):
        file = folder / f"{number}.rgb"
        file.write_bytes(image.tobytes())
        height, width = image.shape[:2]
        questions.append({"file": str(file), "width": width, "height": height, **more})
    (folder / "photos.json").write_text(json.dumps(questions))
    command = ["node", HERE / "segment.mjs", folder / "photos.json", model_folder, head, folder]
    subprocess.run(command, check=True, timeout=1800)
    return json.loads((folder / "answers.json").read_text())


def open_predictor(model_folder: Path, head: str) -> MaskPredictor:
    """Python's pipeline on one thread, with one of the heads."""
    facts = json.loads((model_folder / "model.json").read_text())
    if head not in facts["heads"]:
        pytest.skip(f"the model that ships has no {head} head")
    name = Path(facts["heads"][head]["file"]).name
    extractor = WEIGHTS_DIR / EXTRACTOR_NAME
    return MaskPredictor(WEIGHTS_DIR / name, extractor=extractor, threads=1, device="cpu")


def compare(photos: list[Photo], model_folder: Path, head: str, folder: Path) -> None:
    """Print and check how many of the people's pixels have the same owner on both sides."""
    with open_predictor(model_folder, head) as predictor:
        people = [predictor.segment(image) for _, image in photos]
    rows = []
    for (name, _), masks, answer in zip(
        photos, people, run_page(photos, model_folder, head, folder), strict=True
    ):
        labels, count = masks.label_map(), len(masks)
        found = np.fromfile(answer["labels"], np.uint16).reshape(labels.shape)
        somebody = (found > 0) | (labels > 0)
        equal = float((found == labels)[somebody].mean()) if somebody.any() else 1.0
        rows.append((equal, name, len(answer["people"])))
        assert len(answer["people"]) == count, name
    for equal, name, count in rows:
        print(f"{head:5s} {name:24s} {count:3d} people  {equal:.3%} of their pixels equal")
    shares = np.array([equal for equal, _, _ in rows])
    print(f"{head}: {len(rows)} photos, least {shares.min():.3%}, mean {shares.mean():.3%}")
    assert shares.min() >= LEAST_EQUAL[head] and shares.mean() >= MEAN_EQUAL[head]


@pytest.mark.parametrize("head", ["float", "int8"])
def test_drawn_crowds(head: str, model_folder: Path, tmp_path: Path) -> None:
    crowds = [
        (f"crowd {number}", draw_crowd(100 + number, SIZES_HW[number % 7], 2 + number % 11)[0])
        for number in range(CROWDS)
    ]
    compare(crowds, model_folder, head, tmp_path)


@pytest.mark.parametrize("head", ["float", "int8"])
def test_photos(head: str, model_folder: Path, tmp_path: Path, shared_dir: Path) -> None:
    people = shared_dir / "data" / "people"
    images = json.loads((people / "coco_val.json").read_bytes())["images"]
    names = [image["file_name"] for image in images[:: max(1, len(images) // PHOTOS)]][:PHOTOS]
    photos = [(name, read_image(people / "images" / name)) for name in names]
    compare(photos, model_folder, head, tmp_path)


def test_another_model(person_folder: Path, tmp_path: Path) -> None:
    """Other input size, other trunks, no 8-bit head: the page is told, nothing is built in."""
    subprocess.run([sys.executable, WEB / "write_files.py", tmp_path, person_folder], check=True)
    facts = json.loads((tmp_path / "model.json").read_text())
    assert (facts["input_size"], facts["default_head"]) == ({"width": 64, "height": 96}, "float")
    crowd, box = draw_crowd(7, (300, 400), 4)[0], [120.5, 60.25, 260.0, 290.0]
    files = [person_folder / name for name in ("person_head.onnx", EXTRACTOR_NAME)]
    with MaskPredictor(files[0], extractor=files[1], device="cpu") as predictor:
        predictor.set_image(crowd)
        masks = predictor.predict([box])
    # Random weights find anything: ask for one's own box alone, and for half of its bins.
    threshold = float(np.median(masks.probs[0, 1]))
    (tmp_path / "model.json").write_text(json.dumps(facts | {"score": 2, "threshold": threshold}))
    (answer,) = run_page([("crowd", crowd)], tmp_path, "float", tmp_path, box=box)
    wanted = masks.label_map(threshold)
    found = np.fromfile(answer["labels"] + ".box", np.uint16).reshape(wanted.shape)
    assert answer["people"] == [] and 0.05 < (wanted > 0).mean() < 0.5
    assert (found != wanted).sum() <= 0.01 * (wanted > 0).sum()  # its bins differ by 1e-5


@pytest.mark.skipif("HED_WEB_ROUNDS" not in os.environ, reason="a measurement: HED_WEB_ROUNDS=9")
@pytest.mark.parametrize("head", ["float", "int8"])
def test_speed(head: str, model_folder: Path, tmp_path: Path) -> None:
    rounds = int(os.environ["HED_WEB_ROUNDS"])
    crowds = [(f"{n} drawn", draw_crowd(104, (480, 640), n)[0]) for n in (2, 6, 14)]
    answers = run_page(crowds, model_folder, head, tmp_path, rounds=rounds, box=BOX)
    cv2.setNumThreads(1)
    with open_predictor(model_folder, head) as predictor:
        for (name, image), answer in zip(crowds, answers, strict=True):
            page = [time["extractor"] + time["head"] for time in answer["times"]]
            native = [processor_time(lambda: predictor.segment(image).label_map())  # noqa: B023
                      for _ in range(rounds)]  # fmt: skip
            ratio = np.median(page) / np.median(native)
            box = np.median([time["box"] for time in answer["times"]])
            print(
                f"{head:5s} {name:9s} {len(answer['people']):2d} found: page {np.median(page):.0f} "
                f"ms, native {np.median(native):.0f} ms, ratio {ratio:.2f}; own box {box:.0f} ms"
            )


def processor_time(action: Callable[[], object]) -> float:
    """Milliseconds of a processor that an action takes."""
    start = time.process_time()
    action()
    return (time.process_time() - start) * 1000
