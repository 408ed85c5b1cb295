"""Scores one thing to validate: a model, an ensemble, or the results of any tool."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from tqdm import tqdm

from human_edge_detection.core.structures import FloatArray, RoiSample
from human_edge_detection.data.annotations import Photo
from human_edge_detection.data.dataset import PhotoDataset, ReadablePhotos
from human_edge_detection.data.statistics import find_class_weights
from human_edge_detection.evaluation.bootstrap import Estimate, estimate
from human_edge_detection.evaluation.calibration import calibration
from human_edge_detection.evaluation.coco import KINDS, average_precision
from human_edge_detection.evaluation.evaluate import Evaluation, LossParts, evaluate
from human_edge_detection.evaluation.models import (
    MODEL_SUFFIXES,
    DatasetOf,
    OpenEnsemble,
    OpenModel,
    open_ensemble,
    open_model_file,
)
from human_edge_detection.evaluation.options import ValidateOptions
from human_edge_detection.evaluation.predictions import evaluate_predictions, read_predictions
from human_edge_detection.evaluation.report import ScoredModel
from human_edge_detection.evaluation.robustness import JITTER_AMOUNTS, JitteredPhotos
from human_edge_detection.modeling.losses import RoiMaskLoss


def score(
    name: str,
    path: Path,
    photos: Sequence[Photo],
    options: ValidateOptions,
) -> ScoredModel:
    """The scores of one thing to validate on the photos, which tables call ``name``.

    ``path`` is trained weights, an ``.onnx``, COCO results ``.json`` or a folder of predictions.

    Raises:
        InputError: if the file is unusable.
    """
    if path.suffix in MODEL_SUFFIXES:
        with open_model_file(path, options.onnx_model, options.device, options.image_size) as model:
            return score_model(name, model, photos, options)
    predictions = read_predictions(path, photos)
    evaluation = evaluate_predictions(photos, predictions, options.min_side)
    precision = tuple(average_precision(photos, predictions, kind) for kind in KINDS)
    return ScoredModel(name, evaluation, precision, calibration=calibration(photos, predictions))


def score_ensemble(
    paths: Sequence[Path],
    photos: Sequence[Photo],
    options: ValidateOptions,
) -> ScoredModel:
    """The scores of the mean of several models' probabilities; arguments as of :func:`score`."""
    with open_ensemble(paths, options.onnx_model, options.device, options.image_size) as model:
        return score_model("ensemble", model, photos, options)


def score_model(
    name: str, model: OpenModel | OpenEnsemble, photos: Sequence[Photo], options: ValidateOptions
) -> ScoredModel:
    """The scores of an open model with the annotated boxes, exact and, if wanted, shifted."""
    weights: Sequence[float] = model.spec.class_weights
    if options.data_stats is not None:
        weights = find_class_weights(options.data_stats, photos, model.spec.roi_padding)

    def evaluated(dataset_of: DatasetOf, title: str, loss: LossParts | None = None) -> Evaluation:
        dataset = dataset_of(model.spec)
        return evaluate(
            dataset,
            model.infer_on(dataset_of),
            loss=loss,
            batches=loaded_batches(dataset, options, title),
            min_side=options.min_side,
        )

    loss = numpy_loss(weights) if weights else None
    evaluation = evaluated(lambda spec: PhotoDataset(photos, spec), name, loss)
    jitter: dict[float, dict[str, Estimate]] = {}
    for amount in JITTER_AMOUNTS if options.robustness else ():
        dataset_of = functools.partial(JitteredPhotos, photos, amount=amount)
        found = evaluated(dataset_of, f"{name}, boxes ± {amount:.0%}")
        jitter[amount] = estimate(found.scores, options.min_side, options.bootstrap)
    return ScoredModel(name, evaluation, (), jitter)


def numpy_loss(class_weights: Sequence[float]) -> LossParts:
    """The training loss on arrays: ``loss``, ``ce`` and ``dice`` of some ROIs."""
    loss = RoiMaskLoss(class_weights)

    def parts(logits: FloatArray, targets: NDArray[np.uint8]) -> dict[str, float]:
        with torch.no_grad():
            costs = loss(torch.from_numpy(logits), torch.from_numpy(targets))
        return {"loss" if name == "total" else name: float(v) for name, v in costs.items()}

    return parts


def loaded_batches(
    dataset: PhotoDataset, options: ValidateOptions, title: str
) -> Iterator[list[RoiSample]]:
    """The readable samples in batches, read by worker processes, behind a progress bar."""
    loader: DataLoader[list[RoiSample | None]] = DataLoader(
        ReadablePhotos(dataset),  # type: ignore[arg-type]  # any sequence will do
        batch_size=options.batch_size,
        num_workers=options.loader_workers,
        collate_fn=list,
    )
    for batch in tqdm(loader, desc=title, unit="batch", dynamic_ncols=True, disable=None):
        yield [sample for sample in batch if sample is not None]
