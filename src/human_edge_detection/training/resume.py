"""What a run goes on from, and what the folder of its checkpoints already holds."""

from __future__ import annotations

import logging
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.options import changed
from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.modeling.lite_head import LITE_WIDTHS
from human_edge_detection.modeling.person_extractor import PersonExtractor
from human_edge_detection.modeling.weights import Payload, require
from human_edge_detection.runtime.feature_extractor import YOLOv9FeatureExtractor
from human_edge_detection.runtime.model_files import EXTRACTOR_NAME, HEAD_NAME
from human_edge_detection.training.checkpoints import BEST, LAST, NUMBERED
from human_edge_detection.training.options import (
    ModelOptions,
    OutputOptions,
    StartOptions,
    TrainOptions,
)

LOG = logging.getLogger(__name__)
SET_ASIDE = "earlier_"


def find_resume(options: StartOptions, output: OutputOptions) -> Path | None:
    """The checkpoint to resume, if any.

    Raises:
        InputError: if ``--test_only`` finds no checkpoint.
    """
    last, best = output.checkpoint_dir / LAST, output.checkpoint_dir / BEST
    if options.resume == "auto" and last.exists():
        return last
    if options.resume and options.resume != "auto":
        return Path(options.resume)
    if options.test_only:
        if not best.exists():
            raise InputError(f"--test_only: {best} does not exist; give --resume CHECKPOINT")
        return best
    return None


def lengthened(options: TrainOptions, payload: Payload, path: Path) -> TrainOptions:
    """The options with ``epochs`` counted from the checkpoint's if ``resume_epochs`` is given.

    Raises:
        InputError: if the checkpoint lacks the number of its epochs.
    """
    if not options.start.resume_epochs:
        return options
    require(payload, path, "progress")
    progress = payload["progress"]
    if not isinstance(progress, dict) or type(progress.get("epoch")) is not int:
        raise InputError(f"checkpoint {path} lacks the number of its epochs: use --epochs")
    return changed(options, epochs=progress["epoch"] + options.start.resume_epochs)


def as_trained(options: TrainOptions, spec: ModelSpec, path: Path) -> TrainOptions:
    """The options with the model of a checkpoint, which a resumed run cannot change.

    Args:
        options: what was asked for.
        spec: the checkpoint's model.
        path: its file, for messages.

    Raises:
        InputError: naming the flags that ask for another model.
    """
    trained: dict[str, Any] = {
        "head": spec.head, "head_widths": spec.widths, "small_branch": spec.small_branch,
        "mask_size": spec.mask_size, "roi_size": spec.roi_size, "roi_padding": spec.roi_padding,
        "image_size": spec.image_size,
    }  # fmt: skip
    asked, usual = asdict(options.model), asdict(ModelOptions())
    other = {name: value for name, value in trained.items() if asked[name] != value}
    if spec.head == "lite" and asked["head_widths"] == (spec.widths or LITE_WIDTHS):
        other.pop("head_widths", None)
    if wrong := [name for name in other if asked[name] != usual[name]]:
        flags = " ".join(_flag(name, asked[name]) for name in wrong)
        own = " ".join(_flag(name, trained[name]) for name in wrong)
        raise InputError(
            f"{flags} contradicts checkpoint {path}, which has {own}: leave it out, or start a new "
            "run without --resume (--init_from takes weights along)"
        )
    if other:
        LOG.info("from %s: %s", path, " ".join(_flag(name, value) for name, value in other.items()))
    if options.data.data_stats is not None:
        LOG.warning("--data_stats is not used: the class weights are those of %s", path)
    return changed(options, **trained)


def _flag(name: str, value: object) -> str:
    if isinstance(value, bool):
        return f"--{name}" if value else f"no --{name}"
    if isinstance(value, tuple):
        value = " ".join(map(str, value)) or "64 96 16"
    return f"--{name} {value}"


def check_extractor(spec: ModelSpec, extractor: YOLOv9FeatureExtractor | None, path: Path) -> None:
    """Refuse an extractor that a checkpoint was not trained on.

    Raises:
        InputError: naming what differs.
    """
    if extractor is None:
        if spec.layers != PersonExtractor.layers:
            raise InputError(
                f"checkpoint {path} was trained on another extractor: leave out --train_extractor"
            )
        return
    spec.check_fits(
        extractor.channels, extractor.strides, layers=extractor.layers, head=path,
        extractor=str(extractor.path),
    )  # fmt: skip
    if extractor.sha != spec.extractor_sha:
        LOG.warning("checkpoint %s was trained on another --onnx_model file", path)


def set_aside(output: OutputOptions, resumed: Path | None) -> Path | None:
    """Move another run's checkpoints and numbers out of a run's way.

    Otherwise the new run would overwrite them one by one, and hand over the other run's best model
    if its own was no better.

    Args:
        output: the folders of the new run.
        resumed: the checkpoint that it goes on from; one of the folder itself belongs to the run.

    Returns:
        The folder that they were moved to, or None if there were none.
    """
    folder = output.checkpoint_dir
    if resumed is not None and resumed.resolve().parent == folder.resolve():
        return None
    if not any((folder / name).exists() for name in (BEST, LAST)):
        return None
    names = [f"{Path(BEST).stem}.*", LAST, f"{NUMBERED}*.pth", HEAD_NAME, EXTRACTOR_NAME]
    files = [path for name in names for path in sorted(folder.glob(name))]
    place = next(p for n in count(1) if not (p := folder / f"{SET_ASIDE}{n}").exists())
    place.mkdir()
    for path in [*files, output.log_dir / "metrics.csv"]:
        if path.exists():
            path.replace(place / path.name)
    LOG.warning(
        "%s held another run, now in %s: --resume %s goes on with that one, another "
        "--checkpoint_dir keeps runs apart",
        folder, place, place / LAST,
    )  # fmt: skip
    return place
