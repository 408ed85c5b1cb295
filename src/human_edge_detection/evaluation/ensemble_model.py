"""Several trained models as one whose probabilities are their mean, for validation."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.core.structures import FloatArray, RoiSample
from human_edge_detection.evaluation.models import MODEL_SUFFIXES, OpenModel, open_model_file
from human_edge_detection.evaluation.shared_extractor import SharedExtractors
from human_edge_detection.masks.fusion import softmax

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
