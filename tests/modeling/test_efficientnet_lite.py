"""EfficientNet-Lite0: TensorFlow's padding, the ImageNet weights, and that it trains."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional

from human_edge_detection.modeling.efficientnet_lite import (
    CHANNELS,
    NORM_EPS,
    ConvNorm,
    EfficientNetLite0,
    load_imagenet_weights,
    normalize,
)


@pytest.fixture(scope="module")
def pretrained() -> EfficientNetLite0:
    model = EfficientNetLite0()
    load_imagenet_weights(model)
    return model.eval()


@pytest.mark.parametrize(
    ("kernel", "expected"),
    # Windows start at 0 (3x3) or at -1 (5x5); what lies outside the eight columns counts 0.
    [(3, [0 + 1 + 2, 2 + 3 + 4, 4 + 5 + 6, 6 + 7]), (5, [1 + 2 + 3, 15, 25, 5 + 6 + 7])],
)
def test_stride_two_pads_as_tensorflow_does(kernel: int, expected: list[int]) -> None:
    layer = ConvNorm(1, 1, kernel, stride=2, linear=True).eval()
    torch.nn.init.ones_(layer.conv.weight)
    image = torch.arange(8.0).expand(1, 1, 8, 8)
    sums = layer(image)[0, 0, 1] * (1 + NORM_EPS) ** 0.5
    assert torch.allclose(sums, kernel * torch.tensor(expected, dtype=torch.float32), atol=1e-4)


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_stride_one_keeps_the_size(kernel: int) -> None:
    assert ConvNorm(2, 3, kernel)(torch.zeros(1, 2, 8, 6)).shape == (1, 3, 8, 6)


def test_maps_have_the_promised_shapes(pretrained: EfficientNetLite0) -> None:
    with torch.inference_mode():
        maps = pretrained(torch.zeros(2, 3, 64, 96))
    shapes = [(2, c, 64 // s, 96 // s) for c, s in zip(CHANNELS, (4, 8, 16, 32), strict=True)]
    assert [tuple(item.shape) for item in maps] == shapes


def test_pixel_values_are_scaled_as_in_training() -> None:
    values = torch.tensor([0.0, 127 / 255, 1.0])
    assert torch.allclose(normalize(values), torch.tensor([-127 / 128, 0.0, 1.0]), atol=1e-6)


def test_photos_meet_the_statistics_that_the_weights_carry(
    pretrained: EfficientNetLite0, shared_dir: Path
) -> None:
    """A wrong scaling, channel order or padding would move them: the scaling is proved by this."""
    files = sorted((shared_dir / "data" / "people" / "images").glob("coco_*.webp"))[::40]
    photos = [
        cv2.resize(cv2.imread(str(file)), (224, 224), interpolation=cv2.INTER_AREA)[..., ::-1]
        for file in files
    ]
    images = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2).float() / 255

    def mismatch(scaled: torch.Tensor) -> tuple[float, float]:
        """How far the stem's means (in deviations) and log variances are from the weights' own."""
        norm = pretrained.stem.norm
        x = pretrained.stem.conv(functional.pad(scaled, pretrained.stem.pad))
        variance = norm.running_var + NORM_EPS
        means = (x.mean((0, 2, 3)) - norm.running_mean) / variance.sqrt()
        spreads = torch.log((x.var((0, 2, 3)) + NORM_EPS) / variance)
        return float(means.abs().mean()), float(spreads.abs().mean())

    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    with torch.inference_mode():
        chosen = mismatch(normalize(images))
        standardized, unscaled = mismatch((images - mean) / std), mismatch(images)
        bgr = mismatch(normalize(images.flip(1)))
    assert chosen[0] < 0.1 and chosen[1] < 0.4
    assert standardized[1] > 3 * chosen[1] and unscaled[1] > 3 * chosen[1]
    assert bgr[0] > 1.3 * chosen[0]


def test_it_trains_channels_last_in_bfloat16() -> None:
    torch.manual_seed(0)
    model = EfficientNetLite0()
    load_imagenet_weights(model)
    model = model.to(memory_format=torch.channels_last).train()
    before = model.stem.norm.running_mean.clone()
    images = torch.rand(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        maps = model(images)
        loss = sum(item.float().square().mean() for item in maps)
    loss.backward()
    assert maps[0].is_contiguous(memory_format=torch.channels_last)
    gradients = [weight.grad for weight in model.parameters()]
    assert all(item is not None and bool(item.isfinite().all()) for item in gradients)
    assert not torch.equal(before, model.stem.norm.running_mean)


def test_frozen_norms_leave_the_network_deterministic(pretrained: EfficientNetLite0) -> None:
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        together = pretrained(images)
        alone = pretrained(images[1:])
    for a, b in zip(together, alone, strict=True):
        assert torch.allclose(a[1:], b, atol=1e-4)
