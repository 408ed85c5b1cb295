"""The output layouts of YOLO exports: which one it is, and the people's boxes out of it."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from human_edge_detection.core.boxes import nms
from human_edge_detection.core.errors import InputError
from human_edge_detection.core.structures import FloatArray

WHOLE_BODY_OUTPUT = "batchno_classid_score_x1y1x2y2"
MASK_COEFFICIENTS = 32
"""Extra rows of a YOLO segmentation export, which are no class scores."""

MAX_CANDIDATES = 1000
NMS_IOU = 0.65
"""Boxes that overlap a better one by more are dropped; lenient, for people who stand close."""

KNOWN_LAYOUTS = (
    f"wholebody ({WHOLE_BODY_OUTPUT} [N, 7]), raw ([1, 4 + classes, anchors]), "
    "end2end ([1, N, 6]) and boxes_scores (boxes [1, A, 4] with scores [1, A])"
)


@dataclass(frozen=True)
class Layout:
    """How a detector's outputs are read.

    Attributes:
        kind: one of ``wholebody``, ``raw``, ``end2end``, ``boxes_scores``.
        outputs: names of the outputs to ask for.
        person_class: class that counts as a person.
        classes: number of classes, where the file says it.
    """

    kind: str
    outputs: tuple[str, ...]
    person_class: int = 0
    classes: int | None = None


def class_names(metadata: Mapping[str, str]) -> list[str]:
    """Class names from the ``names`` that Ultralytics writes into a file; empty if it has none."""
    try:
        names = ast.literal_eval(metadata.get("names", ""))
    except (SyntaxError, ValueError):
        return []
    if isinstance(names, dict):
        return [str(names[key]) for key in sorted(names)]
    return [str(name) for name in names] if isinstance(names, list | tuple) else []


def recognise(
    shapes: Mapping[str, tuple[int, ...]], wanted: str = "auto"
) -> tuple[str, tuple[str, ...]]:
    """The layout's kind and the outputs it is read from.

    Args:
        shapes: the real shape of every output, in the order of the graph.
        wanted: a kind to check for, or ``auto``.

    Raises:
        InputError: no known layout fits, or not the wanted one.
    """
    for kind, outputs in _fitting(shapes):
        if wanted in ("auto", kind):
            return kind, outputs
    shown = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
    asked = "" if wanted == "auto" else f" as '{wanted}'"
    raise InputError(
        f"its outputs ({shown}) cannot be read{asked} as person boxes; known are {KNOWN_LAYOUTS}"
    )


def _fitting(shapes: Mapping[str, tuple[int, ...]]) -> list[tuple[str, tuple[str, ...]]]:
    found: list[tuple[str, tuple[str, ...]]] = []
    if len(shapes.get("boxes", ())) == 3 and len(shapes.get("scores", ())) == 2:
        found.append(("boxes_scores", ("boxes", "scores")))
    for name, shape in shapes.items():
        if name == WHOLE_BODY_OUTPUT or (len(shape) == 2 and shape[1] == 7):
            found.append(("wholebody", (name,)))
        elif len(shape) == 3 and shape[0] == 1:
            if shape[2] in (6, 6 + MASK_COEFFICIENTS):
                found.append(("end2end", (name,)))
            elif 5 <= shape[1] < shape[2]:
                found.append(("raw", (name,)))
    return found


def person_candidates(
    layout: Layout, outputs: list[FloatArray], score: float
) -> tuple[FloatArray, FloatArray]:
    """People's boxes float32 [K, 4] xyxy in input pixels and scores [K], best first.

    Args:
        layout: how to read the outputs.
        outputs: arrays in the order of ``layout.outputs``.
        score: lowest score that counts.
    """
    boxes, scores = _READERS[layout.kind](layout, outputs)
    good = np.isfinite(boxes).all(axis=1) & (scores >= score)
    boxes, scores = boxes[good], scores[good]
    order = np.argsort(-scores, kind="stable")[:MAX_CANDIDATES]
    boxes, scores = boxes[order], scores[order]
    if layout.kind in ("raw", "boxes_scores"):
        keep = nms(boxes, NMS_IOU)
        boxes, scores = boxes[keep], scores[keep]
    return boxes.astype(np.float32), scores.astype(np.float32)


def _read_wholebody(layout: Layout, outputs: list[FloatArray]) -> tuple[FloatArray, FloatArray]:
    rows = outputs[0][outputs[0][:, 1] == layout.person_class]
    return rows[:, 3:7], rows[:, 2]


def _read_end2end(layout: Layout, outputs: list[FloatArray]) -> tuple[FloatArray, FloatArray]:
    rows = outputs[0][0]
    rows = rows[rows[:, 5] == layout.person_class]
    return rows[:, :4], rows[:, 4]


def _read_raw(layout: Layout, outputs: list[FloatArray]) -> tuple[FloatArray, FloatArray]:
    rows = outputs[0][0]
    classes = layout.classes or len(rows) - 4
    if layout.person_class >= classes:
        raise InputError(
            f"--person_class {layout.person_class} is not one of the detector's {classes} classes"
        )
    centre, half = rows[:2].T, rows[2:4].T / 2
    return np.concatenate([centre - half, centre + half], axis=1), rows[4 + layout.person_class]


def _read_boxes_scores(layout: Layout, outputs: list[FloatArray]) -> tuple[FloatArray, FloatArray]:
    return outputs[0][0], outputs[1][0]


_READERS = {
    "wholebody": _read_wholebody,
    "end2end": _read_end2end,
    "raw": _read_raw,
    "boxes_scores": _read_boxes_scores,
}
