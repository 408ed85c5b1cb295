"""Writes trained weights as ONNX, in the files that their kind of model has: behind ``export``."""

from __future__ import annotations

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.options import BUILTIN
from human_edge_detection.export.head import export_end_to_end, export_head, report
from human_edge_detection.export.person_model import export_pair
from human_edge_detection.modeling.weights import read_trained
from human_edge_detection.runtime.model_files import EXTRACTOR_NAME, HEAD_NAME, shipped_weights
from human_edge_detection.training.config import ExportOptions


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
