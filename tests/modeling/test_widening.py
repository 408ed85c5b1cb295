"""A wider head that begins with the narrow one's answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.modeling.heads import build_head
from human_edge_detection.modeling.initial import new_model
from human_edge_detection.modeling.lite_head import LITE_WIDTHS, LiteHead
from human_edge_detection.modeling.weights import TrainedWeights
from human_edge_detection.modeling.widening import widened
from human_edge_detection.training.options import TrainOptions
from human_edge_detection.training.setup import like_start

torch.set_num_threads(1)

NARROW = ModelSpec("lite", ("fine", "coarse"), (3, 5), (4.0, 8.0), roi_size=8, widths=(4, 6, 2))
WIDE = replace(NARROW, widths=(7, 8, 3))


def lived_in(spec: ModelSpec) -> TrainedWeights:
    """A head whose norms have statistics and whose positions are not zero."""
    torch.manual_seed(3)
    head = build_head(spec)
    for name, value in head.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.5 if "var" in name else torch.randn_like(value))
    return TrainedWeights(
        Path("narrow.pth"), spec, {f"head.{k}": v for k, v in head.state_dict().items()}
    )


def answers(head: nn.Module) -> torch.Tensor:
    torch.manual_seed(5)
    maps = [torch.randn(2, 3, 16, 16), torch.randn(2, 5, 8, 8)]
    rois = torch.tensor([[0, 3.0, 5.0, 40.0, 60.0], [1, 20.0, 10.0, 50.0, 30.0]])
    with torch.no_grad():
        logits: torch.Tensor = head.eval()(maps, rois)
    return logits


@pytest.mark.parametrize("widths", [(7, 8, 3), (4, 6, 3), (7, 6, 2), (4, 9, 2)])
def test_a_wider_head_gives_the_narrow_ones_answers(widths: tuple[int, int, int]) -> None:
    start = lived_in(NARROW)
    torch.manual_seed(7)
    head = new_model(replace(NARROW, widths=widths), start)["head"]
    torch.testing.assert_close(answers(head), answers(start.model()["head"]))


def test_what_leads_from_the_new_channels_learns() -> None:
    torch.manual_seed(7)
    head = new_model(WIDE, lived_in(NARROW))["head"].train()
    maps = [torch.randn(2, 3, 16, 16), torch.randn(2, 5, 8, 8)]
    rois = torch.tensor([[0, 3.0, 5.0, 40.0, 60.0], [1, 20.0, 10.0, 50.0, 30.0]])
    head(maps, rois).square().sum().backward()
    weight = head.trunk.classify.weight
    assert (weight[:, 2:] == 0).all() and (weight.grad[:, 2:] != 0).all()


def test_another_head_or_a_narrower_one_is_left_as_it_is() -> None:
    start = lived_in(WIDE)
    assert widened(start, build_head(NARROW)) is start
    assert widened(start, build_head(WIDE)) is start
    assert widened(start, build_head(replace(WIDE, roi_size=10))) is start
    spec = ModelSpec("spec", ("map",), (8,), (8.0,))
    assert widened(start, build_head(spec)) is start
    with pytest.raises(InputError, match=r"another shape has .* Use the --head, --head_widths"):
        new_model(NARROW, start)


@pytest.mark.parametrize("widths", [(4, 6, 2), (7, 8, 3)])
def test_a_trunk_for_small_rois_begins_as_the_first_one(widths: tuple[int, int, int]) -> None:
    start = lived_in(NARROW)
    wanted = start.model()["head"]
    assert isinstance(wanted, LiteHead)
    torch.manual_seed(7)
    spec = replace(NARROW, widths=widths, small_branch=True)
    head = new_model(spec, start)["head"]
    large = torch.tensor([[0, 0.0, 0.0, 41.0, 8.0], [1, 0.0, 0.0, 8.0, 41.0]])
    maps = [torch.randn(2, 3, 16, 16), torch.randn(2, 5, 8, 8)]
    with torch.no_grad():
        torch.testing.assert_close(head.eval()(maps, large), wanted(maps, large))
    averaged = functional.avg_pool2d(wanted.trunk.position, 2)
    torch.testing.assert_close(head.small.position[:, :4], averaged)
    torch.testing.assert_close(head.small.down[1].bias[:6], wanted.trunk.down[1].bias)


def test_two_trunks_are_kept_and_not_given_up() -> None:
    start = lived_in(replace(NARROW, small_branch=True))
    assert widened(start, build_head(start.spec)) is start
    assert like_start(NARROW, start.spec) == start.spec
    assert like_start(WIDE, start.spec) == replace(WIDE, small_branch=True)
    torch.manual_seed(7)
    head = new_model(replace(WIDE, small_branch=True), start)["head"]
    torch.testing.assert_close(answers(head), answers(start.model()["head"]))


def test_widths_and_trunks_travel() -> None:
    spec = replace(WIDE, small_branch=True)
    assert ModelSpec.from_dict(spec.to_dict(), Path("a.pth")) == spec
    head = build_head(replace(WIDE, widths=()))
    assert isinstance(head, LiteHead)
    assert tuple(head.trunk.classify.weight.shape) == (3, LITE_WIDTHS[2], 1, 1)


def test_widths_that_cannot_be_are_refused() -> None:
    with pytest.raises(InputError, match="--head_widths 64 96 must be three numbers"):
        TrainOptions(head_widths=(64, 96))
    with pytest.raises(InputError, match="--head_widths 7 8 3 needs --head lite"):
        build_head(ModelSpec("spec", ("map",), (8,), (8.0,), widths=(7, 8, 3)))
