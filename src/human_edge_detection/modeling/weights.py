"""The trained weights of a model as files hold them, and the model that they make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.spec import ModelSpec, spec_from_dict
from human_edge_detection.modeling.heads import build_head
from human_edge_detection.modeling.person_extractor import MULTIPLE, PersonExtractor
from human_edge_detection.modeling.weights_file import read_weights_file
from human_edge_detection.training.checkpoint import (
    best_weights,
    load_checkpoint,
    load_weights,
    require,
)

WEIGHTS_SUFFIXES = (".pth", ".safetensors")


@dataclass(frozen=True)
class TrainedWeights:
    """Weights by their names in the model, and what the model is.

    Attributes:
        path: the file they come from, for messages.
        spec: geometry and kind of the head.
        weights: their moving average where the file has one; names begin with ``head.`` and, if
            it was trained along, ``extractor.``.
    """

    path: Path
    spec: ModelSpec
    weights: Mapping[str, Tensor]

    @property
    def has_extractor(self) -> bool:
        """Whether the extractor was trained along and is inside."""
        return any(name.startswith("extractor.") for name in self.weights)

    @property
    def has_detector(self) -> bool:
        """Whether there is a person detector too."""
        return any(name.startswith("extractor.detector.") for name in self.weights)

    def at_size(self, image_size: tuple[int, int] | None) -> TrainedWeights:
        """The same for images of another height and width; None leaves them as trained.

        Raises:
            InputError: if the extractor inside cannot work at that size.
        """
        if image_size is None:
            return self
        if min(image_size) < 1 or (self.has_extractor and any(s % MULTIPLE for s in image_size)):
            raise InputError(
                f"--image_size {image_size[0]} {image_size[1]} does not fit {self.path}: "
                f"use multiples of {MULTIPLE}"
            )
        return replace(self, spec=replace(self.spec, image_size=image_size))

    def model(self) -> nn.ModuleDict:
        """``head`` and, if it is inside, ``extractor``, in evaluation mode on the CPU.

        Raises:
            InputError: if the weights are not those of the model that the spec describes.
        """
        model = nn.ModuleDict({"head": build_head(self.spec)})
        if self.has_extractor:
            model["extractor"] = PersonExtractor(self.has_detector)
        load_weights(model, self.weights, self.path)
        return model.eval()


def read_trained(path: Path) -> TrainedWeights:
    """The weights of a ``.pth`` checkpoint or a ``.safetensors`` file of this project.

    Raises:
        InputError: if the file cannot be used.
    """
    if path.suffix == ".safetensors":
        return TrainedWeights(path, *read_weights_file(path))
    payload = load_checkpoint(path)
    require(payload, path, "spec", "weights")
    return TrainedWeights(path, spec_from_dict(payload["spec"], path), best_weights(payload))
