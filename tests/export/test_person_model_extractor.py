"""The built-in extractor: the shipped one, at any size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from human_edge_detection.core.errors import InputError
from human_edge_detection.export.person_model import builtin_extractor_path
from human_edge_detection.modeling.weights import read_trained
from human_edge_detection.runtime.feature_extractor import PERSON_LAYERS, YOLOv9FeatureExtractor
from human_edge_detection.runtime.model_files import shipped_weights

SIZE_HW = (64, 96)


@pytest.fixture(scope="module")
def path() -> Path:
    return builtin_extractor_path(SIZE_HW)


def test_the_file_keeps_its_contract(path: Path) -> None:
    model = onnx.load(path)
    assert model.opset_import[0].version == 16
    shapes = {
        item.name: [dim.dim_param or dim.dim_value for dim in item.type.tensor_type.shape.dim]
        for item in (*model.graph.input, *model.graph.output)
    }
    assert shapes["images"] == ["batch", 3, "height", "width"]
    assert shapes["stride4"] == ["batch", 32, "height_stride4", "width_stride4"]
    assert shapes["neck32"] == ["batch", 256, "height_neck32", "width_neck32"]
    assert shapes["boxes"][:2] == shapes["scores"] == ["batch", "candidates"]
    assert {item.key: item.value for item in model.metadata_props}["size_multiple"] == "32"


@pytest.mark.parametrize("count", [1, 3])
def test_onnx_runtime_equals_pytorch(path: Path, count: int) -> None:
    model = read_trained(shipped_weights()).model()["extractor"]
    images = np.random.default_rng(count).random((count, 3, *SIZE_HW), np.float32)
    with torch.inference_mode():
        expected, _ = model(torch.from_numpy(images))
    extractor = YOLOv9FeatureExtractor(path, "cpu", image_size_hw=SIZE_HW)
    for found, wanted in zip(extractor(images), expected, strict=True):
        assert np.abs(found - wanted.numpy()).max() < 1e-4 * float(wanted.abs().max())


def test_its_layers_need_no_naming(path: Path) -> None:
    extractor = YOLOv9FeatureExtractor(path, "cpu", image_size_hw=SIZE_HW)
    assert extractor.layers == PERSON_LAYERS
    assert extractor.channels == (32, 64, 64, 128, 256)
    assert extractor.strides == (4.0, 8.0, 8.0, 16.0, 32.0)
    assert extractor.input_size_hw == SIZE_HW


@pytest.mark.parametrize("size_hw", [(100, 96), (64, 0), (63, 64)])
def test_odd_sizes_name_the_flag(size_hw: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=f"image_size {size_hw[0]} {size_hw[1]} .*32"):
        builtin_extractor_path(size_hw)
