"""Runs killed at random moments end like those that nobody killed; ``helpers/kills.py`` is long."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tiny_command import ENVIRONMENT

SCRIPT = Path(__file__).resolve().parents[1] / "helpers" / "kills.py"

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(os.name != "posix", reason="processes are killed as POSIX does it"),
]


@pytest.mark.parametrize(("what", "kills"), [("training", 1), ("predict", 6)])
def test_killed_runs_end_like_the_straight_one(what: str, kills: int, tmp_path: Path) -> None:
    flags = [what, "--kills", str(kills), "--seed", "3", "--folder", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *flags], env=ENVIRONMENT, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    counts = json.loads(done.stdout.splitlines()[-1])
    assert sum(counts["kills"].values()) >= kills and counts["faults"] == []
