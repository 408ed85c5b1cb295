"""The commands that a document's shell blocks would run, as the shell itself expands them.

Bash runs the blocks without a PATH; what it does not find is written down instead of run, so
variables, loops and quoting are the reader's own.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROLOGUE = """
set -u
cd() { :; }
command_not_found_handle() { printf '%s\\0' "$#" "$@" >> "$RECORD"; }
"""


def shell_blocks(document: Path) -> list[str]:
    """The blocks of a Markdown file marked as bash."""
    return re.findall(r"^```bash\n(.*?)^```", document.read_text("utf-8"), re.M | re.S)


def commands_of(document: Path, folder: Path) -> list[list[str]]:
    """Every command that the document's blocks call, in order, each as its words.

    Args:
        document: a Markdown file.
        folder: an empty folder to work in.

    Raises:
        AssertionError: if the shell itself refuses a block.
    """
    text = PROLOGUE + "\n".join(shell_blocks(document))
    for name in re.findall(r"< (\S+)", text):
        (folder / name).touch()
    record = folder / "record"
    record.touch()
    done = subprocess.run(
        ["/bin/bash", "-c", text], cwd=folder, env={"PATH": "/nowhere", "RECORD": str(record)},
        text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and not done.stderr, f"{document.name}: {done.stderr}"
    words = record.read_bytes().decode().split("\0")[:-1]
    commands = []
    while words:
        count = int(words.pop(0))
        commands.append(words[:count])
        del words[:count]
    return commands


def program_of(words: list[str]) -> list[str]:
    """A command without what starts it: ``uv run``, ``python``, ``torchrun`` and its flags."""
    if words[:2] == ["uv", "run"]:
        words = words[2:]
    while words and words[0] in ("--no-sync", "--no-dev", "--extra"):
        words = words[2:] if words[0] == "--extra" else words[1:]
    if words[0] == "torchrun":
        from torch.distributed.run import get_args_parser

        arguments = get_args_parser().parse_args(words[1:])
        words = [arguments.training_script, *arguments.training_script_args]
    if words[0] == "python":
        words = words[1:]
    return words


HAS_BASH = os.path.exists("/bin/bash")
