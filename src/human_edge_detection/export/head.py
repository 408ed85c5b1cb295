"""Writes a trained head as ONNX, alone or merged with its extractor, and proves the numbers."""

from __future__ import annotations

import logging
import subprocess
import warnings
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
import torch
from onnx import compose, version_converter
from torch import Tensor, nn

from human_edge_detection.core.files import write_atomically
from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.export.parity import (
    TOLERANCE,
    ParityCheck,
    check_end_to_end,
    check_head,
    odd_rois,
    random_features,
    refuse_errors,
)
from human_edge_detection.runtime.onnx_graph import read_model, select_outputs

LOG = logging.getLogger(__name__)

OPSET = 16


def export_head(head: nn.Module, spec: ModelSpec, path: Path) -> list[ParityCheck]:
    """Write the head and compare it with torch; the comparisons come back.

    Inputs are ``features_0 …`` float32 [B, C, h, w], one per layer, and ``rois`` float32 [N, 5];
    output is ``masks`` float32 [N, 3, M, M], logits. B, N, h and w are free. With a small branch
    the ROIs that :func:`are_small` names go to ``small_rois``, and their masks come last.

    Raises:
        InputError: if the file cannot be written.
        RuntimeError: if ONNX Runtime and torch differ; no file is left.
    """
    model = head_model(head, spec)
    data = model.SerializeToString()
    checks = check_head(data, head, spec)
    refuse_errors(checks, path)
    write_atomically(path, data)
    return checks


def head_model(head: nn.Module, spec: ModelSpec) -> onnx.ModelProto:
    """The head as an ONNX model with its facts in the metadata."""
    head.eval()
    names = [f"features_{i}" for i in range(len(spec.layers))]
    axes = {name: {0: "batch", 2: f"height_{i}", 3: f"width_{i}"} for i, name in enumerate(names)}
    features = [torch.from_numpy(maps) for maps in random_features(spec, 2)]
    kinds = ("rois", "small_rois") if spec.small_side else ("rois",)
    rois = [torch.from_numpy(odd_rois(3, 2, spec.image_size)) for _ in kinds]
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        # PyTorch announces its other exporter, and traces Python numbers on purpose.
        warnings.simplefilter("ignore")
        file = Path(folder) / "head.onnx"
        torch.onnx.export(
            _Positional(head, len(names)),
            (*features, *rois),
            str(file),
            dynamo=False,
            opset_version=OPSET,
            input_names=[*names, *kinds],
            output_names=["masks"],
            dynamic_axes={**axes, **_people_axes(spec)},
        )
        model = onnx.load(file)
    onnx.helper.set_model_props(model, {**spec.to_metadata(), **origin()})
    onnx.checker.check_model(model)
    return model


def _people_axes(spec: ModelSpec) -> dict[str, dict[int, str]]:
    """The open side of what there is for each person."""
    if not spec.small_side:
        return {"rois": {0: "people"}, "masks": {0: "people"}}
    return {"rois": {0: "large"}, "small_rois": {0: "small"}, "masks": {0: "people"}}


def origin() -> dict[str, str]:
    """The revision and version that wrote a file, as ONNX metadata."""
    return {"git_revision": git_revision(), "version": package_version()}


def export_end_to_end(
    head: nn.Module, spec: ModelSpec, extractor: Path, path: Path
) -> list[ParityCheck]:
    """Write extractor and head as one file, image and ROIs in, masks out, and compare.

    Inputs are ``images`` float32 [B, 3, H, W] RGB 0-1, B as the extractor has it, and ``rois``
    float32 [N, 5]; output is ``masks`` float32 [N, 3, M, M], logits.

    Raises:
        InputError: if the extractor cannot be read or the file cannot be written.
        RuntimeError: if ONNX Runtime and torch differ; no file is left.
    """
    first = onnx.load_model_from_string(select_outputs(read_model(extractor), spec.layers))
    merged = merge(first, head_model(head, spec), spec)
    data = merged.SerializeToString()
    checks = check_end_to_end(data, extractor, head, spec)
    refuse_errors(checks, path)
    write_atomically(path, data)
    return checks


def merge(extractor: onnx.ModelProto, head: onnx.ModelProto, spec: ModelSpec) -> onnx.ModelProto:
    """One model from two, brought to one opset and IR version, with apart names."""
    if extractor.opset_import[0].version < OPSET:
        extractor = version_converter.convert_version(extractor, OPSET)
    del extractor.opset_import[1:]
    extractor.ir_version = head.ir_version
    image_name = extractor.graph.input[0].name
    merged = compose.merge_models(
        extractor,
        head,
        io_map=[(name, f"features_{i}") for i, name in enumerate(spec.layers)],
        prefix1="net/",
        prefix2="head/",
    )
    own = {f"head/{name}": name for name in ("rois", "small_rois", "masks")}
    _rename(merged, {f"net/{image_name}": "images", **own})
    del merged.metadata_props[:]
    onnx.helper.set_model_props(merged, {**spec.to_metadata(end_to_end=True), **origin()})
    onnx.checker.check_model(merged)
    return merged


def report(path: Path, checks: Sequence[ParityCheck]) -> None:
    """Print what an export's comparisons showed."""
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, opset {OPSET}")
    for check in checks:
        print(
            f"  {check.rois} ROIs on {check.images} image(s): ONNX Runtime - torch "
            f"{check.error:.1e} (at most {TOLERANCE:.0e})"
        )


def package_version() -> str:
    """The installed version of this package, or "0" in a bare source tree."""
    try:
        return version("human-edge-detection")
    except PackageNotFoundError:
        return "0"


def git_revision() -> str:
    """The short commit that the source tree is at, or "" outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


class _Positional(nn.Module):
    """The head with its maps as separate arguments, as the exporter wants them."""

    def __init__(self, head: nn.Module, layers: int) -> None:
        super().__init__()
        self.head, self.layers = head, layers

    def forward(self, *inputs: Tensor) -> Tensor:
        maps, rois = list(inputs[: self.layers]), inputs[self.layers :]
        head: Any = self.head
        logits: Tensor = head(maps, *rois) if len(rois) == 1 else head.apart(maps, *rois)
        return logits


def _rename(model: onnx.ModelProto, names: dict[str, str]) -> None:
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for item in (*model.graph.input, *model.graph.output):
        item.name = names.get(item.name, item.name)
