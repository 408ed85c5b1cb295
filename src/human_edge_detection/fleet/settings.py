"""What a worker must know to segment photos, as plain data that travels to other machines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from human_edge_detection.core import MAX_PIXELS

if TYPE_CHECKING:
    from human_edge_detection.inference.predictor import MaskPredictor
    from human_edge_detection.runtime.model_files import ModelFiles


@dataclass(frozen=True)
class SegmentSettings:
    """The model and how it is used, with the defaults of ``predict``.

    Attributes:
        model: exported heads; () for the model that ships.
        extractor: the networks that they were trained on, by path or ``none``.
        detector: a YOLO export that finds people.
        layout: how the detector's outputs are read.
        person_class: the detector's class of people.
        threshold: probability from which a pixel belongs to a person.
        score: lowest score of a person that the detector found.
        fuse: rule that gives a pixel of several people to one.
        max_pixels: a photo of more pixels becomes an error.
        max_people: a photo with more boxes becomes an error.
        gpu: run on a GPU, several photos at once.
        device: which kind of GPU runtime, ``auto`` for the best.
        max_rois: people that pass through the head at once.
        threads: CPU threads of a worker.
        image_size: longest side of a photo in the network; None for the model's own.
        batch: photos that pass through the networks at once on a GPU.
    """

    model: tuple[str, ...] = ()
    extractor: tuple[str, ...] = ()
    detector: str | None = None
    layout: str = "auto"
    person_class: int | None = None
    threshold: float = 0.5
    score: float = 0.3
    fuse: str = "arbitrate"
    max_pixels: int = MAX_PIXELS
    max_people: int = 5000
    gpu: bool = False
    device: str = "auto"
    max_rois: int | None = None
    threads: int = 1
    image_size: int | None = None
    batch: int = 16

    def files(self) -> ModelFiles:
        """The model's files, by their places on this machine.

        Raises:
            InputError: the names do not fit each other.
        """
        from human_edge_detection.runtime.model_files import HEAD_NAME, WEIGHTS_DIR, name_files
        from human_edge_detection.runtime.sessions import SessionOptions

        heads = list(self.model)
        if not heads and self.gpu:  # also on a machine without one, which shares out the work
            heads = [str(WEIGHTS_DIR / HEAD_NAME)]
        extractors = [None if name == "none" else Path(name) for name in self.extractor]
        return name_files(
            heads, extractors, self.detector, self.layout, self.person_class, SessionOptions("cpu")
        )

    def fingerprint(self) -> dict[str, str | None]:
        """The model's files by flag, each as its name and a short hash."""
        from human_edge_detection.inference.resume_log import file_settings

        return file_settings(self.files())

    def open(self) -> MaskPredictor:
        """The model, opened on this machine.

        Raises:
            InputError: a file is missing or unusable, or there is no GPU though one is asked for.
        """
        from human_edge_detection.inference.predictor import MaskPredictor

        return MaskPredictor(
            self.files(), device=self.device if self.gpu else "cpu", max_rois=self.max_rois,
            fuse=self.fuse, threads=self.threads, image_size=self.image_size,
        )  # fmt: skip
