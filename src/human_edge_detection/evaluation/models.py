"""Makes a model file, a checkpoint or an export, into something that validation can call.

Several trained models as one whose probabilities are their mean, for validation.

A frozen extractor that several heads of an ensemble read: opened once, run once a photo.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from human_edge_detection.core.closable import Closable
from human_edge_detection.core.errors import InputError
from human_edge_detection.core.images import as_network_input
from human_edge_detection.core.spec import ExportedSpec, ModelSpec
from human_edge_detection.core.structures import FloatArray, Infer, RoiSample
from human_edge_detection.export.extractors import open_extractor
from human_edge_detection.masks.probabilities import softmax
from human_edge_detection.modeling.features import (
    MapSource,
    extracted_features,
    torch_infer,
    trained_features,
)
from human_edge_detection.modeling.losses import RoiMaskLoss
from human_edge_detection.modeling.weights import (
    WEIGHTS_SUFFIXES,
    TrainedWeights,
    read_trained,
)
from human_edge_detection.runtime.head import HeadSession
from human_edge_detection.runtime.model_files import own_extractor

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
    with ExitStack() as resources:

        def extractor_of(spec: ModelSpec, own: Path | None = None) -> MapSource:
            """The extractor of a head: its own, or the one that is named."""
            named = onnx_model if own is None else str(own)
            extractor = opening(named, spec.layers, spec.image_size, device)
            resources.callback(extractor.close)
            name = named or "onnx_model"
            spec.check_fits(extractor.channels, extractor.strides, head=path, extractor=name)
            return extractor

        if path.suffix in WEIGHTS_SUFFIXES:
            trained = read_trained(path).at_size(image_size)
            infer = _weights_infer(trained, torch_device(device), extractor_of)
            return OpenModel(trained.spec, infer, resources.pop_all())
        session = HeadSession(path, device)
        resources.callback(session.close)
        spec = _spec_of(path, session.facts, image_size)
        if session.facts.end_to_end:
            return OpenModel(spec, onnx_infer(session, None), resources.pop_all())
        extractor = extractor_of(spec, own_extractor(path, session.facts))
        return OpenModel(spec, onnx_infer(session, extractor), resources.pop_all())


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


def _spec_of(path: Path, own: ExportedSpec, image_size: tuple[int, int] | None) -> ModelSpec:
    """An exported file's spec, for images of another size where one is given."""
    if image_size is None or image_size == own.image_size:
        return own
    if own.end_to_end:
        height, width = own.image_size
        raise InputError(
            f"--image_size {image_size[0]} {image_size[1]} does not fit {path}, made for "
            f"{height}x{width}: export it again with --image_size"
        )
    return replace(own, image_size=image_size)


class SharedExtractor:
    """Remembers a photo's maps until it is told to forget, for whoever asks again.

    Attributes:
        channels: channels of each map.
        strides: input pixels per map pixel of each map.
    """

    def __init__(self, extractor: MapSource) -> None:
        """Use an open extractor."""
        self.channels, self.strides = extractor.channels, extractor.strides
        self._extractor = extractor
        self._known: dict[bytes, list[FloatArray]] = {}

    def __call__(self, images: FloatArray) -> list[FloatArray]:
        """One float32 [B, C, h, w] per layer, of images float32 [B, 3, H, W]."""
        keys = [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images]
        new = [row for row, key in enumerate(keys) if key not in self._known]
        if new or not keys:
            maps = self._extractor(images[new])
            for place, row in enumerate(new):
                self._known[keys[row]] = [layer[place : place + 1] for layer in maps]
            if len(new) == len(keys):
                return maps
        return [np.concatenate(layers) for layers in zip(*(self._known[k] for k in keys))]  # noqa: B905

    def forget(self) -> None:
        """Free the maps that are remembered."""
        self._known.clear()

    def close(self) -> None:
        """Free the session too."""
        self.forget()
        self._extractor.close()


class SharedExtractors:
    """Opens each extractor only once."""

    def __init__(self) -> None:
        """Nothing is open yet."""
        self._open: dict[tuple[object, ...], SharedExtractor] = {}

    def __call__(
        self,
        onnx_model: str | None,
        layers: Sequence[str],
        image_size: tuple[int, int],
        device: str,
    ) -> SharedExtractor:
        """What ``open_extractor`` opens, or what it opened for the same names before."""
        key = (onnx_model, tuple(layers), image_size, device)
        if key not in self._open:
            opened = open_extractor(onnx_model, layers, image_size, device)
            self._open[key] = SharedExtractor(opened)
        return self._open[key]

    def forget(self) -> None:
        """Free all maps that are remembered."""
        for extractor in self._open.values():
            extractor.forget()


LEAST_PROBABILITY = 1e-30
"""What a probability counts as at least before its logarithm is taken."""


def check_members(paths: Sequence[Path]) -> None:
    """Refuse what cannot be averaged, before anything is opened.

    Raises:
        InputError: if there are fewer than two models, or finished masks among them.
    """
    if len(paths) < 2:
        raise InputError(f"--ensemble averages models, but CKPT names {len(paths)}: name several")
    for path in paths:
        if path.suffix not in MODEL_SUFFIXES:
            raise InputError(
                f"--ensemble averages models ({', '.join(MODEL_SUFFIXES)}), but {path} holds "
                "finished masks: leave it out, or score it without --ensemble"
            )


def open_ensemble(
    paths: Sequence[Path],
    onnx_model: str | None = None,
    device: str = "auto",
    image_size: tuple[int, int] | None = None,
) -> OpenModel:
    """Models of one geometry as one; an extractor that several of them read runs once a photo.

    The class weights, which matter to the loss alone, are the first model's.

    Args:
        paths: the models' files, at least one.
        onnx_model: the extractor of those that do not have their own.
        device: where to run.
        image_size: height and width of the networks' input; None for those they were trained at.

    Raises:
        InputError: if a file is unusable or the models' geometries differ.
    """
    extractors = SharedExtractors()
    with ExitStack() as resources:
        models = [
            resources.enter_context(
                open_model_file(path, onnx_model, device, image_size, extractors)
            )
            for path in paths
        ]
        check_geometry(paths, [model.spec for model in models])

        def infer(samples: Sequence[RoiSample]) -> FloatArray:
            logits = mean_logits([model.infer(samples) for model in models])
            extractors.forget()
            return logits

        return OpenModel(models[0].spec, infer, resources.pop_all())


def mean_logits(logits: Sequence[FloatArray]) -> FloatArray:
    """Logits float32 [N, 3, M, M] whose softmax is the mean of the given ones' softmax."""
    mean = sum(softmax(part) for part in logits) / len(logits)
    return np.log(np.maximum(mean, LEAST_PROBABILITY), dtype=np.float32)


def check_geometry(paths: Sequence[Path], specs: Sequence[ModelSpec]) -> None:
    """Refuse models that look at other regions of a photo, or at another size.

    Raises:
        InputError: naming what differs.
    """
    ways = {
        "roi_padding": "average them with predict --model and score its predictions.json",
        "roi_size": "average them with predict --model and score its predictions.json",
        "image_size": "give --image_size, the same for all",
    }
    for path, spec in zip(paths, specs, strict=True):
        for name, way in ways.items():
            ours, theirs = getattr(specs[0], name), getattr(spec, name)
            if ours != theirs:
                raise InputError(
                    f"--ensemble: {paths[0]} has --{name} {_shown(ours)}, but {path} "
                    f"{_shown(theirs)}: {way}"
                )


def _shown(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
