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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from human_edge_detection import MaskPredictor
from human_edge_detection.core.images import read_image
from human_edge_detection.data.sample.scene import draw_crowd
from human_edge_detection.runtime import DEFAULT_SCORE
from human_edge_detection.runtime.model_files import (
    EXTRACTOR_NAME,
    HEAD_NAME,
    INT8_HEAD_NAME,
    WEIGHTS_DIR,
)

HERE = Path(__file__).parent
WEB = HERE.parents[1] / "web"
CROWDS = int(os.environ.get("HED_WEB_CROWDS", "5"))
PHOTOS = int(os.environ.get("HED_WEB_PHOTOS", "5"))
SIZES_HW = ((480, 640), (427, 640), (640, 480), (512, 512), (360, 640), (720, 1080), (300, 400))
LEAST_EQUAL = {"float": 0.999, "int8": 0.99}
MEAN_EQUAL = {"float": 0.9999, "int8": 0.995}
"""An 8-bit head answers maps that differ by a millionth with masks that differ as much as these."""
NEAR = {"float": 1e-4, "int8": 5e-3}
"""Scores this near to the limit may lie on the other side of it on the page."""
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
    photos: list[Photo],
    model_folder: Path,
    head: str,
    folder: Path,
    limits: Sequence[float] | None = None,
    **more: Any,
) -> list[dict[str, Any]]:
    """What the page's pipeline finds in some photos, each with the lowest score of its own."""
    questions = []
    for number, (_, image) in enumerate(photos):
        file = folder / f"{number}.rgb"
        file.write_bytes(image.tobytes())
        height, width = image.shape[:2]
        own = {} if limits is None else {"score": limits[number]}
        questions.append({"file": str(file), "width": width, "height": height, **own, **more})
    (folder / "photos.json").write_text(json.dumps(questions))
    command = ["node", HERE / "segment.mjs", folder / "photos.json", model_folder, head, folder]
    subprocess.run(command, check=True, timeout=1800)
    return json.loads((folder / "answers.json").read_text())


def open_predictor(model_folder: Path, head: str) -> MaskPredictor:
    """Python's pipeline on one thread, with one of the heads."""
    facts = json.loads((model_folder / "model.json").read_text())
    if head not in facts["heads"]:
        pytest.skip(f"the model that ships has no {head} head")
    path = WEIGHTS_DIR / {"float": HEAD_NAME, "int8": INT8_HEAD_NAME}[head]
    return MaskPredictor(path, extractor=WEIGHTS_DIR / EXTRACTOR_NAME, threads=1, device="cpu")


def clear_limit(predictor: MaskPredictor, image: np.ndarray, near: float) -> float:
    """The default lowest score, or the next one that nobody's score is near to."""
    scores = predictor.segment(image, DEFAULT_SCORE / 2).scores
    limits = np.arange(DEFAULT_SCORE, 1, 0.02)
    return float(next(limit for limit in limits if (abs(scores - limit) > near).all()))


def compare(photos: list[Photo], model_folder: Path, head: str, folder: Path) -> None:
    """Print and check how many of the people's pixels have the same owner on both sides."""
    with open_predictor(model_folder, head) as predictor:
        limits = [clear_limit(predictor, image, NEAR[head]) for _, image in photos]
        people = [
            predictor.segment(image, limit)
            for (_, image), limit in zip(photos, limits, strict=True)
        ]
    rows = []
    for (name, _), masks, answer in zip(
        photos, people, run_page(photos, model_folder, head, folder, limits), strict=True
    ):
        labels, count = masks.label_map(), len(masks)
        found = np.fromfile(answer["labels"], np.uint16).reshape(labels.shape)
        somebody = (found > 0) | (labels > 0)
        equal = float((found == labels)[somebody].mean()) if somebody.any() else 1.0
        rows.append(equal)
        found_count = len(answer["people"])
        print(f"{head:5s} {name:24s} {found_count:3d} people  {equal:.3%} of their pixels equal")
        assert found_count == count, name
    shares = np.array(rows)
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
    # With the first crowd, V8 compiles the runtime anew for speed: that is not counted.
    crowds = [(f"{n} drawn", draw_crowd(104, (480, 640), n)[0]) for n in (4, 2, 6, 14)]
    answers = run_page(crowds, model_folder, head, tmp_path, rounds=rounds, box=BOX)
    cv2.setNumThreads(1)
    with open_predictor(model_folder, head) as predictor:
        predictor.segment(crowds[0][1]).label_map()
        for (name, image), answer in zip(crowds[1:], answers[1:], strict=True):
            page = [time["extractor"] + time["head"] for time in answer["times"]]
            native = [processor_time(lambda: predictor.segment(image).label_map())  # noqa: B023
                      for _ in range(rounds)]  # fmt: skip
            box = [time["box"] for time in answer["times"]]
            for which, pick in (("median", np.median), ("least", np.min)):
                print(
                    f"{head:5s} {name:9s} {len(answer['people']):2d} found, {which:6s}: page "
                    f"{pick(page):.0f} ms, native {pick(native):.0f} ms, ratio "
                    f"{pick(page) / pick(native):.2f}; own box {pick(box):.0f} ms"
                )


def processor_time(action: Callable[[], object]) -> float:
    """Milliseconds of a processor that an action takes."""
    start = time.process_time()
    action()
    return (time.process_time() - start) * 1000
