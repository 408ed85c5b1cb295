"""Proof of an export: ONNX Runtime against torch, for any number of ROIs and odd ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.core.structures import FloatArray
from human_edge_detection.runtime.head import head_feeds
from human_edge_detection.runtime.onnx_graph import read_model, select_outputs
from human_edge_detection.runtime.sessions import ON_CPU, open_session

TOLERANCE = 1e-3
"""Largest difference of a logit, ONNX Runtime against torch, that an export may show."""


@dataclass(frozen=True)
class ParityCheck:
    """One comparison of ONNX Runtime with torch.

    Attributes:
        rois: number of ROIs.
        images: number of images.
        error: largest absolute difference of a logit; 0 without ROIs.
    """

    rois: int
    images: int
    error: float


def check_head(data: bytes, head: nn.Module, spec: ModelSpec) -> list[ParityCheck]:
    """ONNX Runtime against torch for no, one and seven ROIs, on one and on two images."""
    session = open_session(data, ON_CPU, label="the exported head")
    checks = []
    for people, images in ((0, 1), (1, 1), (7, 1), (7, 2)):
        features, rois = random_features(spec, images), odd_rois(people, images, spec.image_size)
        maps = {f"features_{i}": item for i, item in enumerate(features)}
        feeds, order = head_feeds(rois, spec.small_side)
        found = session.run(["masks"], {**maps, **feeds})[0]
        expected = _run_torch(head, features, rois)[order]
        checks.append(ParityCheck(people, images, _largest_difference(found, expected)))
    return checks


def check_end_to_end(
    data: bytes, extractor: Path, head: nn.Module, spec: ModelSpec
) -> list[ParityCheck]:
    """The merged file against the extractor's own session followed by the torch head."""
    parts = select_outputs(read_model(extractor), spec.layers)
    session = open_session(parts, ON_CPU, label=str(extractor))
    merged = open_session(data, ON_CPU, label="the merged model")
    name = session.get_inputs()[0].name
    batch = session.get_inputs()[0].shape[0]
    rng = np.random.default_rng(0)
    checks = []
    for people in (0, 1, 7):
        images = batch if isinstance(batch, int) else 2
        pixels = rng.random((images, 3, *spec.image_size), np.float32)
        rois = odd_rois(people, images, spec.image_size)
        feeds, order = head_feeds(rois, spec.small_side)
        found = merged.run(["masks"], {"images": pixels, **feeds})[0]
        maps = session.run(list(spec.layers), {name: pixels})
        expected = _run_torch(head, maps, rois)[order]
        checks.append(ParityCheck(people, images, _largest_difference(found, expected)))
    return checks


def random_features(spec: ModelSpec, images: int) -> list[FloatArray]:
    """One map float32 [images, C, h, w] for each layer of the model, always the same."""
    rng = np.random.default_rng(0)
    height, width = spec.image_size
    return [
        rng.standard_normal((images, c, round(height / s), round(width / s))).astype(np.float32)
        for c, s in zip(spec.channels, spec.strides, strict=True)
    ]


def odd_rois(people: int, images: int, size_hw: tuple[int, int]) -> FloatArray:
    """ROIs at the edges, of a fraction of a pixel, of the whole image and beyond it."""
    height, width = size_hw
    boxes = [
        (0.3 * width, 0.2 * height, 0.7 * width, 0.9 * height),
        (0, 0, width, height),
        (width - 20.5, height - 40.25, width, height),
        (10.2, 10.4, 10.9, 10.8),
        (0, 0, 3, height),
        (-15, -15, 60.7, 33.3),
        (0.123, 5.5, width + 40, 17.25),
    ]
    rois = [(i % images, *boxes[i % len(boxes)]) for i in range(people)]
    return np.array(rois, np.float32).reshape(-1, 5)


@torch.no_grad()
def _run_torch(head: nn.Module, features: Sequence[FloatArray], rois: FloatArray) -> FloatArray:
    maps = [torch.from_numpy(np.asarray(f)) for f in features]
    logits: FloatArray = head.eval()(maps, torch.from_numpy(rois)).numpy()
    return logits


def _largest_difference(found: FloatArray, expected: FloatArray) -> float:
    if found.shape != expected.shape:
        raise RuntimeError(f"ONNX Runtime gives shape {found.shape}, torch {expected.shape}")
    return float(np.abs(found - expected).max()) if found.size else 0.0


def refuse_errors(checks: Sequence[ParityCheck], path: Path) -> None:
    """Stop before a file is written that differs from torch.

    Raises:
        RuntimeError: if ONNX Runtime and torch differ by more than ``TOLERANCE``.
    """
    worst = max(check.error for check in checks)
    if not worst <= TOLERANCE:
        raise RuntimeError(
            f"{path} was not written: ONNX Runtime differs from torch by {worst:.1e}, "
            f"more than {TOLERANCE:.0e}"
        )
