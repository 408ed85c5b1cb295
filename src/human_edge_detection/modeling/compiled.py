"""``--compile``: the trained networks as torch.compile makes them, the model itself left plain."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from human_edge_detection.core.errors import InputError
from human_edge_detection.modeling.roi_align import DynamicRoIAlign

Part = Callable[..., Any]


def compiled_parts(model: nn.ModuleDict, device: torch.device) -> dict[str, Part]:
    """The model's parts compiled, by their names, with the model's own weights and mode.

    What is saved, averaged, validated and exported stays ``model``: its names do not change, so
    that a run may be resumed with or without.

    Args:
        model: the plain model.
        device: where it runs.

    Raises:
        InputError: if torch.compile does not work on this machine.
    """
    check_compiler(device)
    for module in model.modules():
        if isinstance(module, DynamicRoIAlign):
            # Compiled with an open number of ROIs its backward pass fails (torch 2.13, CPU).
            module.forward = _left_out(module.forward)  # type: ignore[method-assign]
    return {name: _of_any_count(torch.compile(part)) for name, part in model.items()}


def _of_any_count(part: Part) -> Part:
    """The part, told that every batch has another number of photos."""

    def call(inputs: Tensor | list[Tensor], *others: Tensor) -> Any:
        for tensor in [inputs] if isinstance(inputs, Tensor) else inputs:
            _leave_open(tensor)
        return part(inputs, *others)

    return call


def _left_out(align: Part) -> Part:
    """A RoI align that is not compiled, its result one of any number of people."""

    def call(features: Tensor, rois: Tensor) -> Tensor:
        aligned: Tensor = align(features, rois)
        _leave_open(aligned)
        return aligned

    disabled: Part = torch.compiler.disable(call)  # type: ignore[no-untyped-call]
    return disabled


def _leave_open(tensor: Tensor) -> None:
    # All other sides are fixed: left open too, they make graphs that inductor cannot lower. And
    # without a word it fixes the first one as well, to compile everything again for the next batch.
    torch._dynamo.maybe_mark_dynamic(tensor, 0)


def check_compiler(device: torch.device) -> None:
    """Compile a trifle, so that a missing compiler is found before training starts.

    Raises:
        InputError: if torch.compile does not work on this machine.
    """
    fresh = time.time_ns() % 9973 + 0.5  # or the trifle of an earlier run is found on the disk

    def trifle(values: Tensor) -> Tensor:
        return torch.sin(values) * fresh

    try:
        torch.compile(trifle)(torch.ones(64, device=device))
    except Exception as error:  # torch.compile's exceptions share no base class
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"--compile: torch.compile does not work here ({lines[0]}): install a C++ compiler "
            "such as g++ (on a GPU the package triton too), or leave out --compile"
        ) from error
