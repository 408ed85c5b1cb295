"""A trained person model as two ONNX files, and the shipped one's extractor for a fresh clone."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.files import write_atomically
from human_edge_detection.core.options import BUILTIN, DEFAULT_ONNX_MODEL
from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.export.head import ParityCheck, export_head, report, with_one_input
from human_edge_detection.export.torch_to_onnx import (
    OPSET,
    network_errors,
    origin,
    refuse_errors,
    serialized,
    torch_to_onnx,
)
from human_edge_detection.modeling.person_extractor import MULTIPLE, PersonExtractor
from human_edge_detection.modeling.weights import TrainedWeights, read_trained
from human_edge_detection.runtime.feature_extractor import YOLOv9FeatureExtractor
from human_edge_detection.runtime.model_files import EXTRACTOR_NAME, HEAD_NAME, shipped_weights
from human_edge_detection.runtime.onnx_graph import SIZE_MULTIPLE, short_hash

LOG = logging.getLogger(__name__)
ORIGIN = "RTMDet-nano for people (OpenMMLab, Apache-2.0), trained further on people"


def export_person_model(
    model: nn.ModuleDict, spec: ModelSpec, folder: Path, one_input: bool = False
) -> tuple[dict[str, float], list[ParityCheck]]:
    """Write both files into a folder; return the extractor's errors and the head's comparisons.

    The extractor reads ``images`` float32 [B, 3, H, W] RGB 0-1 of ``spec.image_size`` and gives
    the maps of ``spec.layers`` and, with a detector, ``boxes`` [B, A, 4] xyxy in input pixels and
    ``scores`` [B, A], with nothing suppressed. ``one_input`` is as of :func:`with_one_input`.

    Raises:
        InputError: if a file cannot be written.
        RuntimeError: if ONNX Runtime and torch differ.
    """
    model = model.cpu().eval()
    data, errors = checked_extractor(model["extractor"], spec.image_size, folder / EXTRACTOR_NAME)
    write_atomically(folder / EXTRACTOR_NAME, data)
    head, known = model["head"], replace(spec, extractor_sha=short_hash(data))
    if one_input:
        head, known = with_one_input(head, known)
    return errors, export_head(head, known, folder / HEAD_NAME)


def export_pair(
    trained: TrainedWeights, folder: Path, one_input: bool = False
) -> tuple[Path, Path]:
    """Write a person model's two files and print the comparisons; return head and extractor."""
    errors, checks = export_person_model(trained.model(), trained.spec, folder, one_input)
    head, extractor = folder / HEAD_NAME, folder / EXTRACTOR_NAME
    report_extractor(extractor, errors)
    report(head, checks)
    return head, extractor


class _Named(nn.Module):
    """The extractor with its outputs in the order of the file's names."""

    def __init__(self, extractor: PersonExtractor) -> None:
        super().__init__()
        self.extractor = extractor
        detects = extractor.detector is not None
        self.names = (*extractor.layers, "boxes", "scores") if detects else extractor.layers

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        maps, candidates = self.extractor(images)
        if candidates is None:
            return tuple(maps)
        return (*maps, candidates.boxes, candidates.logits.sigmoid())


def checked_extractor(
    extractor: nn.Module, size_hw: tuple[int, int], path: Path
) -> tuple[bytes, dict[str, float]]:
    """A :class:`PersonExtractor` as the content of ``path``, and its errors against torch by name.

    Raises:
        RuntimeError: if ONNX Runtime and torch differ.
    """
    named = _Named(extractor).eval()  # type: ignore[arg-type]
    data = extractor_bytes(named, size_hw)
    errors = network_errors(named, data, named.names, size_hw)
    refuse_errors(max(errors.values()), path)
    return data, errors


def extractor_bytes(extractor: _Named, size_hw: tuple[int, int]) -> bytes:
    """The extractor as a serialized ONNX model with a free batch, height and width."""
    names = ["images", *extractor.names]
    exported = torch_to_onnx(
        extractor,
        [torch.zeros(1, 3, *size_hw)],
        names[:1],
        names[1:],
        {name: _open_axes(name) for name in names},
        {
            "format": "human_edge_detection.extractor",
            "weights": ORIGIN,
            SIZE_MULTIPLE: str(MULTIPLE),
            **origin(),
        },
    )
    return serialized(exported)


def _open_axes(name: str) -> dict[int, str]:
    """The axes of an input or output whose lengths are free, by number."""
    if name in ("boxes", "scores"):
        return {0: "batch", 1: "candidates"}
    side = "" if name == "images" else f"_{name}"
    return {0: "batch", 2: f"height{side}", 3: f"width{side}"}


def report_extractor(path: Path, errors: Mapping[str, float]) -> None:
    """Print the extractor's size and comparison."""
    shown = ", ".join(f"{name} {error:.1e}" for name, error in errors.items())
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, opset {OPSET}")
    print(
        "  ONNX Runtime - torch, fraction of the largest value (scores: of 1): "
        f"{shown}; batch 1 and 4"
    )


def builtin_extractor_path(image_size_hw: tuple[int, int] = (640, 640)) -> Path:
    """The shipped extractor's ONNX file, if it takes images of this height and width.

    Raises:
        InputError: if the size does not fit, or no model ships.
    """
    weights = shipped_weights()
    read_trained(weights).at_size(image_size_hw)
    return weights.with_name(EXTRACTOR_NAME)


def open_extractor(
    onnx_model: str | None,
    layers: Sequence[str],
    image_size: tuple[int, int],
    device: str,
) -> YOLOv9FeatureExtractor:
    """The frozen extractor that the options name, or the built-in one where there is none.

    Raises:
        InputError: if a file that the user typed does not exist or cannot be used.
    """
    path = Path(onnx_model or DEFAULT_ONNX_MODEL)
    if onnx_model == BUILTIN or (onnx_model is None and not path.exists()):
        if onnx_model is None:
            LOG.warning("%s not found (give --onnx_model FILE): using the built-in extractor", path)
        path = builtin_extractor_path(image_size)
    elif not path.exists():
        raise InputError(f"--onnx_model {path} does not exist: check the path, or name {BUILTIN}")
    return YOLOv9FeatureExtractor(
        path, device=device, layers=layers or None, image_size_hw=image_size
    )
