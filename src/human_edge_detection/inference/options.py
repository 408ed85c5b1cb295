"""The options of ``predict``, each with its default and its help text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from human_edge_detection.core import MAX_PIXELS
from human_edge_detection.core.errors import InputError
from human_edge_detection.core.options import DEVICES, option, require_least
from human_edge_detection.inference import SAVE_KINDS
from human_edge_detection.masks import FUSE_RULES
from human_edge_detection.runtime import DEFAULT_SCORE, DETECTOR_LAYOUTS

BOX_FORMATS = ("auto", "coco", "coco_results", "csv", "yolo")


@dataclass(frozen=True)
class PredictOptions:
    """The options of ``predict``."""

    source: tuple[str, ...] = option(
        (), "photos, folders, zip or tar files, globs, videos, or - for a list on standard input",
        metavar="SOURCE", positional=True, required=False,
    )  # fmt: skip
    boxes: Path | None = option(
        None, "person boxes: COCO annotations or results, CSV, or a folder of YOLO txt"
    )
    boxes_format: str = option("auto", "how to read --boxes", choices=BOX_FORMATS)
    model: tuple[Path, ...] = option(
        (), "exported head, or end-to-end file; several are averaged (default: the shipped one)"
    )
    extractor: tuple[str, ...] = option(
        (),
        "the ONNX network that the head was trained on; of several models one for all, or one for "
        "each, 'none' for an end-to-end file (default: a person_extractor.onnx beside the head, "
        "if it is the head's own)",
    )
    detector: Path | None = option(
        None, "YOLO export that finds people; may be the extractor's own file"
    )
    detector_layout: str = option(
        "auto", "how the detector's outputs are read", choices=("auto", *DETECTOR_LAYOUTS)
    )
    person_class: int | None = option(
        None, "class of people in the detector and in YOLO txt (default: read from the file, or 0)"
    )
    output: Path = option(Path("predictions"), "folder of the results")
    save: str = option("overlay,coco", f"what to write, comma-separated: {','.join(SAVE_KINDS)}")
    threshold: float = option(0.5, "probability from which a pixel belongs to a person")
    score: float = option(DEFAULT_SCORE, "lowest score of a person that the detector found")
    fuse: str = option(
        "arbitrate", "rule that gives a pixel of several people to one", choices=FUSE_RULES
    )
    draw_boxes: bool = option(False, "draw the person boxes in the overlay too")
    recursive: bool = option(False, "look into folders below folders too")
    every: int = option(1, "of a video, use every N-th frame", least=1)
    track: bool = option(
        False, "through a video, give each person one number and a mask that does not flicker"
    )
    max_pixels: int = option(
        MAX_PIXELS, "a photo or video of more pixels is skipped, before it is decoded", least=1
    )
    max_people: int = option(
        5000, "a photo with more boxes is skipped; each person takes some 0.15 MB", least=1
    )
    device: str = option("auto", "where to run", choices=DEVICES)
    max_rois: int | None = option(
        None,
        "people that pass through the head at once; bounds the memory (default: 128, or 4 for a "
        "spec head)",
        least=1,
    )
    workers: int = option(2, "threads that read photos, and as many that write results", least=1)
    threads: int | None = option(None, "CPU threads of the networks (default: all cores)", least=1)
    image_size: int | None = option(
        None,
        "longest side of a photo in the network: more finds smaller people, less is faster "
        "(default: the model's own, 768 for the one that ships)",
        least=1,
    )
    overwrite: bool = option(False, "start anew instead of continuing what the output holds")

    def __post_init__(self) -> None:
        require_least(self)
        if not self.source:
            raise InputError(
                "predict needs a SOURCE: a photo, a folder, a glob, a video or -; write it before "
                "the flags, or after --, because --model and --extractor take all names that follow"
            )
        for name in ("threshold", "score"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise InputError(f"--{name} must be between 0 and 1, but got {value}")
        if not self.save_kinds:
            raise InputError(f"--save names nothing to write: choose from {', '.join(SAVE_KINDS)}")
        if bad := [kind for kind in self.save_kinds if kind not in SAVE_KINDS]:
            raise InputError(f"--save {bad[0]!r} is not one of {', '.join(SAVE_KINDS)}")
        if self.boxes and self.detector:
            raise InputError("--boxes and --detector both find the people: give one")

    @property
    def extractors(self) -> tuple[Path | None, ...]:
        """The extractors by path, None for 'none'."""
        return tuple(None if name == "none" else Path(name) for name in self.extractor)

    @property
    def save_kinds(self) -> tuple[str, ...]:
        """The formats to write."""
        return tuple(dict.fromkeys(part.strip() for part in self.save.split(",") if part.strip()))
