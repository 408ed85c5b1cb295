"""Wrong options of ``fleet`` and ``gather`` are named by flag, without any of its packages."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from human_edge_detection import cli
from human_edge_detection.core.errors import InputError
from human_edge_detection.fleet.options import FleetOptions, GatherOptions


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"source": ()}, "fleet needs a SOURCE"),
        ({"actors": "0"}, "--actors 0 must be a number, or MIN:MAX"),
        ({"actors": "8:2"}, "--actors 8:2"),
        ({"actors": "many"}, "--actors many"),
        ({"max_errors": 1.5}, "--max_errors must be between 0 and 1, but got 1.5"),
        ({"block": 0}, "--block must be at least 1, but got 0"),
        ({"gpus": -1}, "--gpus must be at least 0"),
        ({"max_people": 0}, "--max_people must be at least 1"),
        ({"device": "cuda"}, "--device cuda needs --gpus"),
        ({"device": "cpu", "gpus": 0.5}, "--device cpu does not go with --gpus 0.5"),
    ],
)
def test_wrong_options_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        FleetOptions(**{"source": ("photos",), **values})  # type: ignore[arg-type]


def test_the_number_of_workers() -> None:
    sizes = [FleetOptions(("photos",), actors=text).pool_size() for text in (None, "4", "2:16")]
    assert sizes == [None, (4, 4), (2, 16)]


def test_a_gpu_takes_the_float_head_of_the_model_that_ships() -> None:
    heads = [FleetOptions(("p",), gpus=gpus).segment.files().heads[0].name for gpus in (0, 0.25)]
    assert heads == ["person_head_int8.onnx", "person_head.onnx"]
    with pytest.raises(InputError, match="--overlays must be at least 0"):
        GatherOptions(overlays=-1)


@pytest.mark.parametrize("command", ["fleet", "gather"])
def test_a_missing_extra_is_named(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for package in ("ray", "pyarrow"):
        monkeypatch.setitem(sys.modules, package, None)
    assert cli.main([command, str(tmp_path)]) == 2
    assert "pip install 'human-edge-detection[fleet]'" in capsys.readouterr().err
