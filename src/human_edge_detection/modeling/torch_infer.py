"""A torch model as the function that validation calls: prepared photos in, logits out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from human_edge_detection.core.structures import FloatArray, RoiSample
from human_edge_detection.evaluation.evaluate import Infer
from human_edge_detection.modeling.batches import collate
from human_edge_detection.modeling.features import FeatureSource


def inference(model: nn.Module, features: FeatureSource, device: torch.device) -> Infer:
    """The logits float32 [ΣN, 3, M, M] that the model gives the ROIs of some samples."""

    @torch.no_grad()
    def infer(samples: Sequence[RoiSample]) -> FloatArray:
        model.eval()
        batch = collate(samples)
        maps = [m.to(device) for m in features(batch)]
        logits: torch.Tensor = model["head"](maps, batch.rois.to(device))  # type: ignore[index]
        return logits.float().cpu().numpy()

    return infer
