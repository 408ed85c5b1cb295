"""Where the time of ``predict`` goes on a folder of photos or on a video.

Every stage alone, one after the other, and the command itself, which overlaps them.

uv run python benchmarks/folder_profile.py SOURCE --model HEAD.onnx --extractor NET.onnx \
    [--boxes FILE | --detector NET.onnx]
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from human_edge_detection import MaskPredictor
from human_edge_detection.cli import main as run_command
from human_edge_detection.core.images import read_image, save_image
from human_edge_detection.core.structures import ImageArray
from human_edge_detection.inference.box_files import open_boxes
from human_edge_detection.inference.sources import VideoReader, find_sources

Value = TypeVar("Value")


class Stages:
    """Wall seconds by stage."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def run(self, name: str, function: Callable[[], Value]) -> Value:
        """What the function returns, its time noted."""
        started = time.perf_counter()
        result = function()
        self.seconds[name] += time.perf_counter() - started
        return result


def pictures(paths: list[Path], stages: Stages) -> Iterator[tuple[Path, ImageArray]]:
    """The photos, or the frames of the videos, decoded."""
    for path in paths:
        if path.suffix.lower() not in (".mp4", ".avi", ".mov", ".mkv"):
            yield path, stages.run("decode", lambda path=path: read_image(path))
            continue
        frames = VideoReader(path).frames(1)
        while (frame := stages.run("decode", lambda frames=frames: next(frames, None))) is not None:
            if not isinstance(frame, Exception):
                yield path, frame.image


def main() -> None:
    """Print milliseconds a picture and the share of each stage, then the command's own time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--extractor", type=Path)
    parser.add_argument("--detector", type=Path)
    parser.add_argument("--boxes", type=Path)
    arguments = parser.parse_args()
    paths = [source.path for source in find_sources((arguments.source,))]
    given = None if arguments.boxes is None else open_boxes(arguments.boxes)
    stages, count, people = Stages(), 0, 0
    with (
        TemporaryDirectory() as folder,
        MaskPredictor(
            arguments.model, arguments.extractor, arguments.detector, device="cpu"
        ) as predictor,
    ):
        for path, image in pictures(paths, stages):
            prepared = stages.run("prepare", lambda image=image: predictor.prepare(image))
            encoded = stages.run("extractor", lambda prepared=prepared: predictor.encode(prepared))
            if given is not None:
                key = given.key(str(path))
                if key is None:
                    continue
                boxes = given.read(key).for_photo((image.shape[0], image.shape[1])).boxes_xyxy
            elif encoded.people is not None:
                boxes = encoded.people.boxes_xyxy
            else:
                boxes = stages.run(
                    "detector", lambda image=image: predictor.detect(image).boxes_xyxy
                )
            masks = stages.run("head", lambda e=encoded, b=boxes: predictor.decode(e, b))
            stages.run("paste", masks.label_map)
            stages.run("RLE", lambda masks=masks: masks.to_coco(1))
            drawn = stages.run("draw", lambda m=masks, image=image: m.overlay(image))
            stages.run("JPEG", lambda drawn=drawn: save_image(Path(folder) / "o.jpg", drawn))
            count, people = count + 1, people + len(boxes)
        total = sum(stages.seconds.values())
        print(f"{count} pictures, {people / count:.1f} people each\n")
        print("| stage | ms | share |\n|---|---|---|")
        for name, seconds in stages.seconds.items():
            print(f"| {name} | {1000 * seconds / count:.1f} | {seconds / total:.0%} |")
        flags = [
            arguments.source,
            "--save",
            "overlay,coco",
            "--output",
            f"{folder}/results",
            "--device",
            "cpu",
        ]
        for name in ("model", "extractor", "detector", "boxes"):
            if getattr(arguments, name) is not None:
                flags += [f"--{name}", str(getattr(arguments, name))]
        started = time.perf_counter()
        run_command(["predict", *flags])
        wall = time.perf_counter() - started
    print(f"| one after the other | {1000 * total / count:.1f} | |")
    print(f"| `predict`, start included | {1000 * wall / count:.1f} | {wall / total:.0%} |")


if __name__ == "__main__":
    main()
