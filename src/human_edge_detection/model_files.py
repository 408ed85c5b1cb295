"""Makes a model file, a checkpoint or an export, into something that validation can call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from human_edge_detection.checkpoint import load_head
from human_edge_detection.errors import InputError
from human_edge_detection.evaluate import Infer
from human_edge_detection.feature_cache import as_network_input
from human_edge_detection.feature_extractor import YOLOv9FeatureExtractor
from human_edge_detection.features import extracted_features
from human_edge_detection.head_session import HeadFacts, HeadSession
from human_edge_detection.inference import inference
from human_edge_detection.losses import RoiMaskLoss
from human_edge_detection.model import ModelSpec
from human_edge_detection.structures import FloatArray, RoiSample
from human_edge_detection.training_inputs import open_extractor

MODEL_SUFFIXES = (".pth", ".onnx")


@dataclass(frozen=True)
class OpenModel:
    """A model that is ready to be validated; close it after use.

    Attributes:
        spec: geometry and class weights it was trained with.
        infer: the model itself.
        resources: what closing frees.
    """

    spec: ModelSpec
    infer: Infer
    resources: ExitStack

    def __enter__(self) -> OpenModel:
        """The model itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Free the sessions."""
        self.resources.close()


def open_model_file(path: Path, onnx_model: str | None = None, device: str = "auto") -> OpenModel:
    """A ``.pth`` checkpoint or a ``.onnx`` export with the extractor it reads.

    Args:
        path: the file.
        onnx_model: the extractor; None for the default path or the built-in one. Not looked at
            for an end-to-end export.
        device: where to run.

    Raises:
        InputError: if the file is missing or unusable, or the extractor does not fit.
    """
    if path.suffix not in MODEL_SUFFIXES:
        raise InputError(f"{path}: a model file ends in {' or '.join(MODEL_SUFFIXES)}")
    if path.suffix == ".pth":
        return _open_checkpoint(path, onnx_model, device)
    return _open_export(path, onnx_model, device)


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


def _open_checkpoint(path: Path, onnx_model: str | None, device: str) -> OpenModel:
    spec, head = load_head(path)
    extractor = open_extractor(onnx_model, spec.layers, spec.image_size, device)
    _check_extractor(path, spec, extractor)
    resources = ExitStack()
    resources.callback(extractor.close)
    model = nn.ModuleDict({"head": head}).to(torch_device(device))
    infer = inference(model, extracted_features(extractor), torch_device(device))
    return OpenModel(spec, infer, resources)


def _open_export(path: Path, onnx_model: str | None, device: str) -> OpenModel:
    session = HeadSession(path, device)
    spec = _spec_of(session.facts)
    resources = ExitStack()
    resources.callback(session.close)
    if session.facts.end_to_end:
        return OpenModel(spec, onnx_infer(session, None), resources)
    extractor = open_extractor(onnx_model, spec.layers, spec.image_size, device)
    resources.callback(extractor.close)
    session.check_fits(extractor.channels, extractor.strides, onnx_model or "(built-in)")
    return OpenModel(spec, onnx_infer(session, extractor), resources)


def onnx_infer(session: HeadSession, extractor: YOLOv9FeatureExtractor | None) -> Infer:
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


def _check_extractor(path: Path, spec: ModelSpec, extractor: YOLOv9FeatureExtractor) -> None:
    if tuple(extractor.channels) != tuple(spec.channels):
        raise InputError(
            f"checkpoint {path} reads layers of {list(spec.channels)} channels, but the extractor "
            f"gives {list(extractor.channels)}: pass the --onnx_model it was trained with"
        )
