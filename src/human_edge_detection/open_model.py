"""Which files make up a model: the head, its extractor, a detector, or the shipped pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from human_edge_detection.detector import PersonDetector, holds_detector
from human_edge_detection.encoders import (
    ExtractorEncoder,
    ImageEncoder,
    OnePassEncoder,
    PictureEncoder,
    warn_if_foreign,
)
from human_edge_detection.errors import InputError
from human_edge_detection.feature_extractor import YOLOv9FeatureExtractor
from human_edge_detection.head_session import HeadFacts, HeadSession
from human_edge_detection.runtime import Provider, read_model, short_hash

WEIGHTS_DIR = Path(__file__).parent / "weights"
HEAD_NAME, EXTRACTOR_NAME = "person_head.onnx", "person_extractor.onnx"
WEIGHTS_NAME = "person_model.safetensors"


@dataclass(frozen=True)
class ModelFiles:
    """The files of a model.

    Attributes:
        head: exported head, or an end-to-end file; None for the shipped model.
        extractor: the network whose features the head reads.
        detector: the network that finds people; may be the extractor itself.
        layout: how the detector's outputs are read, ``auto`` to recognise it.
        person_class: the detector's class of people; None to read it from the file.
    """

    head: Path | None = None
    extractor: Path | None = None
    detector: Path | None = None
    layout: str = "auto"
    person_class: int | None = None

    def resolved(self) -> ModelFiles:
        """The same with the shipped model filled in where no head is named."""
        if self.head is not None:
            return self
        if self.extractor is not None:
            raise InputError(
                f"--extractor {self.extractor} without --model: name the head trained on it"
            )
        head, extractor = default_model()
        return ModelFiles(head, extractor, self.detector, self.layout, self.person_class)


def default_model() -> tuple[Path, Path]:
    """The head and the extractor of the person model that ships with the package.

    Raises:
        InputError: this version ships none.
    """
    head, extractor = WEIGHTS_DIR / HEAD_NAME, WEIGHTS_DIR / EXTRACTOR_NAME
    if not (head.is_file() and extractor.is_file()):
        raise InputError(
            "no person model ships with this version: pass a trained head and its extractor, "
            "--model checkpoints/best_model.onnx --extractor FILE.onnx "
            '(in Python: MaskPredictor("best_model.onnx", extractor="FILE.onnx"))'
        )
    return head, extractor


def shipped_weights() -> Path:
    """The weights of the person model that ships, to train them further.

    Raises:
        InputError: this version ships none.
    """
    path = WEIGHTS_DIR / WEIGHTS_NAME
    if not path.is_file():
        raise InputError(
            "no person model ships with this version, so 'builtin' names no weights: name a "
            "checkpoint, such as checkpoints/best_model.pth"
        )
    return path


def own_extractor(head: Path, facts: HeadFacts) -> Path | None:
    """The person model's extractor beside its head, if it is the very file that the head names."""
    path = head.with_name(EXTRACTOR_NAME)
    if not facts.extractor_sha or not path.is_file():
        return None
    return path if short_hash(read_model(path)) == facts.extractor_sha else None


def open_networks(
    files: ModelFiles,
    head: HeadSession,
    device: str,
    providers: Sequence[Provider] | None,
    threads: int | None,
) -> tuple[ImageEncoder, PersonDetector | None]:
    """The encoder for the head, and a detector of its own where boxes take a second pass.

    Args:
        files: a model from :meth:`ModelFiles.resolved`.
        head: the open head.
        device: ``auto``, ``cpu``, ``cuda`` or ``tensorrt``.
        providers: ONNX Runtime's provider names, instead of ``device``.
        threads: CPU threads of one operation; None for ONNX Runtime's choice.
    """
    facts = head.facts
    source = files.extractor or (None if facts.end_to_end else _source(files, facts))
    detector = None
    if files.detector is not None and not _same_file(source, files.detector):
        detector = PersonDetector(
            files.detector, device, providers, layout=files.layout,
            person_class=files.person_class, image_size_hw=facts.image_size_hw, threads=threads,
        )  # fmt: skip
    if facts.end_to_end:
        if files.extractor is not None:
            raise InputError(
                f"model {files.head} is end to end, its extractor is inside: leave out --extractor"
            )
        return PictureEncoder(facts.image_size_hw), detector
    if source is None:
        raise InputError(
            f"model {files.head} is a head without its extractor: pass the one it was trained on "
            f"(--extractor FILE.onnx with {', '.join(facts.layers)}), or an end-to-end file"
        )
    one_pass = _same_file(source, files.detector) or holds_detector(source)
    opened = (
        PersonDetector(
            source, device, providers, layers=facts.layers, layout=files.layout if detector is None
            else "auto", person_class=files.person_class if detector is None else None,
            image_size_hw=facts.image_size_hw, threads=threads,
        )
        if one_pass
        else YOLOv9FeatureExtractor(
            source, device, providers, facts.layers,
            image_size_hw=facts.image_size_hw, threads=threads,
        )
    )  # fmt: skip
    head.check_fits(opened.channels, opened.strides, source)
    warn_if_foreign(facts, opened.sha, opened.input_size_hw, source)
    if isinstance(opened, PersonDetector):
        return OnePassEncoder(opened), detector
    return ExtractorEncoder(opened), detector


def _source(files: ModelFiles, facts: HeadFacts) -> Path | None:
    """The network that gives the features where none is named."""
    assert files.head is not None
    return own_extractor(files.head, facts) or files.detector


def _same_file(first: Path | None, second: Path | None) -> bool:
    return first is not None and second is not None and first.resolve() == second.resolve()
