"""The options of training, in groups by what they steer; each is written once."""

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
    FRESH,
    group,
    option,
    require_least,
)
from human_edge_detection.modeling.heads import HEADS, TUNED

_RATES = ", ".join(f"{kind.lr:g} for head {name}" for name, kind in HEADS.items())


@dataclass(frozen=True)
class DataOptions:
    """Which photos are trained on, and which people of them."""

    train_ann: tuple[Path, ...] = option(
        (), f"COCO annotation files to train on; several are joined (default: {DEFAULT_TRAIN_ANN})"
    )
    val_ann: Path | None = option(None, f"validation annotations (default: {DEFAULT_VAL_ANN})")
    train_img_dir: tuple[Path, ...] = option(
        (),
        "folder, zip file, tar shards or folder of shards of each train_ann's photos, or of all "
        f"(default: {DEFAULT_TRAIN_IMG_DIR})",
    )
    val_img_dir: tuple[Path, ...] = option(
        (),
        f"folder, zip file or tar shards of the validation photos (default: {DEFAULT_VAL_IMG_DIR})",
    )
    data_stats: Path | None = option(
        None, f"class statistics from 'stats' (default: {DEFAULT_DATA_STATS}, else measured)"
    )
    min_roi_size: float = option(16.0, "smallest box side, source pixels, of a target")
    max_rois: int = option(16, "most ROIs of one photo in a training step", least=1)
    repeat_crowds: int = option(1, "times an epoch that photos of several people are used", least=1)

    def __post_init__(self) -> None:
        if 1 < len(self.train_ann) and len(self.train_img_dir) not in (0, 1, len(self.train_ann)):
            raise InputError(
                f"--train_img_dir names {len(self.train_img_dir)} places but --train_ann "
                f"{len(self.train_ann)} files: give one place for all, or one for each (of shards "
                "their folder, or a pattern in quotes)"
            )


@dataclass(frozen=True)
class ExtractorOptions:
    """The feature extractor: a frozen one with a cache, or the built-in one trained along."""

    onnx_model: str | None = option(
        None,
        f"frozen feature extractor: an ONNX file, or '{BUILTIN}' (default: {DEFAULT_ONNX_MODEL})",
    )
    layers: tuple[str, ...] = option(
        (), "tensors of the extractor to use, of any strides (default: the first known name)"
    )
    cache_features: Path | None = option(
        None, "folder that keeps the frozen features of every photo and its mirror image"
    )
    cache_limit: float = option(
        0.0,
        "with --cache_features, most GB that the training photos, and that the validation photos, "
        "may take; 0 for what the disk has",
        least=0,
    )
    train_extractor: bool = option(False, f"train the '{BUILTIN}' extractor along with the head")
    train_detector: bool = option(
        False,
        "with --train_extractor, let it find people too; photos whose people have boxes without "
        "masks are then trained on as well",
    )
    train_image_size: tuple[int, int] | None = option(
        None, "with --train_extractor, size of the training photos (default: --image_size)"
    )
    detector_weight: float = option(0.5, "weight of the loss of --train_detector", least=0)

    def __post_init__(self) -> None:
        if self.cache_limit > 0 and self.cache_features is None:
            raise InputError(f"--cache_limit {self.cache_limit:g} needs --cache_features DIR")
        if not self.train_extractor:
            if self.train_detector or self.train_image_size:
                name = "train_detector" if self.train_detector else "train_image_size"
                raise InputError(f"--{name} needs --train_extractor")
            return
        if self.onnx_model not in (None, BUILTIN):
            raise InputError(
                f"--train_extractor trains the built-in extractor, but --onnx_model names "
                f"{self.onnx_model}: use --onnx_model {BUILTIN}"
            )
        if self.cache_features or self.layers:
            name = "cache_features" if self.cache_features else "layers"
            raise InputError(f"--{name} does not go with --train_extractor: leave it out")


