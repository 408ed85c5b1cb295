"""Opens the networks of a model, each once: its heads, and the encoders that they read."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.spec import ExportedSpec
from human_edge_detection.inference.encoders import (
    ExtractorEncoder,
    ImageEncoder,
    JoinedEncoders,
    PictureEncoder,
    encoder_of,
)
from human_edge_detection.inference.ensemble import Ensemble, Member
from human_edge_detection.runtime.detector import DetectorSession, holds_detector
from human_edge_detection.runtime.head import HeadSession
from human_edge_detection.runtime.model_files import ModelFiles, own_extractor
from human_edge_detection.runtime.sessions import SessionOptions

if TYPE_CHECKING:
    from human_edge_detection.runtime.feature_extractor import YOLOv9FeatureExtractor

logger = logging.getLogger(__name__)

Source = tuple[Path | None, tuple[int, int]]
"""What a head reads: an extractor's file (None for the photo itself) at a height and width."""


def open_networks(
    files: ModelFiles, options: SessionOptions
) -> tuple[ImageEncoder, Ensemble, ImageEncoder | None, tuple[float, ...]]:
    """The encoder, the heads, and a detector's where boxes take a pass of their own.

    The last is the ``score_weights`` of the head whose own network finds the people, else ().

    Raises:
        InputError: if a file is missing, damaged or does not fit the others.
    """
    heads = [HeadSession(path, options) for path in files.heads]
    sources, named = [], dict[str, Path]()
    for head, extractor, session in zip(files.heads, files.extractors, heads, strict=True):
        path = _source(head, extractor, files.detector, session.facts)
        path = None if path is None else named.setdefault(os.path.realpath(path), path)
        sources.append((path, _size_hw(head, path, session.facts, options)))
    detector = None
    if files.detector is not None and not any(_same(path, files.detector) for path, _ in sources):
        opened = DetectorSession(
            files.detector, options, layout=files.layout, person_class=files.person_class,
            image_size_hw=heads[0].facts.image_size,
        )  # fmt: skip
        detector = encoder_of(opened)
    # The detector's own file comes first, because the first network that finds people is used.
    order = sorted(dict.fromkeys(sources), key=lambda source: not _same(source[0], files.detector))
    encoders, members = list[ImageEncoder](), dict[int, Member]()
    weights = list[tuple[float, ...]]()
    for source in order:
        readers = {i: heads[i] for i, wanted in enumerate(sources) if wanted == source}
        encoder, maps = _open_encoder(source, readers, files, options, detector is None)
        first = sum(other.views for other in encoders)
        views = tuple(range(first, first + encoder.views))
        members |= {i: Member(heads[i], views, maps[i]) for i in readers}
        if encoder.finds_people and detector is None:
            weights += [head.facts.score_weights for head in readers.values()]
        encoders.append(encoder)
    encoder = encoders[0] if len(encoders) == 1 else JoinedEncoders(encoders)
    joined = Ensemble([members[i] for i in range(len(heads))])
    return encoder, joined, detector, next(iter(weights), ())


def _open_encoder(
    source: Source,
    readers: dict[int, HeadSession],
    files: ModelFiles,
    options: SessionOptions,
    may_find_people: bool,
) -> tuple[ImageEncoder, dict[int, tuple[int, ...]]]:
    """The network that some heads read, and which of its maps each takes."""
    path, size_hw = source
    if path is None:
        return PictureEncoder(size_hw), dict.fromkeys(readers, (0,))
    layers = tuple(dict.fromkeys(name for head in readers.values() for name in head.facts.layers))
    opened: DetectorSession | YOLOv9FeatureExtractor
    encoder: ImageEncoder
    if _same(path, files.detector) or holds_detector(path):
        opened = DetectorSession(
            path, options, layers=layers, image_size_hw=size_hw,
            layout=files.layout if may_find_people else "auto",
            person_class=files.person_class if may_find_people else None,
        )  # fmt: skip
        if any(head.provider != opened.provider for head in readers.values()):
            opened.multiple = 0  # the photos' maps pass through the head together
        encoder = encoder_of(opened)
    else:
        from human_edge_detection.runtime.feature_extractor import YOLOv9FeatureExtractor

        opened = YOLOv9FeatureExtractor(
            path, options.device, options.providers, layers, image_size_hw=size_hw,
            threads=options.threads,
        )  # fmt: skip
        encoder = ExtractorEncoder(opened)
    if opened.input_size_hw != size_hw and options.image_size is not None:
        height, width = opened.input_size_hw
        raise _size_error(options.image_size, path, height, width)
    maps: dict[int, tuple[int, ...]] = {}
    for number, head in readers.items():
        maps[number] = tuple(layers.index(name) for name in head.facts.layers)
        head.facts.check_fits(
            [int(opened.channels[i]) for i in maps[number]],
            [opened.strides[i] for i in maps[number]],
            head=files.heads[number],
            extractor=str(path),
        )
        _warn_if_foreign(head.facts, opened.sha, opened.input_size_hw, path)
    return encoder, maps


def _source(
    head: Path, extractor: Path | None, detector: Path | None, facts: ExportedSpec
) -> Path | None:
    """The file that gives a head its features; None for a head that reads the photo itself."""
    if facts.end_to_end:
        if extractor is not None:
            raise InputError(
                f"model {head} is end to end, its extractor is inside: leave out extractor, or "
                "name one for each model and none for this one"
            )
        return None
    source = extractor or own_extractor(head, facts) or detector
    if source is None:
        raise InputError(
            f"model {head} is a head without its extractor: pass as extractor the one it was "
            f"trained on (an ONNX file with {', '.join(facts.layers)}), or an end-to-end file"
        )
    return source


def _size_hw(
    head: Path, extractor: Path | None, facts: ExportedSpec, options: SessionOptions
) -> tuple[int, int]:
    """Height and width of the largest image of the network that a head reads."""
    if options.image_size is None:
        return facts.image_size
    if extractor is None:
        raise _size_error(options.image_size, head, *facts.image_size)
    return options.image_size, options.image_size


def _size_error(image_size: int, path: Path, height: int, width: int) -> InputError:
    return InputError(
        f"image_size {image_size} does not fit {path}, whose input is fixed to {height}x{width}: "
        "leave it out, or export the model at that size"
    )


def _same(first: Path | None, second: Path | None) -> bool:
    if first is None or second is None:
        return False
    return os.path.realpath(first) == os.path.realpath(second)


def _warn_if_foreign(
    facts: ExportedSpec, sha: str, size_hw: tuple[int, int], path: Path | str
) -> None:
    """Log where the extractor differs from that of the training, but can still be used."""
    if facts.extractor_sha and sha != facts.extractor_sha:
        logger.warning(
            "%s is not the file that the head was trained on (%s, here %s): fine if its weights "
            "are the same, otherwise the masks will be poor",
            path,
            facts.extractor_sha,
            sha,
        )
    if size_hw != facts.image_size:
        trained = facts.image_size
        logger.info("%s works at %s, the head was trained at %s", path, size_hw, trained)
