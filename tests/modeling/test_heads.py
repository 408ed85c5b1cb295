"""The heads: sizes, costs, shapes, and what the design promises about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.modeling.heads import build_head
from human_edge_detection.modeling.layers import roi_align
from human_edge_detection.modeling.lite_head import LiteHead
from human_edge_detection.modeling.reference_head import ReferenceHead, _LayerNorm

torch.set_num_threads(1)

MAPS = {
    "one": ((1024,), (8.0,)),
    "three": ((24, 40, 112), (4.0, 8.0, 16.0)),
    "four": ((8, 8, 16, 16), (4.0, 8.0, 16.0, 32.0)),
    "unordered": ((16, 8), (32.0, 8.0)),
    "fine_only": ((8,), (4.0,)),
    "coarse_only": ((8,), (32.0,)),
    "two_alike": ((8, 12), (8.0, 8.0)),
}
ROIS = torch.tensor(
    [[0.0, 3.0, 5.0, 60.0, 90.0], [1.0, 0.0, 0.0, 128.0, 96.0], [1.0, 40.2, 10.0, 43.0, 12.5]]
)


def make_maps(
    channels: Sequence[int], strides: Sequence[float], batch: int = 2, seed: int = 0
) -> list[Tensor]:
    """Random maps of images of 96x128 pixels."""
    rng = torch.Generator().manual_seed(seed)
    return [
        torch.randn(batch, c, round(96 / s), round(128 / s), generator=rng)
        for c, s in zip(channels, strides, strict=True)
    ]


def lived_in(head: nn.Module, seed: int = 0) -> nn.Module:
    """The head with weights, norms and statistics that are not those of the start."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in head.state_dict().items():
            if name.endswith("running_var"):
                value.copy_(torch.rand(value.shape, generator=rng) + 0.5)
            elif value.is_floating_point() and value.ndim < 4:
                value.add_(0.1 * torch.randn(value.shape, generator=rng))
    return head.eval()


def count_macs(head: nn.Module, features: Sequence[Tensor], rois: Tensor) -> int:
    """Multiply-adds of all convolutions of one pass, the work on the maps included."""
    total = 0

    def add(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.ConvTranspose2d):
            total += inputs[0].numel() * module.weight[0].numel()
        elif isinstance(module, nn.Conv2d):
            total += output.numel() * module.weight[0].numel()

    handles = [module.register_forward_hook(add) for module in head.modules()]
    with torch.no_grad():
        head.eval()(features, rois)
    for handle in handles:
        handle.remove()
    return total


def real_maps(channels: Sequence[int], strides: Sequence[float]) -> list[Tensor]:
    sides = [round(640 / s) for s in strides]
    return [torch.zeros(1, c, side, side) for c, side in zip(channels, sides, strict=True)]


def macs_per_roi(head: nn.Module, maps: Sequence[Tensor]) -> int:
    """What one more ROI costs."""
    rois = torch.tensor([[0.0, 10.0, 10.0, 300.0, 400.0]])
    return count_macs(head, maps, rois) - count_macs(head, maps, rois[:0])


def test_the_spec_head_has_the_stated_size() -> None:
    parameters = sum(p.numel() for p in ReferenceHead(1024, 8.0).parameters())
    assert parameters / 1e6 == pytest.approx(5.79, abs=0.005)


def test_the_spec_head_has_the_stated_cost() -> None:
    head = ReferenceHead(1024, 8.0)
    maps = real_maps((1024,), (8.0,))
    assert macs_per_roi(head, maps) / 1e9 == pytest.approx(13, abs=0.5)
    assert count_macs(head, maps, torch.zeros(0, 5)) == 0, "all of it is done per ROI"


@pytest.mark.parametrize("name", ["one", "three", "four"])
def test_the_lite_head_is_light(name: str) -> None:
    channels, strides = MAPS[name]
    head = LiteHead(channels, strides)
    maps = real_maps(channels, strides)
    per_roi = macs_per_roi(head, maps)
    shared = count_macs(head, maps, torch.zeros(0, 5))
    assert 0 < per_roi <= 0.1e9, "what the docstring says"
    assert per_roi + shared / 2.8 <= 0.5e9, "with as many people as COCO's photos have"


@pytest.mark.parametrize("name", MAPS)
def test_lite_takes_any_maps(name: str) -> None:
    channels, strides = MAPS[name]
    head = lived_in(LiteHead(channels, strides))
    logits = head(make_maps(channels, strides), ROIS)
    assert logits.shape == (3, 3, 56, 56)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


@pytest.mark.parametrize("stride", [4.0, 8.0, 16.0])
def test_spec_takes_any_stride(stride: float) -> None:
    head = ReferenceHead(8, stride, roi_size=4).eval()
    logits = head(make_maps((8,), (stride,)), ROIS)
    assert logits.shape == (3, 3, 8, 8)
    assert logits.isfinite().all()


