"""The model that a run starts from: fresh, or filled with weights trained before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.options import BUILTIN, FRESH
from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.modeling.heads import build_head
from human_edge_detection.modeling.lite_head import LITE_WIDTHS
from human_edge_detection.modeling.person_extractor import PersonExtractor
from human_edge_detection.modeling.weights import TrainedWeights, load_weights, read_trained
from human_edge_detection.runtime.model_files import EXTRACTOR_NAME, shipped_weights
from human_edge_detection.runtime.onnx_graph import read_model, short_hash

PUBLISHED_SUFFIX = ".onnx"
TRUNK, SMALL_TRUNK = "head.trunk.", "head.small."


def is_published(init_from: str | None) -> bool:
    """Whether ``init_from`` names a network published as ONNX, an extractor without a head."""
    return init_from is not None and Path(init_from).suffix == PUBLISHED_SUFFIX


def find_start(init_from: str | None) -> TrainedWeights | None:
    """The trained model that ``init_from`` names, if it names one.

    Raises:
        InputError: if the file cannot be used.
    """
    if init_from in (None, FRESH) or is_published(init_from):
        return None
    return read_trained(shipped_weights() if init_from == BUILTIN else Path(init_from))


def ships(spec: ModelSpec) -> bool:
    """Whether the head that ships has this shape, over the extractor that ships.

    Widths that are not named are taken as they are, and a second trunk is no obstacle.
    """
    if (spec.head, spec.layers) != ("lite", PersonExtractor.layers):
        return False
    weights = shipped_weights()
    shipped = read_trained(weights).spec
    return (
        spec.extractor_sha == short_hash(read_model(weights.with_name(EXTRACTOR_NAME)))
        and spec.roi_size == shipped.roi_size
        and spec.widths in ((), shipped.widths)
    )


def new_model(
    spec: ModelSpec,
    start: TrainedWeights | None = None,
    *,
    with_extractor: bool = False,
    with_detector: bool = False,
    published: str | None = None,
) -> nn.ModuleDict:
    """``head`` and, where it is trained along, ``extractor``.

    Args:
        spec: the head.
        start: weights to start from; None for a fresh head over the shipped extractor.
        with_extractor: the extractor is trained along.
        with_detector: so is a detector on its pyramid.
        published: without a start, the published network that the extractor begins with instead.

    Raises:
        InputError: if the weights are of another model.
    """
    model = nn.ModuleDict({"head": build_head(spec)})
    if with_extractor:
        extractor = model["extractor"] = PersonExtractor(with_detector)
        if start is None and published is not None:
            extractor.begin_with(Path(published))
        elif start is None:
            _begin_as_shipped(extractor)
    if start is not None:
        fill(model, spec, start)
    return model


def _begin_as_shipped(extractor: PersonExtractor) -> None:
    """Fill the extractor with the shipped person model's weights."""
    path = shipped_weights()
    part = nn.ModuleDict({"extractor": extractor})
    names = tuple(part.state_dict())
    given = {name: value for name, value in read_trained(path).weights.items() if name in names}
    load_weights(part, given, path)


def fill(model: nn.ModuleDict, spec: ModelSpec, start: TrainedWeights) -> None:
    """Put trained weights into those parts that the model has, every weight of them.

    A trunk for small ROIs that the weights do not have yet becomes a copy of their only trunk.

    Raises:
        InputError: naming the weights that are missing, unknown or of another shape.
    """
    _check_widths(spec, start)
    if spec.small_branch and not start.spec.small_branch:
        start = replace(start, weights={**start.weights, **_small_trunk(start)})
    parts = tuple(f"{part}." for part in model)
    given = {name: value for name, value in start.weights.items() if name.startswith(parts)}
    load_weights(model, given, start.path)


def _check_widths(spec: ModelSpec, start: TrainedWeights) -> None:
    if not spec.head == start.spec.head == "lite":
        return
    ours, theirs = (one.widths or LITE_WIDTHS for one in (spec, start.spec))
    if ours != theirs:
        shown, trained = (" ".join(map(str, widths)) for widths in (ours, theirs))
        raise InputError(
            f"head_widths {shown} cannot start from {start.path}, whose head has {trained}: leave "
            "out head_widths to keep those, or init_from to train the head anew"
        )


def _small_trunk(start: TrainedWeights) -> dict[str, Tensor]:
    """The trunk's weights under the names of the trunk for small ROIs.

    Its positions are means over pairs of bins, since that trunk has half as many a side.
    """
    copied = {
        name.replace(TRUNK, SMALL_TRUNK, 1): value.clone()
        for name, value in start.weights.items()
        if name.startswith(TRUNK)
    }
    position = f"{SMALL_TRUNK}position"
    if position in copied:
        copied[position] = functional.avg_pool2d(copied[position], 2)
    return copied
