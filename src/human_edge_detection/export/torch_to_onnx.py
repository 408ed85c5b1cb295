"""A torch module as an ONNX model, and the proof that ONNX Runtime computes the same."""

from __future__ import annotations

import subprocess
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from human_edge_detection.core import version_of
from human_edge_detection.core.errors import InputError
from human_edge_detection.core.structures import FloatArray
from human_edge_detection.runtime.onnx_graph import CHECKSUM, with_checksum
from human_edge_detection.runtime.sessions import ON_CPU, open_session

OPSET = 16
TOLERANCE = 1e-3
"""Largest error of an output, ONNX Runtime against torch, that an export may show."""


def torch_to_onnx(
    module: nn.Module,
    inputs: Sequence[Tensor],
    input_names: Sequence[str],
    output_names: Sequence[str],
    free_axes: Mapping[str, Mapping[int, str]],
    metadata: Mapping[str, str],
) -> onnx.ModelProto:
    """The module in evaluation mode as a checked ONNX model.

    Args:
        module: takes the inputs as separate arguments.
        inputs: examples of the right kinds and shapes.
        input_names: their names in the file.
        output_names: names of the tensors that the module returns.
        free_axes: for each input and output the axes of any length, with the lengths' names.
        metadata: facts to write into the file.
    """
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        # PyTorch announces its other exporter, and traces Python numbers on purpose.
        warnings.simplefilter("ignore")
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            module.eval(),
            tuple(inputs),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=list(input_names),
            output_names=list(output_names),
            dynamic_axes={name: dict(axes) for name, axes in free_axes.items()},
        )
        model = onnx.load(path)
    return with_metadata(model, metadata)


def with_metadata(model: onnx.ModelProto, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """The model itself, checked, its metadata replaced by these facts."""
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model)
    return model


def parsed(data: bytes, path: Path) -> onnx.ModelProto:
    """The model of a file's bytes.

    Raises:
        InputError: if they are none.
    """
    try:
        return onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's decoder fails in many ways
        raise InputError(
            f"model {path} is not a whole ONNX file ({error}): download or export it again"
        ) from error


def serialized(model: onnx.ModelProto) -> bytes:
    """The model as the bytes of a file, with the checksum that is compared when it is opened."""
    facts = {item.key: item.value for item in model.metadata_props if item.key != CHECKSUM}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, facts)
    return with_checksum(model.SerializeToString())


def largest_error(found: FloatArray, expected: FloatArray, scale: float = 1.0) -> float:
    """The largest absolute difference of two equally shaped arrays in units of ``scale``.

    Raises:
        RuntimeError: if their shapes differ.
    """
    if found.shape != expected.shape:
        raise RuntimeError(f"ONNX Runtime gives shape {found.shape}, torch {expected.shape}")
    return float(np.abs(found - expected).max()) / scale if found.size else 0.0


def network_errors(
    network: nn.Module,
    data: bytes,
    names: Sequence[str],
    size_hw: tuple[int, int],
) -> dict[str, float]:
    """The errors of a network's outputs on noise images, by name.

    They are fractions of the output's largest value, but of 1 for scores: on noise a trained
    detector's largest score is so small that ONNX Runtime's sigmoid, right to 1e-7, would seem
    wrong. The network takes images float32 [B, 3, H, W], and ``data`` is its exported file.
    """
    session = open_session(data, ON_CPU, label="the exported extractor", quietly=True)
    rng = np.random.default_rng(0)
    errors = dict.fromkeys(names, 0.0)
    for count in (1, 4):
        images = rng.random((count, 3, *size_hw), np.float32)
        found = session.run(list(names), {"images": images})
        with torch.inference_mode():
            expected = [item.numpy() for item in network.eval()(torch.from_numpy(images))]
        for name, a, b in zip(names, found, expected, strict=True):
            scale = 1.0 if name == "scores" else float(np.abs(b).max())
            errors[name] = max(errors[name], largest_error(a, b, scale))
    return errors


def refuse_errors(worst: float, what: Path | str) -> None:
    """Stop before a file is written that differs from torch.

    Raises:
        RuntimeError: if the error is above the tolerance, or not a number.
    """
    if not worst <= TOLERANCE:
        raise RuntimeError(
            f"{what} was not written: ONNX Runtime differs from torch by {worst:.1e}, "
            f"more than {TOLERANCE:.0e}"
        )


def origin() -> dict[str, str]:
    """The revision and version that write a file, as metadata."""
    return {"git_revision": git_revision(), "version": version_of("human-edge-detection") or "0"}


def git_revision() -> str:
    """The short commit that the source tree is at, or "" outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
