"""Starting from trained weights: all of them or none, and nothing else of the run before."""

from __future__ import annotations

import csv
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from human_edge_detection.cli import train_main
from human_edge_detection.cli.export import ExportOptions
from human_edge_detection.core.errors import InputError
from human_edge_detection.core.options import changed
from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.export.person_model import open_extractor
from human_edge_detection.modeling.heads import build_head
from human_edge_detection.modeling.initial import find_start, new_model, ships
from human_edge_detection.modeling.lite_head import LITE_WIDTHS, LiteHead
from human_edge_detection.modeling.weights import (
    TrainedWeights,
    best_weights,
    load_checkpoint,
    read_trained,
)
from human_edge_detection.modeling.weights_file import save_weights
from human_edge_detection.runtime.model_files import WEIGHTS_NAME
from human_edge_detection.training.options import TrainOptions
from human_edge_detection.training.setup import beginning, like_start, make_spec
from stand_in import write_stand_in
from tiny_command import outputs, write_inputs
from tiny_person import SPEC, write_person_checkpoint
from tiny_run import SIZE

torch.set_num_threads(1)

JOINT = {"with_extractor": True, "with_detector": True}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> TrainedWeights:
    return read_trained(write_person_checkpoint(tmp_path_factory.mktemp("start") / "best.pth"))


def test_every_weight_of_a_joint_model_is_taken(start: TrainedWeights) -> None:
    found = new_model(SPEC, start, **JOINT).state_dict()
    assert found.keys() == start.weights.keys()
    assert all(torch.equal(found[name], value) for name, value in start.weights.items())


def test_over_a_frozen_extractor_the_head_alone_is_taken(start: TrainedWeights) -> None:
    model = new_model(SPEC, start)
    assert list(model) == ["head"]
    assert torch.equal(
        model["head"].trunk.classify.weight, start.weights["head.trunk.classify.weight"]
    )


def test_what_does_not_fit_is_named(start: TrainedWeights) -> None:
    head = {k: v for k, v in start.weights.items() if k.startswith("head.")}
    with pytest.raises(
        InputError,
        match=r"best\.pth belongs .* it lacks extractor\.backbone.* more\. Use",
    ):
        new_model(SPEC, replace(start, weights=head), **JOINT)
    with pytest.raises(InputError, match=r"here there is no extractor\.detector\."):
        new_model(SPEC, start, with_extractor=True)
    narrow = replace(SPEC, roi_size=14)
    shapes = (
        r"another shape has head\.trunk\.position \(\[1, 64, 28, 28\], here \[1, 64, 14, 14\]\)"
    )
    with pytest.raises(InputError, match=shapes):
        new_model(narrow, start, **JOINT)


def test_builtin_names_the_weights_that_ship(
    start: TrainedWeights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("human_edge_detection.runtime.model_files.WEIGHTS_DIR", tmp_path)
    with pytest.raises(InputError, match="no person model ships"):
        find_start("builtin")
    save_weights(tmp_path / WEIGHTS_NAME, start.weights, SPEC, half=True)
    found = find_start("builtin")
    assert found is not None and found.weights.keys() == start.weights.keys()
    assert find_start(None) is None


def test_contradicting_options_are_refused() -> None:
    with pytest.raises(InputError, match="--init_from a.pth starts a new run and --resume"):
        changed(TrainOptions(), init_from="a.pth", resume="b.pth")
    with pytest.raises(InputError, match="--test_only"):
        changed(TrainOptions(), init_from="a.pth", test_only=True)
    with pytest.raises(InputError, match="needs --output_dir"):
        ExportOptions(Path("builtin"))


def test_a_run_starts_at_epoch_0_with_the_weights_alone(tmp_path: Path, no_handover: None) -> None:
    inputs = write_inputs(tmp_path)
    before, after = tmp_path / "before", tmp_path / "after"
    assert train_main([*inputs, *outputs(before), "--epochs", "1"]) == 0
    best = before / "checkpoints" / "best_model.pth"
    flags = ["--init_from", str(best), "--lr", "1e-30", "--min_lr", "0", "--ema", "0.5"]
    assert train_main([*inputs, *outputs(after), *flags, "--epochs", "1", "--resume", "auto"]) == 0
    rows = list(csv.DictReader((after / "logs" / "metrics.csv").open()))
    first = {row["name"]: float(row["value"]) for row in rows if row["epoch"] == "0"}
    payload = load_checkpoint(after / "checkpoints" / "last.pth")
    assert first["miou"] == pytest.approx(load_checkpoint(best)["progress"]["best_miou"], abs=1e-6)
    assert (payload["progress"]["epoch"], payload["progress"]["step"]) == (1, 3)
    kept = best_weights(load_checkpoint(after / "checkpoints" / "best_model.pth"))
    for name, value in best_weights(load_checkpoint(best)).items():
        if "running" not in name and "tracked" not in name:
            torch.testing.assert_close(kept[name], value)


@pytest.mark.parametrize("suffix", [".pth", ".onnx"])
def test_a_joint_run_is_resumed_without_the_weights_that_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_handover: None, suffix: str
) -> None:
    monkeypatch.setattr("human_edge_detection.training.run.draw_pictures", lambda *_: {})
    monkeypatch.setattr("human_edge_detection.training.run.export_best", lambda *_: {})
    inputs = write_inputs(tmp_path, 2)
    at = inputs.index("--onnx_model")
    del inputs[at : at + 4]
    spec = replace(SPEC, roi_size=4)
    first = write_person_checkpoint(tmp_path / "first.pth", spec)
    flags = [
        *inputs, *outputs(tmp_path), "--train_extractor", "--train_detector", "--resume", "auto",
    ]  # fmt: skip
    assert train_main([*flags, "--init_from", str(first), "--epochs", "1"]) == 0
    first.unlink()
    gone = first.with_suffix(suffix)
    assert train_main([*flags, "--init_from", str(gone), "--epochs", "2"]) == 0
    assert load_checkpoint(tmp_path / "checkpoints" / "last.pth")["progress"]["epoch"] == 2


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


