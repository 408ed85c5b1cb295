"""The names that users import: façades, the package itself, and what loading them costs."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import human_edge_detection

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "human_edge_detection"
FACADES = {
    "dataset": "data", "feature_extractor": "runtime", "model": "modeling", "losses": "modeling",
    "train": "training", "visualize": "masks", "export_onnx": "export",
}  # fmt: skip
HEAVY = {"torch", "onnx", "supervision", "faster_coco_eval", "pycocotools", "tensorboard"}
LIGHT_WINGS = ("core", "masks", "runtime", "inference", "fleet", "serving")


@pytest.mark.parametrize("name", FACADES)
def test_each_name_of_a_facade_is_the_wings_object(name: str) -> None:
    facade = importlib.import_module(f"human_edge_detection.{name}")
    for public in facade.__all__:
        thing = getattr(facade, public)
        home = importlib.import_module(thing.__module__)
        wing = thing.__module__.split(".")[1]
        assert wing in (FACADES[name], "core"), f"{name}.{public} lives in {wing}"
        assert getattr(home, thing.__name__) is thing


@pytest.mark.parametrize("name", human_edge_detection.__all__)
def test_each_name_of_the_package_is_a_wings_object(name: str) -> None:
    thing = getattr(human_edge_detection, name)
    assert getattr(importlib.import_module(thing.__module__), name) is thing


WINGS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


@pytest.mark.parametrize("wing", WINGS)
def test_each_name_of_a_wing_is_the_object_of_its_module(wing: str) -> None:
    package = importlib.import_module(f"human_edge_detection.{wing}")
    for public in getattr(package, "__all__", ()):
        thing = getattr(package, public)
        if home := getattr(thing, "__module__", None):
            assert home.split(".")[1] == wing
            assert getattr(importlib.import_module(home), public) is thing
    assert not hasattr(package, "no_such_name")


def test_light_names_are_those_of_the_tables() -> None:
    from human_edge_detection.inference import SAVE_KINDS, writers
    from human_edge_detection.runtime import DETECTOR_LAYOUTS, detector_layouts

    assert tuple(writers.FORMATS) == SAVE_KINDS
    assert tuple(detector_layouts.LAYOUTS) == DETECTOR_LAYOUTS


@pytest.mark.parametrize("command", ["predict", "benchmark"])
def test_help_loads_no_numpy(command: str) -> None:
    run = f"from human_edge_detection.cli import main\ntry: main([{command!r}, '--help'])\n"
    loaded = loaded_after(f"{run}except SystemExit: print()")
    assert not loaded & (HEAVY | {"numpy", "cv2", "onnxruntime", "PIL"})


def test_light_wings_load_their_modules_on_demand() -> None:
    loaded = loaded_after("import human_edge_detection.core, human_edge_detection.masks")
    assert not loaded & (HEAVY | {"numpy", "cv2", "onnxruntime", "PIL"})


def test_results_load_no_drawing() -> None:
    loaded = loaded_after("from human_edge_detection import InstanceMasks")
    assert not [name for name in loaded if name.endswith(("drawing", "overlay", "panels"))]
    assert "PIL" not in loaded


def loaded_after(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after running ``code``."""
    command = f"import sys\n{code}\nprint(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(PACKAGE.parent)},
    )  # fmt: skip
    return set(result.stdout.split())


def modules_of(*wings: str) -> list[str]:
    """The dotted names of all modules of some wings."""
    paths = [path for wing in wings for path in sorted((PACKAGE / wing).rglob("*.py"))]
    parts = [path.relative_to(PACKAGE.parent).with_suffix("").parts for path in paths]
    return [".".join(part[:-1] if part[-1] == "__init__" else part) for part in parts]


def test_importing_the_package_loads_nothing_else() -> None:
    loaded = loaded_after("import human_edge_detection")
    assert not loaded & (HEAVY | {"numpy", "cv2", "onnxruntime", "PIL"})


def test_inference_never_loads_torch() -> None:
    lines = [f"import {name}" for name in modules_of(*LIGHT_WINGS)]
    lines += ["from human_edge_detection import *", "import human_edge_detection.cli"]
    loaded = loaded_after("\n".join(lines))
    assert "human_edge_detection.inference.predictor" in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize("wing", ["modeling", "export"])
def test_a_torch_wing_loads_torch_with_the_first_of_its_names(wing: str) -> None:
    lines = [f"import human_edge_detection.{wing}", "import human_edge_detection.training.options"]
    assert not loaded_after("\n".join(lines)) & HEAVY
    exports = importlib.import_module(f"human_edge_detection.{wing}")
    for public in exports.__all__:
        thing = getattr(exports, public)
        assert getattr(importlib.import_module(thing.__module__), public) is thing
        assert thing.__module__.startswith(f"human_edge_detection.{wing}.")


def test_the_predictor_loads_few_modules() -> None:
    loaded = loaded_after("from human_edge_detection import MaskPredictor; MaskPredictor()")
    own = sorted(name for name in loaded if name.startswith("human_edge_detection"))
    assert len(own) <= 26, own


def test_annotated_photos_need_no_onnx_runtime() -> None:
    lines = [f"import {name}" for name in modules_of("core", "masks", "data")]
    assert not loaded_after("\n".join(lines)) & {"torch", "onnx", "onnxruntime", "supervision"}


@pytest.mark.parametrize("own", [None, "0"])
def test_onnx_runtime_reports_nothing_to_its_makers_unless_asked(
    own: str | None, tmp_path: Path
) -> None:
    """Its packages keep an identifier of the machine beside what they are about to send."""
    places = dict.fromkeys(("HOME", "XDG_CACHE_HOME"), str(tmp_path))
    environment = {"PYTHONPATH": str(PACKAGE.parent), "PATH": os.environ["PATH"], **places}
    code = "import human_edge_detection, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    if own is None:
        code += "; human_edge_detection.MaskPredictor(device='cpu').close()"
    else:
        environment["ORT_DISABLE_TELEMETRY"] = own
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == (own or "1")
    assert list(tmp_path.iterdir()) == []
