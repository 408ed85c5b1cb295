"""Writes trained weights as ONNX, in the files that their kind of model has: behind ``export``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.options import (
    BUILTIN,
    option,
)
from human_edge_detection.export.head import export_end_to_end, export_head, report
from human_edge_detection.export.person_model import export_pair
from human_edge_detection.modeling.weights import read_trained
from human_edge_detection.runtime.model_files import EXTRACTOR_NAME, HEAD_NAME, shipped_weights


@dataclass(frozen=True)
class ExportOptions:
    """What ``human-edge-detection export`` takes."""

    checkpoint: Path = option(
        Path("checkpoints/best_model.pth"),
        f"checkpoint or weights (.safetensors) to export, or '{BUILTIN}' for the model that ships",
        positional=True,
    )
    output: Path | None = option(None, "file to write (default: the checkpoint's name, .onnx)")
    output_dir: Path | None = option(
        None, "folder for what is written, both files of a person model (default: the checkpoint's)"
    )
    onnx_model: Path | None = option(
        None, "extractor to merge with, for one file from image and ROIs to masks"
    )
    image_size: tuple[int, int] | None = option(
        None, "height and width of the network's input (default: as trained)"
    )

    def __post_init__(self) -> None:
        """Refuse values that cannot work, by flag."""
        if self.output and self.output_dir:
            raise InputError(f"--output {self.output} and --output_dir both say where: give one")
        if str(self.checkpoint) == BUILTIN and not self.output_dir:
            raise InputError(f"export {BUILTIN} needs --output_dir: the shipped files stay")


def run_export(options: ExportOptions) -> int:
    """Export a model as the options say and print the comparisons; 0 comes back.

    Raises:
        InputError: if the weights are unusable, or an option does not fit their kind of model.
    """
    checkpoint = options.checkpoint
    if str(checkpoint) == BUILTIN:
        checkpoint = shipped_weights()
    trained = read_trained(checkpoint).at_size(options.image_size)
    folder = options.output_dir or checkpoint.parent
    if trained.has_extractor:
        for name in ("output", "onnx_model"):
            if getattr(options, name) is not None:
                raise InputError(
                    f"--{name} does not go with {trained.path}, whose extractor was trained "
                    f"along: it becomes {EXTRACTOR_NAME} and {HEAD_NAME} in --output_dir"
                )
        export_pair(trained, folder)
        return 0
    output = options.output or folder / f"{checkpoint.stem}.onnx"
    head = trained.model()["head"]
    if options.onnx_model is None:
        report(output, export_head(head, trained.spec, output))
    else:
        report(output, export_end_to_end(head, trained.spec, options.onnx_model, output))
    return 0
