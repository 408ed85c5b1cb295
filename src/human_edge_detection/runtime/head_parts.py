"""Cuts a head in two: what the people of a photo share, and what each of them needs.

Who keeps the maps between both for as long as a photo is shown runs only the second part for
one more box. The numbers are those of the whole head.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from human_edge_detection.core.errors import InputError
from human_edge_detection.runtime.onnx_graph import read_nodes, read_outputs, select_outputs

MAKES_MAPS = frozenset({"Conv", "Relu", "DequantizeLinear"})
"""Operations that make float32 maps. What follows the last of them reshapes, or counts sizes."""


@dataclass(frozen=True)
class HeadParts:
    """Two models of one head.

    Attributes:
        shared: takes the feature maps and makes ``maps``.
        own: takes ``maps`` and the ROIs, and makes what the head makes.
        maps: names of the tensors between both, float32 of four axes.
    """

    shared: bytes
    own: bytes
    maps: tuple[str, ...]


def cut_head(head: bytes, features: Collection[str], rois: Collection[str]) -> HeadParts:
    """The two parts of a serialized head.

    Args:
        head: an ONNX model that takes feature maps, no images.
        features: names of its inputs for the feature maps.
        rois: names of its inputs for the ROIs.

    Raises:
        InputError: the ROIs share nothing that could be computed before them.
    """
    maps = _shared_maps(head, features, rois)
    if not maps:
        raise InputError("the head computes nothing that its ROIs share: it cannot be cut in two")
    own = select_outputs(head, read_outputs(head), given=maps)
    return HeadParts(select_outputs(head, maps, given=()), own, maps)


def _shared_maps(head: bytes, features: Collection[str], rois: Collection[str]) -> tuple[str, ...]:
    """The last maps on each way that hang on the feature maps alone, in the file's order."""
    nodes = read_nodes(head)
    own, shared = set(rois), set(features)
    for node in nodes:
        if own.intersection(node.inputs):
            own.update(node.outputs)
        elif shared.intersection(node.inputs):
            shared.update(node.outputs)
    maker = {name: node for node in nodes for name in node.outputs}
    stack = [name for node in nodes if own.intersection(node.outputs) for name in node.inputs]
    found: set[str] = set()
    seen: set[str] = set()
    while stack:
        name = stack.pop()
        if name in seen or name not in shared or name not in maker:
            continue
        seen.add(name)
        if maker[name].op_type in MAKES_MAPS:
            found.add(name)
        else:
            stack.extend(maker[name].inputs)
    return tuple(name for name in maker if name in found)
