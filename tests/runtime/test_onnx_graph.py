"""Cutting ONNX files as bytes: read by the onnx package, run by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from human_edge_detection.core.errors import InputError
from human_edge_detection.runtime import onnx_graph
from stand_in import write_stand_in


@pytest.fixture
def model(tmp_path: Path) -> bytes:
    path = write_stand_in(tmp_path / "m.onnx", layer="map", channels=4, size_hw=(16, 24))
    return path.read_bytes()


def run(model: bytes, names: list[str]) -> list[np.ndarray]:
    images = np.random.default_rng(0).random((1, 3, 16, 24), np.float32)
    return ort.InferenceSession(model).run(names, {"images": images})


def test_reading_agrees_with_the_onnx_package(model: bytes) -> None:
    graph = onnx.load_from_string(model).graph
    nodes = onnx_graph.read_nodes(model)
    assert [list(node.inputs) for node in nodes] == [list(node.input) for node in graph.node]
    assert [list(node.outputs) for node in nodes] == [list(node.output) for node in graph.node]
    assert [node.op_type for node in nodes] == [node.op_type for node in graph.node]
    assert onnx_graph.read_outputs(model) == ("map", "scores")


def test_only_what_the_wanted_tensors_need_is_kept(model: bytes) -> None:
    cut = onnx.load_from_string(onnx_graph.select_outputs(model, ["stem_relu"]))
    assert [node.op_type for node in cut.graph.node] == ["Conv", "Relu"]
    assert [item.name for item in cut.graph.initializer] == ["stem.weight"]
    assert [item.name for item in cut.graph.output] == ["stem_relu"]
    assert cut.opset_import[0].version == 16 and cut.ir_version == 8


def test_a_cut_model_computes_the_same_numbers(model: bytes) -> None:
    exposed = onnx.load_from_string(model)
    exposed.graph.output.append(onnx.ValueInfoProto(name="stem_relu"))
    names = ["stem_relu", "map", "left"]
    exposed.graph.output.append(onnx.ValueInfoProto(name="left"))
    expected = run(exposed.SerializeToString(), names)
    for a, b in zip(run(onnx_graph.select_outputs(model, names), names), expected, strict=True):
        assert a.shape == b.shape and np.array_equal(a, b)


def test_shapes_come_instead_of_tensors(model: bytes) -> None:
    probe = onnx_graph.with_shape_outputs(model, ["left", "map"])
    left, both = run(probe, ["left#shape", "map#shape"])
    assert left.tolist() == [1, 2, 2, 3] and both.tolist() == [1, 4, 2, 3]


def test_what_only_an_inner_graph_reads_is_kept() -> None:
    def branch(name: str, source: str) -> onnx.GraphProto:
        output = helper.make_tensor_value_info(name, TensorProto.FLOAT, [1])
        return helper.make_graph(
            [helper.make_node("Identity", [source], [name])], name, [], [output]
        )

    nodes = [
        helper.make_node("Neg", ["x"], ["negative"]),
        helper.make_node("Abs", ["x"], ["unused"]),
        helper.make_node(
            "If", ["flag"], ["y"], then_branch=branch("a", "x"), else_branch=branch("b", "negative")
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "choice",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1]),
            helper.make_tensor_value_info("flag", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("unused", TensorProto.FLOAT, [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
    cut = onnx_graph.select_outputs(model.SerializeToString(), ["y"])
    assert [node.op_type for node in onnx_graph.read_nodes(cut)] == ["Neg", "If"]
    feed = {"x": np.array([2], np.float32), "flag": np.array(False)}
    assert ort.InferenceSession(cut).run(None, feed)[0].tolist() == [-2]


@pytest.mark.parametrize("keep", [0.3, 0.7, 0.99])
def test_a_cut_off_file_is_noticed(model: bytes, keep: float) -> None:
    with pytest.raises(onnx_graph.MalformedModel):
        onnx_graph.read_nodes(model[: int(len(model) * keep)])


@pytest.mark.parametrize("data", [b"\x00" * 50, b"not a model at all", b"\x89PNG\r\n\x1a\n" * 9])
def test_other_files_are_noticed(data: bytes) -> None:
    with pytest.raises(onnx_graph.MalformedModel):
        onnx_graph.read_nodes(data)


def test_each_flipped_bit_of_a_model_with_checksum_is_noticed(model: bytes, tmp_path: Path) -> None:
    data, path = onnx_graph.with_checksum(model), tmp_path / "m.onnx"
    assert onnx_graph.with_checksum(data) == data
    path.write_bytes(data)
    assert onnx_graph.read_model(path) == data
    assert onnx_graph.short_hash(data) == onnx_graph.short_hash(model)
    rng = np.random.default_rng(0)
    for place in [
        0,
        len(model) - 1,
        len(data) - 64,
        len(data) - 1,
        *rng.integers(len(model), size=99),
    ]:
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"m\.onnx is damaged: .* export it again"):
            onnx_graph.read_model(path)


def test_the_checksum_is_metadata_and_leaves_the_model_as_it_is(model: bytes) -> None:
    data = onnx_graph.with_checksum(model)
    loaded = onnx.load_from_string(data)
    onnx.checker.check_model(loaded)
    (entry,) = (item for item in loaded.metadata_props if item.key == onnx_graph.CHECKSUM)
    assert len(entry.value) == 64
    for a, b in zip(run(data, ["map"]), run(model, ["map"]), strict=True):
        np.testing.assert_array_equal(a, b)
    loaded.metadata_props.remove(entry)  # the way out for a model that a tool has changed
    assert loaded == onnx.load_from_string(model)
