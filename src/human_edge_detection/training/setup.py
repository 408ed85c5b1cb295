"""From options to a run: finds what it reads and puts its parts together. Behind ``main.py``."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import torch

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.options import BUILTIN, FRESH, changed, option_values
from human_edge_detection.core.spec import ModelSpec, checked
from human_edge_detection.data.annotations import Photo
from human_edge_detection.data.augment import Augmentation
from human_edge_detection.data.dataset import PhotoDataset
from human_edge_detection.data.statistics import find_class_weights
from human_edge_detection.export.person_model import open_extractor
from human_edge_detection.modeling.features import BoundFeatures, FeatureSource, trained_features
from human_edge_detection.modeling.initial import find_start, is_published, new_model, ships
from human_edge_detection.modeling.losses import COSTS, RoiMaskLoss
from human_edge_detection.modeling.person_extractor import PersonExtractor
from human_edge_detection.modeling.weights import TrainedWeights, load_checkpoint, require
from human_edge_detection.runtime.feature_extractor import YOLOv9FeatureExtractor
from human_edge_detection.training.advice import low_rate, tiny_people
from human_edge_detection.training.checkpoints import (
    as_trained,
    at_its_rate,
    check_extractor,
    find_resume,
    lengthened,
    set_aside,
)
from human_edge_detection.training.distributed import (
    ALONE,
    Processes,
    joined_processes,
    keep_freed_memory,
)
from human_edge_detection.training.feature_cache import FeatureCache, cached_features
from human_edge_detection.training.inputs import PhotoSets, find_photos, repeat_crowds
from human_edge_detection.training.options import (
    AugmentOptions,
    ModelOptions,
    TrainOptions,
)
from human_edge_detection.training.run import Run, Validator
from human_edge_detection.training.state import Progress
from human_edge_detection.training.trainer import Trainer

LOG = logging.getLogger(__name__)


def run_train(options: TrainOptions) -> int:
    """Train, validate, draw and export according to the options; return the exit code."""
    keep_freed_memory()
    with ExitStack() as opened:
        processes = opened.enter_context(joined_processes(options.loop.device))
        with processes.first_alone():
            run = assemble(options, processes, opened)
        return run.test() if options.start.test_only else run.train()


def assemble(options: TrainOptions, processes: Processes, opened: ExitStack) -> Run:
    """The run that the options describe, resumed where its checkpoint stopped.

    ``opened`` closes the extractor in the end.
    """
    seed_everything(options.loop.seed)
    resume = find_resume(options.start, options.output)
    payload = load_checkpoint(resume) if resume else None
    if payload is not None and resume is not None:
        if options.start.init_from:
            LOG.info("resuming %s: --init_from applied to the start of that run", resume)
        require(payload, resume, "spec")
        options = at_its_rate(lengthened(options, payload, resume), payload, resume)
        spec = ModelSpec.from_dict(payload["spec"], resume)
        options = as_trained(options, spec, resume)
    boxes_suffice = options.extractor.train_detector
    photos = find_photos(options.data, boxes_suffice=boxes_suffice)
    extractor: YOLOv9FeatureExtractor | None = None
    if not options.extractor.train_extractor:
        wanted, size = options.extractor, options.model.image_size
        extractor = opened.enter_context(
            open_extractor(wanted.onnx_model, wanted.layers, size, options.loop.device)
        )
    begins_with = beginning(options, extractor) if payload is None else None
    start = find_start(begins_with)
    published = begins_with if is_published(begins_with) else None
    if payload is not None and resume is not None:
        check_extractor(spec, extractor, resume)
    else:
        options = changed(options, init_from=begins_with)
        options = changed(options, lr=options.peak_lr)
        if advice := low_rate(options):
            LOG.warning("%s", advice)
        weights = class_weights(options, photos.train)
        spec = make_spec(options.model, extractor or PersonExtractor, weights)
        if start is not None:
            spec = like_start(spec, start.spec)
    photos = PhotoSets(repeat_crowds(photos.train, options.data.repeat_crowds), photos.val)
    if advice := tiny_people(photos.train, spec):
        LOG.warning("%s", advice)
    run = make_run(options, spec, photos, extractor, processes, start, published)
    if processes.is_first and not options.start.test_only:
        set_aside(options.output, resume)
    if payload is not None and resume is not None:
        run.resume(payload, resume, is_longer=options.start.resume_epochs > 0)
    return run


def beginning(options: TrainOptions, extractor: YOLOv9FeatureExtractor | None) -> str:
    """What a new run begins with, as a value of ``--init_from``; the log names it.

    Where none is asked for it is the head that ships if it was trained over this ``extractor`` and
    has the shape that the options want, else a fresh one. None is an extractor trained along.
    """
    asked = options.start.init_from
    if asked is None and extractor is not None and ships(make_spec(options.model, extractor)):
        LOG.info("starting from the head that ships; a new one: --init_from %s", FRESH)
        return BUILTIN
    if asked in (None, FRESH):
        LOG.info("starting with a fresh %s head", options.model.head)
    else:
        LOG.info("starting from --init_from %s", asked)
    return asked or FRESH


def make_run(
    options: TrainOptions,
    spec: ModelSpec,
    photos: PhotoSets,
    extractor: YOLOv9FeatureExtractor | None,
    processes: Processes = ALONE,
    start: TrainedWeights | None = None,
    published: str | None = None,
) -> Run:
    """A run at its beginning.

    Without a frozen ``extractor`` one is trained along, and begins with the ONNX file ``published``
    if it is named. Weights to ``start`` with count as epoch 0, so the best model is never worse
    than they are; there are none for a model that a checkpoint will fill.
    """
    wanted, loop = options.extractor, options.loop
    on_gpu = torch.cuda.is_available() and loop.device != "cpu"
    device = torch.device("cuda" if on_gpu else "cpu")
    model = new_model(
        spec, start, with_extractor=wanted.train_extractor, with_detector=wanted.train_detector,
        published=published,
    )  # fmt: skip
    for part in model.values():
        if isinstance(part, PersonExtractor) and options.optim.backbone_lr == 0:
            part.freeze()
    if extractor is None:
        features = val_features = trained_features(model["extractor"], device)
    else:
        mirrored = not options.augment.no_flip
        features = frozen_features(options, "train", photos.train, extractor, mirrored)
        val_features = frozen_features(options, "val", photos.val, extractor, False)
    with_images = wanted.cache_features is None
    dataset = PhotoDataset(
        photos.train, replace(spec, image_size=wanted.train_image_size or spec.image_size),
        augmentation(options.augment), min_roi_size=options.data.min_roi_size,
        max_rois=options.data.max_rois, seed=loop.seed, with_images=with_images,
    )  # fmt: skip
    val_set = PhotoDataset(photos.val, spec, with_images=with_images)
    weights = {name: getattr(options.loss, f"{name}_weight") for name in COSTS}
    loss = RoiMaskLoss(spec.class_weights, weights, options.loss.dice_classes)
    trainer = Trainer(
        model, features, loss, dataset, options.optim, loop, peak_lr=options.peak_lr,
        detector_weight=wanted.detector_weight if wanted.train_detector else None,
        device=device, processes=processes,
    )  # fmt: skip
    settings = {name: str(value) for name, value in option_values(options).items()}
    return Run(
        trainer, Validator(model, val_features, loss, val_set, loop, device, processes), model,
        spec, extractor, loop, options.output, settings, processes,
        Progress() if start is None else Progress(validated=-1),
    )  # fmt: skip


def frozen_features(
    options: TrainOptions,
    name: str,
    photos: Sequence[Photo],
    extractor: YOLOv9FeatureExtractor,
    with_mirror: bool,
) -> FeatureSource:
    """The frozen network's features of the photos ``name``, from the cache if there is one.

    Raises:
        InputError: if a cache is wanted and a photo cannot be read.
    """
    folder, limit = options.extractor.cache_features, options.extractor.cache_limit
    if folder is None:
        return BoundFeatures(extractor)
    size = options.model.image_size
    cache = FeatureCache(folder / name, photos, extractor, size, with_mirror, limit)
    if unreadable := cache.fill():
        raise InputError(
            f"--cache_features: {len(unreadable)} of the {name} photos cannot be read, the "
            f"first is {photos[unreadable[0]].path}: mend or remove them from the annotations"
        )
    return cached_features(cache)


def augmentation(options: AugmentOptions) -> Augmentation:
    """The random changes that the options describe."""
    return Augmentation(
        options.zoom_jitter, options.color_jitter, options.box_jitter, not options.no_flip,
        options.copy_paste, options.zoom_middle,
    )  # fmt: skip


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def class_weights(options: TrainOptions, photos: Sequence[Photo]) -> tuple[float, ...]:
    """The cross-entropy's class weights; equal ones with a trained extractor and no statistics.

    Weights that favour the rarer class move the border between people, and the person model is
    chosen by its masks rather than by the mean over classes.
    """
    if options.extractor.train_extractor and options.data.data_stats is None:
        return (1.0, 1.0, 1.0)
    return find_class_weights(options.data.data_stats, photos, options.model.roi_padding)


def make_spec(
    options: ModelOptions,
    source: YOLOv9FeatureExtractor | type[PersonExtractor],
    weights: Sequence[float] = (1.0, 1.0, 1.0),
) -> ModelSpec:
    """The spec of a new model over the maps of ``source``, frozen or trained along.

    Raises:
        InputError: if a number is beyond what files of models may hold.
    """
    spec = ModelSpec(
        head=options.head,
        layers=source.layers,
        channels=source.channels,
        strides=source.strides,
        image_size=options.image_size,
        roi_size=options.roi_size,
        roi_padding=options.roi_padding,
        extractor_sha=source.sha if isinstance(source, YOLOv9FeatureExtractor) else "",
        class_weights=tuple(weights),
        widths=options.head_widths,
        small_branch=options.small_branch,
    )
    try:
        return checked(spec)
    except ValueError as error:
        raise InputError(f"a model cannot have {error}: choose another value") from error


def like_start(spec: ModelSpec, start: ModelSpec) -> ModelSpec:
    """The spec with the widths, if none were asked for, and the trunks of the initial weights."""
    small_branch = spec.small_branch or start.small_branch
    return replace(spec, widths=spec.widths or start.widths, small_branch=small_branch)
