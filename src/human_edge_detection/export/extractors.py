"""The extractor of a fresh clone: the shipped person model's own, at the size of the images."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.files import write_atomically
from human_edge_detection.core.options import BUILTIN, DEFAULT_ONNX_MODEL
from human_edge_detection.export.person_model import checked_extractor
from human_edge_detection.modeling.weights import read_trained
from human_edge_detection.runtime.feature_extractor import YOLOv9FeatureExtractor
from human_edge_detection.runtime.model_files import EXTRACTOR_NAME, shipped_weights
from human_edge_detection.runtime.onnx_graph import short_hash
from human_edge_detection.runtime.providers import user_cache_dir

LOG = logging.getLogger(__name__)


def builtin_extractor_path(
    image_size_hw: tuple[int, int] = (640, 640), cache_dir: Path | None = None
) -> Path:
    """The shipped extractor's ONNX file for images of this size, made once and kept.

    At the size that the model ships for it is the shipped file itself.

    Args:
        image_size_hw: height and width of the images, multiples of 32.
        cache_dir: where files of other sizes are kept; None for the user's cache folder.

    Raises:
        InputError: if the size does not fit, no model ships, or the folder cannot be written to.
    """
    weights = shipped_weights()
    shipped = read_trained(weights)
    trained = shipped.at_size(image_size_hw)
    if trained.spec.image_size == shipped.spec.image_size:
        return weights.with_name(EXTRACTOR_NAME)
    height, width = image_size_hw
    name = f"{weights.stem}_{short_hash(weights.read_bytes())}_{height}x{width}.onnx"
    path = (cache_dir or user_cache_dir()) / name
    if not path.exists():
        data, errors = checked_extractor(trained.model()["extractor"], image_size_hw, path)
        try:
            write_atomically(path, data)
        except InputError as fault:
            raise InputError(f"{fault}: name another cache folder in XDG_CACHE_HOME") from fault
        error = max(errors.values())
        LOG.info("built-in extractor kept in %s (error against torch %.1e)", path, error)
    return path


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