@pytest.mark.parametrize("kind", ["lite", "spec"])
@pytest.mark.parametrize("batch", [1, 2])
def test_no_rois_give_no_masks(kind: str, batch: int) -> None:
    head = build_head(small_spec(kind)).eval()
    logits = head(make_maps((8,), (8.0,), batch), torch.zeros(0, 5))
    assert logits.shape == (0, 3, 8, 8)


@pytest.mark.parametrize("roi_size", [4, 14, 28])
def test_masks_have_twice_the_bins_of_the_align(roi_size: int) -> None:
    spec = small_spec("lite", roi_size=roi_size)
    logits = build_head(spec).eval()(make_maps((8,), (8.0,)), ROIS)
    assert logits.shape[2:] == (spec.mask_size, spec.mask_size) == (2 * roi_size, 2 * roi_size)


@pytest.mark.parametrize("kind", ["lite", "spec", "two_trunks"])
def test_each_roi_is_judged_alone_and_from_its_own_image(kind: str) -> None:
    spec = replace(small_spec("lite", roi_size=8), small_branch=True)
    head = lived_in(build_head(spec if kind == "two_trunks" else small_spec(kind)))
    maps = make_maps((8,), (8.0,))
    with torch.no_grad():
        together = head(maps, ROIS)
        for n, roi in enumerate(ROIS):
            own = [m[int(roi[0])][None] for m in maps]
            alone = head(own, torch.cat([torch.zeros(1), roi[1:]])[None])
            torch.testing.assert_close(together[n], alone[0], atol=1e-4, rtol=1e-4)


def test_small_rois_have_a_trunk_of_half_the_bins() -> None:
    spec = replace(small_spec("lite", roi_size=8), small_branch=True)
    assert spec.small_side == 80, "10 cells of 8 pixels"
    head = lived_in(build_head(spec))
    assert isinstance(head, LiteHead) and head.small is not None
    maps = make_maps((8,), (8.0,))
    large = torch.tensor([[1.0, 0.0, 0.0, 80.5, 20.0]])
    small = torch.tensor([[0.0, 10.0, 0.0, 90.0, 80.0]])
    with torch.no_grad():
        of_large = head.trunk(*head.neck(maps), large)
        of_small = head.small(*head.neck(maps), small)
        assert of_large.shape == (1, 3, 16, 16) and of_small.shape == (1, 3, 8, 8)
        of_small = functional.interpolate(of_small, scale_factor=2.0, mode="bilinear")
        found = head(maps, torch.cat([small, large, small]))
    torch.testing.assert_close(found, torch.cat([of_small, of_large, of_small]))


@pytest.mark.parametrize("rows", [[], [0], [1], [0, 1]])
def test_a_trunk_that_nobody_enters_does_not_stop_training(rows: list[int]) -> None:
    head = build_head(replace(small_spec("lite", roi_size=8), small_branch=True)).train()
    rois = torch.tensor([[1.0, 0.0, 0.0, 81.0, 20.0], [0.0, 10.0, 0.0, 90.0, 80.0]])[rows]
    if rows:
        head(make_maps((8,), (8.0,)), rois).sum().backward()
    for name, trunk in ((1, head.small), (0, head.trunk)):
        assert (trunk.classify.weight.grad is not None) == (name in rows)


def test_small_people_cost_a_quarter() -> None:
    head = LiteHead((32, 64), (4.0, 8.0), small_side=112.0)
    maps = real_maps((32, 64), (4.0, 8.0))
    shared = count_macs(head, maps, torch.zeros(0, 5))
    large = count_macs(head, maps, torch.tensor([[0.0, 0.0, 0.0, 113.0, 20.0]])) - shared
    small = count_macs(head, maps, torch.tensor([[0.0, 0.0, 0.0, 112.0, 20.0]])) - shared
    assert small == large / 4


def test_lite_projecting_the_map_equals_projecting_each_roi() -> None:
    channels, strides = (6, 10), (4.0, 8.0)
    neck = lived_in(LiteHead(channels, strides, width=16, detail_width=4)).neck
    maps = make_maps(channels, strides)
    project, scale = neck.context[0], 1 / 8
    with torch.no_grad():
        on_map = roi_align(project(maps[1]), ROIS, (28, 28), scale)
        per_roi = project(roi_align(maps[1], ROIS, (28, 28), scale))
    torch.testing.assert_close(on_map, per_roi, atol=1e-4, rtol=0)


