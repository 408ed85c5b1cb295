"""Errors that every command answers alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from human_edge_detection import cli


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 3 TiB"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee the manual"),
        RuntimeError("[ONNXRuntimeError] Failed to allocate memory for requested buffer of size 9"),
    ],
)
def test_a_full_memory_answers_with_what_to_lower(
    error: Exception,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(_: object) -> int:
        raise error

    real = cli.load
    monkeypatch.setattr(cli, "load", lambda name: full if "run_" in name else real(name))
    assert cli.train_main(["--epochs", "1"]) == 2
    text = capsys.readouterr().err
    assert text.startswith("error: memory is full") and text.count("\n") == 1
    assert "lower --batch_size (--gradient_accumulation keeps" in text
    assert cli.main(["predict", str(tmp_path)]) == 2
    assert "lower --max_rois" in capsys.readouterr().err


def test_other_errors_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> int:
        raise RuntimeError("a fault of the program")

    real = cli.load
    monkeypatch.setattr(cli, "load", lambda name: broken if "run_" in name else real(name))
    with pytest.raises(RuntimeError, match="a fault of the program"):
        cli.train_main(["--epochs", "1"])
