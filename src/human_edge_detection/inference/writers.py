"""Writes results in the formats of ``--save``, each file whole or not at all.

A new format is one writing function, one row of :data:`FORMATS`, and its name in
``inference.SAVE_KINDS``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.files import remove_file, replacing, write_atomically
from human_edge_detection.core.images import save_image
from human_edge_detection.core.structures import ImageArray
from human_edge_detection.inference.label_studio import task_of
from human_edge_detection.inference.movie import open_movie
from human_edge_detection.inference.sources import Frame
from human_edge_detection.masks.instance_masks import InstanceMasks


@dataclass(frozen=True)
class Output:
    """Where results go and how they are made.

    Attributes:
        folder: the output; each format has a folder in it, as in ``overlay/NAME.jpg``.
        kinds: keys of :data:`FORMATS`.
        threshold: probability from which a pixel belongs to a person.
        draw_boxes: draw the person boxes in the overlay too.
    """

    folder: Path
    kinds: Sequence[str]
    threshold: float = 0.5
    draw_boxes: bool = False


@dataclass(frozen=True)
class Picture:
    """One photo, or one frame of a video, with its masks.

    Attributes:
        name: path of its results in each format's folder, without ending.
        image: uint8 [H, W, 3] RGB.
        masks: the people in it.
        image_id: its id in COCO results; the number of a frame.
        file_name: the photo's file in COCO results.
        seconds: time of a frame in its video.
    """

    name: str
    image: ImageArray
    masks: InstanceMasks
    image_id: int = 0
    file_name: str | None = None
    seconds: float = 0.0


Results = list[dict[str, Any]]
"""COCO results, which the resume log keeps for ``predictions.json``."""

_CUTOUT_NAME = re.compile(r"[0-9]{3,}\.png")

AddPicture = Callable[[Picture], object]
AddFrame = Callable[[Frame, InstanceMasks], None]


@dataclass(frozen=True)
class Format:
    """One row of :data:`FORMATS`.

    Attributes:
        write: writes one picture's files; returns COCO results if the format has any.
        film: opens one file for all frames of a video, by the video's name and frames per second;
            None if each frame is written like a photo.
        in_predictions: ``write`` returns results for ``predictions.json``.
    """

    write: Callable[[Output, Picture], Results | None]
    film: Callable[[Output, str, float], AbstractContextManager[AddPicture]] | None = None
    in_predictions: bool = False


def write_picture(output: Output, picture: Picture) -> Results:
    """Write one photo in all formats asked for, and return its COCO results.

    Raises:
        InputError: a file cannot be written; none is left half-written.
    """
    found = [FORMATS[kind].write(output, picture) for kind in output.kinds]
    return [result for results in found if results for result in results]


@contextmanager
def open_film(output: Output, name: str, fps: float) -> Iterator[AddFrame]:
    """The function that writes a video's frames, in order, in all formats asked for.

    Files of the whole video get their names at the end, if there was no error; ``name`` is their
    path without ending.

    Raises:
        InputError: a file cannot be written.
    """
    with ExitStack() as stack:
        adders: list[AddPicture] = []
        for row in (FORMATS[kind] for kind in output.kinds):
            if row.film is not None:
                adders.append(stack.enter_context(row.film(output, name, fps)))
            else:
                adders.append(partial(row.write, output))

        def add(frame: Frame, masks: InstanceMasks) -> None:
            path = f"{name}/{frame.number:06}"
            picture = Picture(path, frame.image, masks, frame.number, seconds=frame.seconds)
            for adder in adders:
                adder(picture)

        yield add


def _path(output: Output, kind: str, name: str, suffix: str) -> Path:
    """The path of a result.

    Raises:
        InputError: if it would not lie in the output, by its name or because of a link there.
    """
    path = output.folder / kind / f"{name}{suffix}"
    place, parts = str(output.folder), PurePath(kind, name).parts
    is_inside = ".." not in parts and not PurePath(name).anchor
    for part in parts[:-1]:
        place = os.path.join(place, part)
        is_inside = is_inside and not os.path.islink(place)
    if not is_inside:
        raise InputError(
            f"{path} does not lie in {output.folder}: its name leaves it, or a folder is a link"
        )
    return path


def _overlay(output: Output, picture: Picture) -> ImageArray:
    return picture.masks.overlay(picture.image, output.threshold, boxes=output.draw_boxes)


def _write_overlay(output: Output, picture: Picture) -> None:
    save_image(_path(output, "overlay", picture.name, ".jpg"), _overlay(output, picture))


@contextmanager
def _overlay_film(output: Output, name: str, fps: float) -> Iterator[AddPicture]:
    """``video/NAME.mp4``; it is opened with the first frame, whose size it has."""
    path = _path(output, "video", name, ".mp4")
    with ExitStack() as stack:
        write: list[Callable[[ImageArray], None]] = []

        def add(picture: Picture) -> None:
            shown = _overlay(output, picture)
            height, width = shown.shape[:2]
            # the codec needs even sides
            even = cv2.copyMakeBorder(shown, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
            if not write:
                size_wh = (even.shape[1], even.shape[0])
                write.append(stack.enter_context(open_movie(path, fps, size_wh)))
            write[0](np.asarray(even, np.uint8))

        yield add


def _coco_results(output: Output, picture: Picture) -> Results:
    return picture.masks.to_coco(picture.image_id, picture.file_name, threshold=output.threshold)


@contextmanager
def _coco_film(output: Output, name: str, fps: float) -> Iterator[AddPicture]:
    """``video/NAME.jsonl``, one line a frame."""
    with (
        replacing(_path(output, "video", name, ".jsonl")) as unfinished,
        open(unfinished, "w", encoding="utf-8") as file,
    ):

        def add(picture: Picture) -> None:
            people = _coco_results(output, picture)
            seconds = round(picture.seconds, 4)
            line = {"frame": picture.image_id, "seconds": seconds, "people": people}
            file.write(json.dumps(line) + "\n")

        yield add


def label_image(masks: InstanceMasks, threshold: float) -> NDArray[np.uint16]:
    """The label map uint16 [H, W], as it is written.

    Raises:
        InputError: there are more people than 16 bits can number.
    """
    if (most := max(masks.numbers, default=0)) > np.iinfo(np.uint16).max:
        raise InputError(f"the photo has a person of number {most}: 16-bit labels end before")
    return masks.label_map(threshold).astype(np.uint16)


def _write_labels(output: Output, picture: Picture) -> None:
    labels = label_image(picture.masks, output.threshold)
    save_image(_path(output, "labels", picture.name, ".png"), labels)


def _write_cutouts(output: Output, picture: Picture) -> None:
    cutouts = picture.masks.cutouts(picture.image, output.threshold)
    folder = _path(output, "cutouts", f"{picture.name}/001", ".png").parent
    # Of people who were found in the photo before, as it or its model was then.
    old = {path for path in folder.glob("*.png") if _CUTOUT_NAME.fullmatch(path.name)}
    for number, cutout in zip(picture.masks.numbers, cutouts, strict=True):
        if cutout.size:
            path = _path(output, "cutouts", f"{picture.name}/{number:03}", ".png")
            save_image(path, cutout)
            old.discard(path)
    for path in old:
        if path.is_file() and not path.is_symlink():
            remove_file(path)


def polygon_results(masks: InstanceMasks, threshold: float) -> Results:
    """Everybody's box, score and outer rings, as they are written."""
    people = []
    for person, rings in enumerate(masks.polygons(threshold)):
        fields: dict[str, Any] = {
            "box_xyxy": [round(float(value), 3) for value in masks.boxes_xyxy[person]],
            "score": round(float(masks.scores[person]), 5),
            "polygons": [np.round(ring, 2).tolist() for ring in rings],
        }
        if masks.ids:
            fields["annotation_id"] = masks.ids[person]
        if masks.track_ids:
            fields["track_id"] = masks.track_ids[person]
        people.append(fields)
    return people


def _write_polygons(output: Output, picture: Picture) -> None:
    people = polygon_results(picture.masks, output.threshold)
    size_hw = list(picture.masks.size_hw)
    content = {"name": picture.name, "size_hw": size_hw, "people": people}
    path = _path(output, "polygons", picture.name, ".json")
    write_atomically(path, json.dumps(content).encode())


def _write_label_studio(output: Output, picture: Picture) -> None:
    if picture.file_name is None:
        raise InputError("--save label_studio is for photos: a video's frames are no files")
    task = task_of(picture.masks, picture.file_name, output.threshold)
    path = _path(output, "label_studio", picture.name, ".json")
    write_atomically(path, json.dumps(task).encode())


FORMATS = {
    "overlay": Format(_write_overlay, _overlay_film),
    "coco": Format(_coco_results, _coco_film, in_predictions=True),
    "labels": Format(_write_labels),
    "cutouts": Format(_write_cutouts),
    "polygons": Format(_write_polygons),
    "label_studio": Format(_write_label_studio),
}
"""Value of ``--save`` → how it is written."""
