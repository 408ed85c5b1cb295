"""The program of ``docs/onnx.md`` runs as it stands and gives what ``MaskPredictor`` gives."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from human_edge_detection import MaskPredictor
from human_edge_detection.core.images import save_image
from human_edge_detection.data.sample import draw_crowd
from human_edge_detection.runtime.model_files import EXTRACTOR_NAME, HEAD_NAME, WEIGHTS_DIR

PAGE = Path(__file__).resolve().parents[2] / "docs" / "onnx.md"


def test_the_program_gives_the_predictors_masks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (EXTRACTOR_NAME, HEAD_NAME):
        shutil.copy(WEIGHTS_DIR / name, tmp_path)
    drawn, _, boxes = draw_crowd(3)
    # So much around it that nobody is large enough for the half size, which the program leaves out.
    height, width = drawn.shape[:2]
    drawn = np.pad(drawn, ((0, height), (0, 2 * width), (0, 0)), mode="edge")
    save_image(tmp_path / "photo.png", drawn)
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    program, count = re.subn(r"(?<=boxes = np.array\()\[\[.*\]\]", str(boxes.tolist()), program)
    assert count == 1
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(program, names)
    with MaskPredictor(tmp_path / HEAD_NAME, device="cpu") as predictor:
        predictor.set_image(names["photo"])
        alone = [predictor.predict(box[None]).binary(0.5)[0] for box in boxes]
    masks = np.stack(alone)
    shared = (masks & names["masks"]).sum(axis=(1, 2))
    either = (masks | names["masks"]).sum(axis=(1, 2))
    assert either.min() > 100 and (shared / either > 0.99).all(), shared / either
