"""The options of ``fleet`` and ``gather``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.options import option, option_of, require_least
from human_edge_detection.fleet.settings import SegmentSettings
from human_edge_detection.inference.options import PredictOptions

BLOCK = 256


@dataclass(frozen=True)
class FleetOptions:
    """The options of ``fleet``."""

    source: tuple[str, ...] = option(
        (),
        "folders, photos, zip or tar files, parquet files of photos, or lists (.txt, .csv, "
        ".parquet); as paths or URIs such as s3://bucket/photos",
        metavar="SOURCE", positional=True, required=False,
    )  # fmt: skip
    output: str = option("fleet", "folder of the results, as a path or a URI")
    boxes: Path | None = option_of(PredictOptions, "boxes")
    boxes_format: str = option_of(PredictOptions, "boxes_format")
    model: tuple[Path, ...] = option_of(PredictOptions, "model")
    extractor: tuple[str, ...] = option_of(PredictOptions, "extractor")
    detector: Path | None = option_of(PredictOptions, "detector")
    detector_layout: str = option_of(PredictOptions, "detector_layout")
    person_class: int | None = option_of(PredictOptions, "person_class")
    threshold: float = option_of(PredictOptions, "threshold")
    score: float = option_of(PredictOptions, "score")
    fuse: str = option_of(PredictOptions, "fuse")
    recursive: bool = option_of(PredictOptions, "recursive")
    max_pixels: int = option_of(PredictOptions, "max_pixels")
    max_people: int = option_of(PredictOptions, "max_people")
    max_rois: int | None = option_of(PredictOptions, "max_rois")
    image_size: int | None = option_of(PredictOptions, "image_size")
    actors: str | None = option(
        None,
        "workers that hold the model: a number, or MIN:MAX (default: as many as the CPUs or GPUs "
        "allow)",
    )
    cpus: int = option(1, "CPUs of each of them", least=1)
    gpus: float = option(0.0, "GPUs of each of them, such as 1 or 0.25", least=0)
    device: str = option_of(PredictOptions, "device")
    batch: int = option(16, "photos that pass through the networks at once on a GPU", least=1)
    block: int = option(
        BLOCK, "photos that are worked on and written together, which a crash may cost", least=1
    )
    address: str | None = option(
        None, "a running Ray cluster, such as auto (default: $RAY_ADDRESS, or this machine alone)"
    )
    max_errors: float = option(
        0.01, "fraction of the photos that may have errors before the exit code is 1", least=0
    )

    def __post_init__(self) -> None:
        """Refuse unusable values by the names of their flags."""
        require_least(self)
        if not self.source:
            raise InputError("fleet needs a SOURCE: a folder, an archive or a list of photos")
        for name in ("threshold", "score", "max_errors"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise InputError(f"--{name} must be between 0 and 1, but got {value}")
        for name in ("max_pixels", "max_people", "max_rois", "image_size"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise InputError(f"--{name} must be at least 1, but got {value}")
        if self.boxes and self.detector:
            raise InputError("--boxes and --detector both find the people: give one")
        if not self.gpus and self.device not in ("auto", "cpu"):
            raise InputError(f"--device {self.device} needs --gpus: say how many for each worker")
        if self.gpus and self.device == "cpu":
            raise InputError(f"--device cpu does not go with --gpus {self.gpus:g}: leave one out")
        self.pool_size()

    def pool_size(self) -> tuple[int, int] | None:
        """Least and most workers; None where the cluster decides.

        Raises:
            InputError: ``--actors`` is neither a number nor two.
        """
        if self.actors is None:
            return None
        least, _, most = self.actors.partition(":")
        try:
            size = int(least), int(most or least)
        except ValueError:
            size = (0, 0)
        if not 1 <= size[0] <= size[1]:
            raise InputError(f"--actors {self.actors} must be a number, or MIN:MAX such as 1:16")
        return size

    @property
    def segment(self) -> SegmentSettings:
        """What each worker must know."""
        return SegmentSettings(
            model=tuple(str(path.absolute()) for path in self.model),
            extractor=tuple(
                name if name == "none" else str(Path(name).absolute()) for name in self.extractor
            ),
            detector=None if self.detector is None else str(self.detector.absolute()),
            layout=self.detector_layout, person_class=self.person_class, threshold=self.threshold,
            score=self.score, fuse=self.fuse, max_pixels=self.max_pixels,
            max_people=self.max_people, gpu=self.gpus > 0, device=self.device,
            max_rois=self.max_rois, threads=self.cpus, batch=self.batch,
            image_size=self.image_size,
        )  # fmt: skip


@dataclass(frozen=True)
class GatherOptions:
    """The options of ``gather``."""

    results: str = option("fleet", "output of fleet", metavar="OUTPUT", positional=True)
    output: Path = option(Path("gathered"), "folder of what is gathered")
    overlays: int = option(12, "photos to draw, chosen at random; 0 for none", least=0)
    seed: int = option(0, "seed of that choice")

    def __post_init__(self) -> None:
        """Refuse unusable values by the names of their flags."""
        require_least(self)
