"""A ComfyUI node: one mask for each person in an image. Copy this folder into `custom_nodes`."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from human_edge_detection import MaskPredictor


@lru_cache(maxsize=1)
def predictor_of(model: str, extractor: str) -> MaskPredictor:
    """The opened model, kept for the next run; no names for the model that ships."""
    return MaskPredictor(model or None, extractor or None)


def people_of(
    images: NDArray[np.floating], score: float, model: str = "", extractor: str = ""
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Everybody's mask.

    Args:
        images: float [B, H, W, 3] RGB in 0…1.
        score: lowest score of a person.
        model: exported head, or '' for the model that ships.
        extractor: the network that the head was trained on.

    Returns:
        float32 [N, H, W], a mask of 0 and 1 per person, image after image, one empty mask if nobody
        is there; float32 [B, H, W], everybody in each image.
    """
    predictor = predictor_of(model, extractor)
    pixels = np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)
    found = [predictor.segment(image[..., :3], score).binary() for image in pixels]
    masks = np.concatenate(found).astype(np.float32)
    everybody = np.stack([people.any(axis=0) for people in found]).astype(np.float32)
    return (masks if len(masks) else np.zeros_like(everybody[:1])), everybody


class PeopleMasks:
    """The node; ComfyUI reads the names below."""

    CATEGORY = "mask"
    FUNCTION = "run"
    RETURN_TYPES = ("MASK", "MASK")
    RETURN_NAMES = ("one per person", "everybody")
    DESCRIPTION = "One mask for each person, also where people overlap."
    _FILE: ClassVar[tuple[str, dict[str, str]]] = ("STRING", {"default": ""})

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """The node's sockets and fields."""
        score = ("FLOAT", {"default": 0.3, "min": 0.0, "max": 1.0, "step": 0.05})
        return {
            "required": {"image": ("IMAGE",), "score": score},
            "optional": {"model": cls._FILE, "extractor": cls._FILE},
        }

    def run(
        self, image: Any, score: float, model: str = "", extractor: str = ""
    ) -> tuple[Any, Any]:
        """Masks float32 [N, H, W] and [B, H, W] of images float [B, H, W, 3], torch tensors."""
        import torch

        masks, everybody = people_of(image.cpu().numpy(), score, model, extractor)
        return torch.from_numpy(masks), torch.from_numpy(everybody)


NODE_CLASS_MAPPINGS = {"HumanEdgeDetectionPeopleMasks": PeopleMasks}
NODE_DISPLAY_NAME_MAPPINGS = {"HumanEdgeDetectionPeopleMasks": "People masks"}
