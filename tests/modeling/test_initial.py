"""Starting from trained weights: all of them or none, and nothing else of the run before."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from human_edge_detection.cli import train_main
from human_edge_detection.cli.export import ExportOptions
from human_edge_detection.core.errors import InputError
from human_edge_detection.modeling.initial import find_start, new_model
from human_edge_detection.modeling.weights import (
    TrainedWeights,
    best_weights,
    load_checkpoint,
    read_trained,
    save_weights,
)
from human_edge_detection.runtime.model_files import WEIGHTS_NAME
from human_edge_detection.training.options import TrainOptions
from tiny_command import outputs, write_inputs
from tiny_person import SPEC, write_person_checkpoint

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
    with pytest.raises(InputError, match=r"best\.pth .* it lacks extractor\.backbone.* more\. Use"):
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
        TrainOptions(init_from="a.pth", resume="b.pth")
    with pytest.raises(InputError, match="--test_only"):
        TrainOptions(init_from="a.pth", test_only=True)
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
