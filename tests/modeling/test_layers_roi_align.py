"""RoI align against a loop in float64 that does what the formula says, and through ONNX."""

from __future__ import annotations

import io
import math

import numpy as np
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from human_edge_detection.modeling.layers import DynamicRoIAlign, roi_align

torch.set_num_threads(1)

BOXES = {
    "inside": (8.0, 8.0, 40.0, 48.0),
    "sub_pixel": (13.37, 21.91, 14.02, 22.6),
    "odd": (3.3, 5.7, 51.9, 33.1),
    "whole_image": (0.0, 0.0, 80.0, 64.0),
    "left_edge": (0.0, 20.0, 9.0, 40.0),
    "top_edge": (20.0, 0.0, 40.0, 9.0),
    "right_edge": (71.0, 20.0, 80.0, 40.0),
    "bottom_edge": (20.0, 55.0, 40.0, 64.0),
    "beyond_the_image": (-20.0, -12.5, 100.0, 90.0),
    "wholly_outside": (90.0, 70.0, 99.0, 80.0),
    "empty": (30.0, 30.0, 30.0, 30.0),
}


def slow_roi_align(
    features: NDArray[np.float64],
    rois: NDArray[np.float64],
    output_size: tuple[int, int],
    scale: float,
) -> NDArray[np.float64]:
    """One bilinear sample at each bin's centre; beyond the outermost cells their value holds."""
    height, width = features.shape[2:]
    out = np.zeros((len(rois), features.shape[1], *output_size))
    for n, (index, x1, y1, x2, y2) in enumerate(rois):
        image = features[int(index)]
        for i in range(output_size[0]):
            for j in range(output_size[1]):
                y = (y1 + (y2 - y1) * (i + 0.5) / output_size[0]) * scale - 0.5
                x = (x1 + (x2 - x1) * (j + 0.5) / output_size[1]) * scale - 0.5
                y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
                top, left = math.floor(y), math.floor(x)
                down, right = min(top + 1, height - 1), min(left + 1, width - 1)
                v, u = y - top, x - left
                above = image[:, top, left] * (1 - u) + image[:, top, right] * u
                below = image[:, down, left] * (1 - u) + image[:, down, right] * u
                out[n, :, i, j] = above * (1 - v) + below * v
    return out


def random_features(batch: int = 1, channels: int = 2, seed: int = 0) -> Tensor:
    """Maps of an image of 64x80 input pixels at stride 8."""
    return torch.randn(batch, channels, 8, 10, generator=torch.Generator().manual_seed(seed))


def assert_equals_reference(
    features: Tensor, rois: Tensor, output_size: tuple[int, int], scale: float = 1 / 8
) -> None:
    found = roi_align(features, rois, output_size, scale)
    wanted = slow_roi_align(features.double().numpy(), rois.double().numpy(), output_size, scale)
    assert found.dtype == torch.float32
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found.numpy(), wanted, atol=5e-5)


