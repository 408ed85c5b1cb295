"""Opens models for validation: trained weights or exports, one alone or several as an ensemble."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.geometry import letterbox_transform
from human_edge_detection.core.images import as_network_input, read_image
from human_edge_detection.core.spec import ExportedSpec, ModelSpec
from human_edge_detection.core.structures import FloatArray, Infer, RoiSample
from human_edge_detection.data.dataset import PhotoDataset
from human_edge_detection.export.person_model import open_extractor
from human_edge_detection.inference.ensemble import RoiProbs, mean_probs
from human_edge_detection.inference.predictor import MaskPredictor
from human_edge_detection.masks.probabilities import softmax
from human_edge_detection.modeling.features import (
    MapSource,
    extracted_features,
    torch_infer,
    trained_features,
)
from human_edge_detection.modeling.weights import (
    WEIGHTS_SUFFIXES,
    TrainedWeights,
    read_trained,
)
from human_edge_detection.runtime.head import HeadSession
from human_edge_detection.runtime.model_files import own_extractor
from human_edge_detection.runtime.sessions import SessionOptions

MODEL_SUFFIXES = (*WEIGHTS_SUFFIXES, ".onnx")

OpenExtractor = Callable[[str | None, Sequence[str], tuple[int, int], str], MapSource]
"""Opens the extractor of a name, layers, an image size and a device, as ``open_extractor`` does."""


@dataclass(frozen=True)
class OpenModel(AbstractContextManager["OpenModel"]):
    """A model that is ready to be validated; close it after use.

    Attributes:
        spec: geometry and class weights it was trained with.
        infer_on: returns the model as it runs on the samples of ``dataset_of(spec)``.
        resources: what closing frees.
    """

    spec: ModelSpec
    infer_on: Callable[[DatasetOf], Infer]
    resources: ExitStack

    def __exit__(self, *error: object) -> None:
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
    with ExitStack() as resources:

        def extractor_of(spec: ModelSpec) -> MapSource:
            extractor = opening(onnx_model, spec.layers, spec.image_size, device)
            resources.callback(extractor.close)
            name = onnx_model or "onnx_model"
            spec.check_fits(extractor.channels, extractor.strides, head=path, extractor=name)
            return extractor

        if path.suffix in WEIGHTS_SUFFIXES:
            trained = read_trained(path).at_size(image_size)
            infer = _weights_infer(trained, torch_device(device), extractor_of)
            return OpenModel(trained.spec, lambda _: infer, resources.pop_all())
        session = HeadSession(path, SessionOptions(device))
        resources.callback(session.close)
        spec = _spec_of(path, session.facts, image_size)
        if own_extractor(path, session.facts) is not None:
            session.close()  # the predictor opens the head itself
            side = image_size[0] if image_size else None
            predictor = MaskPredictor(path, device=device, image_size=side)
            resources.callback(predictor.close)

            def infer_on(dataset_of: DatasetOf) -> Infer:
                return predictor_infer(predictor, dataset_of(spec))

            return OpenModel(spec, infer_on, resources.pop_all())
        infer = onnx_infer(session, None if session.facts.end_to_end else extractor_of(spec))
        return OpenModel(spec, lambda _: infer, resources.pop_all())


def torch_device(device: str) -> torch.device:
    """Where torch runs for a ``--device``: CUDA for anything but ``cpu`` where there is one."""
    has_cuda = torch.cuda.is_available()
    return torch.device("cuda" if has_cuda and device != "cpu" else "cpu")


def _weights_infer(
    trained: TrainedWeights, place: torch.device, extractor_of: Callable[[ModelSpec], MapSource]
) -> Infer:
    model = trained.model().to(place)
    if trained.has_extractor:
        features = trained_features(model["extractor"], place)
    else:
        features = extracted_features(extractor_of(trained.spec))
    return torch_infer(model, features, place)


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


def predictor_infer(predictor: MaskPredictor, dataset: PhotoDataset) -> Infer:
    """A person model as prediction runs it, on the photos themselves and at all their sizes."""

    def infer(samples: Sequence[RoiSample]) -> FloatArray:
        parts = []
        for sample in samples:
            image = read_image(dataset.photos[sample.photo_index].file)
            masks = predictor.segment(image, boxes_xyxy=dataset.boxes_source(sample))
            parts.append(_as_logits(masks.probs))
        return np.concatenate(parts)

    return infer


def _as_logits(probs: NDArray[np.floating]) -> FloatArray:
    return np.asarray(np.log(np.maximum(probs, LEAST_PROBABILITY)), np.float32)


def _spec_of(path: Path, own: ExportedSpec, image_size: tuple[int, int] | None) -> ModelSpec:
    """An exported file's spec, for images of another size where one is given."""
    if image_size is None or image_size == own.image_size:
        return own
    height, width = own.image_size
    if own.end_to_end:
        fault = f"{path}, made for {height}x{width}: export it again with --image_size"
    elif own_extractor(path, own) is not None and image_size[0] != image_size[1]:
        fault = f"{path}, which takes each photo in its own form: give its longest side twice"
    else:
        return replace(own, image_size=image_size)
    raise InputError(f"--image_size {image_size[0]} {image_size[1]} does not fit {fault}")