@dataclass(frozen=True)
class ModelOptions:
    """The architecture of a new model and the sizes that it works at."""

    head: str = option("lite", "head", choices=tuple(HEADS))
    head_widths: tuple[int, ...] = option(
        (),
        "channels of a lite head at 28x28, 14x14 and 56x56 (default: 64 96 16, or those of "
        "--init_from, which cannot be changed)",
        metavar="WIDTH",
    )
    small_branch: bool = option(
        False,
        "give a lite head a second trunk, of half the bins and a quarter of the work, for ROIs of "
        "at most 1.25 --roi_size cells of the finest map; with --init_from it starts as a copy of "
        "the first",
    )
    mask_size: int = option(56, "bins along a mask's side", least=1)
    roi_size: int = option(28, "bins along the ROI align's side", least=1)
    roi_padding: float = option(0.1, "margin around a box, as a fraction of its side", least=0)
    image_size: tuple[int, int] = option((640, 640), "height and width of the network's input")

    def __post_init__(self) -> None:
        if self.mask_size != 2 * self.roi_size:
            raise InputError(
                f"--mask_size {self.mask_size} must be twice --roi_size {self.roi_size}"
            )
        if self.head_widths and (len(self.head_widths) != 3 or min(self.head_widths) < 1):
            given = " ".join(map(str, self.head_widths))
            raise InputError(f"--head_widths {given} must be three numbers, such as 64 96 16")


@dataclass(frozen=True)
class AugmentOptions:
    """Random changes of the training photos."""

    box_jitter: float = option(0.08, "shift of each box edge, as a fraction of its side", least=0)
    zoom_jitter: float = option(0.25, "random change of the photo's scale", least=0)
    zoom_middle: float = option(
        1.0,
        "scale around which --zoom_jitter varies; above 1 suits photos that are trained on at a "
        "smaller size than --image_size",
        least=0,
    )
    color_jitter: float = option(0.2, "change of brightness, contrast and saturation", least=0)
    no_flip: bool = option(False, "never mirror training photos")
    copy_paste: float = option(0.0, "fraction of photos with people of others pasted in", least=0)


@dataclass(frozen=True)
class LossOptions:
    """The loss of the masks."""

    ce_weight: float = option(1.0, "weight of the cross-entropy", least=0)
    dice_weight: float = option(1.0, "weight of the Dice loss", least=0)
    dice_classes: tuple[int, ...] = option((1,), "classes that the Dice loss compares")

    def __post_init__(self) -> None:
        if bad := [c for c in self.dice_classes if c not in (0, 1, 2)]:
            raise InputError(f"--dice_classes {bad[0]} is not one of 0, 1, 2")


@dataclass(frozen=True)
class OptimOptions:
    """Optimizer, learning rate, and how a step is computed."""

    optimizer: str = option("adamw", "optimizer", choices=("adamw", "adam", "sgd"))
    lr: float | None = option(None, f"peak rate (default: {_RATES}; tuning: {TUNED:g} of that)")
    backbone_lr: float = option(
        3e-4,
        "with --train_extractor, peak learning rate of its parts that were trained elsewhere "
        "before (the backbone; of a published network the detector too); 0 freezes them",
        least=0,
    )
    momentum: float = option(0.9, "momentum of sgd")
    weight_decay: float = option(1e-4, "weight decay")
    scheduler: str = option(
        "cosine", "learning rate schedule", choices=("cosine", "step", "exponential", "none")
    )
    min_lr: float = option(1e-6, "where the cosine schedule ends")
    lr_decay_epochs: int = option(10, "epochs between the drops of 'step'")
    lr_decay_rate: float = option(0.1, "factor of a drop of 'step', an epoch of 'exponential'")
    warmup_steps: int = option(100, "steps over which the learning rate rises from 0", least=0)
    gradient_clip: float = option(0.0, "largest gradient norm; 0 for no limit", least=0)
    gradient_accumulation: int = option(1, "batches whose gradients make one step", least=1)
    ema: float = option(0.0, "decay of the weights' average that is validated, exported; 0 off")
    amp: bool = option(False, "train in half precision where it is safe")
    amp_dtype: str | None = option(
        None, "--amp's type (bfloat16); float16 for older GPUs", choices=("bfloat16", "float16")
    )

    def __post_init__(self) -> None:
        if self.amp_dtype and not self.amp:
            raise InputError(f"--amp_dtype {self.amp_dtype} needs --amp")
        if not 0 <= self.ema < 1:
            raise InputError(f"--ema {self.ema} must be at least 0 and below 1")

    @property
    def precision(self) -> str:
        """``float32``, or the type that ``--amp`` computes in."""
        return (self.amp_dtype or "bfloat16") if self.amp else "float32"


