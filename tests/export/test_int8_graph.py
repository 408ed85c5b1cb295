"""Forms for 8 bits: the same numbers by other nodes, and nothing touched that does not fit."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.export.head import head_model
from human_edge_detection.export.int8_graph import in_int8_forms
from human_edge_detection.modeling.heads import build_head


def model_of(
    nodes: list[onnx.NodeProto], shape: list[int | str], constants: dict[str, np.ndarray]
) -> onnx.ModelProto:
    """Nodes from ``a`` of a shape to ``y``; a ReLU before them gives ``x`` a known shape."""
    first = helper.make_node("Relu", ["a"], ["x"])
    graph = helper.make_graph(
        [first, *nodes],
        "g",
        [helper.make_tensor_value_info("a", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "c", "h", "w"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)


def answer(model: onnx.ModelProto, image: np.ndarray) -> np.ndarray:
    onnx.checker.check_model(model)
    return np.asarray(ort.InferenceSession(model.SerializeToString()).run(None, {"a": image})[0])


def exported(spec: ModelSpec) -> onnx.ModelProto:
    """A head as if trained: the exporter makes one constant of several equal ones."""
    torch.manual_seed(0)
    head = build_head(spec)
    for value in (*head.parameters(), *head.buffers()):
        if value.ndim == 1:  # norms, biases
            value.data.uniform_(0.1, 1)
    return head_model(head, spec)


def kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def convolution(name: str = "weight", source: str = "x") -> onnx.NodeProto:
    return helper.make_node("Conv", [source, name, "bias"], ["c"], "conv", kernel_shape=[1, 1])


def shuffle(source: str = "c", **facts: object) -> onnx.NodeProto:
    facts = {"blocksize": 2, "mode": "CRD", **facts}
    return helper.make_node("DepthToSpace", [source], ["y"], "shuffle", **facts)


WEIGHTS = {
    "weight": np.eye(8, dtype=np.float32)[:, :, None, None],
    "bias": np.zeros(8, np.float32),
}


def test_average_pool_becomes_an_equal_convolution() -> None:
    pool = helper.make_node(
        "AveragePool", ["x"], ["y"], "pool", kernel_shape=[2, 2], strides=[2, 2]
    )
    changed = in_int8_forms(model_of([pool], [1, 2, 2, 4], {}))
    assert kinds(changed) == ["Relu", "Conv"]
    image = np.array([[[[1, 3, 0, 0], [5, 7, 0, 8]], [[2, 2, 4, 4], [2, 2, 4, 4]]]], np.float32)
    np.testing.assert_allclose(answer(changed, image), [[[[4, 2]], [[2, 4]]]])


def test_shuffle_puts_each_channel_where_it_was() -> None:
    # One pixel with channels 0…7: the first four are the first channel's 2x2 pixels.
    image = np.arange(8, dtype=np.float32).reshape(1, 8, 1, 1)
    changed = in_int8_forms(model_of([convolution(), shuffle()], [1, 8, 1, 1], WEIGHTS))
    assert "DepthToSpace" not in kinds(changed)
    np.testing.assert_array_equal(answer(changed, image), [[[[0, 1], [2, 3]], [[4, 5], [6, 7]]]])


def test_doubling_repeats_rows_and_columns() -> None:
    scales = {"scales": np.array([1, 1, 2, 2], np.float32)}
    double = helper.make_node(
        "Resize", ["x", "", "scales"], ["y"], "double", mode="nearest",
        coordinate_transformation_mode="asymmetric", nearest_mode="floor",
    )  # fmt: skip
    changed = in_int8_forms(model_of([double], [1, 1, 2, 2], scales))
    assert "Resize" not in kinds(changed)
    found = answer(changed, np.array([[[[1, 2], [3, 4]]]], np.float32))
    wanted = [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    np.testing.assert_array_equal(found, [[wanted]])


def test_few_channels_are_computed_for_four_pixels_at_once() -> None:
    weights = {
        "weight": np.array([[1, 10], [0, -1]], np.float32)[:, :, None, None],
        "bias": np.array([0.5, 0], np.float32),
    }
    conv = helper.make_node("Conv", ["x", "weight", "bias"], ["y"], "conv", kernel_shape=[1, 1])
    changed = in_int8_forms(model_of([conv], ["n", 2, 1, 4], weights))
    (joined,) = [node for node in changed.graph.node if node.op_type == "Conv"]
    shapes = {item.name: list(item.dims) for item in changed.graph.initializer}
    assert shapes[joined.input[1]] == [8, 8, 1, 1]
    image = np.array([[[[1, 2, 3, 4]], [[5, 6, 7, 8]]]], np.float32)
    wanted = [[[[51.5, 62.5, 73.5, 84.5]], [[-5, -6, -7, -8]]]]
    np.testing.assert_allclose(answer(changed, image), wanted)
    for width, names in ((6, ["x", "weight", "bias"]), (4, ["x", "weight"])):
        conv = helper.make_node("Conv", names, ["y"], "conv", kernel_shape=[1, 1])
        model = model_of([conv], ["n", 2, 1, width], weights)
        assert kinds(in_int8_forms(model)) == ["Relu", "Conv"]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_any_number_of_images_gives_the_same_numbers(count: int) -> None:
    rng = np.random.default_rng(0)
    scales = np.array([1, 1, 2, 2], np.float32)
    double = helper.make_node(
        "Resize", ["x", "", "scales"], ["d"], "double", mode="nearest",
        coordinate_transformation_mode="asymmetric", nearest_mode="floor",
    )  # fmt: skip
    weights = {
        "weight": rng.standard_normal((12, 5, 1, 1)).astype(np.float32),
        "bias": rng.standard_normal(12).astype(np.float32),
        "scales": scales,
    }
    relu = helper.make_node("Relu", ["c"], ["r"])
    model = model_of([double, convolution(source="d"), relu, shuffle("r")], ["n", 5, 3, 4], weights)
    changed = in_int8_forms(model)
    assert not {"Resize", "DepthToSpace"} & set(kinds(changed))
    image = rng.standard_normal((count, 5, 3, 4)).astype(np.float32)
    found = answer(changed, image)
    assert found.shape == (count, 3, 12, 16)
    np.testing.assert_allclose(found, answer(model, image), atol=1e-6)


@pytest.mark.parametrize(
    "nodes",
    [
        [convolution(), shuffle(mode="DCR")],
        [convolution(), helper.make_node("Tanh", ["c"], ["t"]), shuffle("t")],
        [convolution(), shuffle(), helper.make_node("Relu", ["c"], ["else"])],
        [
            convolution(),
            shuffle(),
            helper.make_node("Conv", ["x", "weight", "bias"], ["else"], kernel_shape=[1, 1]),
        ],
    ],
    ids=["another order", "no convolution", "its output read twice", "its weights shared"],
)
def test_shuffle_stays_where_weights_cannot_be_ordered(nodes: list[onnx.NodeProto]) -> None:
    model = model_of(nodes, [1, 8, 2, 2], WEIGHTS)
    changed = in_int8_forms(model)
    assert kinds(changed) == kinds(model)
    image = np.arange(32, dtype=np.float32).reshape(1, 8, 2, 2)
    np.testing.assert_array_equal(answer(changed, image), answer(model, image))


def test_other_scalings_and_padded_pools_stay() -> None:
    linear = helper.make_node("Resize", ["x", "", "scales"], ["y"], "linear", mode="linear")
    model = model_of([linear], [1, 1, 2, 2], {"scales": np.array([1, 1, 2, 2], np.float32)})
    assert kinds(in_int8_forms(model)) == ["Relu", "Resize"]
    pool = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[2, 2], pads=[1, 1, 1, 1])
    assert kinds(in_int8_forms(model_of([pool], [1, 1, 2, 2], {}))) == ["Relu", "AveragePool"]


@pytest.mark.parametrize("small_branch", [False, True])
def test_lite_head_keeps_its_numbers_and_loses_its_slow_nodes(small_branch: bool) -> None:
    spec = ModelSpec(
        "lite", ("fine", "coarse"), (4, 8), (4.0, 8.0), image_size=(64, 64), roi_size=8,
        small_branch=small_branch,
    )  # fmt: skip
    model = exported(spec)
    changed = in_int8_forms(model)
    assert not {"AveragePool", "DepthToSpace"} & set(kinds(changed))
    rng = np.random.default_rng(0)
    rois = np.array([[0, 3, 5, 40, 61], [0, 20, 8, 50, 52]], np.float32)
    feed = {
        "features_0": rng.standard_normal((1, 4, 16, 16)).astype(np.float32),
        "features_1": rng.standard_normal((1, 8, 8, 8)).astype(np.float32),
        "rois": rois,
        **({"small_rois": rois / 2} if small_branch else {}),
    }
    one, other = (
        ort.InferenceSession(item.SerializeToString()).run(None, feed)[0]
        for item in (model, changed)
    )
    np.testing.assert_allclose(one, other, atol=1e-5)
    read = {name for node in changed.graph.node for name in node.input}
    assert all(n.output[0] in read for n in changed.graph.node if n.op_type == "Constant")


def test_weights_of_a_trunk_are_constants_in_the_file() -> None:
    # Cut out of others in each run they would also be packed in each run: a tenth of the time.
    spec = ModelSpec("lite", ("fine",), (4,), (8.0,), image_size=(64, 64), roi_size=8)
    graph = exported(spec).graph
    constants = {item.name for item in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert convolutions
    assert all(name in constants for node in convolutions for name in node.input[1:])
