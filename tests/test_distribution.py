"""What a release holds: the contents and size of the wheel and the sdist, and their metadata."""

from __future__ import annotations

import re
import tarfile
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

import human_edge_detection
from human_edge_detection.runtime.model_files import WEIGHTS_DIR

builders = pytest.importorskip("hatchling.builders.wheel", reason="needs hatchling to build")
ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(human_edge_detection.__file__).parent
MOST_BYTES = 25_000_000
"""Of the wheel: the model that ships, and a megabyte for all else."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    (path,) = builders.WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    return ZipFile(path)


def test_the_wheel_holds_the_package_and_nothing_else(wheel: ZipFile) -> None:
    names = {name.split("/")[0] for name in wheel.namelist()}
    stem = re.sub(r"-py3.*", "", Path(str(wheel.filename)).name)
    assert names == {"human_edge_detection", f"{stem}.dist-info"}
    inside = [name.split("/") for name in wheel.namelist() if ".dist-info/" not in name]
    held = {parts[1] for parts in inside}
    assert held == {path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"}
    assert {"py.typed", "weights", "core", "cli"} <= held
    endings = {
        Path(parts[-1]).suffix for parts in inside if parts[1] not in ("weights", "web_page")
    }
    assert endings == {".py", ".html", ".typed"}


def test_the_wheel_holds_the_shipped_model_and_its_licences(wheel: ZipFile) -> None:
    held = {Path(name).name for name in wheel.namelist() if "/weights/" in name}
    assert {path.name for path in WEIGHTS_DIR.iterdir()} <= held
    assert Path(str(wheel.filename)).stat().st_size < MOST_BYTES


def test_the_wheel_keeps_the_training_weights_which_are_less_than_half(wheel: ZipFile) -> None:
    """Left out they would save a third, and ``--init_from builtin`` would need a download."""
    sizes = {Path(item.filename).name: item.compress_size for item in wheel.infolist()}
    assert 0 < sizes["person_model.safetensors"] < 0.5 * sum(sizes.values())


def test_the_metadata_names_what_was_tried(wheel: ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    facts = Parser().parsestr(wheel.read(name).decode())
    assert facts["License-Expression"] == "MIT AND Apache-2.0"
    assert facts["Requires-Python"] == ">=3.10"
    versions = [text.rpartition(" :: ")[2] for text in facts.get_all("Classifier", [])]
    assert [text for text in versions if text.startswith("3.")] == ["3.10", "3.11", "3.12", "3.13"]
    extras = set(facts.get_all("Provides-Extra", []))
    assert {"train", "serve", "supervision", "track", "cvat"} <= extras
    assert f"version: {facts['Version']}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
    bare = [text for text in facts.get_all("Requires-Dist", []) if "extra ==" not in text]
    assert len(bare) == 7 and not any("torch" in text for text in bare)


def test_the_sdist_holds_what_the_tests_need_and_nothing_built(tmp_path: Path) -> None:
    sdist = pytest.importorskip("hatchling.builders.sdist")
    (path,) = sdist.SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with tarfile.open(path) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    tops = {name.split("/")[0] for name in names}
    assert tops <= {
        ".ci", "src", "tests", "benchmarks", "docs", "examples", "integrations", "release", "web",
        "main.py", "validate.py", "test_pipeline.py", "pyproject.toml", "zensical.toml",
        "CITATION.cff", "LICENSE", "README.md", "ARCHITECTURE.md", "CHANGELOG.md",
        "CONTRIBUTING.md", "SECURITY.md", "PKG-INFO", ".gitignore",
    }  # fmt: skip
    assert {".ci", "src", "tests", "benchmarks", "docs", "examples", "integrations"} <= tops
    assert "CITATION.cff" in tops
    assert "CONTRIBUTING.md" in tops
    assert not [name for name in names if "node_modules" in name or "__pycache__" in name]
