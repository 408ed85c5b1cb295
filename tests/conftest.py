"""Fixtures that several test modules use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

# Told not to keep its bytecode, every process that a test starts would compile torch anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_addoption(parser: pytest.Parser) -> None:
    """The length and the seed of ``test_fuzz``."""
    parser.addoption("--cases", type=int, default=120, help="damaged files of a fast reader")
    parser.addoption("--seed", type=int, default=1, help="seed of the damages")


@pytest.fixture
def no_handover(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs end with their last validation, for tests of what comes before: half of their time."""
    monkeypatch.setattr("human_edge_detection.training.run.Run.finish", lambda _run, _log: 0)


@pytest.fixture(scope="session")
def person_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A person model with random weights as a run leaves it: checkpoint and exported pair."""
    from human_edge_detection.export.person_model import export_person_model
    from human_edge_detection.export.torch_to_onnx import TOLERANCE
    from tiny_person import SPEC, new_person_model, write_person_checkpoint

    folder = tmp_path_factory.mktemp("person")
    write_person_checkpoint(folder / "best_model.pth")
    errors, checks = export_person_model(new_person_model(), SPEC, folder)
    assert max(errors.values()) < TOLERANCE
    assert {(check.rois, check.images) for check in checks} >= {(0, 1), (7, 2)}
    return folder


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of photos and models that no repository may hold; skips where it is absent."""
    path = Path(os.environ.get("HED_SHARED") or REPOSITORY.parent / "shared")
    if not path.is_dir():
        pytest.skip(f"needs the shared photos and models; {path} is absent (set HED_SHARED)")
    return path


@pytest.fixture(scope="session")
def yolo_path(shared_dir: Path) -> Path:
    """A real YOLOv9's feature part, fixed to one 640x640 image; skips where it is absent."""
    path = shared_dir / "models" / "yolov9n_wholebody25_feats_1x3x640x640.onnx"
    if not path.is_file():
        pytest.skip(f"needs the real YOLOv9; {path} is absent")
    return path
