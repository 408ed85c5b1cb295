"""ONNX files whose answers are known: the head reads the person's colour, nothing is learned.

Red is the target, blue is somebody else, anything else is background. The extractor averages the
photo over 4x4 pixels, and the detector finds what it was told to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, parser

STRIDE = 4
PADDING = 0.1

EXTRACTOR = """<ir_version: 8, opset_import: ["" : 16]>
extractor (float[B, 3, H, W] images) => (float[B, 3, h, w] pooled) {
  inner = AveragePool <kernel_shape = [4, 4], strides = [4, 4]> (images)
  pooled = Relu (inner)
}"""

HEAD = """<ir_version: 8, opset_import: ["" : 16]>
head (float[B, 3, h, w] features_0, float[N, 5] rois) => (float[N, 3, 56, 56] masks) {
  one = Constant <value = float[1] {1.0}> ()
  corners = Slice (rois, i1, i5, i1)
  low = Slice (corners, i0, i2, i1)
  high = Slice (corners, i2, i4, i1)
  side = Sub (high, low)
  size = Shape (features_0)
  count = Shape (rois)
  n = Slice (count, i0, i1)
  wh_int = Gather (size, order)
  wh = Cast <to = 1> (wh_int)
  four = Constant <value = float[1] {4.0}> ()
  frame = Mul (wh, four)
  low4 = Reshape (low, to4)
  side4 = Reshape (side, to4)
  scaled = Mul (bins, side4)
  points = Add (scaled, low4)
  two = Constant <value = float[1] {2.0}> ()
  twice = Mul (points, two)
  parts = Div (twice, frame)
  grid = Sub (parts, one)
  tail = Slice (size, i1, i4)
  target = Concat <axis = 0> (n, tail)
  every = Expand (features_0, target)
  sampled = GridSample <mode = "bilinear", padding_mode = "border", align_corners = 0> (every, grid)
  masks = Conv (sampled, weight, bias)
}"""


def _ints(name: str, values: Sequence[int]) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def write_extractor(path: Path) -> Path:
    """An extractor ``pooled`` (declared) and ``inner``, 3 channels at stride 4."""
    onnx.save(parser.parse_model(EXTRACTOR), path)
    return path


def write_head(path: Path, layers: Sequence[str] = ("pooled",), **facts: object) -> Path:
    """A head that answers logits from the colours; ``facts`` replace its metadata."""
    model = parser.parse_model(HEAD)
    centres = (np.arange(56, dtype=np.float32) + 0.5) / 56
    bins = np.stack(np.meshgrid(centres, centres), axis=-1)[None]
    # background, target, somebody else from red, green, blue; black is background
    weight = np.array([[-20, 0, -20], [20, -20, -20], [-20, -20, 20]], np.float32)
    bias = np.array([10, -10, -10], np.float32)
    model.graph.initializer.extend(
        [
            *(_ints(f"i{value}", [value]) for value in (0, 1, 2, 4, 5)),
            _ints("order", [3, 2]),
            _ints("to4", [-1, 1, 1, 2]),
            numpy_helper.from_array(bins, "bins"),
            numpy_helper.from_array(weight.reshape(3, 3, 1, 1), "weight"),
            numpy_helper.from_array(bias, "bias"),
        ]
    )
    metadata = {
        "format": "human_edge_detection.head",
        "layers": list(layers),
        "channels": [3],
        "strides": [STRIDE],
        "image_size": [128, 128],
        "roi_padding": str(PADDING),
        "mask_size": "56",
        "geometry": "letterbox",
        **facts,
    }
    texts = {key: v if isinstance(v, str) else json.dumps(v) for key, v in metadata.items()}
    helper.set_model_props(model, texts)
    onnx.save(model, path)
    return path


def write_constant_detector(
    path: Path,
    outputs: dict[str, np.ndarray],
    size_hw: tuple[int, int] | None = (128, 128),
    names: Sequence[str] = (),
    input_name: str = "images",
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """A detector that answers ``outputs`` whatever it sees, and ``pooled`` features inside.

    Args:
        path: where to write it.
        outputs: its outputs.
        size_hw: its fixed input size, or None for an open one.
        names: class names to put into its metadata.
        input_name: what its input is called.
        metadata: further metadata.
    """
    shape = [1, 3, *(size_hw or ("H", "W"))]
    image = helper.make_tensor_value_info(input_name, TensorProto.FLOAT, shape)
    pool = helper.make_node("AveragePool", [input_name], ["pooled"], kernel_shape=[4, 4],
                            strides=[4, 4])  # fmt: skip
    nodes, infos = [pool], []
    for name, value in outputs.items():
        tensor = numpy_helper.from_array(np.asarray(value, np.float32), name + "_value")
        nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        infos.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    graph = helper.make_graph(nodes, "detector", [image], infos)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
    facts = {"names": str(dict(enumerate(names)))} if names else {}
    helper.set_model_props(model, {**facts, **(metadata or {})})
    onnx.save(model, path)
    return path


def draw_person(
    size_hw: tuple[int, int], box_xyxy: Sequence[float], color: Sequence[int] = (255, 0, 0)
) -> tuple[np.ndarray, np.ndarray]:
    """A photo with one lopsided ellipse in a box, and its mask."""
    height, width = size_hw
    x1, y1, x2, y2 = box_xyxy
    y, x = np.mgrid[:height, :width] + 0.5
    u, v = (x - x1) / (x2 - x1) * 2 - 1, (y - y1) / (y2 - y1) * 2 - 1
    mask = (u**2 + v**2 <= 1) & ~((u > 0.2) & (v > 0.2))
    image = np.zeros((height, width, 3), np.uint8)
    image[mask] = color
    return image, mask
