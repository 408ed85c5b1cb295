"""The ``benchmark`` command: models, providers and numbers of people, on photos or drawn crowds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.options import option, require_least

if TYPE_CHECKING:
    from human_edge_detection.inference.benchmark import Target

BENCHMARK_PROVIDERS = ("cpu", "cuda", "tensorrt")


@dataclass(frozen=True)
class BenchmarkOptions:
    """The options of ``benchmark``."""

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
    people: tuple[int, ...] = option((1, 5, 20, 100), "numbers of people per photo")
    photos: tuple[str, ...] = option(
        (), "photos, folders or globs; the first 50 are used (default: drawn crowds of 1280x720)"
    )
    rounds: int = option(15, "rounds that count; each times everything once", least=1)
    warmup: int = option(2, "rounds before them that do not", least=0)
    no_cold: bool = option(False, "leave out the cold starts")
    max_rois: int | None = option(
        None,
        "people that pass through the head at once (default: 128, or 4 for a spec head)",
        least=1,
    )
    threads: int | None = option(None, "CPU threads of the networks (default: all cores)")
    output: Path = option(Path("benchmark.json"), "the JSON file to write")

    def __post_init__(self) -> None:
        require_least(self)
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


MOST_PHOTOS = 50
DRAWN_SIZE_HW = (360, 640)
DRAWN_SCALE = 2
DRAWN_COUNT = 2


def run_benchmark(options: BenchmarkOptions) -> None:
    """Measure, print the tables and write the JSON file.

    Raises:
        InputError: if a model, a photo or a provider that was asked for is absent.
    """
    from human_edge_detection.cli.benchmark_tables import Results, as_json, machine_stamp, markdown
    from human_edge_detection.core.files import write_atomically
    from human_edge_detection.inference.benchmark import (
        make_scene,
        measure_cold,
        pair_up,
        time_targets,
    )

    targets = plan(options)
    with photos_of(options) as photos:
        scenes = [make_scene(path, max(options.people)) for path in photos]
        cold = [
            (target, start)
            for target in ([] if options.no_cold else targets)
            for start in measure_cold(target, photos[0], options.people)
        ]
        laps = time_targets(targets, scenes, options.people, options.rounds, options.warmup)
    stamp = {**machine_stamp(), **describe(options, targets, photos)}
    results = Results(stamp, laps, pair_up(laps), cold)
    print(markdown(results))
    write_atomically(options.output, json.dumps(as_json(results), indent=1).encode())
    print(f"\nevery round: {options.output}")


def plan(options: BenchmarkOptions) -> list[Target]:
    """Every model on every provider asked for, or present.

    Raises:
        InputError: if no model is given and none ships, or a provider is missing.
    """
    from human_edge_detection.inference.benchmark import Target, present_devices
    from human_edge_detection.runtime.providers import choose_providers

    for device in options.providers:
        choose_providers(device)
    targets = []
    for device in options.providers or present_devices():
        files = _model_files(options, device)
        names = _short_names([model for model, _ in files])
        targets += [
            Target(name, model, extractor, device, options.max_rois, options.threads)
            for name, (model, extractor) in zip(names, files, strict=True)
        ]
    return targets


def _model_files(options: BenchmarkOptions, device: str) -> list[tuple[Path, Path | None]]:
    from human_edge_detection.runtime.model_files import name_files
    from human_edge_detection.runtime.sessions import SessionOptions

    named = [_extractor(text) for text in options.extractor]
    files = name_files(options.model, named, options=SessionOptions(device))
    pairs = list(zip(files.heads, files.extractors, strict=True))
    if options.versus is not None:
        other = options.versus_extractor
        pairs.append((options.versus, pairs[0][1] if other is None else _extractor(other)))
    return pairs


def _extractor(text: str) -> Path | None:
    return None if text == "none" else Path(text)


def _short_names(models: Sequence[Path]) -> list[str]:
    """The files' names, with their folders where two files share one, numbered if need be."""
    stems = [path.stem for path in models]
    if len(set(stems)) < len(stems):
        stems = [f"{path.parent.name}/{path.stem}" for path in models]
    return [
        name if stems.count(name) == 1 else f"{name} ({index + 1})"
        for index, name in enumerate(stems)
    ]


@contextmanager
def photos_of(options: BenchmarkOptions) -> Iterator[list[Path]]:
    """The photos asked for, at most ``MOST_PHOTOS``, or drawn crowds while the context lasts."""
    if options.photos:
        from human_edge_detection.inference.sources import find_sources

        found = [source.path for source in find_sources(options.photos) if not source.is_video]
        if not all(path.is_file() for path in found) or not found:
            raise InputError(f"--photos {options.photos[0]}: give photos, no videos or archives")
        yield found[:MOST_PHOTOS]
        return
    import cv2

    from human_edge_detection.core.images import save_image
    from human_edge_detection.data.sample import draw_crowd

    with TemporaryDirectory() as folder:
        paths = []
        for seed in range(DRAWN_COUNT):
            image, _, _ = draw_crowd(seed, DRAWN_SIZE_HW, people=8)
            large = cv2.resize(image, None, fx=DRAWN_SCALE, fy=DRAWN_SCALE)
            paths.append(Path(folder) / f"drawn_{seed}.jpg")
            save_image(paths[-1], large)
        yield paths


def describe(
    options: BenchmarkOptions, targets: Sequence[Target], photos: Sequence[Path]
) -> dict[str, str]:
    """The files and settings that the numbers belong to."""
    from human_edge_detection.runtime.onnx_graph import read_model, short_hash

    drawn = f"drawn crowds of {DRAWN_SCALE * DRAWN_SIZE_HW[1]}x{DRAWN_SCALE * DRAWN_SIZE_HW[0]}"
    facts = {
        "rounds": f"{options.rounds} after {options.warmup} of warming up",
        "photos": f"{len(photos)} {'given' if options.photos else drawn}",
        "people": "boxes of a crowd's sizes at random places, the same for every model",
    }
    for target in targets:
        used = target.extractor
        inside = "with its extractor inside"
        text = inside if used is None else f"on {used.name} {short_hash(read_model(used))}"
        own = short_hash(read_model(target.model))
        facts[f"model {target.name}"] = f"{target.model.name} {own} {text}"
    return facts
