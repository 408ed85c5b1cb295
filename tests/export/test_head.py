import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from human_edge_detection.cli.export import ExportOptions, run_export
from human_edge_detection.core.errors import InputError
from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.export import head as export_head_module
from human_edge_detection.export.head import export_end_to_end, export_head, head_model
from human_edge_detection.export.torch_to_onnx import TOLERANCE
from human_edge_detection.modeling.heads import build_head
from human_edge_detection.modeling.weights_file import save_weights
from human_edge_detection.runtime.head import HeadSession
from human_edge_detection.runtime.model_files import EXTRACTOR_NAME, HEAD_NAME
from human_edge_detection.runtime.onnx_graph import read_model
from human_edge_detection.runtime.sessions import ON_CPU, SessionOptions
from human_edge_detection.training.checkpoints import save_checkpoint
from human_edge_detection.training.finish import predict_command
from stand_in import write_stand_in
from tiny_person import write_person_checkpoint

SPEC = ModelSpec(
    head="lite", layers=("p4", "p8"), channels=(6, 8), strides=(4.0, 8.0), image_size=(64, 96)
)
TWO_TRUNKS = replace(SPEC, roi_size=8, small_branch=True)
SPEC_HEAD = ModelSpec(head="spec", layers=("p8",), channels=(8,), strides=(8.0,), roi_size=4)


@pytest.fixture(autouse=True)
def one_thread():
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.mark.parametrize("spec", [SPEC, SPEC_HEAD, TWO_TRUNKS], ids=str)
def test_exported_head_equals_torch_for_any_number_of_people(tmp_path: Path, spec: ModelSpec):
    checks = export_head(build_head(spec), spec, tmp_path / "head.onnx")
    assert [(c.rois, c.images) for c in checks] == [(0, 1), (1, 1), (7, 1), (7, 2)]
    assert max(c.error for c in checks) < 1e-4


def test_exported_head_has_the_promised_inputs_and_facts(tmp_path: Path):
    path = tmp_path / "head.onnx"
    export_head(build_head(SPEC), SPEC, path)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == ["features_0", "features_1", "rois"]
    assert [o.name for o in session.get_outputs()] == ["masks"]
    facts = session.get_modelmeta().custom_metadata_map
    assert facts["format"] == "human_edge_detection.head"
    assert read_model(path).endswith(facts["sha256"].encode())
    assert json.loads(facts["layers"]) == ["p4", "p8"]
    assert json.loads(facts["strides"]) == [4.0, 8.0]
    assert (facts["head"], facts["geometry"], facts["mask_size"]) == ("lite", "letterbox", "56")
    assert {o.domain: o.version for o in onnx.load(path).opset_import}[""] == 16


def test_a_second_trunk_has_an_input_of_its_own(tmp_path: Path):
    path = tmp_path / "head.onnx"
    head = build_head(TWO_TRUNKS)
    export_head(head, TWO_TRUNKS, path)
    session = HeadSession(path, ON_CPU)
    assert session.facts.small_side == 40
    maps = [torch.randn(2, 6, 16, 24), torch.randn(2, 8, 8, 12)]
    boxes = [[0, 3, 3, 20, 35], [1, 0, 0, 41, 8], [1, 5, 5, 9, 60], [0, 1, 2, 3, 4]]
    rois = torch.tensor(boxes, dtype=torch.float32)
    with torch.no_grad():
        wanted = head.eval()(maps, rois)
    features = [item.numpy() for item in maps]
    np.testing.assert_allclose(session(features, rois.numpy()), wanted, atol=1e-5)
    for rows in ([0, 3], [1, 2], [2], [3, 2, 1, 0]):
        found = session(features, rois.numpy()[rows])
        np.testing.assert_allclose(found, wanted[rows], atol=1e-5)
    session._buckets = True  # as TensorRT wants them
    for rows in ([0, 3], [1, 2], [0], [3, 2, 1, 0]):
        found = session(features, rois.numpy()[rows])
        np.testing.assert_allclose(found, wanted[rows], atol=1e-5)
    few_at_once = HeadSession(path, SessionOptions("cpu", max_rois=3))
    np.testing.assert_allclose(few_at_once(features, rois.numpy()), wanted, atol=1e-5)


@pytest.mark.parametrize(
    "spec",
    [
        ModelSpec("spec", ("a",), (8,), (8.0,)),
        ModelSpec("lite", ("a",), (8,), (8.0,), roi_size=8),
        ModelSpec("lite", ("a",), (8,), (8.0,), roi_size=8, small_branch=True),
    ],
    ids=["spec", "lite", "two trunks"],
)
def test_the_file_declares_the_masks_shape(spec: ModelSpec):
    (masks,) = head_model(build_head(spec), spec).graph.output
    declared = [axis.dim_param or axis.dim_value for axis in masks.type.tensor_type.shape.dim]
    assert declared == ["people", 3, spec.mask_size, spec.mask_size]
    assert spec.head != "spec" or declared[2:] == [56, 56]


