"""The exported head as ONNX Runtime runs it: feature maps and ROIs in, logits out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort

from human_edge_detection.errors import InputError
from human_edge_detection.runtime import CPU, TENSORRT, Provider, open_session
from human_edge_detection.small_rois import head_feeds
from human_edge_detection.structures import FloatArray

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


class HeadSession:
    """Runs the head on any number of ROIs, at most ``max_rois`` at once; None for the usual.

    What the ROIs of a photo share is worked out once for each ``max_rois`` of them.

    Safe to call from several threads: it keeps no state between calls.

    Attributes:
        facts: what the file says about itself.
    """

    def __init__(
        self,
        onnx_path: Path | str,
        device: str = "auto",
        providers: Sequence[Provider] | None = None,
        *,
        max_rois: int | None = None,
        threads: int | None = None,
    ) -> None:
        """Open the exported head.

        Raises:
            InputError: the file is no ONNX model or no head, or the hardware is not there.
        """
        if max_rois is not None and max_rois < 1:
            raise InputError(f"--max_rois must be at least 1, but got {max_rois}")
        self._path = Path(onnx_path)
        session = open_session(self._path, device, providers, threads)
        self._session: ort.InferenceSession | None = session
        self.facts = HeadFacts.from_metadata(session.get_modelmeta().custom_metadata_map, onnx_path)
        self._max_rois = max_rois or self.facts.usual_max_rois
        if self.facts.precision == "int8" and session.get_providers()[0] != CPU:
            raise InputError(
                f"model {onnx_path} is an 8-bit head, made for CPUs: use --device cpu, or the "
                "float head that it was made from"
            )
        names = [item.name for item in session.get_inputs()]
        self._inputs = [name for name in names if name not in ("rois", "small_rois")]
        self._dtype = np.float16 if "float16" in session.get_inputs()[0].type else np.float32
        # TensorRT builds an engine for every new shape, hence only a few ROI counts
        self._buckets = session.get_providers()[0] == TENSORRT

    def __call__(self, features: Sequence[FloatArray], rois: FloatArray) -> FloatArray:
        """Logits float32 [N, 3, M, M] of the ROIs.

        Args:
            features: one float32 [1, C, h, w] per layer; for an end-to-end file the image
                float32 [1, 3, H, W].
            rois: float32 [N, 5], batch index and xyxy in input pixels; N may be 0.
        """
        size = self.facts.mask_size
        if len(rois) == 0:
            return np.zeros((0, 3, size, size), np.float32)
        feeds = dict(zip(self._inputs, features, strict=True))
        parts = [
            self._run(feeds, rois[at : at + self._max_rois])
            for at in range(0, len(rois), self._max_rois)
        ]
        return np.concatenate(parts)

    def _run(self, feeds: dict[str, FloatArray], rois: FloatArray) -> FloatArray:
        if self._session is None:
            raise RuntimeError("the head is closed")
        parts, order = head_feeds(rois.astype(np.float32, copy=False), self.facts.small_side)
        counts = [len(part) for part in parts.values()]
        if self._buckets:
            parts = {name: self._filled(part) for name, part in parts.items()}
        typed = {name: item.astype(self._dtype, copy=False) for name, item in feeds.items()}
        try:
            found = self._session.run(None, {**typed, **parts})[0]
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            shapes = ", ".join(f"{name} {list(item.shape)}" for name, item in feeds.items())
            raise InputError(f"head {self._path} does not run on {shapes}: {error}") from error
        ends = np.cumsum([len(part) for part in parts.values()])
        answers = np.split(found, ends[:-1])
        logits = np.empty((len(rois), *found.shape[1:]), np.float32)
        logits[order] = np.concatenate([a[:n] for a, n in zip(answers, counts, strict=True)])
        return logits

    def _filled(self, rois: FloatArray) -> FloatArray:
        """The ROIs and so many of no meaning that their number is a power of two, at least 1."""
        wanted = min(1 << max(len(rois) - 1, 0).bit_length(), self._max_rois)
        return np.concatenate([rois, np.zeros((wanted - len(rois), 5), np.float32)])

    def check_fits(
        self, channels: Sequence[int], strides: Sequence[float], extractor: Path | str
    ) -> None:
        """Refuse an extractor whose maps are not those that the head was trained on."""
        facts = self.facts
        if tuple(channels) == facts.channels and np.allclose(strides, facts.strides, rtol=0.01):
            return
        wanted, found = _shown(facts.channels, facts.strides), _shown(channels, strides)
        raise InputError(
            f"head {self._path} does not fit extractor {extractor}: for the layers "
            f"{', '.join(facts.layers)} it was trained on {wanted}, but the extractor gives "
            f"{found}. Pass the extractor that it was trained with (--extractor)"
        )

    def close(self) -> None:
        """Free the session; the head cannot be called any more."""
        self._session = None


def _shown(channels: Sequence[int], strides: Sequence[float]) -> str:
    pairs = zip(channels, strides, strict=False)
    return ", ".join(f"{count} channels at stride {stride:g}" for count, stride in pairs)
