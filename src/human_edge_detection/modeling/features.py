"""Batches of prepared photos, and the sources of their feature maps.

A source is the frozen network, its cache, or the extractor that is trained along.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from human_edge_detection.core.images import as_network_input
from human_edge_detection.core.structures import FloatArray, Infer, RoiSample
from human_edge_detection.runtime.feature_extractor import YOLOv9FeatureExtractor


@dataclass(frozen=True)
class Batch:
    """Prepared photos, stacked.

    Attributes:
        images: uint8 [B, 3, H, W] RGB, or None where the features are cached.
        rois: float32 [N, 5], ``batch_idx, x1, y1, x2, y2`` in input pixels.
        targets: uint8 [N, M, M].
        samples: the photos as they were prepared.
    """

    images: Tensor | None
    rois: Tensor
    targets: Tensor
    samples: tuple[RoiSample, ...]


def collate(samples: Sequence[RoiSample | None]) -> Batch:
    """One batch of the samples, without those that are None (unreadable photos)."""
    known = tuple(sample for sample in samples if sample is not None)
    with_images = bool(known) and all(sample.image.size for sample in known)
    images = np.stack([sample.image for sample in known]) if with_images else None
    rois = [
        np.concatenate([np.full((len(sample.rois), 1), i, np.float32), sample.rois], axis=1)
        for i, sample in enumerate(known)
    ]
    targets = [sample.targets for sample in known]
    return Batch(
        images=None if images is None else torch.from_numpy(images).permute(0, 3, 1, 2),
        rois=torch.from_numpy(np.concatenate(rois) if rois else np.zeros((0, 5), np.float32)),
        targets=torch.from_numpy(np.concatenate(targets or [np.zeros((0, 1, 1), np.uint8)])),
        samples=known,
    )


FeatureSource = Callable[[Batch], list[Tensor]]
"""Returns feature maps float32 [B, C, h, w], one per layer, of a batch, on any device."""


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


class BoundFeatures:
    """A source whose frozen network writes its maps straight into torch's memory.

    With CUDA neither images nor maps leave the GPU (ONNX Runtime's IO binding).

    Args:
        extractor: the frozen network.
    """

    def __init__(self, extractor: YOLOv9FeatureExtractor) -> None:
        self.extractor = extractor
        self.device = torch.device(extractor.device_type)
        self.dtype = torch.from_numpy(np.empty(0, extractor.dtype)).dtype

    def __call__(self, batch: Batch) -> list[Tensor]:
        """The maps of a batch's photos."""
        images = network_images(batch, self.device).to(self.dtype)
        return self.maps(images.contiguous(memory_format=torch.contiguous_format))

    def maps(self, images: Tensor) -> list[Tensor]:
        """The maps of images [B, 3, H, W] RGB 0-1, contiguous, of the network's type and device.

        A network of a fixed batch size runs once per so many images; the last run is filled up.
        """
        count = len(images)
        step = self.extractor.fixed_batch or max(count, 1)
        missing = -count % step
        if missing:
            images = torch.cat([images, images.new_zeros(missing, *images.shape[1:])])
        maps = [images.new_empty(len(images), *shape) for shape in self.extractor.map_shapes]
        if self.device.type == "cuda":  # the network runs in a stream of its own
            torch.cuda.current_stream(self.device).synchronize()
        for first in range(0, len(images), step):
            addresses = [whole[first].data_ptr() for whole in maps]
            self.extractor.write_maps(images[first].data_ptr(), addresses, step)
        return [whole[:count].float() for whole in maps]


def torch_infer(model: nn.Module, features: FeatureSource, device: torch.device) -> Infer:
    """A function from prepared photos to the model's logits float32 [ΣN, 3, M, M] of their ROIs."""

    @torch.no_grad()
    def infer(samples: Sequence[RoiSample]) -> FloatArray:
        model.eval()
        batch = collate(samples)
        maps = [m.to(device) for m in features(batch)]
        logits: torch.Tensor = model["head"](maps, batch.rois.to(device))  # type: ignore[index]
        return logits.float().cpu().numpy()

    return infer
