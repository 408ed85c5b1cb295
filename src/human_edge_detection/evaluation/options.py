"""The options of validation, each with its default and its help text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from human_edge_detection.core.options import (
    BUILTIN,
    DEFAULT_ONNX_MODEL,
    DEFAULT_VAL_ANN,
    DEFAULT_VAL_IMG_DIR,
    DEVICES,
    at_most_cpus,
    option,
    require_least,
)

BEST_BY = ("target_iou_image", "miou")
"""Numbers that can pick the best of several models: masks in the photo, or labels at 56×56."""


@dataclass(frozen=True)
class ValidateOptions:
    """The options of ``validate.py``."""

    models: tuple[str, ...] = option(
        (),
        "what to score: checkpoints (.pth), weights (.safetensors), exports (.onnx), COCO results "
        f"of any tool (.json), folders of predictions, or '{BUILTIN}' for the model that ships",
        metavar="CKPT",
        positional=True,
    )
    ensemble: bool = option(
        False, "also score all models together: the mean of their probabilities, as one more row"
    )
    multiple: bool = option(False, "take CKPT as glob patterns, such as 'checkpoints/*.pth'")
    val_ann: Path | None = option(None, f"annotations to score on (default: {DEFAULT_VAL_ANN})")
    val_img_dir: tuple[Path, ...] = option(
        (),
        f"folder, zip file or tar shards of the annotated photos (default: {DEFAULT_VAL_IMG_DIR})",
    )
    onnx_model: str | None = option(
        None,
        f"frozen feature extractor: an ONNX file, or '{BUILTIN}' (default: {DEFAULT_ONNX_MODEL}); "
        "ignored for models that have their own",
    )
    image_size: tuple[int, int] | None = option(
        None, "height and width of the network's input (default: each model's own)"
    )
    data_stats: Path | None = option(
        None, "class statistics for the loss (default: the checkpoint's own class weights)"
    )
    batch_size: int = option(8, "photos per batch", least=1)
    num_workers: int = option(
        4, "processes that load photos, at most one per CPU; 0 for none", least=0
    )
    device: str = option("auto", "where to run", choices=DEVICES)
    no_visualization: bool = option(
        False, "write numbers only (report.json and COCO results): no report page, no pictures"
    )
    val_output_dir: Path = option(Path("validation_results"), "where the report goes")
    min_side: float = option(
        12.0, "shortest box side, source pixels, for target_iou_image", least=0
    )
    bootstrap: int = option(2000, "resamplings of the photos behind each interval", least=1)
    best_by: str = option(
        BEST_BY[0], "number that picks the best of several models", choices=BEST_BY
    )
    robustness: bool = option(False, "also score with boxes shifted by 5, 10 and 20 %")

    @property
    def loader_workers(self) -> int:
        """Processes that load photos: as asked for, at most one per CPU."""
        return at_most_cpus(self.num_workers)

    def __post_init__(self) -> None:
        require_least(self)
