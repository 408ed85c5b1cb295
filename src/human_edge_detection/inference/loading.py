"""Opens the networks of a model: its heads, and whatever they read, each once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.spec import ExportedSpec
from human_edge_detection.inference.encoders import (
    ExtractorEncoder,
    ImageEncoder,
    JoinedEncoders,
    OnePassEncoder,
    PictureEncoder,
    warn_if_foreign,
)
from human_edge_detection.inference.ensemble import Ensemble, Member
from human_edge_detection.runtime.detector import PersonDetector, holds_detector
from human_edge_detection.runtime.feature_extractor import YOLOv9FeatureExtractor
from human_edge_detection.runtime.head import HeadSession
from human_edge_detection.runtime.model_files import ModelFiles, own_extractor
from human_edge_detection.runtime.sessions import Provider

Source = tuple[Path | None, tuple[int, int]]
"""What a head reads: an extractor's file (None for the picture itself) at a height and width."""


@dataclass(frozen=True)
class Place:
    """Where sessions run.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda`` or ``tensorrt``.
        providers: ONNX Runtime's provider names, instead of ``device``.
        threads: CPU threads of one operation; None for ONNX Runtime's choice.
        max_rois: people that go through a head at once.
    """

    device: str
    providers: Sequence[Provider] | None
    threads: int | None
    max_rois: int | None


def open_networks(
    files: ModelFiles, place: Place
) -> tuple[ImageEncoder, Ensemble, PersonDetector | None]:
    """The encoder, the heads, and a detector of its own where boxes take a second pass.

    Raises:
        InputError: if a file is missing, damaged or does not fit the others.
    """
    heads = [
        HeadSession(
            path, place.device, place.providers, max_rois=place.max_rois, threads=place.threads
        )
        for path in files.heads
    ]
    sources, named = [], dict[Path, Path]()
    for head, extractor, session in zip(files.heads, files.extractors, heads, strict=True):
        path = _source(head, extractor, files.detector, session.facts)
        path = None if path is None else named.setdefault(path.resolve(), path)
        sources.append((path, session.facts.image_size))
    detector = None
    if files.detector is not None and not any(_same(path, files.detector) for path, _ in sources):
        detector = PersonDetector(
            files.detector, place.device, place.providers, layout=files.layout,
            person_class=files.person_class, image_size_hw=heads[0].facts.image_size,
            threads=place.threads,
        )  # fmt: skip
    # The detector's own file comes first: the first network that finds people is asked.
    order = sorted(dict.fromkeys(sources), key=lambda source: not _same(source[0], files.detector))
    encoders, members = [], dict[int, Member]()
    for number, source in enumerate(order):
        readers = {i: heads[i] for i, wanted in enumerate(sources) if wanted == source}
        encoder, maps = _open_encoder(source, readers, files, place, detector is None)
        encoders.append(encoder)
        members |= {i: Member(heads[i], number, maps[i]) for i in readers}
    encoder = encoders[0] if len(encoders) == 1 else JoinedEncoders(encoders)
    return encoder, Ensemble([members[i] for i in range(len(heads))]), detector


def _open_encoder(
    source: Source,
    readers: dict[int, HeadSession],
    files: ModelFiles,
    place: Place,
    may_find_people: bool,
) -> tuple[ImageEncoder, dict[int, tuple[int, ...]]]:
    """The network that some heads read, and which of its maps each takes."""
    path, size_hw = source
    if path is None:
        return PictureEncoder(size_hw), dict.fromkeys(readers, (0,))
    layers = tuple(dict.fromkeys(_all_layers(readers.values())))
    opened: PersonDetector | YOLOv9FeatureExtractor
    if _same(path, files.detector) or holds_detector(path):
        opened = PersonDetector(
            path, place.device, place.providers, layers=layers,
            layout=files.layout if may_find_people else "auto",
            person_class=files.person_class if may_find_people else None,
            image_size_hw=size_hw, threads=place.threads,
        )  # fmt: skip
    else:
        opened = YOLOv9FeatureExtractor(
            path, place.device, place.providers, layers, image_size_hw=size_hw,
            threads=place.threads,
        )  # fmt: skip
    maps: dict[int, tuple[int, ...]] = {}
    for number, head in readers.items():
        maps[number] = tuple(layers.index(name) for name in head.facts.layers)
        channels, strides = (
            [f[i] for i in maps[number]] for f in (opened.channels, opened.strides)
        )
        head.facts.check_fits(
            [int(c) for c in channels], strides, head=files.heads[number], extractor=str(path)
        )
        warn_if_foreign(head.facts, opened.sha, opened.input_size_hw, path)
    if isinstance(opened, PersonDetector):
        return OnePassEncoder(opened), maps
    return ExtractorEncoder(opened), maps


def _all_layers(heads: Iterable[HeadSession]) -> Iterable[str]:
    return (name for head in heads for name in head.facts.layers)


def _source(
    head: Path, extractor: Path | None, detector: Path | None, facts: ExportedSpec
) -> Path | None:
    """The file that gives a head its features; None for one that reads the picture itself."""
    if facts.end_to_end:
        if extractor is not None:
            raise InputError(
                f"model {head} is end to end, its extractor is inside: leave out --extractor, or "
                "name one for each model and 'none' for this one"
            )
        return None
    source = extractor or own_extractor(head, facts) or detector
    if source is None:
        raise InputError(
            f"model {head} is a head without its extractor: pass the one it was trained on "
            f"(--extractor FILE.onnx with {', '.join(facts.layers)}), or an end-to-end file"
        )
    return source


def _same(first: Path | None, second: Path | None) -> bool:
    return first is not None and second is not None and first.resolve() == second.resolve()
