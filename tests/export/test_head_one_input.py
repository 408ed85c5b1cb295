from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch

from human_edge_detection.cli.export import ExportOptions
from human_edge_detection.core.errors import InputError
from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.export.head import export_head, with_one_input
from human_edge_detection.export.person_model import export_person_model
from human_edge_detection.modeling.heads import build_head
from human_edge_detection.runtime.head import HeadSession
from human_edge_detection.runtime.model_files import HEAD_NAME
from human_edge_detection.runtime.sessions import ON_CPU
from tiny_person import SPEC as PERSON
from tiny_person import new_person_model

SPEC = ModelSpec(
    head="lite", layers=("p4", "p8"), channels=(6, 8), strides=(4.0, 8.0), image_size=(64, 96),
    roi_size=8, small_branch=True,
)  # fmt: skip


def test_all_people_go_by_one_input_and_get_the_same_masks(tmp_path: Path):
    torch.manual_seed(0)
    head = build_head(SPEC).eval()
    export_head(head, SPEC, tmp_path / "two.onnx")
    checks = export_head(*with_one_input(head, SPEC), tmp_path / "one.onnx")
    assert max(check.error for check in checks) < 1e-4
    names = [item.name for item in ort.InferenceSession(tmp_path / "one.onnx").get_inputs()]
    assert names == ["features_0", "features_1", "rois"]
    rng = np.random.default_rng(0)
    maps = [rng.standard_normal((1, c, 64 // s, 96 // s), np.float32) for c, s in ((6, 4), (8, 8))]
    small, large = [0, 3, 3, 20, 35], [0, 0, 0, 60, 60]
    one, two = (HeadSession(tmp_path / f"{name}.onnx", ON_CPU) for name in ("one", "two"))
    with one, two:
        assert (one.facts.small_side, two.facts.small_side) == (0, 40)
        for rois in ([small, large, small], [small], [large], []):
            given = np.array(rois, np.float32).reshape(-1, 5)
            np.testing.assert_allclose(one(maps, given), two(maps, given), atol=1e-4)


def test_a_head_with_one_trunk_stays_as_it_is():
    spec = replace(SPEC, small_branch=False)
    head = build_head(spec)
    assert with_one_input(head, spec) == (head, spec)


@pytest.mark.slow
def test_a_person_models_head_too(tmp_path: Path):
    spec = replace(PERSON, small_branch=True)
    export_person_model(new_person_model(spec), spec, tmp_path, one_input=True)
    names = [item.name for item in ort.InferenceSession(tmp_path / HEAD_NAME).get_inputs()]
    assert "rois" in names and "small_rois" not in names


def test_the_page_has_no_such_head():
    with pytest.raises(InputError, match="--one_input does not go with --web"):
        ExportOptions(Path("builtin"), web=Path("site"), one_input=True)
