"""Which person extractor a model has, and how a new one begins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from human_edge_detection.core.errors import InputError
from human_edge_detection.modeling.efficientnet_lite import load_imagenet_weights
from human_edge_detection.modeling.person_extractor import PersonExtractor
from human_edge_detection.modeling.person_network import PersonNetwork
from human_edge_detection.modeling.rtm_extractor import RtmExtractor

NETWORKS: tuple[type[PersonNetwork], ...] = (PersonExtractor, RtmExtractor)
PUBLISHED_SUFFIX = ".onnx"


def network_of(layers: Sequence[str]) -> type[PersonNetwork] | None:
    """The person extractor whose maps are called so; None where there is none."""
    return next((kind for kind in NETWORKS if kind.layers == tuple(layers)), None)


def is_published(init_from: str | None) -> bool:
    """Whether ``--init_from`` names a network published as ONNX, an extractor without a head."""
    return init_from is not None and Path(init_from).suffix == PUBLISHED_SUFFIX


def new_extractor(layers: Sequence[str], with_detector: bool) -> PersonNetwork:
    """The person extractor whose maps are called so, with random weights.

    Raises:
        InputError: if there is none.
    """
    kind = network_of(layers)
    if kind is None:
        raise InputError(
            f"layers {' '.join(layers)} are those of no person extractor that this version knows"
        )
    return kind(with_detector)


def begin(extractor: PersonNetwork, init_from: str | None) -> None:
    """Fill the pretrained parts: from the published file, or with ImageNet's weights.

    Raises:
        InputError: if the file, or the package with ImageNet's weights, cannot be used.
    """
    if isinstance(extractor, RtmExtractor):
        if init_from is not None and is_published(init_from):
            extractor.begin_with(Path(init_from))
    elif isinstance(extractor, PersonExtractor):
        load_imagenet_weights(extractor.backbone)