def test_cells_come_back_where_bins_are_cells() -> None:
    features = torch.arange(6.0).reshape(1, 1, 2, 3)
    rois = torch.tensor([[0.0, 0.0, 0.0, 12.0, 8.0]])
    wanted = torch.tensor([[[[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]]])
    torch.testing.assert_close(roi_align(features, rois, (2, 3), 1 / 4), wanted)
    # One bin over the first two columns lies in the middle of the four cells 0, 1, 3, 4.
    rois = torch.tensor([[0.0, 0.0, 0.0, 8.0, 8.0]])
    assert roi_align(features, rois, (1, 1), 1 / 4).item() == pytest.approx(2.0)


@pytest.mark.parametrize("name", BOXES)
def test_every_box_equals_the_reference(name: str) -> None:
    rois = torch.tensor([[0.0, *BOXES[name]]])
    assert_equals_reference(random_features(), rois, (7, 7))


@pytest.mark.parametrize("output_size", [(1, 1), (28, 28), (3, 5), (56, 56)])
def test_any_output_size_equals_the_reference(output_size: tuple[int, int]) -> None:
    rois = torch.tensor([[0.0, *BOXES["odd"]]])
    assert_equals_reference(random_features(), rois, output_size)


@pytest.mark.parametrize("scale", [1 / 4, 1 / 8, 1 / 16, 0.3])
def test_any_scale_equals_the_reference(scale: float) -> None:
    rois = torch.tensor([[0.0, *BOXES["odd"]], [0.0, *BOXES["bottom_edge"]]])
    assert_equals_reference(random_features(), rois, (5, 5), scale)


def test_several_images_in_any_order_equal_the_reference() -> None:
    features = random_features(batch=3)
    indices = torch.arange(3.0).repeat(len(BOXES))[torch.randperm(3 * len(BOXES))]
    boxes = torch.tensor(list(BOXES.values())).repeat_interleave(3, dim=0)
    rois = torch.cat([indices[:, None], boxes], dim=1)
    assert_equals_reference(features, rois, (5, 5))


def test_no_image_reads_another_image() -> None:
    features = torch.stack([torch.full((1, 8, 10), value) for value in (1.0, 1000.0, 2.0)])
    boxes = torch.tensor(list(BOXES.values()))
    for index, value in enumerate((1.0, 1000.0, 2.0)):
        rois = torch.cat([torch.full((len(boxes), 1), float(index)), boxes], dim=1)
        found = roi_align(features, rois, (9, 9), 1 / 8)
        torch.testing.assert_close(found, torch.full_like(found, value), atol=2e-2, rtol=0)


def test_a_ramp_comes_back_as_a_ramp_that_spans_the_roi() -> None:
    ramp = (torch.arange(40.0) + 0.5) * 4  # each cell holds its centre in input pixels
    features = torch.stack([ramp[None, :].expand(40, 40), ramp[:, None].expand(40, 40)])[None]
    rois = torch.tensor([[0.0, 20.0, 36.0, 132.0, 92.0]])
    found = roi_align(features, rois, (28, 28), 1 / 4)[0]
    step_x, step_y = 112 / 28, 56 / 28
    wanted_x = 20 + step_x * (torch.arange(28.0) + 0.5)
    wanted_y = 36 + step_y * (torch.arange(28.0) + 0.5)
    torch.testing.assert_close(found[0], wanted_x[None].expand(28, 28), atol=1e-3, rtol=0)
    torch.testing.assert_close(found[1], wanted_y[:, None].expand(28, 28), atol=1e-3, rtol=0)


@pytest.mark.parametrize("batch", [1, 3])
def test_no_rois_give_no_results(batch: int) -> None:
    found = roi_align(random_features(batch), torch.zeros(0, 5), (28, 28), 1 / 8)
    assert found.shape == (0, 2, 28, 28)


def test_gradients_equal_numeric_ones() -> None:
    features = random_features(batch=2)[:, :, :3, :4].clone().requires_grad_()
    rois = torch.tensor([[0.0, 3.3, 2.1, 20.0, 17.0], [1.0, 8.0, 0.0, 31.0, 24.0]])
    weight = torch.randn(2, 2, 3, 3, generator=torch.Generator().manual_seed(1))
    (roi_align(features, rois, (3, 3), 1 / 8) * weight).sum().backward()
    assert features.grad is not None
    # The result is linear in the features, so a difference of one whole unit is exact.
    for place in [(0, 0, 0, 0), (0, 1, 2, 1), (1, 0, 1, 3), (1, 1, 2, 2)]:
        moved = features.detach().double().numpy().copy()
        base = slow_roi_align(moved, rois.double().numpy(), (3, 3), 1 / 8)
        moved[place] += 1
        change = slow_roi_align(moved, rois.double().numpy(), (3, 3), 1 / 8) - base
        wanted = float((change * weight.double().numpy()).sum())
        assert features.grad[place].item() == pytest.approx(wanted, abs=1e-5)


def test_coordinates_stay_exact_under_autocast_and_half_precision_maps() -> None:
    features = torch.arange(200.0)[None, None, None].expand(1, 1, 4, 200)
    rois = torch.tensor([[0.0, 1201.3, 4.0, 1297.7, 28.0]])
    wanted = roi_align(features, rois, (4, 4), 1 / 8)
    with torch.autocast("cpu", torch.bfloat16):
        found = roi_align(features.bfloat16(), rois, (4, 4), 1 / 8)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, atol=1.0, rtol=0)  # bfloat16 maps: whole numbers
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(roi_align(features, rois, (4, 4), 1 / 8), wanted)


