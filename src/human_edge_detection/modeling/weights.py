"""Trained weights in files: checkpoints and safetensors, and the model that they make."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from human_edge_detection.core.errors import InputError, one_line
from human_edge_detection.core.spec import ModelSpec, checked
from human_edge_detection.modeling.heads import build_head
from human_edge_detection.modeling.person_extractor import MULTIPLE, PersonExtractor
from human_edge_detection.modeling.weights_file import read_weights_file

CHECKPOINT_FORMAT = "human_edge_detection.checkpoint.2"
WEIGHTS_SUFFIXES = (".pth", ".safetensors")
SHOWN = 3
"""Names shown of each kind of fault."""

Payload = dict[str, Any]


@dataclass(frozen=True)
class TrainedWeights:
    """Weights by their names in the model, and the model's spec.

    Attributes:
        path: the file they are from, for messages.
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
                f"image_size {image_size[0]} {image_size[1]} does not fit {self.path}: "
                f"use multiples of {MULTIPLE}"
            )
        try:
            return replace(self, spec=checked(replace(self.spec, image_size=image_size)))
        except ValueError as error:
            raise InputError(f"{error} is too large for a model: choose a smaller one") from error

    def model(self) -> nn.ModuleDict:
        """``head`` and, if it is inside, ``extractor``, in evaluation mode on the CPU.

        Raises:
            InputError: if the weights are not those of the model that the spec describes.
        """
        model = nn.ModuleDict({"head": build_head(self.spec)})
        if self.has_extractor:
            if self.spec.layers != PersonExtractor.layers:
                raise InputError(
                    f"{self.path} holds an extractor of maps {' '.join(self.spec.layers)}, which "
                    "this version cannot train or export: use the version that wrote it, or train "
                    "anew (files exported from it still work)"
                )
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
    weights = best_weights(payload)
    if not (isinstance(weights, dict) and all(isinstance(v, Tensor) for v in weights.values())):
        raise InputError(f"checkpoint {path} holds weights that are no tensors: use another file")
    return TrainedWeights(path, ModelSpec.from_dict(payload["spec"], path), weights)


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Put weights, by their names in it, into a module: all that it has and no others.

    Raises:
        InputError: naming the weights that are missing, unknown or of another shape.
    """
    own = module.state_dict()
    faults = {
        "it lacks": [name for name in own if name not in weights],
        "here there is no": [name for name in weights if name not in own],
        "another shape has": [
            f"{name} ({list(weights[name].shape)}, here {list(value.shape)})"
            for name, value in own.items()
            if name in weights and weights[name].shape != value.shape
        ],
    }
    if any(faults.values()):
        shown = "; ".join(f"{what} {_listed(names)}" for what, names in faults.items() if names)
        raise InputError(
            f"{path} belongs to another model: {shown}. Use the head, head_widths, roi_size, "
            "layers, onnx_model, train_extractor and train_detector that it was trained with"
        )
    module.load_state_dict(dict(weights))


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def load_checkpoint(path: Path) -> Payload:
    """The payload of a checkpoint, on the CPU.

    Raises:
        InputError: if the file is missing, cut short, not a checkpoint of this project, or a
            pickle that would run code.
    """
    if not path.is_file():
        raise InputError(f"checkpoint {path} does not exist: check the path")
    try:
        if zipfile.is_zipfile(path):  # an older kind of torch's files has no sums
            _check_records(path)
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        code = re.search(r"GLOBAL ([\w.]+)", str(error))  # torch adds how to run it anyway
        raise InputError(
            f"checkpoint {path} is refused: it holds more than tensors and plain values, "
            f"{f'the code {code[1]}' if code else 'or is none'}; use one written by main.py"
        ) from error
    except Exception as error:  # a damaged file makes the unpickler fail in any way
        reason = (str(error) or type(error).__name__).splitlines()[0].split(".  (")[0]
        raise InputError(
            f"checkpoint {path} cannot be read ({reason}): it was cut short or is another kind "
            "of file; use an earlier checkpoint"
        ) from error
    if not isinstance(payload, dict) or payload.get("format") != CHECKPOINT_FORMAT:
        raise InputError(
            f"checkpoint {path} was not written by this version of main.py "
            f"(format {CHECKPOINT_FORMAT} expected): train again, or use the version that wrote it"
        )
    return payload


def _check_records(path: Path) -> None:
    """Compare each record of a checkpoint with its CRC-32, which torch writes but does not read.

    Raises:
        ValueError: if bits have changed, or it was not torch that wrote the file.
    """
    with zipfile.ZipFile(path) as file:
        records = file.infolist()
        if any(record.compress_type != zipfile.ZIP_STORED for record in records):
            raise ValueError("its records are compressed")
        if sum(record.file_size for record in records) > path.stat().st_size:
            raise ValueError("its records are larger than the file")
        if (damaged := file.testzip()) is not None:
            raise ValueError(f"bits of record {one_line(damaged, 80)} have changed")


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


def best_weights(payload: Payload) -> dict[str, Tensor]:
    """The weights to use: their moving average where the payload has one."""
    weights: dict[str, Tensor] = payload.get("ema") or payload["weights"]
    return weights
