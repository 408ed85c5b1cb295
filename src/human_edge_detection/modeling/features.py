"""Where a training batch's feature maps come from: the frozen network, or its cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from human_edge_detection.core.images import as_network_input
from human_edge_detection.core.structures import FloatArray
from human_edge_detection.modeling.batches import Batch
from human_edge_detection.training.feature_cache import FeatureCache

FeatureSource = Callable[[Batch], list[Tensor]]
"""Feature maps float32 [B, C, h, w], one per layer, of a batch's photos, on any device."""


class MapSource(Protocol):
    """A frozen network: images in, feature maps out."""

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each map."""

    @property
    def strides(self) -> tuple[float, ...]:
        """Input pixels per map pixel of each map."""

    def __call__(self, images: FloatArray) -> list[FloatArray]:
        """One float32 [B, C, h, w] per layer, of images float32 [B, 3, H, W] RGB 0-1."""

    def close(self) -> None:
        """Free the session."""


def extracted_features(extractor: MapSource) -> FeatureSource:
    """A source that runs the frozen network on the batch's images."""

    def features(batch: Batch) -> list[Tensor]:
        if batch.images is None:
            raise ValueError("the batch has no images to extract features from")
        images = as_network_input(batch.images.permute(0, 2, 3, 1).numpy())
        return [torch.from_numpy(maps) for maps in extractor(images)]

    return features


def network_images(batch: Batch, device: torch.device) -> Tensor:
    """The batch's photos float32 [B, 3, H, W] RGB 0-1 on the device, channels last."""
    if batch.images is None:
        raise ValueError("the batch has no images to extract features from")
    images = batch.images.to(device).float() / 255
    return images.contiguous(memory_format=torch.channels_last)


def trained_features(extractor: nn.Module, device: torch.device) -> FeatureSource:
    """A source that runs the person model's own extractor with its present weights."""

    def features(batch: Batch) -> list[Tensor]:
        maps, _ = extractor(network_images(batch, device))
        return list(maps)

    return features


def cached_features(cache: FeatureCache) -> FeatureSource:
    """A source that reads what the cache holds of the batch's photos."""

    def features(batch: Batch) -> list[Tensor]:
        rows = [cache.load(s.photo_index, s.is_mirrored) for s in batch.samples]
        stacked = (np.stack(maps).astype(np.float32) for maps in zip(*rows, strict=True))
        return [torch.from_numpy(maps) for maps in stacked]

    return features
