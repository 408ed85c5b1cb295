"""Class probabilities at the bins of a ROI: from logits, smoothed, and as log-odds.

Pixels between two bins are interpolated in log-odds: at a person's edge the logits of a head change
about evenly from bin to bin, the probabilities in a step.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core.structures import FloatArray, MaskClass

LEAST_PROBABILITY = 1e-3
"""Probabilities and thresholds are cut to 0.001 … 0.999, so that no bin and no ROI has a veto."""

ROUNDING = 5e-6
"""More log-odds than a pixel loses where its terms are added up in float32."""

# Exactly as far from 1 as from 0, so that p and 1 - p are cut at the same place.
_MOST = np.nextafter(np.float32(1 - LEAST_PROBABILITY), np.float32(0))
_LEAST = 1 - _MOST


def softmax(logits: NDArray[np.floating]) -> FloatArray:
    """Probabilities float32 [N, 3, M, M] from logits of the same shape."""
    values = np.asarray(logits, np.float32)
    if values.size == 0:
        return values
    powers: FloatArray = values - values.max(axis=1, keepdims=True)
    np.exp(powers, out=powers)
    powers /= powers.sum(axis=1, keepdims=True)
    return powers


def as_class_probs(masks: NDArray[np.floating]) -> NDArray[np.floating]:
    """Probabilities [N, 3, M, M], from the same or from target probabilities [N, M, M].

    Where only the target's probability is known the rest counts as non-target: a ROI whose target
    probability is low leaves the pixel to the others.

    Raises:
        ValueError: for any other shape.
    """
    if masks.ndim == 4 and masks.shape[1] == len(MaskClass):
        return masks
    if masks.ndim != 3:
        raise ValueError(f"masks must be [N, M, M] or [N, 3, M, M], but got {list(masks.shape)}")
    return np.stack([np.zeros_like(masks), masks, 1 - masks], axis=1)


def smooth(probs: NDArray[np.floating], sigma: float) -> NDArray[np.floating]:
    """Probabilities [..., M, M] blurred by a Gaussian of ``sigma`` bins; unchanged for 0."""
    if sigma <= 0 or probs.size == 0:
        return probs
    planes = np.asarray(probs, np.float32).reshape(-1, *probs.shape[-2:])
    border = cv2.BORDER_REPLICATE
    blurred = [cv2.GaussianBlur(plane, (0, 0), sigma, borderType=border) for plane in planes]
    return np.stack(blurred).reshape(probs.shape)


def log_odds(
    probability: NDArray[np.floating] | float, out: FloatArray | None = None
) -> FloatArray:
    """``log(p / (1 - p))`` float32, of ``p`` cut to ``LEAST_PROBABILITY`` from either end.

    Args:
        probability: in 0…1, any shape.
        out: float32 of that shape to write to.
    """
    sure = np.asarray(np.clip(probability, _LEAST, _MOST, dtype=np.float32))
    rest = 1 - sure
    return np.asarray(np.log(np.divide(sure, rest, out=sure), out=out))


@lru_cache(maxsize=16)
def cut(threshold: float) -> float:
    """The log-odds that a pixel must reach where a probability must reach ``threshold``.

    A threshold beyond 0.001 … 0.999 acts as the nearest end. A pixel whose bins all have exactly
    the threshold's probability reaches it, however its sum was rounded.
    """
    return float(log_odds(threshold)) - ROUNDING
