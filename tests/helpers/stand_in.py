"""Cheap ONNX networks with random weights that keep a real extractor's contract."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LARGE_YOLO_LAYER = "segmentation_model_34_Concat_output_0"


def write_stand_in(
    path: Path,
    *,
    layer: str = LARGE_YOLO_LAYER,
    channels: int = 1024,
    stride: int = 8,
    size_hw: Sequence[int | str] = (640, 640),
    batch: int | str = "N",
    declared: bool = True,
    half: bool = False,
    seed: int = 0,
) -> Path:
    """Write a network with the large YOLOv9's contract, by default at its real size.

    Two 1x1 convolutions of a strided one, joined by a Concat: N x 3 x 640 x 640 in,
    N x 1024 x 80 x 80 out, for some 0.3 GMAC and 200 kB.

    Args:
        path: file to write.
        layer: name of the feature map.
        channels: its channels, even.
        stride: its stride.
        size_hw: height and width of the input; a text leaves one free.
        batch: a number fixes the batch size, a text leaves it free.
        declared: whether the map is an output of the file, or only a tensor inside it.
        half: float16 all through.
        seed: of the weights.
    """
    rng = np.random.default_rng(seed)
    dtype, kind = (np.float16, TensorProto.FLOAT16) if half else (np.float32, TensorProto.FLOAT)

    def weight(name: str, *shape: int) -> TensorProto:
        scale = np.sqrt(2 / np.prod(shape[1:]))
        return numpy_helper.from_array((rng.standard_normal(shape) * scale).astype(dtype), name)

    weights = [
        weight("stem.weight", 16, 3, stride, stride),
        weight("left.weight", channels // 2, 16, 1, 1),
        weight("right.weight", channels // 2, 16, 1, 1),
        weight("unused.weight", 4, 4),
    ]
    nodes = [
        helper.make_node("Conv", ["images", "stem.weight"], ["stem"], strides=[stride, stride]),
        helper.make_node("Relu", ["stem"], ["stem_relu"]),
        helper.make_node("Conv", ["stem_relu", "left.weight"], ["left"]),
        helper.make_node("Conv", ["stem_relu", "right.weight"], ["right"]),
        helper.make_node("Concat", ["left", "right"], [layer], axis=1),
        helper.make_node("GlobalAveragePool", [layer], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["scores"]),
    ]
    outputs = [helper.make_tensor_value_info("scores", kind, [batch, channels])]
    if declared:
        outputs.insert(0, helper.make_tensor_value_info(layer, kind, [batch, channels, "h", "w"]))
    graph = helper.make_graph(
        nodes,
        "stand_in",
        [helper.make_tensor_value_info("images", kind, [batch, 3, *size_hw])],
        outputs,
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
