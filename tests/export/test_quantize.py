"""The 8-bit head: same inputs and outputs, nearly the same numbers, exact positions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from human_edge_detection.cli import main
from human_edge_detection.cli.export import QuantizeOptions, run_quantize
from human_edge_detection.core.errors import InputError
from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.export.head import export_head
from human_edge_detection.export.quantize import Feeds, compare, coordinate_nodes, quantized
from human_edge_detection.modeling.heads import build_head
from human_edge_detection.runtime.onnx_graph import read_model
from people_set import write_people_set
from stand_in import write_stand_in

SPEC = ModelSpec("lite", ("fine", "coarse"), (4, 8), (4.0, 8.0), image_size=(64, 64), roi_size=8)


def some_feeds(count: int, people: int = 3) -> list[Feeds]:
    feeds: list[Feeds] = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        low = rng.uniform(0, 30, (people, 2))
        boxes = np.concatenate(
            [np.zeros((people, 1)), low, low + rng.uniform(8, 30, (people, 2))], 1
        )
        feeds.append(
            {
                "features_0": rng.standard_normal((1, 4, 16, 16)).astype(np.float32),
                "features_1": rng.standard_normal((1, 8, 8, 8)).astype(np.float32),
                "rois": boxes.astype(np.float32),
            }
        )
    return feeds


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("head") / "head.onnx"
    export_head(build_head(SPEC), SPEC, path)
    return path


@pytest.fixture(scope="module")
def small(head: Path) -> bytes:
    return quantized(onnx.load(head), some_feeds(6)).SerializeToString()


def test_logits_are_nearly_those_of_the_float_head(head: Path, small: bytes) -> None:
    feed = some_feeds(8)[7]
    expected = ort.InferenceSession(head).run(None, feed)[0]
    found = ort.InferenceSession(small).run(None, feed)[0]
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() < 0.1 * expected.std()
    assert compare(head.read_bytes(), small, [feed]).people == 3


def test_no_roi_gives_no_mask(small: bytes) -> None:
    feed = some_feeds(1, people=0)[0]
    assert ort.InferenceSession(small).run(None, feed)[0].shape == (0, 3, 16, 16)


def test_metadata_stays_and_tells_the_precision(head: Path, small: bytes) -> None:
    before = {item.key: item.value for item in onnx.load(head).metadata_props}
    after = {p.key: p.value for p in onnx.load_model_from_string(small).metadata_props}
    assert after == {**before, "precision": "int8"}


def test_positions_are_computed_in_float(head: Path, small: bytes) -> None:
    model = onnx.load(head)
    names = coordinate_nodes(model.graph)
    kinds = {node.op_type for node in model.graph.node if node.name in names}
    assert "Conv" not in kinds
    assert {"Mul", "Clip", "Concat"} <= kinds
    graph = onnx.load_model_from_string(small).graph
    maker = {name: node for node in graph.node for name in node.output}
    grids = [node.input[1] for node in graph.node if node.op_type == "GridSample"]
    assert len(grids) == 2
    for grid in grids:
        assert maker[grid].op_type != "DequantizeLinear"


def test_an_8_bit_head_is_not_quantized_again(small: bytes, tmp_path: Path) -> None:
    path = tmp_path / "small.onnx"
    path.write_bytes(small)
    with pytest.raises(InputError, match="int8 already: pass the float one"):
        run_quantize(QuantizeOptions(model=path))


def test_command_writes_the_head_or_says_why_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layer = "map"
    extractor = write_stand_in(
        tmp_path / "net.onnx", layer=layer, channels=8, stride=8, size_hw=(96, 96)
    )
    spec = ModelSpec("lite", (layer,), (8,), (8.0,), image_size=(96, 96), roi_size=8)
    torch.manual_seed(0)
    export_head(build_head(spec), spec, tmp_path / "head.onnx")
    annotations = write_people_set(tmp_path)
    flags = ["--extractor", str(extractor), "--img_dir", str(tmp_path)]
    call = ["quantize", str(tmp_path / "head.onnx"), *flags, "--photos", "1", "--max_rois", "2"]
    code = main([*call, "--ann", str(annotations)])
    said = capsys.readouterr()
    written = tmp_path / "head_int8.onnx"
    # An untrained head decides by differences of rounding: either outcome is right, if told.
    if code == 0:
        assert "8-bit" in said.out
        facts = {item.key: item.value for item in onnx.load(written).metadata_props}
        assert facts["precision"] == "int8"
        assert read_model(written).endswith(facts["sha256"].encode())  # its own, not the head's
    else:
        assert "was not written" in said.err
        assert not written.exists()
    assert main([*call, "--ann", str(tmp_path / "none.json")]) == 2
    assert "none.json" in capsys.readouterr().err
