"""What an exported file of this project says about itself, out of its ONNX metadata.

Which ROIs are small: those that the lite head's second trunk takes, and how files name them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from human_edge_detection.core.errors import InputError

HEAD_FORMAT = "human_edge_detection.head"
END_TO_END_FORMAT = "human_edge_detection.end_to_end"


@dataclass(frozen=True)
class HeadFacts:
    """What an exported file says about itself.

    Attributes:
        end_to_end: the extractor is inside; the file reads images instead of features.
        layers: tensors of the extractor that the head reads.
        channels: channels of each layer.
        strides: input pixels per map pixel of each layer.
        image_size_hw: height and width that it was trained at.
        roi_padding: margin around a box, as a part of its side.
        mask_size: bins along a mask's side.
        extractor_sha: short hash of the extractor's file that it was trained on; may be empty.
        class_weights: cross-entropy weights it was trained with; empty if the file does not say.
        precision: "int8" for a quantized file, else "".
        head: "lite", "spec", or "" if the file does not say.
        small_side: largest side, input pixels, of the ROIs that the file reads as ``small_rois``;
            0 where it has one input for all.
    """

    end_to_end: bool
    layers: tuple[str, ...]
    channels: tuple[int, ...]
    strides: tuple[float, ...]
    image_size_hw: tuple[int, int]
    roi_padding: float
    mask_size: int
    extractor_sha: str
    class_weights: tuple[float, ...] = ()
    precision: str = ""
    head: str = ""
    small_side: float = 0.0

    @property
    def usual_max_rois(self) -> int:
        """How many ROIs at once are quick and need some hundred MiB at most."""
        return 4 if self.head == "spec" else 128

    @classmethod
    def from_metadata(cls, metadata: dict[str, str], path: Path | str) -> HeadFacts:
        """The facts out of the ONNX metadata.

        Raises:
            InputError: the file is no head of this project, or its facts are incomplete.
        """
        kind = metadata.get("format", "")
        if kind not in (HEAD_FORMAT, END_TO_END_FORMAT):
            raise InputError(
                f"model {path} is not a head that this project exported (its metadata has no "
                f"format '{HEAD_FORMAT}'): pass the checkpoints/best_model.onnx of a training"
            )
        try:
            if (geometry := metadata.get("geometry", "letterbox")) != "letterbox":
                raise ValueError(f"geometry '{geometry}'")
            height, width = json.loads(metadata["image_size"])
            return cls(
                end_to_end=kind == END_TO_END_FORMAT,
                layers=tuple(json.loads(metadata["layers"])),
                channels=tuple(json.loads(metadata["channels"])),
                strides=tuple(float(value) for value in json.loads(metadata["strides"])),
                image_size_hw=(int(height), int(width)),
                roi_padding=float(metadata["roi_padding"]),
                mask_size=int(metadata.get("mask_size", "56")),
                extractor_sha=metadata.get("extractor_sha", ""),
                class_weights=tuple(json.loads(metadata.get("class_weights", "[]"))),
                precision=metadata.get("precision", ""),
                head=metadata.get("head", ""),
                small_side=float(metadata.get("small_side", "0")),
            )
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(
                f"model {path} has metadata that cannot be used ({error}): export it again"
            ) from error


SMALL_CELLS = 1.25
"""Cells of the finest map that a small ROI has at most, for each of ``roi_size`` bins."""


@dataclass(frozen=True)
class ModelSpec:
    """All that rebuilds a head and runs it as it was trained; travels in every checkpoint.

    Attributes:
        head: "lite" or "spec".
        layers: tensor names of the extractor, one per feature map.
        channels: channels of each map.
        strides: input pixels per cell of each map.
        image_size: height and width of the network's input.
        roi_size: bins along the ROI align's side; masks have twice as many.
        roi_padding: margin around a box on each side, as a part of its side.
        extractor_sha: short hash of the extractor's file, "" where it is trained along.
        class_weights: cross-entropy weights of the three classes.
        widths: channels of a lite head at 28x28, 14x14 and 56x56; () where the head has no choice.
    """

    head: str
    layers: tuple[str, ...]
    channels: tuple[int, ...]
    strides: tuple[float, ...]
    image_size: tuple[int, int] = (640, 640)
    roi_size: int = 28
    roi_padding: float = 0.1
    extractor_sha: str = ""
    class_weights: tuple[float, ...] = (1.0, 1.0, 1.0)
    widths: tuple[int, ...] = ()
    small_branch: bool = False

    @property
    def mask_size(self) -> int:
        """Bins along a mask's side."""
        return 2 * self.roi_size

    @property
    def small_side(self) -> float:
        """Largest side, input pixels, of the ROIs that count as small; 0 if none do.

        Half the bins still sample the finest map at least every ``SMALL_CELLS`` cells.
        """
        return SMALL_CELLS * self.roi_size * min(self.strides) if self.small_branch else 0.0


def spec_to_dict(spec: ModelSpec) -> dict[str, Any]:
    """A spec as plain values that survive ``weights_only`` loading and JSON."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(spec).items()}


def spec_from_dict(values: Mapping[str, Any], path: Path) -> ModelSpec:
    """The spec of a payload's ``spec`` entry.

    Raises:
        InputError: if the checkpoint lacks a fact or names one that this version does not know.
    """
    wanted = {field.name for field in fields(ModelSpec)}
    if wrong := wanted ^ set(values):
        raise InputError(f"checkpoint {path} does not fit this version: {sorted(wrong)} differ")
    plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return ModelSpec(**plain)


def are_small(rois: Any, small_side: float) -> Any:
    """Whether neither side of each ROI is longer than ``small_side``, bool [N].

    Args:
        rois: float32 [N, 5], an array or a tensor, batch index and xyxy; so is the answer.
        small_side: input pixels; at 0 no ROI is small.
    """
    width, height = rois[:, 3] - rois[:, 1], rois[:, 4] - rois[:, 2]
    return (width <= small_side) & (height <= small_side) & (small_side > 0)
