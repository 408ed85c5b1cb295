"""Which files make up a model: the head, its extractor, a detector, or the shipped pair."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from human_edge_detection.core.errors import InputError, shown
from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.runtime.onnx_graph import read_model, short_hash
from human_edge_detection.runtime.providers import CPU, choose_providers
from human_edge_detection.runtime.sessions import ANYWHERE, SessionOptions

WEIGHTS_DIR = Path(__file__).resolve().parents[1] / "weights"
HEAD_NAME, EXTRACTOR_NAME = "person_head.onnx", "person_extractor.onnx"
INT8_HEAD_NAME = "person_head_int8.onnx"
WEIGHTS_NAME = "person_model.safetensors"

FileName = Path | str


@dataclass(frozen=True)
class ModelFiles:
    """The files of a model, or of several whose probabilities are averaged.

    Attributes:
        heads: exported heads, or end-to-end files, at least one.
        extractors: for each head the network whose features it reads, None where none is named.
        detector: the network that finds people; may be an extractor itself.
        layout: how the detector's outputs are read, ``auto`` to recognise it.
        person_class: the detector's class of people; None to read it from the file.
    """

    heads: tuple[Path, ...]
    extractors: tuple[Path | None, ...]
    detector: Path | None = None
    layout: str = "auto"
    person_class: int | None = None


def name_files(
    model: FileName | Sequence[FileName] | None,
    extractor: FileName | Sequence[FileName | None] | None = None,
    detector: FileName | None = None,
    layout: str = "auto",
    person_class: int | None = None,
    options: SessionOptions = ANYWHERE,
) -> ModelFiles:
    """The files that are named, with the shipped model where no head is.

    An extractor may be one for all heads, or one for each, None for a head that needs none.
    ``options`` choose the shipped head, see :func:`default_model`.

    Raises:
        InputError: if there are not as many extractors as heads, or no model ships.
    """
    heads = [path for path in _paths(model) if path is not None]
    extractors = _paths(extractor)
    if not heads:
        if extractors:
            raise InputError(
                f"extractor {extractors[0]} without model: name the head trained on it"
            )
        head, own = default_model(options)
        heads, extractors = [head], [own]
    if len(extractors) < 2:
        extractors = (extractors or [None]) * len(heads)
    if len(extractors) != len(heads):
        raise InputError(
            f"extractor names {len(extractors)} files but model {len(heads)}: give one for all, or "
            "one for each, none for an end-to-end file"
        )
    if person_class is not None and not (isinstance(person_class, int) and person_class >= 0):
        raise InputError(f"person_class must be an integer, 0 or more, got {shown(person_class)}")
    finder = next(iter(_paths(detector)), None)
    return ModelFiles(tuple(heads), tuple(extractors), finder, layout, person_class)


def _paths(names: FileName | Sequence[FileName | None] | None) -> list[Path | None]:
    if names is None:
        return []
    several = [names] if isinstance(names, str | os.PathLike) else names
    try:
        return [None if name is None else Path(name) for name in several]
    except TypeError as error:  # a number, bytes
        raise InputError(
            f"model, extractor and detector must be paths of files, but got {shown(names)}"
        ) from error


def default_model(options: SessionOptions = ANYWHERE) -> tuple[Path, Path]:
    """The head and the extractor of the person model that ships with the package.

    The head is the 8-bit one where it will run on a CPU, the float one elsewhere.

    Raises:
        InputError: this version ships none, or the hardware that was asked for is absent.
    """
    on_cpu = choose_providers(options.device, options.providers)[0] == CPU
    head = WEIGHTS_DIR / (INT8_HEAD_NAME if on_cpu else HEAD_NAME)
    extractor = WEIGHTS_DIR / EXTRACTOR_NAME
    if not (head.is_file() and extractor.is_file()):
        raise InputError(
            "no person model ships with this version: pass a trained head and its extractor, such "
            "as model checkpoints/best_model.onnx and extractor FILE.onnx"
        )
    return head, extractor


def shipped_weights() -> Path:
    """The weights of the shipped person model, as a start for training.

    Raises:
        InputError: this version ships none.
    """
    path = WEIGHTS_DIR / WEIGHTS_NAME
    if not path.is_file():
        raise InputError(
            "no person model ships with this version, so 'builtin' names no weights: name a "
            "checkpoint, such as checkpoints/best_model.pth"
        )
    return path


def own_extractor(head: Path, facts: ModelSpec) -> Path | None:
    """The extractor beside a person model's head, if it is the one that the head was trained on."""
    path = head.with_name(EXTRACTOR_NAME)
    if not facts.extractor_sha or not path.is_file():
        return None
    return path if short_hash(read_model(path)) == facts.extractor_sha else None
