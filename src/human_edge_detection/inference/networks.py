"""Opens the networks of a model, each once: its heads, and the encoders that they read."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.images import EncodedImage, PreparedImage, prepare_image
from human_edge_detection.core.spec import ExportedSpec
from human_edge_detection.core.structures import ImageArray, stacked
from human_edge_detection.inference.ensemble import Ensemble, Member
from human_edge_detection.runtime.detector import DetectorSession, holds_detector
from human_edge_detection.runtime.head import HeadSession
from human_edge_detection.runtime.model_files import ModelFiles, own_extractor
from human_edge_detection.runtime.providers import in_passes, pass_size
from human_edge_detection.runtime.sessions import SessionOptions

if TYPE_CHECKING:
    from human_edge_detection.runtime.feature_extractor import YOLOv9FeatureExtractor

logger = logging.getLogger(__name__)

Source = tuple[Path | None, tuple[int, int]]
"""What a head reads: an extractor's file (None for the photo itself) at a height and width."""


class ImageEncoder(Protocol):
    """Turns photos into what a head reads. Its methods may be called from any thread."""

    @property
    def finds_people(self) -> bool:
        """Whether :meth:`encode` returns people too."""

    def prepare(self, image: ImageArray) -> PreparedImage:
        """The photo uint8 [H, W, 3] RGB as the network reads it."""

    def encode(self, pictures: Sequence[PreparedImage], score: float) -> list[EncodedImage]:
        """The head's inputs, with the people of at least ``score`` where the network finds them."""

    def close(self) -> None:
        """Free the session."""


class _ExtractorEncoder:
    """A feature extractor without boxes."""

    finds_people = False

    def __init__(self, extractor: YOLOv9FeatureExtractor) -> None:
        self._extractor = extractor

    def prepare(self, image: ImageArray) -> PreparedImage:
        return prepare_image(image, self._extractor.input_size_hw)

    def encode(self, pictures: Sequence[PreparedImage], score: float) -> list[EncodedImage]:
        provider, encoded = self._extractor.provider, []
        for some in in_passes(pictures, provider, None):
            size = pass_size(len(some), provider)
            maps = self._extractor(stacked([picture.tensor for picture in some], size))
            for number, picture in enumerate(some):
                own = [item[number : number + 1] for item in maps]
                encoded.append(EncodedImage(own, picture))
        return encoded

    def close(self) -> None:
        self._extractor.close()


class _OnePassEncoder:
    """A network that finds boxes and features in one pass."""

    finds_people = True

    def __init__(self, detector: DetectorSession) -> None:
        self._detector = detector

    def prepare(self, image: ImageArray) -> PreparedImage:
        return self._detector.prepare(image)

    def encode(self, pictures: Sequence[PreparedImage], score: float) -> list[EncodedImage]:
        found = zip(pictures, self._detector.run(pictures, score), strict=True)
        return [EncodedImage(maps, picture, people) for picture, (people, maps) in found]

    def close(self) -> None:
        self._detector.close()


class _PictureEncoder:
    """No network: an end-to-end file reads the letterboxed photo itself."""

    finds_people = False

    def __init__(self, input_size_hw: tuple[int, int]) -> None:
        self._input_size_hw = input_size_hw

    def prepare(self, image: ImageArray) -> PreparedImage:
        return prepare_image(image, self._input_size_hw)

    def encode(self, pictures: Sequence[PreparedImage], score: float) -> list[EncodedImage]:
        return [EncodedImage([picture.tensor], picture) for picture in pictures]

    def close(self) -> None:
        pass


class _JoinedEncoders:
    """The networks of an ensemble, in turn; people are those of the first that finds any."""

    def __init__(self, encoders: Sequence[ImageEncoder]) -> None:
        self._encoders = tuple(encoders)
        self.finds_people = any(encoder.finds_people for encoder in encoders)

    def prepare(self, image: ImageArray) -> PreparedImage:
        first, *others = (encoder.prepare(image) for encoder in self._encoders)
        return replace(first, others=tuple(others))

    def encode(self, pictures: Sequence[PreparedImage], score: float) -> list[EncodedImage]:
        rows = zip(*((picture, *picture.others) for picture in pictures), strict=True)
        parts = [e.encode(row, score) for e, row in zip(self._encoders, rows, strict=False)]
        return [_joined(own) for own in zip(*parts, strict=True)]

    def close(self) -> None:
        for encoder in self._encoders:
            encoder.close()


def _joined(parts: Sequence[EncodedImage]) -> EncodedImage:
    """One photo as several networks read it; people are those of the first that finds any."""
    people = next((part.people for part in parts if part.people is not None), None)
    return replace(parts[0], people=people, others=tuple(parts[1:]))


def open_networks(
    files: ModelFiles, options: SessionOptions
) -> tuple[ImageEncoder, Ensemble, DetectorSession | None, tuple[float, ...]]:
    """The encoder, the heads, and a separate detector where boxes take a pass of their own.

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
        detector = DetectorSession(
            files.detector, options, layout=files.layout, person_class=files.person_class,
            image_size_hw=heads[0].facts.image_size,
        )  # fmt: skip
    # The detector's own file comes first, because the first network that finds people is used.
    order = sorted(dict.fromkeys(sources), key=lambda source: not _same(source[0], files.detector))
    encoders, members = [], dict[int, Member]()
    for number, source in enumerate(order):
        readers = {i: heads[i] for i, wanted in enumerate(sources) if wanted == source}
        encoder, maps = _open_encoder(source, readers, files, options, detector is None)
        encoders.append(encoder)
        members |= {i: Member(heads[i], number, maps[i]) for i in readers}
    encoder = encoders[0] if len(encoders) == 1 else _JoinedEncoders(encoders)
    own = (m.head.facts.score_weights for m in members.values() if encoders[m.encoder].finds_people)
    weights = next(own, ()) if detector is None else ()
    return encoder, Ensemble([members[i] for i in range(len(heads))]), detector, weights


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
        return _PictureEncoder(size_hw), dict.fromkeys(readers, (0,))
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
        encoder = _OnePassEncoder(opened)
    else:
        from human_edge_detection.runtime.feature_extractor import YOLOv9FeatureExtractor

        opened = YOLOv9FeatureExtractor(
            path, options.device, options.providers, layers, image_size_hw=size_hw,
            threads=options.threads,
        )  # fmt: skip
        encoder = _ExtractorEncoder(opened)
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
