"""From options to a run: what to train on, which model, where to go on. Behind ``main.py``."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.data.annotations import Photo
from human_edge_detection.data.statistics import find_class_weights
from human_edge_detection.export.extractors import open_extractor
from human_edge_detection.modeling.initial import find_start
from human_edge_detection.modeling.person_extractor import (
    CHANNELS,
    LAYERS,
    STRIDES,
)
from human_edge_detection.modeling.weights import Payload, load_checkpoint, require
from human_edge_detection.runtime.feature_extractor import YOLOv9FeatureExtractor
from human_edge_detection.training.checkpoints import BEST, LAST
from human_edge_detection.training.distributed import Processes, joined_processes
from human_edge_detection.training.options import TrainOptions
from human_edge_detection.training.process import keep_freed_memory
from human_edge_detection.training.run import Run
from human_edge_detection.training.training_inputs import find_photos, repeat_crowds

LOG = logging.getLogger(__name__)


def run_train(options: TrainOptions) -> int:
    """Train, validate, draw and export as the options say; the exit code comes back."""
    keep_freed_memory()
    with ExitStack() as opened:
        processes = opened.enter_context(joined_processes(options.device))
        with processes.first_alone():
            run = assemble(options, processes, opened)
        return run.test() if options.test_only else run.train()


def assemble(options: TrainOptions, processes: Processes, opened: ExitStack) -> Run:
    """The run that the options describe, at the place where its checkpoint stopped.

    Args:
        options: how to train.
        processes: who shares the work.
        opened: closes the extractor in the end.
    """
    seed_everything(options.seed)
    resume = find_resume(options)
    payload = load_checkpoint(resume) if resume else None
    if payload is not None and resume is not None:
        if options.init_from:
            LOG.info("going on from %s: --init_from counted at the beginning", resume)
        options = lengthened(options, payload, resume)
    photos = find_photos(options)
    extractor: YOLOv9FeatureExtractor | None = None
    if not options.train_extractor:
        extractor = opened.enter_context(
            open_extractor(options.onnx_model, options.layers, options.image_size, options.device)
        )
    start = find_start(options.init_from) if payload is None else None
    if payload is not None and resume is not None:
        spec = ModelSpec.from_dict(payload["spec"], resume)
        check_extractor(spec, extractor, resume)
    else:
        spec = make_spec(options, extractor, class_weights(options, photos.train))
        if start is not None:
            spec = like_start(spec, start.spec)
    train_photos = repeat_crowds(photos.train, options.repeat_crowds)
    run = Run(options, spec, train_photos, photos.val, extractor, processes, start)
    if payload is not None and resume is not None:
        run.resume(payload, resume)
    return run


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def lengthened(options: TrainOptions, payload: Payload, path: Path) -> TrainOptions:
    """The options with ``epochs`` counted from the checkpoint's where ``resume_epochs`` is given.

    Raises:
        InputError: if the checkpoint does not say how long it was trained.
    """
    if not options.resume_epochs:
        return options
    require(payload, path, "progress")
    return replace(options, epochs=payload["progress"]["epoch"] + options.resume_epochs)


def class_weights(options: TrainOptions, photos: Sequence[Photo]) -> tuple[float, ...]:
    """The cross-entropy's class weights; even ones with a trained extractor and no statistics.

    Weights that favour the rarer class move the border between people, and the person model is
    chosen by its masks rather than by the mean over classes.
    """
    if options.train_extractor and options.data_stats is None:
        return (1.0, 1.0, 1.0)
    return find_class_weights(options.data_stats, photos, options.roi_padding)


def make_spec(
    options: TrainOptions, extractor: YOLOv9FeatureExtractor | None, weights: Sequence[float]
) -> ModelSpec:
    """The facts of a new model; without an extractor it is the person model's own."""
    return ModelSpec(
        head=options.head,
        layers=LAYERS if extractor is None else extractor.layers,
        channels=CHANNELS if extractor is None else extractor.channels,
        strides=STRIDES if extractor is None else extractor.strides,
        image_size=options.image_size,
        roi_size=options.roi_size,
        roi_padding=options.roi_padding,
        extractor_sha="" if extractor is None else extractor.sha,
        class_weights=tuple(weights),
        widths=options.head_widths,
        small_branch=options.small_branch,
    )


def like_start(spec: ModelSpec, start: ModelSpec) -> ModelSpec:
    """The spec with the widths, if none were asked for, and the trunks of the one begun with."""
    small_branch = spec.small_branch or start.small_branch
    return replace(spec, widths=spec.widths or start.widths, small_branch=small_branch)


def check_extractor(spec: ModelSpec, extractor: YOLOv9FeatureExtractor | None, path: Path) -> None:
    """Refuse an extractor that a checkpoint was not trained on.

    Raises:
        InputError: naming what differs.
    """
    if extractor is None:
        if (spec.layers, spec.channels) != (LAYERS, CHANNELS):
            raise InputError(
                f"checkpoint {path} was trained on a frozen extractor: leave out --train_extractor"
            )
        return
    spec.check_fits(
        extractor.channels, extractor.strides, layers=extractor.layers, head=path,
        extractor=str(extractor.path),
    )  # fmt: skip
    if extractor.sha != spec.extractor_sha:
        LOG.warning("checkpoint %s was trained on another --onnx_model file", path)


def find_resume(options: TrainOptions) -> Path | None:
    """The checkpoint to go on from, if any.

    Raises:
        InputError: if ``--test_only`` finds no checkpoint.
    """
    last = options.checkpoint_dir / LAST
    best = options.checkpoint_dir / BEST
    if options.resume == "auto" and last.exists():
        return last
    if options.resume and options.resume != "auto":
        return Path(options.resume)
    if options.test_only:
        if not best.exists():
            raise InputError(f"--test_only: {best} does not exist; give --resume CHECKPOINT")
        return best
    return None
