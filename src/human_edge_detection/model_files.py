"""Makes a model file, a checkpoint or an export, into something that validation can call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from human_edge_detection.closable import Closable
from human_edge_detection.errors import InputError
from human_edge_detection.evaluate import Infer
from human_edge_detection.feature_cache import as_network_input
from human_edge_detection.features import MapSource, extracted_features, trained_features
from human_edge_detection.head_session import HeadFacts, HeadSession
from human_edge_detection.inference import inference
from human_edge_detection.losses import RoiMaskLoss
from human_edge_detection.model import ModelSpec
from human_edge_detection.open_model import own_extractor
from human_edge_detection.structures import FloatArray, RoiSample
from human_edge_detection.trained_weights import WEIGHTS_SUFFIXES, read_trained
from human_edge_detection.training_inputs import open_extractor

MODEL_SUFFIXES = (*WEIGHTS_SUFFIXES, ".onnx")

OpenExtractor = Callable[[str | None, Sequence[str], tuple[int, int], str], MapSource]
"""Opens the extractor of a name, layers, an image size and a device, as ``open_extractor`` does."""


@dataclass(frozen=True)
class OpenModel(Closable):
    """A model that is ready to be validated; close it after use.

    Attributes:
        spec: geometry and class weights it was trained with.
        infer: the model itself.
        resources: what closing frees.
    """

    spec: ModelSpec
    infer: Infer
    resources: ExitStack

    def close(self) -> None:
        """Free the sessions."""
        self.resources.close()


def open_model_file(
    path: Path,
    onnx_model: str | None = None,
    device: str = "auto",
    image_size: tuple[int, int] | None = None,
    opening: OpenExtractor = open_extractor,
) -> OpenModel:
    """Trained weights or an ``.onnx`` export, with the extractor that the head reads.

    Args:
        path: the file.
        onnx_model: the extractor; None for the default path or the built-in one. Not looked at
            for a model that has its own: a person model, or an end-to-end export.
        device: where to run.
        image_size: height and width of the network's input; None for those it was trained at.
        opening: opens the extractor; several models may share one.

    Raises:
        InputError: if the file is missing or unusable, or the extractor does not fit.
    """
    if path.suffix not in MODEL_SUFFIXES:
        raise InputError(f"{path}: a model file ends in {' or '.join(MODEL_SUFFIXES)}")
    if path.suffix in WEIGHTS_SUFFIXES:
        return _open_weights(path, onnx_model, device, image_size, opening)
    return _open_export(path, onnx_model, device, image_size, opening)


def torch_device(device: str) -> torch.device:
    """Where torch runs for a ``--device``: CUDA for anything but ``cpu`` where there is one."""
    has_cuda = torch.cuda.is_available()
    return torch.device("cuda" if has_cuda and device != "cpu" else "cpu")


def numpy_loss(
    class_weights: Sequence[float],
) -> Callable[[FloatArray, NDArray[np.uint8]], dict[str, float]]:
    """The training loss on arrays: ``loss``, ``ce`` and ``dice`` of some ROIs."""
    loss = RoiMaskLoss(class_weights)

    def parts(logits: FloatArray, targets: NDArray[np.uint8]) -> dict[str, float]:
        with torch.no_grad():
            total, ce, dice = loss(torch.from_numpy(logits), torch.from_numpy(targets))
        return {"loss": float(total), "ce": float(ce), "dice": float(dice)}

    return parts


def _open_weights(
    path: Path,
    onnx_model: str | None,
    device: str,
    image_size: tuple[int, int] | None,
    opening: OpenExtractor,
) -> OpenModel:
    trained = read_trained(path).at_size(image_size)
    spec, place, resources = trained.spec, torch_device(device), ExitStack()
    model = trained.model().to(place)
    if trained.has_extractor:
        return OpenModel(
            spec, inference(model, trained_features(model["extractor"], place), place), resources
        )
    extractor = opening(onnx_model, spec.layers, spec.image_size, device)
    _check_extractor(path, spec, extractor)
    resources.callback(extractor.close)
    return OpenModel(spec, inference(model, extracted_features(extractor), place), resources)


def _open_export(
    path: Path,
    onnx_model: str | None,
    device: str,
    image_size: tuple[int, int] | None,
    opening: OpenExtractor,
) -> OpenModel:
    session = HeadSession(path, device)
    spec = _spec_of(session.facts)
    if image_size is not None:
        if session.facts.end_to_end and image_size != spec.image_size:
            raise InputError(
                f"--image_size {image_size[0]} {image_size[1]} does not fit {path}, made for "
                f"{spec.image_size[0]}x{spec.image_size[1]}: export it again with --image_size"
            )
        spec = replace(spec, image_size=image_size)
    resources = ExitStack()
    resources.callback(session.close)
    if session.facts.end_to_end:
        return OpenModel(spec, onnx_infer(session, None), resources)
    own = own_extractor(path, session.facts)
    named = onnx_model if own is None else str(own)
    extractor = opening(named, spec.layers, spec.image_size, device)
    resources.callback(extractor.close)
    session.check_fits(extractor.channels, extractor.strides, named or "(built-in)")
    return OpenModel(spec, onnx_infer(session, extractor), resources)


def onnx_infer(session: HeadSession, extractor: MapSource | None) -> Infer:
    """The exported head, photo by photo as prediction runs it; no extractor if end to end."""

    def infer(samples: Sequence[RoiSample]) -> FloatArray:
        parts = []
        for sample in samples:
            images = as_network_input(sample.image[None])
            features = [images] if extractor is None else extractor(images)
            index = np.zeros((len(sample.rois), 1), np.float32)
            parts.append(session(features, np.concatenate([index, sample.rois], axis=1)))
        return np.concatenate(parts)

    return infer


def _spec_of(facts: HeadFacts) -> ModelSpec:
    return ModelSpec(
        head="exported",
        layers=facts.layers,
        channels=facts.channels,
        strides=facts.strides,
        image_size=facts.image_size_hw,
        roi_size=facts.mask_size // 2,
        roi_padding=facts.roi_padding,
        extractor_sha=facts.extractor_sha,
        class_weights=facts.class_weights,
    )


def _check_extractor(path: Path, spec: ModelSpec, extractor: MapSource) -> None:
    if tuple(extractor.channels) != tuple(spec.channels):
        raise InputError(
            f"checkpoint {path} reads layers of {list(spec.channels)} channels, but the extractor "
            f"gives {list(extractor.channels)}: pass the --onnx_model it was trained with"
        )
