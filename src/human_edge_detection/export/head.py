"""A trained head as an ONNX file, alone or merged with its extractor, compared with torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import compose, version_converter
from torch import Tensor, nn

from human_edge_detection.core.files import write_atomically
from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.core.structures import FloatArray
from human_edge_detection.export.torch_to_onnx import (
    OPSET,
    TOLERANCE,
    largest_error,
    origin,
    parsed,
    refuse_errors,
    serialized,
    torch_to_onnx,
    with_metadata,
)
from human_edge_detection.runtime.feature_extractor import choose_layers
from human_edge_detection.runtime.head import head_feeds
from human_edge_detection.runtime.onnx_graph import ModelFile, read_model, select_outputs
from human_edge_detection.runtime.sessions import ON_CPU, open_session


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


def export_head(head: nn.Module, spec: ModelSpec, path: Path) -> list[ParityCheck]:
    """Write the head and return its comparisons with torch.

    Inputs are ``features_0 …`` float32 [B, C, h, w], one per layer, and ``rois`` float32 [N, 5];
    output is ``masks`` float32 [N, 3, M, M], logits. B, N, h and w are free. With a small branch
    the ROIs that :func:`are_small` names go to ``small_rois``, and their masks are the last ones.

    Args:
        head: trained, as :func:`build_head` makes it of ``spec``.
        spec: its geometry, which becomes the file's metadata.
        path: the file to write.

    Raises:
        InputError: if the file cannot be written.
        RuntimeError: if ONNX Runtime and torch differ; no file is left.
    """
    data = serialized(head_model(head, spec))
    checks = check_head(data, head, spec)
    refuse_errors(max(check.error for check in checks), path)
    write_atomically(path, data)
    return checks


def head_model(head: nn.Module, spec: ModelSpec) -> onnx.ModelProto:
    """The head as an ONNX model with its spec in the metadata."""
    names = [f"features_{i}" for i in range(len(spec.layers))]
    axes = {name: {0: "batch", 2: f"height_{i}", 3: f"width_{i}"} for i, name in enumerate(names)}
    features = [torch.from_numpy(maps) for maps in random_features(spec, 2)]
    kinds = ("rois", "small_rois") if spec.small_side else ("rois",)
    rois = [torch.from_numpy(odd_rois(3, 2, spec.image_size)) for _ in kinds]
    model = torch_to_onnx(
        _Positional(head, len(names)),
        [*features, *rois],
        [*names, *kinds],
        ["masks"],
        {**axes, **_people_axes(spec)},
        {**spec.to_metadata(), **origin()},
    )
    # The exporter, which cannot follow a resize's size, declares names for lengths that are fixed.
    for axis in model.graph.output[0].type.tensor_type.shape.dim[2:]:
        axis.dim_value = spec.mask_size
    return model


def _people_axes(spec: ModelSpec) -> dict[str, dict[int, str]]:
    """The free axes of the inputs and outputs that have one row per person."""
    if not spec.small_side:
        return {"rois": {0: "people"}, "masks": {0: "people"}}
    return {"rois": {0: "large"}, "small_rois": {0: "small"}, "masks": {0: "people"}}


def export_end_to_end(
    head: nn.Module, spec: ModelSpec, extractor: Path, path: Path
) -> list[ParityCheck]:
    """Write extractor and head as one file and return its comparisons with torch.

    Inputs are ``images`` float32 [B, 3, H, W] RGB 0-1, B as the extractor has it, and ``rois``
    float32 [N, 5]; output is ``masks`` float32 [N, 3, M, M], logits.

    Args:
        head: trained, as :func:`build_head` makes it of ``spec``.
        spec: its geometry, which becomes the file's metadata.
        extractor: the ONNX file of the network that the head was trained on.
        path: the file to write.

    Raises:
        InputError: if the extractor cannot be read or the file cannot be written.
        RuntimeError: if ONNX Runtime and torch differ; no file is left.
    """
    file = ModelFile.read(extractor)
    first = parsed(select_outputs(file.data, choose_layers(file, spec.layers)), extractor)
    merged = merge(first, head_model(head, spec), spec)
    data = serialized(merged)
    checks = check_end_to_end(data, extractor, head, spec)
    refuse_errors(max(check.error for check in checks), path)
    write_atomically(path, data)
    return checks


def merge(extractor: onnx.ModelProto, head: onnx.ModelProto, spec: ModelSpec) -> onnx.ModelProto:
    """One model from two, brought to one opset and IR version, their names kept apart."""
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
    return with_metadata(merged, {**spec.to_metadata(end_to_end=True), **origin()})


def report(path: Path, checks: Sequence[ParityCheck]) -> None:
    """Print an export's size and its comparisons."""
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, opset {OPSET}")
    for check in checks:
        print(
            f"  {check.rois} ROIs on {check.images} image(s): ONNX Runtime - torch "
            f"{check.error:.1e} (at most {TOLERANCE:.0e})"
        )


def check_head(data: bytes, head: nn.Module, spec: ModelSpec) -> list[ParityCheck]:
    """ONNX Runtime against torch for no, one and seven ROIs, on one and on two images."""
    session = open_session(data, ON_CPU, label="the exported head", quietly=True)
    checks = []
    for people, images in ((0, 1), (1, 1), (7, 1), (7, 2)):
        features, rois = random_features(spec, images), odd_rois(people, images, spec.image_size)
        maps = {f"features_{i}": item for i, item in enumerate(features)}
        feeds, order = head_feeds(rois, spec.small_side)
        found = session.run(["masks"], {**maps, **feeds})[0]
        expected = _run_torch(head, features, rois)[order]
        checks.append(ParityCheck(people, images, largest_error(found, expected)))
    return checks


def check_end_to_end(
    data: bytes, extractor: Path, head: nn.Module, spec: ModelSpec
) -> list[ParityCheck]:
    """The merged file against the extractor's own session followed by the torch head."""
    parts = select_outputs(read_model(extractor), spec.layers)
    session = open_session(parts, ON_CPU, label=str(extractor), quietly=True)
    merged = open_session(data, ON_CPU, label="the merged model", quietly=True)
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
        checks.append(ParityCheck(people, images, largest_error(found, expected)))
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


class OneInput(nn.Module):
    """The head with both trunks run on every ROI, and the logits of the right one chosen."""

    def __init__(self, head: nn.Module, small_side: float) -> None:
        super().__init__()
        self.head, self.small_side = head, small_side

    def forward(self, features: Sequence[Tensor], rois: Tensor) -> Tensor:
        """Logits float [N, 3, M, M], those of the head itself."""
        head: Any = self.head
        both = head.apart(features, rois, rois)
        large, small = both[: rois.shape[0]], both[rois.shape[0] :]
        # as of are_small, which the exporter cannot follow
        longest = (rois[:, 3:] - rois[:, 1:3]).amax(dim=1)
        return torch.where((longest <= self.small_side)[:, None, None, None], small, large)


def with_one_input(head: nn.Module, spec: ModelSpec) -> tuple[nn.Module, ModelSpec]:
    """The head and its facts for a file that takes all ROIs by ``rois``; unchanged with one trunk.

    The masks are the same; each person costs both trunks.
    """
    if not spec.small_side:
        return head, spec
    return OneInput(head, spec.small_side), replace(spec, small_branch=False)
