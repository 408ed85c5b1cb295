"""Writes what the page takes from Python: a model's files, ``model.json``, example and icons."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import onnxruntime as ort
from PIL import Image, ImageDraw

from human_edge_detection.core.geometry import PAD_VALUE
from human_edge_detection.core.spec import ExportedSpec
from human_edge_detection.data.sample.scene import draw_crowd
from human_edge_detection.masks.drawing import PALETTE_SIZE, person_colors
from human_edge_detection.masks.probabilities import LEAST_PROBABILITY
from human_edge_detection.runtime.detector import DEFAULT_SCORE, DetectorSession
from human_edge_detection.runtime.detector_layouts import MAX_CANDIDATES, NMS_IOU
from human_edge_detection.runtime.model_files import (
    EXTRACTOR_NAME,
    HEAD_NAME,
    INT8_HEAD_NAME,
    WEIGHTS_DIR,
)
from human_edge_detection.runtime.onnx_graph import short_hash
from human_edge_detection.runtime.sessions import ON_CPU, open_session

EXAMPLE_SEED, EXAMPLE_SIZE_HW, EXAMPLE_PEOPLE = 127, (480, 720), 6
THRESHOLD = 0.5


def write_model(folder: Path, weights: Path = WEIGHTS_DIR) -> dict[str, Any]:
    """Copy a person model's files to ``folder/models`` and tell the page what they are.

    Args:
        folder: the page's folder.
        weights: where the extractor, the head and perhaps its 8-bit form lie.

    Returns:
        What ``model.json`` holds.
    """
    models = folder / "models"
    models.mkdir(parents=True, exist_ok=True)
    heads = {"float": HEAD_NAME, "int8": INT8_HEAD_NAME}
    heads = {kind: name for kind, name in heads.items() if (weights / name).is_file()}
    facts = model_facts(weights, heads)
    for name in (EXTRACTOR_NAME, *heads.values()):
        shutil.copyfile(weights / name, models / name)
    (folder / "model.json").write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    return facts


def model_facts(weights: Path, heads: dict[str, str]) -> dict[str, Any]:
    """All that the page needs to know of a model, out of its files and of this package."""
    head = open_session(weights / HEAD_NAME, ON_CPU)
    metadata = head.get_modelmeta().custom_metadata_map
    spec = ExportedSpec.from_metadata(metadata, weights / HEAD_NAME)
    detector = DetectorSession(weights / EXTRACTOR_NAME, ON_CPU, layers=spec.layers)
    height, width = detector.input_size_hw
    return {
        "version": metadata.get("git_revision", ""),
        "input": _input_names(open_session(weights / EXTRACTOR_NAME, ON_CPU))[0],
        "input_size": {"width": width, "height": height},
        "pad_value": PAD_VALUE,
        "extractor": _file_facts(weights / EXTRACTOR_NAME),
        "heads": {kind: _file_facts(weights / name) for kind, name in heads.items()},
        "default_head": "int8" if "int8" in heads else "float",
        "detector": {
            "layout": detector.layout.kind,
            "outputs": list(detector.layout.outputs),
            "nms_iou": NMS_IOU,
            "max_candidates": MAX_CANDIDATES,
        },
        "head": {
            "inputs": [name for name in _input_names(head) if not name.endswith("rois")],
            "layers": list(spec.layers),
            "output": head.get_outputs()[0].name,
            "mask_size": spec.mask_size,
            "roi_padding": spec.roi_padding,
            "small_side": spec.small_side,
        },
        "score": DEFAULT_SCORE,
        "threshold": THRESHOLD,
        "least_probability": LEAST_PROBABILITY,
        "palette": person_colors(PALETTE_SIZE).tolist(),
    }


def write_example(path: Path) -> None:
    """Write the drawn crowd that the page offers to those who have no photo at hand."""
    image, _, _ = draw_crowd(EXAMPLE_SEED, EXAMPLE_SIZE_HW, EXAMPLE_PEOPLE)
    Image.fromarray(image).save(path, quality=88)


def write_icons(folder: Path) -> None:
    """Draw ``icon.svg`` in pixels, for systems that do not read SVG."""
    for side in (192, 512):
        image = Image.new("RGBA", (256, 256))
        draw = ImageDraw.Draw(image)
        draw.rounded_rectangle((0, 0, 256, 256), 60, "#20232e")
        for color, rim, (x, y), head, shoulder, body, bottom in (
            ("#ff7a45", 0, (164, 84), 32, 180, 56, 224),
            ("#7f93ff", 6, (100, 104), 38, 200, 68, 232),
        ):
            for grow, fill in ((rim, "#20232e"), (-rim, color)):
                wide, round_ = body + grow, head + grow
                top = (x - wide, shoulder - wide, x + wide, shoulder + wide)
                draw.pieslice(top, 180, 360, fill)
                draw.rectangle((x - wide, shoulder, x + wide, bottom + grow), fill)
                draw.ellipse((x - round_, y - round_, x + round_, y + round_), fill)
        image.resize((side, side), Image.Resampling.LANCZOS).quantize(32).save(
            folder / f"icon-{side}.png"
        )


def _input_names(session: ort.InferenceSession) -> list[str]:
    return [item.name for item in session.get_inputs()]


def _file_facts(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {"file": f"models/{path.name}", "bytes": len(data), "sha": short_hash(data)}


if __name__ == "__main__":
    write_model(Path(sys.argv[1]), *map(Path, sys.argv[2:]))
    write_example(Path(sys.argv[1]) / "example.jpg")
    write_icons(Path(sys.argv[1]))