def test_spec_projecting_each_roi_equals_projecting_the_map() -> None:
    head = lived_in(ReferenceHead(32, 8.0, roi_size=4))
    assert isinstance(head, ReferenceHead)
    maps = make_maps((32,), (8.0,))
    with torch.no_grad():
        found = head(maps, ROIS)
        wanted = head.body(roi_align(head.project(maps[0]), ROIS, (4, 4), 1 / 8))
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)


def test_every_named_map_matters() -> None:
    channels, strides = MAPS["four"]
    head = lived_in(LiteHead(channels, strides))
    maps = make_maps(channels, strides)
    with torch.no_grad():
        base = head(maps, ROIS)
        for i in range(len(maps)):
            changed = [m + 1 if i == j else m for j, m in enumerate(maps)]
            assert (head(changed, ROIS) - base).abs().max() > 1e-4, f"map {i} is not looked at"


def test_maps_of_an_image_that_is_no_multiple_of_the_strides_fit() -> None:
    # 360x250 pixels: the network rounds 360/16 up to 23 cells, and 250/8 and 250/16 to 32 and 16.
    maps = [torch.randn(1, 4, 90, 63), torch.randn(1, 4, 45, 32), torch.randn(1, 4, 23, 16)]
    head = LiteHead((4, 4, 4), (4.0, 8.0, 360 / 23)).eval()
    assert head(maps, ROIS[:1]).shape == (1, 3, 56, 56)
    maps = [torch.randn(1, 4, 23, 32), torch.randn(1, 4, 12, 16)]
    head = LiteHead((4, 4), (180 / 23, 180 / 12)).eval()
    assert head(maps, ROIS[:1]).shape == (1, 3, 56, 56)
    assert head.neck.context_ids == [0, 1], "a stride of 7.83 is one of 8, rounded up"


@pytest.mark.parametrize("kind", ["lite", "spec", "two_trunks"])
def test_every_weight_learns(kind: str) -> None:
    spec = replace(small_spec("lite", roi_size=8), small_branch=True)
    head = build_head(spec if kind == "two_trunks" else small_spec(kind)).train()
    logits = head(make_maps((8,), (8.0,)), ROIS)
    (
        logits * torch.randn(logits.shape, generator=torch.Generator().manual_seed(3))
    ).sum().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, f"{name} gets no gradient"


def test_layer_norm_equals_torch_with_a_scale_per_channel() -> None:
    norm = _LayerNorm(5)
    lived_in(norm)
    x = 3 + 2 * torch.randn(2, 5, 4, 4, generator=torch.Generator().manual_seed(0))
    wanted = functional.layer_norm(x, x.shape[1:]) * norm.weight + norm.bias
    torch.testing.assert_close(norm(x), wanted)


def test_layer_norm_stays_finite_where_half_precision_overflows() -> None:
    x = torch.full((1, 2, 4, 4), 300.0)
    x[0, 0] = -300.0
    with torch.autocast("cpu", torch.bfloat16):
        found = _LayerNorm(2)(x.half())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, x / 300)


@pytest.mark.parametrize("kind", ["lite", "spec"])
def test_autocast_gives_nearly_the_same_masks(kind: str) -> None:
    head = build_head(small_spec(kind)).eval()
    maps = make_maps((8,), (8.0,))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        half = head(maps, ROIS)
    with torch.no_grad():
        whole = head(maps, ROIS)
    assert half.isfinite().all()
    torch.testing.assert_close(half.float(), whole, atol=0.1, rtol=0.1)


def small_spec(kind: str, roi_size: int = 4) -> ModelSpec:
    return ModelSpec(kind, ("a",), (8,), (8.0,), (96, 128), roi_size)


def test_build_head_answers_bad_specs_by_flag() -> None:
    two_maps = replace(small_spec("spec"), layers=("a", "b"), channels=(8, 8), strides=(8.0, 16.0))
    with pytest.raises(InputError, match="head spec reads one feature map, but layers names 2"):
        build_head(two_maps)
    with pytest.raises(InputError, match="head 'heavy' is not one of lite, spec"):
        build_head(small_spec("heavy"))
    with pytest.raises(InputError, match=".{80,130} is not one of lite, spec$"):
        build_head(small_spec("h" * 5000))
    with pytest.raises(InputError, match="roi_size 7 must be even for head lite"):
        build_head(small_spec("lite", roi_size=7))
    with pytest.raises(InputError, match="roi_size 6 must be a multiple of 4, from 8 on"):
        build_head(replace(small_spec("lite", roi_size=6), small_branch=True))
    with pytest.raises(InputError, match="roi_size 4 must be a multiple of 4, from 8 on"):
        build_head(replace(small_spec("lite", roi_size=4), small_branch=True))
    with pytest.raises(InputError, match="small_branch needs head lite"):
        build_head(replace(small_spec("spec"), small_branch=True))
