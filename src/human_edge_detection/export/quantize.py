"""An exported head in 8-bit integers: half the time of the float one on a CPU.

Weights and activations of the convolutions become integers with scales that are measured on a few
photos (static quantization, `Jacob et al. 2018 <https://arxiv.org/abs/1712.05877>`_, by ONNX
Runtime's own tool). Sampling positions stay in float: an 8-bit coordinate is off by whole cells.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
from onnx import helper

from human_edge_detection.core.structures import FloatArray
from human_edge_detection.export.int8_graph import in_int8_forms

Feeds = dict[str, FloatArray]
"""One float32 array per input of a model."""

QUANTIZED_OPS = ("Conv", "Add", "Relu", "Concat", "Resize")


def quantized(model: onnx.ModelProto, feeds: Sequence[Feeds]) -> onnx.ModelProto:
    """The model with 8-bit convolutions, same inputs, outputs and metadata.

    Weights keep to 7 bits, so that the sums of processors without VNNI instructions do not
    saturate and the masks are the same everywhere.

    Args:
        model: an exported head, float32.
        feeds: typical inputs, whose range of activations sets the scales.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with TemporaryDirectory() as folder:
        source, plain, target = (str(Path(folder) / f"{name}.onnx") for name in "abc")
        onnx.save(in_int8_forms(model), source)
        quant_pre_process(source, plain, skip_symbolic_shape=True)
        root = logging.getLogger()
        level = root.level
        root.setLevel(logging.ERROR)  # the tool advises to do what was done one line above
        try:
            quantize_static(
                plain,
                target,
                _Reader(feeds),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=coordinate_nodes(onnx.load(plain).graph),
                op_types_to_quantize=list(QUANTIZED_OPS),
            )
        finally:
            root.setLevel(level)
        found = onnx.load(target)
    del found.metadata_props[:]
    facts = {item.key: item.value for item in model.metadata_props}
    helper.set_model_props(found, {**facts, "precision": "int8"})
    return found


def coordinate_nodes(graph: onnx.GraphProto) -> list[str]:
    """The names of the nodes that compute where ``GridSample`` reads."""
    maker = {name: node for node in graph.node for name in node.output}
    waiting = [node.input[1] for node in graph.node if node.op_type == "GridSample"]
    found: dict[str, None] = {}
    while waiting:
        node = maker.get(waiting.pop())
        # Sizes of the feature maps reach the positions too, but not what the maps hold.
        if node is not None and node.name not in found and node.op_type != "Shape":
            found[node.name] = None
            waiting += node.input
    return list(found)


class _Reader:
    """Hands the calibration its inputs one after the other."""

    def __init__(self, feeds: Iterable[Feeds]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Feeds | None:
        return next(self._feeds, None)
