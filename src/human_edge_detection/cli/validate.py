"""The command ``validate``: scores models on annotated photos, names the best, writes a report."""

from __future__ import annotations

import glob
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.options import (
    BUILTIN,
    DEFAULT_VAL_ANN,
    DEFAULT_VAL_IMG_DIR,
    SAMPLE_ROOT,
)
from human_edge_detection.evaluation.options import ValidateOptions

if TYPE_CHECKING:
    from human_edge_detection.data.annotations import Photo
    from human_edge_detection.evaluation.report import ScoredModel

LOG = logging.getLogger(__name__)


def run_validate(options: ValidateOptions) -> int:
    """Score everything that the options name, print tables, write the results; returns 0.

    Raises:
        InputError: if nothing is named, or a file is missing or unusable.
    """
    from human_edge_detection.evaluation.report import best_of
    from human_edge_detection.evaluation.tables import (
        comparison_text,
        difference_text,
        groups_text,
        headline_text,
    )
    from human_edge_detection.evaluation.validation import score, score_ensemble

    paths = find_models(options)
    if options.ensemble:
        check_members(paths)
    photos, title = find_validation_photos(options)
    # The ensemble is scored first, so that it fails early, and shown last.
    together = [score_ensemble(paths, photos, options)] if options.ensemble else []
    names = short_names(paths)
    models = [score(name, path, photos, options) for name, path in zip(names, paths, strict=True)]
    models += together
    best = best_of(models, options.best_by)
    texts = [
        comparison_text(models, options.best_by),
        headline_text(best, options.bootstrap),
        groups_text(best, options.bootstrap),
        *(difference_text(models[0], model, options.bootstrap) for model in models[1:]),
    ]
    print("\n\n".join(texts))
    written = write_outputs(title, photos, models, best, options)
    print(f"\nreport: {written}")
    return 0


def write_outputs(
    title: str,
    photos: Sequence[Photo],
    models: Sequence[ScoredModel],
    best: ScoredModel,
    options: ValidateOptions,
) -> Path:
    """Write every model's results, the numbers, and unless switched off the page and the pictures.

    Returns:
        The page, or the file of the numbers where there is no page.
    """
    from human_edge_detection.evaluation.coco import write_handover
    from human_edge_detection.evaluation.pictures import write_panels
    from human_edge_detection.evaluation.report import (
        gallery_pictures,
        report_data,
        write_page,
        write_report_json,
    )
    from human_edge_detection.evaluation.robustness import ceiling

    folder, min_side = options.val_output_dir, options.min_side
    ceilings = {
        "as training targets": ceiling(photos, min_side),
        "as coverage": ceiling(photos, min_side, is_soft=True),
    }
    data = report_data(title, photos, models, ceilings, options.bootstrap)
    data |= {"best_by": options.best_by, "best": best.name}
    for model in models:
        own = folder / re.sub(r"[./\\]+", "_", model.name).strip("_")
        write_handover(own, photos, model.evaluation.scores)
    if options.no_visualization:
        return write_report_json(folder, data)
    pictures = gallery_pictures(photos, best)
    write_report_json(folder, data, pictures)
    write_panels(photos, best.evaluation.scores, folder / "panels")
    return write_page(folder, data, pictures)


def find_models(options: ValidateOptions) -> list[Path]:
    """The paths that the options name, patterns resolved, in the order named.

    Raises:
        InputError: if nothing is named or a pattern fits nothing.
    """
    if not options.models:
        raise InputError(
            "CKPT is missing: name what to score, such as checkpoints/best_model.pth, before the "
            "flags (--val_img_dir takes all names that follow it)"
        )
    paths: list[Path] = []
    for name in options.models:
        is_pattern = options.multiple and name != BUILTIN
        found = sorted(glob.glob(name, recursive=True)) if is_pattern else [name]
        if not found:
            raise InputError(f"CKPT '{name}' matches no file: check the pattern")
        paths += [_named(item, options.device) for item in found]
    for path in paths:
        if not path.exists():
            way = "add --multiple to take it as a pattern" if "*" in path.name else "check the path"
            raise InputError(f"CKPT {path} does not exist: {way}")
    return list(dict.fromkeys(paths))


def _named(name: str, device: str) -> Path:
    from human_edge_detection.runtime.model_files import default_model
    from human_edge_detection.runtime.sessions import SessionOptions

    return default_model(SessionOptions(device))[0] if name == BUILTIN else Path(name)


def check_members(paths: Sequence[Path]) -> None:
    """Refuse what cannot be averaged, before anything is opened.

    Raises:
        InputError: if there are fewer than two models, or finished masks among them.
    """
    from human_edge_detection.evaluation.models import MODEL_SUFFIXES

    if len(paths) < 2:
        raise InputError(f"--ensemble averages models, but CKPT names {len(paths)}: name several")
    for path in paths:
        if path.suffix not in MODEL_SUFFIXES:
            raise InputError(
                f"--ensemble averages models ({', '.join(MODEL_SUFFIXES)}), but {path} holds "
                "finished masks: leave it out, or score it without --ensemble"
            )


def find_validation_photos(options: ValidateOptions) -> tuple[Sequence[Photo], str]:
    """The annotated photos and their name, or those of the drawn sample set if there are none.

    Raises:
        InputError: if a path that the user typed does not exist, or the file is not usable.
    """
    from human_edge_detection.data.coco_reader import load_photos
    from human_edge_detection.data.photos import open_photos
    from human_edge_detection.data.sample import write_sample_set

    annotations, places = options.val_ann, options.val_img_dir or (DEFAULT_VAL_IMG_DIR,)
    if annotations is None and not DEFAULT_VAL_ANN.exists():
        LOG.warning("%s not found (give --val_ann FILE): using the sample set", DEFAULT_VAL_ANN)
        sample = write_sample_set(SAMPLE_ROOT)
        annotations, places = sample.val_ann, (sample.val_img_dir,)
    annotations = annotations or DEFAULT_VAL_ANN
    if not annotations.exists():
        raise InputError(f"--val_ann {annotations} does not exist: check the path")
    photos, _ = load_photos(annotations, open_photos(places, "--val_img_dir"))
    return photos, annotations.stem


def short_names(paths: Sequence[Path]) -> list[str]:
    """The file name of each path; the whole path where several have the same name."""
    names = [path.name for path in paths]
    return [n if names.count(n) == 1 else str(p) for n, p in zip(names, paths, strict=True)]
