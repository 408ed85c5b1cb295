"""Every command in the documents is one that the real parsers take, every flag one that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from doc_commands import HAS_BASH, ROOT, commands_of, program_of, shell_blocks
from human_edge_detection.cli import COMMANDS, load
from human_edge_detection.core.options import option_fields, parse

DOCUMENTS = [
    *(ROOT / f"{name}.md" for name in ("ARCHITECTURE", "CONTRIBUTING", "README")),
    ROOT / "examples" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
SCRIPTS = {"main.py": "train", "validate.py": "validate", "test_pipeline.py": "check"}
OTHERS = {"pip", "uv", "uvx", "find", "tensorboard", "curl", "podman", "cvat-cli", "npm"}
FOREIGN_FLAGS = {
    "no-dev", "group", "no-install-package", "no-sync", "nproc_per_node", "logdir", "help", "cases",
    "strict", "max-restarts", "extra",
}  # fmt: skip
"""Flags of uv, torchrun, TensorBoard, pytest and mypy that the text speaks of."""


def check_command(words: list[str]) -> None:
    """Refuse a command that would not be understood.

    Raises:
        SystemExit: by the parser, for a flag or value that it does not know.
        AssertionError: for a program or file that does not exist.
    """
    program, *arguments = program_of(words)
    if program in SCRIPTS or program == "human-edge-detection":
        command = SCRIPTS.get(program) or arguments.pop(0)
        parse(load(COMMANDS[command][0]), "", arguments)
    elif program == "bash":
        assert (ROOT / arguments[0]).is_file()
    elif program == "pytest":
        assert all((ROOT / name).exists() for name in arguments)
    elif program.endswith(".py"):
        source = (ROOT / program).read_text("utf-8")
        for flag in (word for word in arguments if word.startswith("--")):
            known = f'"{flag}"' in source or f'"{flag[2:]}"' in source
            assert known, f"{program} does not know {flag}"
    else:
        assert program in OTHERS, f"what is {program}?"


@pytest.mark.skipif(not HAS_BASH, reason="needs bash")
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.name))
def test_every_command_is_understood(document: Path, tmp_path: Path) -> None:
    commands = commands_of(document, tmp_path)
    assert bool(commands) == bool(shell_blocks(document))
    for words in commands:
        try:
            check_command(words)
        except SystemExit:
            pytest.fail(f"{document.name}: {' '.join(words)}")


@pytest.mark.skipif(not HAS_BASH, reason="needs bash")
def test_what_is_wrong_in_a_document_is_found(tmp_path: Path) -> None:
    faults = {
        "uv run main.py --epoch_count 3": SystemExit,
        "uv run main.py --head huge": SystemExit,
        "uv run human-edge-detection stat a.json": KeyError,
        "uv run python benchmarks/none.py": FileNotFoundError,
        "uv run python benchmarks/arbitration.py --other 1": AssertionError,
        "uv run torchrun --processes 3 main.py": SystemExit,
        "mian.py --epochs 3": (AssertionError, FileNotFoundError),
    }
    for number, (line, fault) in enumerate(faults.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        document = folder / "text.md"
        document.write_text(f"```bash\n{line}\n```\n")
        with pytest.raises(fault):
            check_command(commands_of(document, folder)[0])
    document.write_text("```bash\nmain.py --seed $SEED\n```\n")
    with pytest.raises(AssertionError, match="SEED: unbound variable"):
        commands_of(document, tmp_path)


def known_flags() -> set[str]:
    """The flags of all commands."""
    classes = {load(name) for name, _, _ in COMMANDS.values()}
    return {field.name for options in classes for field in option_fields(options)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.name))
def test_the_text_speaks_of_flags_that_exist(document: Path) -> None:
    text = re.sub(r"^```.*?^```", "", document.read_text("utf-8"), flags=re.M | re.S)
    code = " ".join(re.findall(r"`([^`]+)`", text))
    assert set(re.findall(r"(?<!\S)--([\w-]+)", code)) <= known_flags() | FOREIGN_FLAGS


@pytest.mark.skipif(not HAS_BASH, reason="needs bash")
def test_the_readme_predicts_without_the_training_packages(tmp_path: Path) -> None:
    commands = commands_of(ROOT / "README.md", tmp_path)
    predicting = [words for words in commands if program_of(words)[1:2] == ["predict"]]
    assert len(predicting) >= 2
    assert all(words[:3] == ["uv", "run", "--no-dev"] for words in predicting)


def test_what_no_dev_installs_has_no_training_package() -> None:
    toml = pytest.importorskip("tomllib", reason="needs Python 3.11")
    content = toml.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    name = re.compile(r"[\w-]+")
    project = content["project"]
    needed = {name.match(text)[0] for text in project["dependencies"]}
    training = {name.match(text)[0] for text in project["optional-dependencies"]["train"]}
    assert {"torch", "onnx", "tensorboard"} <= training
    assert not needed & training
    groups = content["dependency-groups"]
    assert content["tool"]["uv"]["default-groups"] == ["dev"]  # --no-dev leaves nothing else
    assert any("[train" in text for text in groups["dev"])  # main.py and pytest need no flag
