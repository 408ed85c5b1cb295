"""What an exported file of this project says about itself, out of its ONNX metadata."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

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
