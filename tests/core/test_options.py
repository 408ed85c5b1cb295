"""Options written once: flags, defaults, help, contradictions."""

from __future__ import annotations

import argparse
import dataclasses
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from human_edge_detection.cli import (
    COMMANDS,
    check_main,
    load,
    main,
    train_main,
    validate_main,
)
from human_edge_detection.core.errors import InputError
from human_edge_detection.core.options import (
    add_options,
    changed,
    group,
    option,
    option_fields,
    option_values,
    parse,
    read_options,
)
from human_edge_detection.training.options import TrainOptions


@dataclass(frozen=True)
class Sample:
    """One field of each kind."""

    files: tuple[Path, ...] = option((), "files", metavar="FILE", positional=True)
    count: int = option(3, "how many")
    rate: float | None = option(None, "a rate")
    limit: float = option(0.0, "a limit of 5 %")
    size: tuple[int, int] = option((4, 6), "two numbers")
    names: tuple[str, ...] = option((), "some names")
    kind: str = option("a", "a kind", choices=("a", "b"))
    where: Path | None = option(None, "a place")
    loud: bool = option(False, "be loud")

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError(f"--count must be at least 1, but got {self.count}")


def help_of(options_class: type) -> str:
    parser = argparse.ArgumentParser()
    add_options(parser, options_class)
    return " ".join(parser.format_help().split())


def all_option_classes() -> list[type]:
    found = [load(name) for name, _, _ in COMMANDS.values()]
    return [c for c in found if isinstance(c, type) and dataclasses.is_dataclass(c)]


def test_defaults_when_nothing_is_typed() -> None:
    assert parse(Sample, "", ["x"]) == Sample(files=(Path("x"),))


def test_every_kind_of_value_is_read_with_its_type() -> None:
    typed = "x y --count 5 --rate 0.5 --limit 2 --size 1 2 --names p q r --kind b --where d --loud"
    assert parse(Sample, "", typed.split()) == Sample(
        files=(Path("x"), Path("y")), count=5, rate=0.5, limit=2.0, size=(1, 2),
        names=("p", "q", "r"), kind="b", where=Path("d"), loud=True,
    )  # fmt: skip


def test_a_positional_with_a_default_may_be_left_out() -> None:
    @dataclass(frozen=True)
    class OneFile:
        path: str = option("best.pth", "a file", positional=True)

    assert parse(OneFile, "", []) == OneFile("best.pth")
    assert parse(OneFile, "", ["other.pth"]) == OneFile("other.pth")


