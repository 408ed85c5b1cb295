"""Scores whatever the user names: a checkpoint, an export, or any tool's results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from torch.utils.data import DataLoader
from tqdm import tqdm

from human_edge_detection.core.structures import RoiSample
from human_edge_detection.data.annotations import Photo
from human_edge_detection.data.dataset import PhotoDataset, ReadablePhotos
from human_edge_detection.data.statistics import find_class_weights
from human_edge_detection.evaluation.bootstrap import Estimate, estimate
from human_edge_detection.evaluation.coco import KINDS, average_precision
from human_edge_detection.evaluation.evaluate import evaluate
from human_edge_detection.evaluation.models import (
    MODEL_SUFFIXES,
    OpenModel,
    numpy_loss,
    open_ensemble,
    open_model_file,
)
from human_edge_detection.evaluation.options import ValidateOptions
from human_edge_detection.evaluation.predictions import evaluate_predictions, read_predictions
from human_edge_detection.evaluation.report import ScoredModel
from human_edge_detection.evaluation.robustness import JITTER_AMOUNTS, JitteredPhotos


def score(
    name: str,
    path: Path,
    photos: Sequence[Photo],
    options: ValidateOptions,
) -> ScoredModel:
    """The scores of one thing to validate on the photos.

    Args:
        name: how tables call it.
        path: trained weights, an ``.onnx``, COCO results ``.json`` or a folder of predictions.
        photos: annotated photos.
        options: what else to measure.

    Raises:
        InputError: if the file is unusable.
    """
    if path.suffix in MODEL_SUFFIXES:
        with open_model_file(path, options.onnx_model, options.device, options.image_size) as model:
            return score_model(name, model, photos, options)
    predictions = read_predictions(path, photos)
    evaluation = evaluate_predictions(photos, predictions, options.min_side)
    precision = tuple(average_precision(photos, predictions, kind) for kind in KINDS)
    return ScoredModel(name, evaluation, precision)


def score_ensemble(
    paths: Sequence[Path],
    photos: Sequence[Photo],
    options: ValidateOptions,
) -> ScoredModel:
    """The scores of the mean of several models' probabilities; arguments as of :func:`score`."""
    with open_ensemble(paths, options.onnx_model, options.device, options.image_size) as model:
        return score_model("ensemble", model, photos, options)


def score_model(
    name: str,
    model: OpenModel,
    photos: Sequence[Photo],
    options: ValidateOptions,
) -> ScoredModel:
    """The scores of an open model with the annotated boxes, exact and, if wanted, shifted."""
    weights: Sequence[float] = model.spec.class_weights
    if options.data_stats is not None:
        weights = find_class_weights(options.data_stats, photos, model.spec.roi_padding)
    dataset = PhotoDataset(photos, model.spec)
    evaluation = evaluate(
        dataset,
        model.infer,
        loss=numpy_loss(weights) if weights else None,
        batches=loaded_batches(dataset, options, name),
        min_side=options.min_side,
    )
    amounts = JITTER_AMOUNTS if options.robustness else ()
    jitter = {amount: jittered(name, model, photos, amount, options) for amount in amounts}
    return ScoredModel(name, evaluation, (), jitter)


def jittered(
    name: str, model: OpenModel, photos: Sequence[Photo], amount: float, options: ValidateOptions
) -> dict[str, Estimate]:
    """The headline numbers with box edges shifted by up to ``amount`` times the side."""
    dataset = JitteredPhotos(photos, model.spec, amount)
    batches = loaded_batches(dataset, options, f"{name}, boxes ± {amount:.0%}")
    found = evaluate(dataset, model.infer, batches=batches, min_side=options.min_side)
    return estimate(found.scores, options.min_side, options.bootstrap)


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
