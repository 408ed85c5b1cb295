"""Maps written straight into torch's memory are those that the network gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from human_edge_detection.modeling.features import BoundFeatures
from human_edge_detection.runtime.feature_extractor import YOLOv9FeatureExtractor
from stand_in import write_stand_in


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(("batch", "count"), [("N", 3), ("N", 0), (1, 3), (2, 3), (2, 4)])
def test_they_equal_the_ones_through_numpy(
    tmp_path: Path, batch: int | str, count: int, half: bool
) -> None:
    path = write_stand_in(tmp_path / "m.onnx", channels=8, size_hw=(32, 64), batch=batch, half=half)
    images = torch.rand(count, 3, 32, 64, generator=torch.Generator().manual_seed(0))
    with YOLOv9FeatureExtractor(path, "cpu") as extractor:
        bound = BoundFeatures(extractor)
        (maps,) = bound.maps(images.to(bound.dtype))
        (expected,) = extractor(images.numpy())
    assert maps.dtype == torch.float32 and maps.shape == (count, 8, 4, 8)
    np.testing.assert_allclose(maps.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_several_layers_and_calls_do_not_share_memory(tmp_path: Path) -> None:
    path = write_stand_in(tmp_path / "m.onnx", channels=8, size_hw=(32, 32))
    layers = ["segmentation_model_34_Concat_output_0", "stem_relu"]
    with YOLOv9FeatureExtractor(path, "cpu", layers=layers) as extractor:
        bound = BoundFeatures(extractor)
        first = bound.maps(torch.zeros(1, 3, 32, 32))
        second = bound.maps(torch.ones(1, 3, 32, 32))
        assert [tuple(item.shape) for item in second] == [(1, 8, 4, 4), (1, 16, 4, 4)]
        assert all(item.count_nonzero() == 0 for item in first)
        assert all(item.count_nonzero() > 0 for item in second)


def test_a_closed_network_says_so(tmp_path: Path) -> None:
    path = write_stand_in(tmp_path / "m.onnx", channels=8, size_hw=(32, 32))
    extractor = YOLOv9FeatureExtractor(path, "cpu")
    bound = BoundFeatures(extractor)
    extractor.close()
    with pytest.raises(RuntimeError, match="closed"):
        bound.maps(torch.zeros(1, 3, 32, 32))