@dataclass(frozen=True)
class LoopOptions:
    """How long, in which batches and where a run trains."""

    epochs: int = option(10, "epochs of the whole run", least=1)
    batch_size: int = option(8, "photos a batch, in each process that torchrun starts", least=1)
    num_workers: int = option(4, "processes that load photos, at most one a CPU; 0: none", least=0)
    seed: int = option(42, "seed of every random choice")
    device: str = option("auto", "where to run", choices=DEVICES)


@dataclass(frozen=True)
class OutputOptions:
    """What a run writes, and how often it validates."""

    checkpoint_dir: Path = option(Path("checkpoints"), "where checkpoints and the export go")
    log_dir: Path = option(Path("logs"), "where TensorBoard files and metrics.csv go")
    val_output_dir: Path = option(Path("validation_results"), "where the panels go")
    validate_every: int = option(1, "epochs between validations", least=1)
    save_every: int = option(1, "epochs between checkpoints", least=1)
    keep: int = option(0, "numbered checkpoints to keep besides best and last; 0 for all", least=0)
    early_stop: int = option(0, "validations without a better one that end the run; 0: no", least=0)

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where a run writes."""
        return self.checkpoint_dir, self.log_dir, self.val_output_dir


@dataclass(frozen=True)
class StartOptions:
    """What a run starts from."""

    init_from: str | None = option(
        None,
        f"weights to start a new run from (.pth, .safetensors, '{BUILTIN}' for the model that "
        f"ships), '{FRESH}' for a new head, or with --train_extractor the ONNX file of RTMDet-nano "
        f"for people (default: '{BUILTIN}' over its own frozen extractor where the shape fits)",
    )
    resume: str | None = option(None, "checkpoint to resume, or 'auto' for the last one")
    resume_epochs: int = option(
        0, "epochs to train after the checkpoint's, instead of --epochs; 0 for --epochs", least=0
    )
    test_only: bool = option(False, "validate --resume (or the best checkpoint) and stop")

    def __post_init__(self) -> None:
        if self.resume_epochs > 0 and not self.resume:
            raise InputError("--resume_epochs needs --resume PATH (or --resume auto)")
        if self.init_from and (self.test_only or self.resume not in (None, "auto")):
            other = "test_only" if self.test_only else "resume"
            raise InputError(
                f"--init_from {self.init_from} starts a new run and --{other} takes a checkpoint "
                "as it is: give one"
            )


@dataclass(frozen=True)
class TrainOptions:
    """What ``main.py`` takes, in groups; each part of a run is given its own groups alone."""

    data: DataOptions = group(DataOptions, "photos")
    model: ModelOptions = group(ModelOptions, "model")
    extractor: ExtractorOptions = group(ExtractorOptions, "feature extractor")
    augment: AugmentOptions = group(AugmentOptions, "augmentation")
    loss: LossOptions = group(LossOptions, "loss")
    optim: OptimOptions = group(OptimOptions, "optimization")
    loop: LoopOptions = group(LoopOptions, "run")
    output: OutputOptions = group(OutputOptions, "validation and output")
    start: StartOptions = group(StartOptions, "start and resume")

    def __post_init__(self) -> None:
        require_least(self)
        sizes = (("image_size", self.model.image_size),
                 ("train_image_size", self.extractor.train_image_size))  # fmt: skip
        for name, size_hw in sizes if self.extractor.train_extractor else ():
            if any(side < 32 or side % 32 for side in size_hw or ()):
                raise InputError(f"--{name} must be multiples of 32 with --train_extractor")
        started = self.start.init_from or ""
        if started.endswith(".onnx") and not self.extractor.train_extractor:
            raise InputError(f"--init_from {started} needs --train_extractor")

    @property
    def peak_lr(self) -> float:
        """The learning rate asked for, or the head's own default for such a start."""
        started = self.start.init_from or FRESH
        is_trained = started != FRESH and not started.endswith(".onnx")
        usual = HEADS[self.model.head].lr * (TUNED if is_trained else 1)
        return usual if self.optim.lr is None else self.optim.lr
