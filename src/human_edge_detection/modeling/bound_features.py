"""Feature maps that the frozen network writes straight into torch's memory.

With CUDA neither images nor maps leave the GPU (ONNX Runtime's IO binding).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from human_edge_detection.modeling.batches import Batch
from human_edge_detection.modeling.features import network_images
from human_edge_detection.runtime.feature_extractor import YOLOv9FeatureExtractor


class BoundFeatures:
    """A source of feature maps float32 [B, C, h, w], on the device that the network runs on.

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

        A network of a fixed batch gets its number of images at a time, the last ones filled up.
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
