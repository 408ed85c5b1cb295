"""The page that cuts people out in the browser, as a folder of files for any web space.

The page itself is built from ``web/`` (Node); a model's files and what the page must know of it
are added here, so that another model needs no new build.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import onnxruntime as ort

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.geometry import PAD_VALUE
from human_edge_detection.core.spec import ExportedSpec
from human_edge_detection.masks.drawing import PALETTE_SIZE, person_colors
from human_edge_detection.masks.probabilities import LEAST_PROBABILITY
from human_edge_detection.runtime import DEFAULT_SCORE
from human_edge_detection.runtime.detector import DetectorSession
from human_edge_detection.runtime.detector_layouts import MAX_CANDIDATES, NMS_IOU
from human_edge_detection.runtime.model_files import (
    EXTRACTOR_NAME,
    HEAD_NAME,
    INT8_HEAD_NAME,
    WEIGHTS_DIR,
)
from human_edge_detection.runtime.onnx_graph import read_model
from human_edge_detection.runtime.sessions import ON_CPU, open_session

PACKAGED_PAGE = Path(__file__).resolve().parents[1] / "web_page"
"""Where a wheel holds the built page."""

BUILT_PAGE = Path(__file__).resolve().parents[3] / "web" / "dist"
"""Where ``npm run build`` writes it in a checkout."""

THRESHOLD = 0.5


def page_folder() -> Path:
    """The folder of the built page.

    Raises:
        InputError: if it was never built; the message says how to.
    """
    for folder in (PACKAGED_PAGE, BUILT_PAGE):
        if (folder / "index.html").is_file():
            return folder
    raise InputError(
        "the page is not built: in a checkout of the project run 'npm ci' and 'npm run build' in "
        "web/ (Node 20 and this package's Python are needed)"
    )


def write_page(folder: Path, weights: Path = WEIGHTS_DIR) -> None:
    """Write the page with the person model of a folder of weights, ready for a web space.

    Files of the page that are there already are replaced.

    Raises:
        InputError: if the page is not built, the model is unusable, or the folder cannot be
            written.
    """
    page = page_folder()
    try:
        kept = shutil.ignore_patterns("models", "model.json")
        shutil.copytree(page, folder, ignore=kept, dirs_exist_ok=True)
        write_model(folder, weights)
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error}") from error


def write_model(folder: Path, weights: Path = WEIGHTS_DIR) -> dict[str, Any]:
    """Copy a person model's files to ``folder/models``, write ``model.json`` and return that."""
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
    detector = DetectorSession(
        weights / EXTRACTOR_NAME, ON_CPU, layers=spec.layers, image_size_hw=spec.image_size
    )
    height, width = detector.input_size_hw
    return {
        "version": metadata.get("git_revision", ""),
        "input": _input_names(open_session(weights / EXTRACTOR_NAME, ON_CPU))[0],
        "input_size": {"width": width, "height": height},
        "size_multiple": detector.multiple,
        "pad_value": PAD_VALUE,
        "extractor": _file_facts(weights / EXTRACTOR_NAME),
        "heads": {kind: _file_facts(weights / name) for kind, name in heads.items()},
        "default_head": "float",
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
            "score_weights": list(spec.score_weights),
        },
        "score": DEFAULT_SCORE,
        "threshold": THRESHOLD,
        "least_probability": LEAST_PROBABILITY,
        "palette": person_colors(PALETTE_SIZE).tolist(),
    }


def _input_names(session: ort.InferenceSession) -> list[str]:
    return [item.name for item in session.get_inputs()]


def _file_facts(path: Path) -> dict[str, Any]:
    data = read_model(path)
    digits = hashlib.sha256(data).hexdigest()[:12]
    return {"file": f"models/{path.name}", "bytes": len(data), "sha": digits}
