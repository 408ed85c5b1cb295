"""Scores models on annotated photos and says which is best: the door behind ``validate.py``."""

from __future__ import annotations

import glob
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from torch.utils.data import DataLoader
from tqdm import tqdm

from human_edge_detection.coco import Photo, load_photos
from human_edge_detection.config import DEFAULT_VAL_ANN, DEFAULT_VAL_IMG_DIR, ValidateOptions
from human_edge_detection.dataset import PhotoDataset, ReadablePhotos
from human_edge_detection.errors import InputError
from human_edge_detection.evaluate import Evaluation, evaluate
from human_edge_detection.model_files import numpy_loss, open_model_file
from human_edge_detection.structures import RoiSample
from human_edge_detection.tables import number_text, table_text
from human_edge_detection.training_inputs import SAMPLE_ROOT, find_class_weights

LOG = logging.getLogger(__name__)

COLUMNS = {
    "loss": "loss",
    "ce": "CE",
    "dice": "Dice",
    "miou": "mIoU",
    "iou_background": "background",
    "iou_target": "target",
    "iou_non_target": "non-target",
    "target_iou_roi": "target_iou_roi",
    "target_iou_image": "target_iou_image",
}
"""Which numbers the comparison table shows, and their headings."""


def run_validate(options: ValidateOptions) -> int:
    """Score every model of the options; 0 when all were scored.

    Raises:
        InputError: if nothing is named, or a file is missing or unusable.
    """
    paths = find_models(options)
    photos = find_validation_photos(options)
    evaluations = {name: score_model(path, photos, options) for name, path in _named(paths)}
    print(comparison_text(evaluations))
    return 0


def find_models(options: ValidateOptions) -> list[Path]:
    """The paths that the options name, patterns resolved, in the order named.

    Raises:
        InputError: if nothing is named or a pattern fits nothing.
    """
    if not options.models:
        raise InputError("validate.py needs what to score: checkpoints/best_model.pth, for example")
    paths: list[Path] = []
    for name in options.models:
        found = sorted(glob.glob(name, recursive=True)) if options.multiple else [name]
        if not found:
            raise InputError(f"CKPT '{name}' fits no file: check the pattern")
        paths += [Path(item) for item in found]
    for path in paths:
        if not path.exists():
            hint = ": add --multiple to take it as a pattern" if "*" in path.name else ""
            raise InputError(f"CKPT {path} does not exist{hint or ': check the path'}")
    return list(dict.fromkeys(paths))


def find_validation_photos(options: ValidateOptions) -> list[Photo]:
    """The annotated photos, or those of the drawn sample set where there are none.

    Raises:
        InputError: if a path that the user typed does not exist, or the file is not usable.
    """
    annotations, folder = options.val_ann, options.val_img_dir
    if annotations is None and not DEFAULT_VAL_ANN.exists():
        from human_edge_detection.sample_data import write_sample_set

        LOG.warning("%s not found (give --val_ann FILE): using the sample set", DEFAULT_VAL_ANN)
        sample = write_sample_set(SAMPLE_ROOT)
        annotations, folder = sample.val_ann, sample.val_img_dir
    annotations = annotations or DEFAULT_VAL_ANN
    if not annotations.exists():
        raise InputError(f"--val_ann {annotations} does not exist: check the path")
    photos, _ = load_photos(annotations, folder or DEFAULT_VAL_IMG_DIR)
    return photos


def score_model(path: Path, photos: Sequence[Photo], options: ValidateOptions) -> Evaluation:
    """The scores of one checkpoint or export on the photos."""
    with open_model_file(path, options.onnx_model, options.device) as model:
        weights: Sequence[float] = model.spec.class_weights
        if options.data_stats is not None:
            weights = find_class_weights(options.data_stats, photos, model.spec.roi_padding)
        dataset = PhotoDataset(photos, model.spec)
        return evaluate(
            dataset,
            model.infer,
            loss=numpy_loss(weights),
            batches=loaded_batches(dataset, options, path.name),
            min_side=options.min_side,
        )


def loaded_batches(
    dataset: PhotoDataset, options: ValidateOptions, title: str
) -> Iterator[list[RoiSample]]:
    """The readable samples in batches, read by worker processes, behind a progress bar."""
    loader = DataLoader(
        ReadablePhotos(dataset),
        batch_size=options.batch_size,
        num_workers=options.num_workers,
        collate_fn=list,
    )
    for batch in tqdm(loader, desc=title, unit="batch", dynamic_ncols=True, disable=None):
        yield [sample for sample in batch if sample is not None]


def comparison_text(evaluations: dict[str, Evaluation]) -> str:
    """The comparison table, and the best of several by ``miou``."""
    rows = []
    for name, evaluation in evaluations.items():
        numbers = evaluation.summary()
        rows.append([name, *(number_text(numbers.get(key, float("nan"))) for key in COLUMNS)])
    text = table_text(["model", *COLUMNS.values()], rows)
    if len(evaluations) > 1:
        best = max(evaluations, key=lambda name: evaluations[name].miou)
        text += f"\nbest by mIoU: {best} ({number_text(evaluations[best].miou)})"
    return text


def _named(paths: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Each path with the shortest name that tells it from the others."""
    names = [path.name for path in paths]
    for path in paths:
        yield (path.name if names.count(path.name) == 1 else str(path)), path
