"""The page that cuts people out in the browser, as a folder of files for any web space.

The page itself is built from ``web/`` (Node); a model's files and what the page must know of it
are added here, so that another model needs no new build.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import onnxruntime as ort

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.geometry import PAD_VALUE
from human_edge_detection.core.spec import ExportedSpec
from human_edge_detection.inference.encoders import FULL_TO, HALF_FROM
from human_edge_detection.masks.drawing import PALETTE_SIZE, person_colors
from human_edge_detection.masks.probabilities import LEAST_PROBABILITY
from human_edge_detection.runtime import DEFAULT_SCORE
from human_edge_detection.runtime.detector import DetectorSession
from human_edge_detection.runtime.detector_layouts import MAX_CANDIDATES, NMS_IOU
from human_edge_detection.runtime.head_parts import cut_head
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

ROI_INPUTS = ("rois", "small_rois")


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


def page_policy(folder: Path) -> str:
    """The Content-Security-Policy that a page asks for; "" if it asks for none.

    A page's own tag holds the page alone: its worker obeys the header of the worker's file.
    """
    text = (folder / "index.html").read_text("utf-8")
    found = re.search(r'"Content-Security-Policy"\s+content="([^"]+)"', text)
    return found[1] if found else ""


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
    """Write a person model's parts to ``folder/models``, and ``model.json``, which is returned."""
    facts = _facts(weights)
    (folder / "models").mkdir(parents=True, exist_ok=True)
    extractor = _write_part(folder, EXTRACTOR_NAME, read_model(weights / EXTRACTOR_NAME))
    heads = {
        kind: _write_head(folder, weights / name)
        for kind, name in {"float": HEAD_NAME, "int8": INT8_HEAD_NAME}.items()
        if (weights / name).is_file()
    }
    facts |= {"extractor": extractor, "heads": heads, "default_head": "float"}
    (folder / "model.json").write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    return facts


def _write_head(folder: Path, path: Path) -> dict[str, Any]:
    """A head as two files: an own box runs only the second."""
    names = _input_names(open_session(path, ON_CPU))
    rois = [name for name in names if name in ROI_INPUTS]
    try:
        parts = cut_head(read_model(path), [name for name in names if name not in rois], rois)
    except InputError as error:
        raise InputError(f"model {path}: {error}") from error
    return {
        "shared": _write_part(folder, f"{path.stem}_shared.onnx", parts.shared),
        "own": _write_part(folder, f"{path.stem}_own.onnx", parts.own),
        "maps": list(parts.maps),
    }


def _write_part(folder: Path, name: str, data: bytes) -> dict[str, Any]:
    (folder / "models" / name).write_bytes(data)
    digits = hashlib.sha256(data).hexdigest()[:12]
    return {"file": f"models/{name}", "bytes": len(data), "sha": digits}


def _facts(weights: Path) -> dict[str, Any]:
    """What the page needs to know of a model besides its files."""
    head = open_session(weights / HEAD_NAME, ON_CPU)
    metadata = head.get_modelmeta().custom_metadata_map
    spec = ExportedSpec.from_metadata(metadata, weights / HEAD_NAME)
    detector = DetectorSession(
        weights / EXTRACTOR_NAME, ON_CPU, layers=spec.layers, image_size_hw=spec.image_size
    )
    half_hw = detector.half_size_hw
    return {
        "version": metadata.get("git_revision", ""),
        "input": _input_names(open_session(weights / EXTRACTOR_NAME, ON_CPU))[0],
        "input_size": _size(detector.input_size_hw),
        "size_multiple": detector.multiple,
        "half_size": None if half_hw is None else _size(half_hw),
        "half_from": HALF_FROM,
        "full_to": FULL_TO,
        "pad_value": PAD_VALUE,
        "detector": {
            "layout": detector.layout.kind,
            "outputs": list(detector.layout.outputs),
            "nms_iou": NMS_IOU,
            "max_candidates": MAX_CANDIDATES,
        },
        "head": {
            "inputs": [name for name in _input_names(head) if name not in ROI_INPUTS],
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


def _size(size_hw: tuple[int, int]) -> dict[str, int]:
    return {"width": size_hw[1], "height": size_hw[0]}


def _input_names(session: ort.InferenceSession) -> list[str]:
    return [item.name for item in session.get_inputs()]
