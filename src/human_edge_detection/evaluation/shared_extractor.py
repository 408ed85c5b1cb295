"""A frozen extractor that several heads of an ensemble read: opened once, run once a photo."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from human_edge_detection.core.structures import FloatArray
from human_edge_detection.modeling.features import MapSource
from human_edge_detection.training.training_inputs import open_extractor


class SharedExtractor:
    """Remembers a photo's maps until it is told to forget, for whoever asks again.

    Attributes:
        channels: channels of each map.
        strides: input pixels per map pixel of each map.
    """

    def __init__(self, extractor: MapSource) -> None:
        """Use an open extractor."""
        self.channels, self.strides = extractor.channels, extractor.strides
        self._extractor = extractor
        self._known: dict[bytes, list[FloatArray]] = {}

    def __call__(self, images: FloatArray) -> list[FloatArray]:
        """One float32 [B, C, h, w] per layer, of images float32 [B, 3, H, W]."""
        keys = [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images]
        new = [row for row, key in enumerate(keys) if key not in self._known]
        if new or not keys:
            maps = self._extractor(images[new])
            for place, row in enumerate(new):
                self._known[keys[row]] = [layer[place : place + 1] for layer in maps]
            if len(new) == len(keys):
                return maps
        return [np.concatenate(layers) for layers in zip(*(self._known[k] for k in keys))]  # noqa: B905

    def forget(self) -> None:
        """Free the maps that are remembered."""
        self._known.clear()

    def close(self) -> None:
        """Free the session too."""
        self.forget()
        self._extractor.close()


class SharedExtractors:
    """Opens each extractor only once."""

    def __init__(self) -> None:
        """Nothing is open yet."""
        self._open: dict[tuple[object, ...], SharedExtractor] = {}

    def __call__(
        self,
        onnx_model: str | None,
        layers: Sequence[str],
        image_size: tuple[int, int],
        device: str,
    ) -> SharedExtractor:
        """What ``open_extractor`` opens, or what it opened for the same names before."""
        key = (onnx_model, tuple(layers), image_size, device)
        if key not in self._open:
            opened = open_extractor(onnx_model, layers, image_size, device)
            self._open[key] = SharedExtractor(opened)
        return self._open[key]

    def forget(self) -> None:
        """Free all maps that are remembered."""
        for extractor in self._open.values():
            extractor.forget()
