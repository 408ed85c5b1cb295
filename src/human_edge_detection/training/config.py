"""The options of every command, each written once with its default and its meaning."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.options import (
    BUILTIN,
    DEFAULT_DATA_STATS,
    DEFAULT_ONNX_MODEL,
    DEFAULT_TRAIN_ANN,
    DEFAULT_TRAIN_IMG_DIR,
    DEFAULT_VAL_ANN,
    DEFAULT_VAL_IMG_DIR,
    DEVICES,
    at_most_cpus,
    option,
    require_at_least,
)
from human_edge_detection.inference.options import PredictOptions as PredictOptions
from human_edge_detection.training.options import TrainOptions as TrainOptions


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


@dataclass(frozen=True)
class CheckOptions:
    """What ``test_pipeline.py`` takes."""

    onnx_model: str | None = option(
        None,
        f"feature extractor: an ONNX file, or '{BUILTIN}' (default: {DEFAULT_ONNX_MODEL}, "
        f"else '{BUILTIN}')",
    )
    layers: tuple[str, ...] = option((), "tensors of the extractor to use")
    device: str = option("auto", "where to run", choices=DEVICES)


@dataclass(frozen=True)
class StatsOptions:
    """What ``stats`` takes."""

    ann: tuple[Path, ...] = option(
        (), "COCO annotation files to measure together", metavar="ANN", positional=True
    )
    output: Path = option(DEFAULT_DATA_STATS, "the statistics file to write")
    mask_size: int = option(56, "bins along a mask's side")
    roi_padding: float = option(0.1, "margin around a box on each side, as a part of its side")

    def __post_init__(self) -> None:
        """Refuse values that cannot work, by flag."""
        require_at_least(self, "mask_size", 1)
        require_at_least(self, "roi_padding", 0)


@dataclass(frozen=True)
class SubsetOptions:
    """What ``subset`` takes."""

    ann: tuple[Path, ...] = option(
        (), "official COCO files, such as instances_train2017.json", metavar="ANN", positional=True
    )
    output_dir: Path | None = option(None, "folder of the new files (default: beside the old one)")
    sizes: tuple[int, ...] = option((100, 500), "numbers of photos of the small versions")
    seed: int = option(42, "seed of the random choice")

    def __post_init__(self) -> None:
        """Refuse values that cannot work, by flag."""
        if bad := [size for size in self.sizes if size < 1]:
            raise InputError(f"--sizes {bad[0]} must be at least 1")


@dataclass(frozen=True)
class QuantizeOptions:
    """What ``quantize`` takes."""

    model: Path = option(
        Path("checkpoints/best_model.onnx"), "exported head to make small", positional=True
    )
    extractor: Path | None = option(None, "the ONNX network that the head was trained on")
    ann: Path = option(DEFAULT_TRAIN_ANN, "COCO annotations of photos like those of later use")
    img_dir: tuple[Path, ...] = option(
        (DEFAULT_TRAIN_IMG_DIR,), "folder, zip file or tar shards of the annotated photos"
    )
    photos: int = option(24, "photos that set the scales; as many others check the result")
    max_rois: int = option(8, "most people of one photo to look at")
    output: Path | None = option(None, "file to write (default: the head's name, _int8.onnx)")
    seed: int = option(42, "seed of the choice of photos")

    def __post_init__(self) -> None:
        """Refuse values that cannot work, by flag."""
        require_at_least(self, "photos", 1)
        require_at_least(self, "max_rois", 1)


@dataclass(frozen=True)
class ValidateOptions:
    """What ``validate.py`` takes."""

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
        "not looked at for models that have their own",
    )
    image_size: tuple[int, int] | None = option(
        None, "height and width of the network's input (default: each model's own)"
    )
    data_stats: Path | None = option(
        None, "class statistics for the loss (default: the checkpoint's own class weights)"
    )
    batch_size: int = option(8, "photos at a time")
    num_workers: int = option(4, "processes that load photos, at most one a CPU; 0 for none")
    device: str = option("auto", "where to run", choices=DEVICES)
    no_visualization: bool = option(False, "write numbers only: no report page, no pictures")
    val_output_dir: Path = option(Path("validation_results"), "where the report goes")
    min_side: float = option(12.0, "shortest box side, source pixels, for target_iou_image")
    bootstrap: int = option(2000, "resamplings of the photos behind each interval")
    robustness: bool = option(False, "also score with boxes shifted by 5, 10 and 20 %")
    stress: int = option(0, "also score this many pairs of people pasted over each other")

    @property
    def loader_workers(self) -> int:
        """Processes that load photos: as asked for, at most one a CPU."""
        return at_most_cpus(self.num_workers)

    def __post_init__(self) -> None:
        """Refuse values that cannot work, by flag."""
        require_at_least(self, "batch_size", 1)
        require_at_least(self, "num_workers", 0)
        require_at_least(self, "min_side", 0)
        require_at_least(self, "bootstrap", 1)
        require_at_least(self, "stress", 0)


BENCHMARK_PROVIDERS = ("cpu", "cuda", "tensorrt")


@dataclass(frozen=True)
class BenchmarkOptions:
    """What ``benchmark`` takes."""

    model: tuple[Path, ...] = option(
        (), "exported heads, or end-to-end files, to time (default: the shipped one)"
    )
    extractor: tuple[str, ...] = option(
        (), "the network of each --model, or one for all; 'none' for an end-to-end file"
    )
    versus: Path | None = option(None, "a model to time in turn with the first --model")
    versus_extractor: str | None = option(
        None, "its extractor, or 'none' (default: that of the first --model)"
    )
    providers: tuple[str, ...] = option(
        (), "where to run (default: every provider that works here)", choices=BENCHMARK_PROVIDERS
    )
    people: tuple[int, ...] = option((1, 5, 20, 100), "numbers of people a photo")
    photos: tuple[str, ...] = option(
        (), "photos, folders or globs; the first 50 are used (default: drawn crowds of 1280x720)"
    )
    rounds: int = option(15, "rounds that count; each times everything once")
    warmup: int = option(2, "rounds before them that do not")
    no_cold: bool = option(False, "leave out the cold starts and the memory")
    max_rois: int | None = option(
        None, "people that go through the head at once (default: 128, or 4 for a spec head)"
    )
    threads: int | None = option(None, "CPU threads of the networks (default: all cores)")
    output: Path = option(Path("benchmark.json"), "the JSON file to write")

    def __post_init__(self) -> None:
        """Refuse values that cannot work, by flag."""
        for name in ("rounds", "max_rois"):
            require_at_least(self, name, 1)
        require_at_least(self, "warmup", 0)
        if not self.people or min(self.people) < 1:
            raise InputError("--people must be numbers of at least 1")
        if len(self.extractor) > 1 and len(self.extractor) != len(self.model):
            raise InputError(
                f"--extractor names {len(self.extractor)} files but --model {len(self.model)}: "
                "give one for all, or one for each"
            )
        if self.extractor and not self.model:
            raise InputError(
                f"--extractor {self.extractor[0]} without --model: name the head trained on it"
            )
        if self.versus_extractor and self.versus is None:
            raise InputError(f"--versus_extractor {self.versus_extractor} needs --versus")


@dataclass(frozen=True)
class CheckDataOptions:
    """What ``check_data`` takes."""

    ann: Path | None = option(None, "COCO annotation file to check", metavar="ANN", positional=True)
    img_dir: tuple[Path, ...] = option(
        (),
        "folders, zip files and tar shards of its photos, looked through in turn",
        metavar="IMG_DIR",
        positional=True,
    )
    val_ann: Path | None = option(
        None, "validation annotations, checked too and searched for photos of ANN"
    )
    val_img_dir: tuple[Path, ...] = option(
        (), "folders, zip files and tar shards of the validation photos (default: IMG_DIR)"
    )
    min_roi_size: float = option(16.0, "box side, source pixels, below which a person is tiny")
    decode: bool = option(False, "read every photo's pixels too, which finds truncated files")
    examples: int = option(3, "findings of each kind that are shown")
    output: Path | None = option(None, "JSON file for every finding")

    def __post_init__(self) -> None:
        """Refuse values that cannot work, by flag."""
        if self.val_img_dir and self.val_ann is None:
            raise InputError(f"--val_img_dir {self.val_img_dir[0]} needs --val_ann")
        require_at_least(self, "min_roi_size", 0)
        require_at_least(self, "examples", 0)
