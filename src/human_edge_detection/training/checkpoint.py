"""Checkpoints on disk: written whole or not at all, read without running code."""

from __future__ import annotations

import contextlib
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from human_edge_detection.core.errors import InputError

FORMAT = "human_edge_detection.checkpoint.2"
Payload = dict[str, Any]


def save_checkpoint(path: Path, payload: Mapping[str, Any]) -> None:
    """Write a payload of tensors and plain values; a crash leaves the previous file whole.

    Raises:
        OSError: if the disk is full or the folder cannot be written; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            try:
                torch.save({"format": FORMAT, **payload}, file)
            except RuntimeError as error:  # how torch reports a short write
                raise OSError(f"{temporary} could not be written: {error}") from error
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def load_checkpoint(path: Path) -> Payload:
    """The payload of a checkpoint, on the CPU.

    Raises:
        InputError: if the file is missing, cut short, not a checkpoint of this project, or a
            pickle that would run code.
    """
    if not path.is_file():
        raise InputError(f"checkpoint {path} does not exist: check the path")
    try:
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"checkpoint {path} is refused: it holds more than tensors and plain values "
            f"({str(error).splitlines()[0]}); use one written by main.py"
        ) from error
    except Exception as error:  # a damaged file makes the unpickler fail in any way
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(
            f"checkpoint {path} cannot be read ({reason}): it was cut short or is another kind "
            "of file; use an earlier checkpoint"
        ) from error
    if not isinstance(payload, dict) or payload.get("format") != FORMAT:
        raise InputError(
            f"checkpoint {path} was not written by this version of main.py "
            f"(format {FORMAT} expected): train again, or use the version that wrote it"
        )
    return payload


def require(payload: Payload, path: Path, *names: str) -> None:
    """Check that a payload has all of ``names``.

    Raises:
        InputError: naming everything that is missing.
    """
    if missing := [name for name in names if name not in payload]:
        raise InputError(
            f"checkpoint {path} lacks {', '.join(missing)}: it can be validated and exported if it "
            "has 'spec' and 'weights', but not resumed"
        )


def best_weights(payload: Payload) -> dict[str, torch.Tensor]:
    """The weights to use: their moving average where the payload has one."""
    weights: dict[str, torch.Tensor] = payload.get("ema") or payload["weights"]
    return weights


def load_weights(module: nn.Module, weights: Mapping[str, torch.Tensor], path: Path) -> None:
    """Put weights into a module.

    Raises:
        InputError: if they belong to another model.
    """
    try:
        module.load_state_dict(dict(weights))
    except RuntimeError as error:
        reason = str(error).splitlines()[1 if "\n" in str(error) else 0].strip()
        raise InputError(
            f"checkpoint {path} belongs to another model ({reason}): use the --head, --layers and "
            "--onnx_model that it was trained with"
        ) from error
