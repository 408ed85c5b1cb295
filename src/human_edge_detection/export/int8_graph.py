"""Rewrites a network's graph into equal forms that are fast in 8 bits.

ONNX Runtime's 8-bit convolutions keep channels last, so that pixels are moved as runs of bytes.
Its ``DepthToSpace``, its nearest ``Resize`` and its average pool move single bytes, and its
convolutions cost the same per pixel however few channels they give. Each form here computes the
same numbers; a node that does not fit one stays as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import helper, numpy_helper

from human_edge_detection.core.structures import FloatArray

FEW_CHANNELS, JOINED = 4, 4
"""A 1x1 convolution to at most 4 channels treats 4 pixels of a row as one."""


def in_int8_forms(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a float model that gives the same numbers, made to be quantized."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    forms = _Forms(copy)
    nodes = [new for node in copy.graph.node for new in forms.of(node)]
    read = {name for node in nodes for name in node.input}
    del copy.graph.node[:]
    copy.graph.node.extend(
        node for node in nodes if node.op_type != "Constant" or node.output[0] in read
    )
    weights = [item for item in copy.graph.initializer if item.name in read]
    del copy.graph.initializer[:]
    copy.graph.initializer.extend(weights)
    return copy


class _Forms:
    """Replaces nodes by their 8-bit forms, with what that needs to know about the graph."""

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self._initializers = graph.initializer
        self._weights = {item.name: item for item in graph.initializer}
        self._makers = {name: node for node in graph.node for name in node.output}
        self._readers = Counter(name for node in graph.node for name in node.input)
        self._shapes = {
            item.name: tuple(side.dim_value for side in item.type.tensor_type.shape.dim)
            for item in onnx.shape_inference.infer_shapes(model).graph.value_info
        }

    def of(self, node: onnx.NodeProto) -> Sequence[onnx.NodeProto]:
        """The nodes that replace a node; the node itself where no form fits."""
        shape = self._shapes.get(node.input[0], ()) if node.input else ()
        if len(shape) != 4 or not all(shape[1:]):
            return [node]
        if node.op_type == "AveragePool":
            return self._pool(node, shape[1])
        if node.op_type == "DepthToSpace":
            return self._shuffle(node, *shape[1:])
        if node.op_type == "Resize":
            return self._repeat(node, *shape[1:])
        if node.op_type == "Conv":
            return self._join(node, *shape[1:])
        return [node]

    def _pool(self, node: onnx.NodeProto, channels: int) -> list[onnx.NodeProto]:
        """An average pool as a depthwise convolution."""
        facts = _attributes(node)
        if any(facts.get("pads", ())):
            return [node]
        kernel = facts["kernel_shape"]
        weight = np.full((channels, 1, *kernel), 1 / np.prod(kernel), np.float32)
        return [
            helper.make_node(
                "Conv",
                [node.input[0], self._constant(node, "weight", weight)],
                list(node.output),
                node.name,
                kernel_shape=kernel,
                strides=facts.get("strides", [1, 1]),
                group=channels,
            )
        ]

    def _shuffle(
        self, node: onnx.NodeProto, channels: int, height: int, width: int
    ) -> list[onnx.NodeProto]:
        """A pixel shuffle by 2 as the cutting of each row of pixels into two.

        For that a pixel's channels must be ordered by their place in it, so the weights of the
        convolution before are put into that order.
        """
        facts = _attributes(node)
        weights = self._own_weights(node)
        if facts["blocksize"] != 2 or facts.get("mode") != b"CRD" or not weights:
            return [node]
        order = np.arange(channels).reshape(channels // 4, 4).T.ravel()
        for weight in weights:
            ordered = np.ascontiguousarray(numpy_helper.to_array(weight)[order])
            weight.CopyFrom(numpy_helper.from_array(ordered, weight.name))
        rows = self._constant(node, "rows", [-1, width, 2, channels // 2])
        image = self._constant(node, "image", [-1, 2 * height, 2 * width, channels // 4])
        steps = (("Reshape", rows), ("Transpose", (0, 2, 1, 3)), ("Reshape", image))
        return list(_channels_last(node.name, node.input[0], node.output[0], steps))

    def _repeat(
        self, node: onnx.NodeProto, channels: int, height: int, width: int
    ) -> list[onnx.NodeProto]:
        """Doubling by the nearest neighbour as an expansion of axes of length 1."""
        scales = self._value(node.input[2]) if len(node.input) > 2 else None
        if _attributes(node)["mode"] != b"nearest" or scales is None:
            return [node]
        if scales.tolist() != [1, 1, 2, 2]:
            return [node]
        apart = self._constant(node, "apart", [-1, 1, width, 1, channels])
        twice = self._constant(node, "twice", [1, 2, 1, 2, 1])
        image = self._constant(node, "image", [-1, 2 * height, 2 * width, channels])
        steps = (("Reshape", apart), ("Expand", twice), ("Reshape", image))
        return list(_channels_last(node.name, node.input[0], node.output[0], steps))

    def _join(
        self, node: onnx.NodeProto, channels: int, height: int, width: int
    ) -> list[onnx.NodeProto]:
        """A 1x1 convolution to few channels as one of neighbours side by side, block by block."""
        facts = _attributes(node)
        if len(node.input) != 3 or width % JOINED:
            return [node]
        weight, bias = (self._value(name) for name in node.input[1:])
        if weight is None or bias is None:
            return [node]
        plain = max(facts.get("strides", [1])) == facts.get("group", 1) == 1
        if len(weight) > FEW_CHANNELS or weight.shape[1:] != (channels, 1, 1) or not plain:
            return [node]
        if any(facts.get("pads", ())):
            return [node]
        block = np.kron(np.eye(JOINED, dtype=np.float32), weight[:, :, 0, 0])[:, :, None, None]
        inputs = [
            f"{node.output[0]}_joined",
            self._constant(node, "block", block),
            self._constant(node, "biases", np.tile(bias, JOINED)),
        ]
        wide = self._constant(node, "wide", [-1, height, width // JOINED, channels * JOINED])
        image = self._constant(node, "image", [-1, height, width, len(weight)])
        apart = f"{node.output[0]}_apart"
        return [
            *_channels_last(node.name + "_in", node.input[0], inputs[0], (("Reshape", wide),)),
            helper.make_node("Conv", inputs, [apart], node.name, kernel_shape=[1, 1]),
            *_channels_last(node.name + "_out", apart, node.output[0], (("Reshape", image),)),
        ]

    def _own_weights(self, node: onnx.NodeProto) -> list[onnx.TensorProto]:
        """Weight and bias of the convolution (and ReLU) that only this node reads, or none."""
        while self._readers[node.input[0]] == 1 and node.input[0] in self._makers:
            node = self._makers[node.input[0]]
            if node.op_type == "Conv":
                names = node.input[1:]
                own = all(name in self._weights and self._readers[name] == 1 for name in names)
                return [self._weights[name] for name in names] if own else []
            if node.op_type != "Relu":
                break
        return []

    def _value(self, name: str) -> FloatArray | None:
        """A constant's value, whichever way the graph holds it."""
        tensor, maker = self._weights.get(name), self._makers.get(name)
        if maker is not None and maker.op_type == "Constant":
            tensor = _attributes(maker).get("value")
        return None if tensor is None else np.asarray(numpy_helper.to_array(tensor), np.float32)

    def _constant(self, node: onnx.NodeProto, name: str, value: ArrayLike) -> str:
        full = f"{node.output[0]}_{name}"
        self._initializers.append(numpy_helper.from_array(np.asarray(value), full))
        return full


def _channels_last(
    title: str, source: str, target: str, steps: Sequence[tuple[str, str | tuple[int, ...]]]
) -> Iterator[onnx.NodeProto]:
    """Nodes from one tensor to another: channels to the end, the steps, channels to the front.

    A step is an operator and its second input, or the order of axes of a ``Transpose``.
    """
    whole = (("Transpose", (0, 2, 3, 1)), *steps, ("Transpose", (0, 3, 1, 2)))
    names = [source, *(f"{target}_{i}" for i in range(1, len(whole))), target]
    for place, (kind, how) in enumerate(whole):
        inputs = [names[place], how] if isinstance(how, str) else [names[place]]
        extra = {} if isinstance(how, str) else {"perm": how}
        yield helper.make_node(kind, inputs, [names[place + 1]], f"{title}_{place}", **extra)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {item.name: helper.get_attribute_value(item) for item in node.attribute}
