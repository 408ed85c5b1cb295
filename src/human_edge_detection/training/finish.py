"""What the end of a run hands over: the best model in every format, and what to do with it."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.export.head import export_head, report
from human_edge_detection.export.person_model import export_pair
from human_edge_detection.modeling.weights import (
    best_weights,
    load_checkpoint,
    load_weights,
    read_trained,
    save_weights,
)
from human_edge_detection.runtime.detector import holds_detector
from human_edge_detection.runtime.feature_extractor import YOLOv9FeatureExtractor
from human_edge_detection.runtime.model_files import EXTRACTOR_NAME
from human_edge_detection.training.state import Progress


def take_best(model: nn.ModuleDict, spec: ModelSpec, best: Path) -> Path:
    """Put the best checkpoint's weights into the model; their safetensors file comes back.

    Raises:
        InputError: if the checkpoint cannot be used, or the file not be written.
    """
    weights = best_weights(load_checkpoint(best))
    load_weights(model, weights, best)
    path = best.with_suffix(".safetensors")
    save_weights(path, weights, spec)
    return path


def export_best(
    model: nn.ModuleDict, spec: ModelSpec, extractor: YOLOv9FeatureExtractor | None, best: Path
) -> tuple[Path, Path]:
    """Write the model as ONNX beside its checkpoint; head and extractor come back."""
    if extractor is not None:
        exported = best.with_suffix(".onnx")
        report(exported, export_head(model["head"].cpu(), spec, exported))
        return exported, extractor.path
    return export_pair(read_trained(best), best.parent)


def closing_words(
    progress: Progress, metric: str, files: dict[str, Path], head: Path, extractor: Path
) -> str:
    """The best epoch, where everything lies, and the next command.

    Args:
        progress: where the run ended.
        metric: the validation metric that picked the best model.
        files: what else was written, by what it is.
        head: the exported head.
        extractor: the extractor that it reads.
    """
    lines = [
        f"trained {progress.epoch} epochs; the best is epoch {progress.best_epoch}: "
        f"{metric} {progress.best_miou:.4f}",
        *(f"{what}: {path}" for what, path in files.items()),
        f"next: uv run human-edge-detection {predict_command(head, extractor)}",
    ]
    return "\n".join(lines)


def predict_command(head: Path, extractor: Path) -> str:
    """The shortest command that masks the people of a photo with two exported files.

    Boxes are needed where the extractor finds nobody, its name where it does not lie beside the
    head as a person model's does.
    """
    words = ["predict PHOTO"]
    if not holds_detector(extractor):
        words.append("--boxes BOXES")
    words.append(f"--model {head}")
    if extractor != head.with_name(EXTRACTOR_NAME):
        words.append(f"--extractor {extractor}")
    return " ".join(words)
