"""Fixtures that several test modules use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


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