def test_the_module_holds_the_constants() -> None:
    rois = torch.tensor([[0.0, *BOXES["odd"]]])
    features = random_features()
    default = DynamicRoIAlign()
    assert (default.output_size, default.spatial_scale) == ((28, 28), 1 / 8)
    assert torch.equal(default(features, rois), roi_align(features, rois, (28, 28), 1 / 8))
    oblong = DynamicRoIAlign((3, 5), 1 / 4)
    assert torch.equal(oblong(features, rois), roi_align(features, rois, (3, 5), 1 / 4))
    assert not list(default.parameters())


def test_the_specifications_import_and_call() -> None:
    import human_edge_detection.model as facade

    align = facade.DynamicRoIAlign(output_size=28, spatial_scale=80 / 640)
    features = torch.randn(1, 1024, 80, 80)
    rois = torch.tensor([[0, 100.0, 50.0, 300.0, 400.0], [0, 0.0, 0.0, 640.0, 640.0]])
    assert align(features, rois).shape == (2, 1024, 28, 28)
    assert align(features, rois[:0]).shape == (0, 1024, 28, 28)


@pytest.fixture(scope="module")
def exported() -> ort.InferenceSession:
    """The module at opset 16, with batch, map size and number of ROIs left free."""
    file = io.BytesIO()
    torch.onnx.export(
        _Exportable(),
        (random_features(2), torch.tensor([[0.0, *BOXES["odd"]], [1.0, *BOXES["inside"]]])),
        file,
        opset_version=16,
        dynamo=False,
        input_names=["features", "rois"],
        output_names=["aligned"],
        dynamic_axes={"features": {0: "B", 2: "h", 3: "w"}, "rois": {0: "N"}, "aligned": {0: "N"}},
    )
    return ort.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])


class _Exportable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.align = DynamicRoIAlign(7, 1 / 8)

    def forward(self, features: Tensor, rois: Tensor) -> Tensor:
        aligned: Tensor = self.align(features, rois)
        return aligned


@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_onnx_runtime_equals_torch(exported: ort.InferenceSession, batch: int, count: int) -> None:
    features = random_features(batch, seed=batch)
    boxes = torch.tensor(list(BOXES.values()))[:count]
    rois = torch.cat([(torch.arange(float(count)) % batch)[:, None], boxes], dim=1)
    (found,) = exported.run(None, {"features": features.numpy(), "rois": rois.numpy()})
    assert found.shape == (count, 2, 7, 7)
    np.testing.assert_allclose(found, roi_align(features, rois, (7, 7), 1 / 8).numpy(), atol=2e-5)


def test_onnx_takes_another_map_size(exported: ort.InferenceSession) -> None:
    features = torch.randn(3, 2, 5, 13, generator=torch.Generator().manual_seed(2))
    rois = torch.tensor([[2.0, 3.0, 1.0, 99.0, 38.0], [0.0, 50.0, 0.0, 104.0, 40.0]])
    (found,) = exported.run(None, {"features": features.numpy(), "rois": rois.numpy()})
    np.testing.assert_allclose(found, roi_align(features, rois, (7, 7), 1 / 8).numpy(), atol=2e-5)
