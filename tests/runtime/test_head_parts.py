"""A head cut in two gives the numbers of the whole head."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from human_edge_detection.core.errors import InputError
from human_edge_detection.runtime.head_parts import cut_head
from human_edge_detection.runtime.model_files import HEAD_NAME, INT8_HEAD_NAME, WEIGHTS_DIR
from human_edge_detection.runtime.onnx_graph import read_nodes

ROIS = ["rois", "small_rois"]
STRIDES = (4, 8, 8, 16, 32)


@pytest.mark.parametrize("name", [HEAD_NAME, INT8_HEAD_NAME])
def test_both_parts_together_are_the_head(name: str) -> None:
    data = (WEIGHTS_DIR / name).read_bytes()
    whole = ort.InferenceSession(data)
    inputs = [item for item in whole.get_inputs() if item.name not in ROIS]
    parts = cut_head(data, [item.name for item in inputs], ROIS)
    shared, own = (ort.InferenceSession(part) for part in (parts.shared, parts.own))
    assert {item.name for item in shared.get_inputs()} == {item.name for item in inputs}
    assert {item.name for item in own.get_inputs()} == {*ROIS, *parts.maps}
    # Every convolution of the maps is in the first part, none is in both.
    counts = [sum(node.op_type == "Conv" for node in read_nodes(part))
              for part in (data, parts.shared, parts.own)]  # fmt: skip
    assert counts[0] == counts[1] + counts[2] and counts[1] > 0

    rng = np.random.default_rng(0)
    maps = {
        item.name: rng.random((1, item.shape[1], 96 // stride, 128 // stride), np.float32)
        for item, stride in zip(inputs, STRIDES, strict=True)
    }
    rois = {
        "rois": np.array([[0, 10, 8, 90, 95], [0, 40.5, -3, 128, 60]], np.float32),
        "small_rois": np.array([[0, 50, 50, 60, 71.5]], np.float32),
    }
    (wanted,) = whole.run(None, {**maps, **rois})
    between = dict(zip(parts.maps, shared.run(list(parts.maps), maps), strict=True))
    for _ in range(2):  # the maps serve any number of ROIs
        (found,) = own.run(None, {**between, **rois})
        assert found.shape == wanted.shape == (3, 3, 56, 56)
        np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_a_head_without_a_shared_part_is_refused() -> None:
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 1, 2, 2]) for n in "abc"]
    graph = helper.make_graph(
        [helper.make_node("Add", ["a", "b"], ["c"])], "g", values[:2], values[2:]
    )
    data = helper.make_model(graph).SerializeToString()
    with pytest.raises(InputError, match="cannot be cut in two"):
        cut_head(data, ["a"], ["b"])
