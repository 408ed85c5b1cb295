"""What lies in the shared folder of hostile files, through every command: one line, no harm."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tiny_command import ENVIRONMENT

SCRIPT = Path(__file__).resolve().parents[1] / "helpers" / "every_command.py"


@pytest.mark.thorough
@pytest.mark.shared
@pytest.mark.skipif(sys.platform != "linux", reason="forks after everything is imported")
def test_hostile_files_through_every_command(shared_dir: Path) -> None:
    folder = shared_dir / "data" / "hostile"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder)], env=ENVIRONMENT, capture_output=True, text=True,
        timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith(" runs, 0 faults\n")