@pytest.mark.parametrize("typed", ["x --kind c", "x --size 1", "x --count one", "x --other 1", ""])
def test_the_parser_refuses_what_does_not_fit(
    typed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        parse(Sample, "", typed.split())
    assert refused.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_a_class_may_speak_for_itself_where_a_positional_is_missing() -> None:
    @dataclass(frozen=True)
    class Files:
        paths: tuple[str, ...] = option((), "files", positional=True, required=False)

    assert parse(Files, "", []) == Files(())
    assert parse(Files, "", ["a", "b"]) == Files(("a", "b"))


def test_the_class_itself_refuses_contradictions_by_flag() -> None:
    with pytest.raises(InputError, match="--count must be at least 1, but got 0"):
        parse(Sample, "", ["x", "--count", "0"])


def test_help_shows_the_default_where_there_is_one() -> None:
    text = help_of(Sample)
    assert "how many (default: 3)" in text
    assert "two numbers (default: 4 6)" in text
    assert "a limit of 5 % (default: 0.0)" in text, "0 is a default too, and % is no format"
    assert "a rate --limit" in text
    assert "be loud" in text and "default: False" not in text


@dataclass(frozen=True)
class Grouped:
    """A flag of its own and a group."""

    first: int = option(1, "a number", least=0)
    sample: Sample = group(Sample, "a sample")


def test_the_flags_of_a_group_are_those_of_the_whole() -> None:
    found = parse(Grouped, "", "x --first 2 --count 5".split())
    assert found == Grouped(2, Sample(files=(Path("x"),), count=5))
    assert option_values(found)["count"] == 5 and "sample" not in option_values(found)
    assert "a sample: --count" in help_of(Grouped).replace("FILE files ", "")


def test_one_flag_of_a_group_is_changed() -> None:
    assert changed(Grouped(), first=3, kind="b") == Grouped(3, Sample(kind="b"))
    with pytest.raises(TypeError, match="no option colour"):
        changed(Grouped(), colour=1)
    with pytest.raises(InputError, match="--count must be at least 1, but got 0"):
        changed(Grouped(), count=0)


@pytest.mark.parametrize("options_class", all_option_classes())
def test_the_help_of_every_command_can_be_printed(options_class: type) -> None:
    text = help_of(options_class)
    for field in option_fields(options_class):
        if not field.metadata["positional"]:
            assert f"--{field.name}" in text
        assert field.metadata["help"], f"{field.name} has no help text"


@pytest.mark.parametrize("options_class", all_option_classes())
def test_every_default_has_the_type_of_its_annotation(options_class: type) -> None:
    parser = argparse.ArgumentParser()
    add_options(parser, options_class)
    required = [a for a in parser._actions if a.nargs in ("+", "*") and not a.option_strings]
    arguments = parser.parse_args(["1" if a.type is int else "x" for a in required])
    assert isinstance(read_options(options_class, arguments), options_class)


def test_main_has_the_flags_and_defaults_that_users_know() -> None:
    whole = parse(TrainOptions, "", [])
    options = Namespace(**option_values(whole))
    assert (options.epochs, options.batch_size, options.weight_decay) == (10, 8, 1e-4)
    assert (options.optimizer, options.scheduler, options.min_lr) == ("adamw", "cosine", 1e-6)
    assert (options.gradient_clip, options.gradient_accumulation, options.num_workers) == (0, 1, 4)
    assert (options.validate_every, options.save_every, options.seed) == (1, 1, 42)
    assert (options.ce_weight, options.dice_weight, options.dice_classes) == (1, 1, (1,))
    assert (options.mask_size, options.roi_size, options.image_size) == (56, 28, (640, 640))
    assert options.min_roi_size == 16
    assert [str(p) for p in (options.checkpoint_dir, options.log_dir, options.val_output_dir)] == [
        "checkpoints", "logs", "validation_results",
    ]  # fmt: skip
    assert whole.peak_lr == 2e-3
    assert parse(TrainOptions, "", ["--head", "spec"]).peak_lr == 1e-4
    assert parse(TrainOptions, "", ["--lr", "0.5"]).peak_lr == 0.5
    assert parse(TrainOptions, "", ["--init_from", "builtin"]).peak_lr == pytest.approx(3e-4)
    assert parse(TrainOptions, "", ["--init_from", "fresh"]).peak_lr == 2e-3
    known = set(option_values(TrainOptions()))
    assert known >= {
        "train_ann", "val_ann", "train_img_dir", "val_img_dir", "onnx_model", "data_stats",
        "momentum", "lr_decay_epochs", "lr_decay_rate", "amp", "roi_padding", "device", "resume",
        "resume_epochs", "test_only", "head", "layers", "ema",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("--epochs 0", "--epochs must be at least 1, but got 0"),
        ("--gradient_accumulation 0", "--gradient_accumulation must be at least 1"),
        ("--gradient_clip -1", "--gradient_clip must be at least 0"),
        ("--mask_size 55", "--mask_size 55 must be twice --roi_size 28"),
        ("--train_ann a b c --train_img_dir p q", "names 2 places but --train_ann 3 files"),
        ("--resume_epochs 3", "--resume_epochs needs --resume"),
        ("--amp_dtype float16", "--amp_dtype float16 needs --amp"),
        ("--ema 1", "--ema 1.0 must be at least 0 and below 1"),
        ("--dice_classes 1 3", "--dice_classes 3 is not one of 0, 1, 2"),
    ],
)
def test_training_refuses_values_that_cannot_work(typed: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse(TrainOptions, "", typed.split())


@pytest.mark.parametrize("command", [main, train_main, validate_main, check_main])
def test_every_command_has_a_version(
    command: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("human-edge-detection")
