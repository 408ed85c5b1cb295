"""The end of a run: the best model in every format, its pictures, and the next command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from human_edge_detection.core.images import read_image, save_image
from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.data.annotations import Photo
from human_edge_detection.evaluation.evaluate import Evaluation
from human_edge_detection.evaluation.pictures import write_panels
from human_edge_detection.export.head import export_head, report
from human_edge_detection.export.person_model import export_pair
from human_edge_detection.modeling.weights import (
    best_weights,
    load_checkpoint,
    load_weights,
    read_trained,
)
from human_edge_detection.modeling.weights_file import save_weights
from human_edge_detection.runtime.detector import holds_detector
from human_edge_detection.runtime.feature_extractor import YOLOv9FeatureExtractor
from human_edge_detection.runtime.model_files import EXTRACTOR_NAME
from human_edge_detection.training.advice import useless
from human_edge_detection.training.log import (
    TrainLog,
    charts_of,
    confusion_picture,
    curves_picture,
    read_curves,
)
from human_edge_detection.training.state import Progress


def take_best(model: nn.ModuleDict, spec: ModelSpec, best: Path) -> Path:
    """Load the best checkpoint's weights into the model and write them as safetensors; its path.

    Raises:
        InputError: if the checkpoint cannot be used, or the file cannot be written.
    """
    weights = best_weights(load_checkpoint(best))
    load_weights(model, weights, best)
    path = best.with_suffix(".safetensors")
    save_weights(path, weights, spec)
    return path


def export_best(
    model: nn.ModuleDict, spec: ModelSpec, extractor: YOLOv9FeatureExtractor | None, best: Path
) -> tuple[Path, Path]:
    """Write the model as ONNX beside its checkpoint; return the paths of head and extractor."""
    if extractor is not None:
        exported = best.with_suffix(".onnx")
        report(exported, export_head(model["head"].cpu(), spec, exported))
        return exported, extractor.path
    return export_pair(read_trained(best), best.parent)


def draw_pictures(
    folder: Path,
    photos: Sequence[Photo],
    evaluation: Evaluation,
    progress: Progress,
    log: TrainLog,
) -> dict[str, Path]:
    """Draw curves, confusion and panels of the best model; return their paths by what they show.

    ``log`` takes the pictures for TensorBoard, and has the numbers of the curves.
    """
    panels = write_panels(photos, evaluation.scores, folder / "panels")
    for number, panel in enumerate(panels[:4]):
        log.picture(f"best_model/panel_{number}", read_image(panel), progress.epoch)
    charts = charts_of(read_curves(log.csv_path))
    pictures = {
        "curves": curves_picture(charts, progress.best_epoch),
        "confusion": confusion_picture(evaluation.matrix),
    }
    for name, picture in pictures.items():
        save_image(folder / f"{name}.png", picture)
        log.picture(f"best_model/{name}", picture, progress.epoch)
    return {**{name: folder / f"{name}.png" for name in pictures}, "panels": folder / "panels"}


def closing_text(
    progress: Progress,
    began: int,
    metric: str,
    files: dict[str, Path],
    head: Path,
    extractor: Path,
) -> str:
    """The best epoch, the paths of what was written, and the next command.

    ``began`` is the number of epochs that were finished before this run; ``files`` are those that
    were written besides head and extractor, by what they show.
    """
    before = f" after {began} before" if began else ""
    done = f"trained {progress.epoch - began} epochs{before}"
    if progress.epoch == began:
        done = f"nothing left to train, {began} epochs are done (--resume_epochs N trains N more)"
    warning = useless(metric, progress.best_score)
    lines = [
        *([warning] if warning else ()),
        f"{done}; the best is epoch {progress.best_epoch}: {metric} {progress.best_score:.4f}",
        *(f"{what}: {path}" for what, path in files.items()),
        f"next: uv run human-edge-detection {predict_command(head, extractor)}",
    ]
    return "\n".join(lines)


def predict_command(head: Path, extractor: Path) -> str:
    """The shortest command that masks the people of a photo with two exported files.

    It names boxes if the extractor contains no detector, and the extractor unless that is the
    person model's file beside the head.
    """
    words = ["predict PHOTO"]
    if not holds_detector(extractor):
        words.append("--boxes BOXES")
    words.append(f"--model {head}")
    if extractor != head.with_name(EXTRACTOR_NAME):
        words.append(f"--extractor {extractor}")
    return " ".join(words)