@pytest.mark.parametrize("widths", [(7, 8, 3), (2, 6, 2), ()])
def test_a_head_of_other_widths_is_refused(widths: tuple[int, ...]) -> None:
    shown = " ".join(map(str, widths or LITE_WIDTHS))
    with pytest.raises(InputError, match=f"head_widths {shown} cannot start from .* has 4 6 2"):
        new_model(replace(NARROW, widths=widths), lived_in(NARROW))


def test_widths_that_are_not_named_are_those_of_the_start() -> None:
    assert like_start(replace(NARROW, widths=()), lived_in(WIDE).spec) == WIDE


def test_another_head_is_refused() -> None:
    spec = ModelSpec("spec", ("map",), (8,), (8.0,))
    with pytest.raises(InputError, match=r"narrow\.pth belongs to another model: it lacks"):
        new_model(spec, lived_in(NARROW))


def test_a_trunk_for_small_rois_starts_as_a_copy_of_the_first_one() -> None:
    start = lived_in(NARROW)
    wanted = start.model()["head"]
    assert isinstance(wanted, LiteHead)
    torch.manual_seed(7)
    head = new_model(replace(NARROW, small_branch=True), start)["head"]
    large = torch.tensor([[0, 0.0, 0.0, 41.0, 8.0], [1, 0.0, 0.0, 8.0, 41.0]])
    maps = [torch.randn(2, 3, 16, 16), torch.randn(2, 5, 8, 8)]
    with torch.no_grad():
        torch.testing.assert_close(head.eval()(maps, large), wanted(maps, large))
    averaged = functional.avg_pool2d(wanted.trunk.position, 2)
    torch.testing.assert_close(head.small.position, averaged)
    torch.testing.assert_close(head.small.down[1].bias, wanted.trunk.down[1].bias)


def test_two_trunks_are_kept_and_not_given_up() -> None:
    start = lived_in(replace(NARROW, small_branch=True))
    assert like_start(NARROW, start.spec) == start.spec
    head = new_model(start.spec, start)["head"]
    torch.testing.assert_close(answers(head), answers(start.model()["head"]))


def test_widths_and_trunks_travel() -> None:
    spec = replace(WIDE, small_branch=True)
    assert ModelSpec.from_dict(spec.to_dict(), "a.pth") == spec
    head = build_head(replace(WIDE, widths=()))
    assert isinstance(head, LiteHead)
    assert tuple(head.trunk.classify.weight.shape) == (3, LITE_WIDTHS[2], 1, 1)


def test_widths_that_cannot_be_are_refused() -> None:
    with pytest.raises(InputError, match="--head_widths 64 96 must be three numbers"):
        changed(TrainOptions(), head_widths=(64, 96))
    with pytest.raises(InputError, match="head_widths 7 8 3 needs head lite"):
        build_head(ModelSpec("spec", ("map",), (8,), (8.0,), widths=(7, 8, 3)))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, "builtin"),
        ({"head_widths": (96, 128, 32), "small_branch": True}, "builtin"),
        ({"lr": 5e-4, "roi_padding": 0.2}, "builtin"),
        ({"init_from": "fresh"}, "fresh"),
        ({"init_from": "mine.pth"}, "mine.pth"),
        ({"head": "spec"}, "fresh"),
        ({"head_widths": (64, 96, 16)}, "fresh"),
        ({"roi_size": 14, "mask_size": 28}, "fresh"),
        ({"layers": ("neck8",)}, "fresh"),
    ],
)
def test_a_run_over_the_shipped_extractor_begins_with_the_shipped_head_where_it_fits(
    flags: dict[str, Any], expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    options = changed(TrainOptions(), image_size=(64, 64), **flags)
    with (
        caplog.at_level(logging.INFO),
        open_extractor("builtin", options.extractor.layers, (64, 64), "cpu") as extractor,
    ):
        assert beginning(options, extractor) == expected
    named = {"builtin": "the head that ships", "fresh": "a fresh "}.get(expected, expected)
    assert f"starting {'from' if expected != 'fresh' else 'with'} " in caplog.text
    assert named in caplog.text


def test_a_run_over_another_extractor_begins_with_a_fresh_head(tmp_path: Path) -> None:
    path = write_stand_in(
        tmp_path / "net.onnx", layer="a", channels=8, stride=8, size_hw=(SIZE, SIZE)
    )
    with open_extractor(str(path), ("a",), (SIZE, SIZE), "cpu") as extractor:
        assert beginning(changed(TrainOptions(), image_size=(SIZE, SIZE)), extractor) == "fresh"
    assert beginning(TrainOptions(), None) == "fresh"  # trained along


def test_the_same_shape_over_a_changed_extractor_is_not_what_ships() -> None:
    options = changed(TrainOptions(), image_size=(64, 64))
    with open_extractor("builtin", (), (64, 64), "cpu") as extractor:
        spec = make_spec(options.model, extractor)
    assert ships(spec) and not ships(replace(spec, extractor_sha="0" * 12))


def test_fresh_names_no_weights() -> None:
    assert find_start("fresh") is None