@pytest.mark.parametrize("small_branch", [False, True])
@pytest.mark.parametrize("batch", [1, "N"])
def test_end_to_end_file_equals_extractor_and_head(
    tmp_path: Path, batch: int | str, small_branch: bool
):
    name = "/model.14/Concat_output_0"
    extractor = write_stand_in(
        tmp_path / "net.onnx", layer=name, channels=8, size_hw=(64, 64), batch=batch, declared=False
    )
    spec = ModelSpec("lite", (name,), (8,), (8.0,), (64, 64), 8, small_branch=small_branch)
    path = tmp_path / "whole.onnx"
    checks = export_end_to_end(build_head(spec), spec, extractor, path)
    assert [c.rois for c in checks] == [0, 1, 7]
    assert max(c.error for c in checks) < 1e-4
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = ["rois", "small_rois"] if small_branch else ["rois"]
    assert [i.name for i in session.get_inputs()] == ["images", *names]
    rois = dict.fromkeys(names, np.array([[0, 3, 3, 40, 60]], np.float32))
    images = np.zeros((1, 3, 64, 64), np.float32)
    (masks,) = session.run(["masks"], {"images": images, **rois})
    assert masks.shape == (len(names), 3, 16, 16)
    assert session.get_outputs()[0].shape == ["people", 3, 16, 16]


def test_a_difference_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(export_head_module, "largest_error", lambda *_: 2 * TOLERANCE)
    with pytest.raises(RuntimeError, match="differs from torch"):
        export_head(build_head(SPEC), SPEC, tmp_path / "head.onnx")
    assert not list(tmp_path.iterdir())


def test_export_command_writes_beside_the_checkpoint(tmp_path: Path, capsys):
    head = build_head(SPEC)
    weights = {f"head.{k}": v for k, v in head.state_dict().items()}
    checkpoint = tmp_path / "best_model.pth"
    save_checkpoint(checkpoint, {"spec": SPEC.to_dict(), "weights": weights})
    assert run_export(ExportOptions(checkpoint)) == 0
    assert (tmp_path / "best_model.onnx").exists()
    assert "7 ROIs on 2 image(s)" in capsys.readouterr().out


def test_export_command_takes_folder_size_and_plain_weights(tmp_path: Path, capsys):
    weights = {f"head.{k}": v for k, v in build_head(SPEC).state_dict().items()}
    path = tmp_path / "mine.safetensors"
    save_weights(path, weights, SPEC)
    folder = tmp_path / "out"
    assert run_export(ExportOptions(path, output_dir=folder, image_size=(32, 64))) == 0
    session = ort.InferenceSession(folder / "mine.onnx", providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map["image_size"] == "[32, 64]"


def test_export_command_writes_both_files_of_a_person_model(tmp_path: Path, capsys):
    checkpoint = write_person_checkpoint(tmp_path / "best_model.pth", with_detector=False)
    folder = tmp_path / "out"
    assert run_export(ExportOptions(checkpoint, output_dir=folder, image_size=(64, 96))) == 0
    assert sorted(path.name for path in folder.iterdir()) == [EXTRACTOR_NAME, HEAD_NAME]
    extractor = ort.InferenceSession(folder / EXTRACTOR_NAME, providers=["CPUExecutionProvider"])
    assert extractor.get_inputs()[0].shape == ["batch", 3, "height", "width"]
    head = ort.InferenceSession(folder / HEAD_NAME, providers=["CPUExecutionProvider"])
    assert head.get_modelmeta().custom_metadata_map["image_size"] == "[64, 96]"
    assert "batch 1 and 4" in capsys.readouterr().out
    told = predict_command(folder / HEAD_NAME, folder / EXTRACTOR_NAME)
    assert told == f"predict PHOTO --boxes BOXES --model {folder / HEAD_NAME}"
    for given in ({"output": tmp_path / "a.onnx"}, {"onnx_model": tmp_path / "net.onnx"}):
        with pytest.raises(InputError, match="does not go with"):
            run_export(ExportOptions(checkpoint, **given))
    with pytest.raises(InputError, match="give one"):
        ExportOptions(checkpoint, output=tmp_path / "a.onnx", output_dir=folder)


def test_a_missing_extractor_is_named(tmp_path: Path):
    with pytest.raises(InputError, match=r"nothing\.onnx does not exist"):
        missing = tmp_path / "nothing.onnx"
        export_end_to_end(build_head(SPEC), SPEC, missing, tmp_path / "whole.onnx")
