"""The frozen extractor of a training: the file that is named, or the shipped person model's own."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.options import BUILTIN, DEFAULT_ONNX_MODEL
from human_edge_detection.modeling.weights import read_trained
from human_edge_detection.runtime.feature_extractor import YOLOv9FeatureExtractor
from human_edge_detection.runtime.model_files import EXTRACTOR_NAME, shipped_weights

LOG = logging.getLogger(__name__)


def builtin_extractor_path(image_size_hw: tuple[int, int] = (640, 640)) -> Path:
    """The shipped extractor's ONNX file, if it takes images of this size.

    Args:
        image_size_hw: height and width of the images, multiples of 32.

    Raises:
        InputError: if the size does not fit, or no model ships.
    """
    weights = shipped_weights()
    read_trained(weights).at_size(image_size_hw)
    return weights.with_name(EXTRACTOR_NAME)


def open_extractor(
    onnx_model: str | None,
    layers: Sequence[str],
    image_size: tuple[int, int],
    device: str,
) -> YOLOv9FeatureExtractor:
    """The frozen extractor that the options name, or the built-in one where there is none.

    Raises:
        InputError: if a file that the user typed does not exist or cannot be used.
    """
    path = Path(onnx_model or DEFAULT_ONNX_MODEL)
    if onnx_model == BUILTIN or (onnx_model is None and not path.exists()):
        if onnx_model is None:
            LOG.warning("%s not found (give --onnx_model FILE): using the built-in extractor", path)
        path = builtin_extractor_path(image_size)
    elif not path.exists():
        raise InputError(f"--onnx_model {path} does not exist: check the path, or name {BUILTIN}")
    return YOLOv9FeatureExtractor(
        path, device=device, layers=layers or None, image_size_hw=image_size
    )
