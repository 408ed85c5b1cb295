"""The built-in extractor: the shipped one, made once for other sizes and kept."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from human_edge_detection.core.errors import InputError
from human_edge_detection.export import extractors
from human_edge_detection.export.extractors import builtin_extractor_path
from human_edge_detection.modeling.weights import read_trained
from human_edge_detection.runtime.feature_extractor import PERSON_LAYERS, YOLOv9FeatureExtractor
from human_edge_detection.runtime.model_files import EXTRACTOR_NAME, WEIGHTS_DIR, shipped_weights

SIZE_HW = (64, 96)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return builtin_extractor_path(SIZE_HW, tmp_path_factory.mktemp("cache"))


def test_the_file_keeps_its_contract(path: Path) -> None:
    model = onnx.load(path)
    assert model.opset_import[0].version == 16
    shapes = {
        item.name: [dim.dim_param or dim.dim_value for dim in item.type.tensor_type.shape.dim]
        for item in (*model.graph.input, *model.graph.output)
    }
    assert shapes["images"] == ["batch", 3, 64, 96]
    assert shapes["stride4"] == ["batch", 32, 16, 24]
    assert shapes["stage8"] == ["batch", 64, 8, 12]
    assert shapes["neck32"] == ["batch", 256, 2, 3]


@pytest.mark.parametrize("count", [1, 3])
def test_onnx_runtime_equals_pytorch(path: Path, count: int) -> None:
    model = read_trained(shipped_weights()).model()["extractor"]
    images = np.random.default_rng(count).random((count, 3, *SIZE_HW), np.float32)
    with torch.inference_mode():
        expected, _ = model(torch.from_numpy(images))
    extractor = YOLOv9FeatureExtractor(path, "cpu")
    for found, wanted in zip(extractor(images), expected, strict=True):
        assert np.abs(found - wanted.numpy()).max() < 1e-4 * float(wanted.abs().max())


def test_its_layers_need_no_naming(path: Path) -> None:
    extractor = YOLOv9FeatureExtractor(path, "cpu")
    assert extractor.layers == PERSON_LAYERS
    assert extractor.channels == (32, 64, 64, 128, 256)
    assert extractor.strides == (4.0, 8.0, 8.0, 16.0, 32.0)
    assert extractor.input_size_hw == SIZE_HW


def test_at_the_shipped_size_it_is_the_shipped_file(tmp_path: Path) -> None:
    size_hw = read_trained(shipped_weights()).spec.image_size
    assert builtin_extractor_path(size_hw, tmp_path) == WEIGHTS_DIR / EXTRACTOR_NAME
    assert list(tmp_path.iterdir()) == []


def test_it_is_made_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extractors, "checked_extractor", None)
    assert builtin_extractor_path(SIZE_HW, path.parent) == path
    assert [item.name for item in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("size_hw", [(100, 96), (64, 0), (63, 64)])
def test_odd_sizes_name_the_flag(tmp_path: Path, size_hw: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=f"image_size {size_hw[0]} {size_hw[1]} .*32"):
        builtin_extractor_path(size_hw, tmp_path)


def test_a_cache_that_cannot_be_written_names_the_way_out(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(InputError, match="XDG_CACHE_HOME"):
        builtin_extractor_path(SIZE_HW, blocked / "folder")


def test_the_users_cache_folder_is_the_default(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    expected = tmp_path / "human_edge_detection" / path.name
    expected.parent.mkdir()
    os.link(path, expected)
    assert builtin_extractor_path(SIZE_HW) == expected