def open_ensemble(
    paths: Sequence[Path],
    onnx_model: str | None = None,
    device: str = "auto",
    image_size: tuple[int, int] | None = None,
) -> OpenEnsemble:
    """Models of one image size, as prediction averages them; margins and grids may differ.

    Arguments are as of :func:`open_model_file`.

    Raises:
        InputError: if a file is unusable or the models' image sizes differ.
    """
    extractors: dict[tuple[object, ...], SharedExtractor] = {}

    def opening(*named: Any) -> SharedExtractor:
        if named not in extractors:
            extractors[named] = SharedExtractor(open_extractor(*named))
        return extractors[named]

    with ExitStack() as resources:
        models = [
            resources.enter_context(open_model_file(path, onnx_model, device, image_size, opening))
            for path in paths
        ]
        specs = [model.spec for model in models]
        for path, spec in zip(paths, specs, strict=True):
            if spec.image_size != specs[0].image_size:
                (height, width), (h, w) = specs[0].image_size, spec.image_size
                raise InputError(
                    f"--ensemble: {paths[0]} has --image_size {height} {width}, but {path} "
                    f"{h} {w}: give --image_size, the same for all"
                )
        widest = replace(
            specs[0],
            roi_padding=max(spec.roi_padding for spec in specs),
            roi_size=max(spec.roi_size for spec in specs),
        )
        return OpenEnsemble(widest, tuple(models), tuple(extractors.values()), resources.pop_all())


DatasetOf = Callable[[ModelSpec], PhotoDataset]
"""Makes the data set of the same photos for a model's geometry."""

LEAST_PROBABILITY = 1e-30
"""Lower bound of a probability before its logarithm is taken."""


@dataclass(frozen=True)
class OpenEnsemble(AbstractContextManager["OpenEnsemble"]):
    """Several open models whose probabilities are averaged; close it after use.

    Attributes:
        spec: the first model's, with the widest margin and the finest grid of all.
        models: the members.
        extractors: their extractors, each one open once.
        resources: what closing frees.
    """

    spec: ModelSpec
    models: tuple[OpenModel, ...]
    extractors: tuple[SharedExtractor, ...]
    resources: ExitStack

    def infer_on(self, dataset_of: DatasetOf) -> Infer:
        """The ensemble as one model on the samples of ``dataset_of(spec)``."""
        whole = dataset_of(self.spec)
        members = [(model.infer_on(dataset_of), dataset_of(model.spec)) for model in self.models]

        def mean(sample: RoiSample) -> FloatArray:
            for extractor in self.extractors:
                extractor.forget()
            size_hw = whole.photos[sample.photo_index].size_hw
            to_input = letterbox_transform(size_hw, self.spec.image_size).to_input
            answers = []
            for run, dataset in members:
                rois = dataset.rois_source(sample)
                logits = run([replace(sample, rois=to_input(rois))])
                answers.append(RoiProbs(softmax(logits), rois))
            return mean_probs(answers, whole.rois_source(sample), self.spec.mask_size)

        def infer(samples: Sequence[RoiSample]) -> FloatArray:
            return _as_logits(np.concatenate([mean(own) for own in samples if len(own.rois)]))

        return infer

    def __exit__(self, *error: object) -> None:
        self.resources.close()


class SharedExtractor:
    """Runs an extractor once for a photo, however many heads read its maps.

    Attributes:
        channels: channels of each map.
        strides: input pixels per map pixel of each map.
    """

    def __init__(self, extractor: MapSource) -> None:
        self.channels, self.strides = extractor.channels, extractor.strides
        self._extractor = extractor
        self._maps: list[FloatArray] | None = None

    def __call__(self, images: FloatArray) -> list[FloatArray]:
        """One float32 [1, C, h, w] per layer, of one photo float32 [1, 3, H, W].

        Until :meth:`forget`, the images must be the same photo.
        """
        if self._maps is None:
            self._maps = self._extractor(images)
        return self._maps

    def forget(self) -> None:
        """Free the photo's maps: the next images are another photo."""
        self._maps = None

    def close(self) -> None:
        """Free the session."""
        self.forget()
        self._extractor.close()
