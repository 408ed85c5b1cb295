"""The model that a run begins with: fresh, or filled with weights trained before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.options import BUILTIN
from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.modeling.heads import build_head
from human_edge_detection.modeling.person_extractor import PersonExtractor, new_person_extractor
from human_edge_detection.modeling.weights import TrainedWeights, read_trained
from human_edge_detection.modeling.widening import widened
from human_edge_detection.runtime.model_files import shipped_weights

SHOWN = 3
"""Names shown of each kind of fault."""


def find_start(init_from: str | None) -> TrainedWeights | None:
    """The weights that ``--init_from`` names, if it names any.

    Raises:
        InputError: if the file cannot be used.
    """
    if init_from is None:
        return None
    return read_trained(shipped_weights() if init_from == BUILTIN else Path(init_from))


def new_model(
    spec: ModelSpec,
    start: TrainedWeights | None = None,
    *,
    with_extractor: bool = False,
    with_detector: bool = False,
) -> nn.ModuleDict:
    """``head`` and, where it is trained along, ``extractor``.

    Args:
        spec: the head.
        start: weights to begin with; None for fresh ones over ImageNet's.
        with_extractor: the extractor is trained along.
        with_detector: so is a detector on its pyramid.

    Raises:
        InputError: if the weights are of another model, or ImageNet's are not installed.
    """
    model = nn.ModuleDict({"head": build_head(spec)})
    if with_extractor:
        make = new_person_extractor if start is None else PersonExtractor
        model["extractor"] = make(with_detector)
    if start is not None:
        fill(model, widened(start, model["head"]))
    return model


def fill(model: nn.ModuleDict, start: TrainedWeights) -> None:
    """Put trained weights into those parts that the model has, every weight of them.

    Raises:
        InputError: naming the weights that are missing, unknown or of another shape.
    """
    parts = tuple(f"{part}." for part in model)
    given = {name: value for name, value in start.weights.items() if name.startswith(parts)}
    own = model.state_dict()
    both = [name for name in own if name in given]
    faults = {
        "it lacks": [name for name in own if name not in given],
        "here there is no": [name for name in given if name not in own],
        "another shape has": [
            f"{name} ({list(given[name].shape)}, here {list(own[name].shape)})"
            for name in both
            if given[name].shape != own[name].shape
        ],
    }
    if any(faults.values()):
        shown = "; ".join(f"{what} {_listed(names)}" for what, names in faults.items() if names)
        raise InputError(
            f"--init_from {start.path} does not fit this model: {shown}. Use the --head, "
            "--head_widths, --roi_size, --onnx_model, --layers, --train_extractor and "
            "--train_detector that it was trained with"
        )
    model.load_state_dict(given)


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")
