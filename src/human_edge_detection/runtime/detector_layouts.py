"""The output layouts of YOLO exports: recognises them, and reads the people's boxes.

A new layout is one reading function and one row of :data:`LAYOUTS`.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
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

Shape = tuple[int, ...]
Candidates = tuple[FloatArray, FloatArray]
"""Boxes [K, 4] xyxy in input pixels and scores [K], in any order."""


@dataclass(frozen=True)
class Layout:
    """How a detector's outputs are read.

    Attributes:
        kind: a key of :data:`LAYOUTS`.
        outputs: names of the outputs to ask for.
        person_class: class that counts as a person.
        classes: number of classes, where the file states it.
    """

    kind: str
    outputs: tuple[str, ...]
    person_class: int = 0
    classes: int | None = None


def _read_wholebody(layout: Layout, outputs: list[FloatArray]) -> Candidates:
    rows = outputs[0][outputs[0][:, 1] == layout.person_class]
    return rows[:, 3:7], rows[:, 2]


def _read_end2end(layout: Layout, outputs: list[FloatArray]) -> Candidates:
    rows = outputs[0][0]
    rows = rows[rows[:, 5] == layout.person_class]
    return rows[:, :4], rows[:, 4]


def _read_raw(layout: Layout, outputs: list[FloatArray]) -> Candidates:
    rows = outputs[0][0]
    classes = layout.classes or len(rows) - 4
    if layout.person_class >= classes:
        raise InputError(
            f"person_class {layout.person_class} is not one of the detector's {classes} classes"
        )
    centre, half = rows[:2].T, rows[2:4].T / 2
    return np.concatenate([centre - half, centre + half], axis=1), rows[4 + layout.person_class]


def _read_boxes_scores(layout: Layout, outputs: list[FloatArray]) -> Candidates:
    return outputs[0][0], outputs[1][0]


@dataclass(frozen=True)
class LayoutReader:
    """One row of :data:`LAYOUTS`.

    Attributes:
        read: the candidates out of the outputs of one pass.
        fits: whether outputs of these shapes are of this layout.
        shown: the outputs' shapes as messages show them.
        outputs: names of the outputs that it reads; () for one output of any name.
        overlapping: several boxes may belong to one person, so they need suppression.
    """

    read: Callable[[Layout, list[FloatArray]], Candidates]
    fits: Callable[..., bool]
    shown: str
    outputs: tuple[str, ...] = ()
    overlapping: bool = False

    def find(self, shapes: Mapping[str, Shape], name: str) -> tuple[str, ...]:
        """The outputs to read if output ``name`` may be of this layout, else ()."""
        outputs = self.outputs or (name,)
        known = [shapes[output] for output in outputs if output in shapes]
        return outputs if len(known) == len(outputs) and self.fits(*known) else ()


def _is_end2end(shape: Shape) -> bool:
    return len(shape) == 3 and shape[0] == 1 and shape[2] in (6, 6 + MASK_COEFFICIENTS)


def _is_raw(shape: Shape) -> bool:
    return len(shape) == 3 and shape[0] == 1 and 5 <= shape[1] < shape[2]


LAYOUTS = {
    "boxes_scores": LayoutReader(
        _read_boxes_scores, lambda boxes, scores: len(boxes) == 3 and len(scores) == 2,
        "boxes [1, A, 4] with scores [1, A]", ("boxes", "scores"), overlapping=True,
    ),
    "wholebody": LayoutReader(
        _read_wholebody, lambda rows: len(rows) == 2 and rows[1] == 7,
        f"{WHOLE_BODY_OUTPUT} [N, 7]",
    ),
    "end2end": LayoutReader(_read_end2end, _is_end2end, "[1, N, 6]"),
    "raw": LayoutReader(
        _read_raw, lambda rows: _is_raw(rows) and not _is_end2end(rows),
        "[1, 4 + classes, anchors]", overlapping=True,
    ),
}  # fmt: skip
"""Layout name → how it is recognised and read; the first row that fits an output is taken."""


def class_names(metadata: Mapping[str, str]) -> list[str]:
    """Class names from the ``names`` that Ultralytics writes into a file; empty if it has none."""
    try:
        names = ast.literal_eval(metadata.get("names", ""))
        if isinstance(names, dict):
            names = [names[key] for key in sorted(names)]
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return []
    return [str(name) for name in names] if isinstance(names, list | tuple) else []


def recognise(shapes: Mapping[str, Shape], wanted: str = "auto") -> tuple[str, tuple[str, ...]]:
    """The layout's kind and the outputs it is read from, by the real shape of every output.

    Raises:
        InputError: no known layout fits, or not the wanted one.
    """
    for name in shapes:
        for kind, reader in LAYOUTS.items():
            if wanted in ("auto", kind) and (outputs := reader.find(shapes, name)):
                return kind, outputs
    found = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
    asked = "" if wanted == "auto" else f" as '{wanted}'"
    known = ", ".join(f"{kind} ({reader.shown})" for kind, reader in LAYOUTS.items())
    raise InputError(
        f"its outputs ({found}) cannot be read{asked} as person boxes; known are {known}"
    )


def of_photo(
    layout: Layout, outputs: Sequence[FloatArray], number: int, count: int
) -> list[FloatArray]:
    """One photo's part of the outputs of a pass over ``count`` photos, as of a pass of its own."""
    if count == 1:
        return list(outputs)
    if layout.kind == "wholebody":
        return [outputs[0][outputs[0][:, 0] == number]]
    return [item[number : number + 1] for item in outputs]


def person_candidates(layout: Layout, outputs: list[FloatArray], score: float) -> Candidates:
    """People's boxes float32 [K, 4] xyxy in input pixels and scores [K] from ``score`` on.

    The best come first; the outputs are in the order of ``layout.outputs``.
    """
    reader = LAYOUTS[layout.kind]
    boxes, scores = reader.read(layout, outputs)
    good = np.isfinite(boxes).all(axis=1) & (scores >= score)
    boxes, scores = boxes[good], scores[good]
    order = np.argsort(-scores, kind="stable")[:MAX_CANDIDATES]
    boxes, scores = boxes[order], scores[order]
    if reader.overlapping:
        keep = nms(boxes, NMS_IOU)
        boxes, scores = boxes[keep], scores[keep]
    return boxes.astype(np.float32), scores.astype(np.float32)
