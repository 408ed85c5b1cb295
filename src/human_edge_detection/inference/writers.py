"""Writes one photo's masks in the formats that were asked for, each file whole or not at all.

Streams a video through the predictor: an overlay video and one JSON line per frame.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.files import replacing, write_atomically
from human_edge_detection.core.images import save_image
from human_edge_detection.core.structures import ImageArray
from human_edge_detection.masks.instance_masks import InstanceMasks


@dataclass(frozen=True)
class ResultFiles:
    """The folders of results, one per kind: ``overlay/NAME.jpg`` and the like.

    Attributes:
        folder: the output.
        kinds: which of ``SAVE_KINDS`` to write; ``coco`` is left to the caller.
        threshold: probability from which a pixel belongs to a person.
        draw_boxes: draw the person boxes in the overlay too.
    """

    folder: Path
    kinds: Sequence[str]
    threshold: float = 0.5
    draw_boxes: bool = False

    def overlay(self, image: ImageArray, masks: InstanceMasks) -> ImageArray:
        """The picture with every person tinted, outlined and numbered, uint8 [H, W, 3]."""
        return masks.overlay(image, self.threshold, boxes=self.draw_boxes)

    def write(self, name: str, image: ImageArray, masks: InstanceMasks) -> None:
        """Write all pictures and polygons of one photo.

        Args:
            name: path of the results below each kind's folder, without ending.
            image: uint8 [H, W, 3] RGB.
            masks: the people in it.

        Raises:
            InputError: a file cannot be written; none is left half-written.
        """
        if "overlay" in self.kinds:
            save_image(self._path("overlay", name, ".jpg"), self.overlay(image, masks))
        self.write_data(name, image, masks)

    def write_data(self, name: str, image: ImageArray, masks: InstanceMasks) -> None:
        """The same without the overlay, which a video has as frames of one file."""
        if "labels" in self.kinds:
            labels = masks.label_map(self.threshold).astype(np.uint16)
            save_image(self._path("labels", name, ".png"), labels)
        if "cutouts" in self.kinds:
            for number, cutout in enumerate(masks.cutouts(image, self.threshold), start=1):
                if cutout.size:
                    save_image(self._path("cutouts", f"{name}/{number:03}", ".png"), cutout)
        if "polygons" in self.kinds:
            text = json.dumps(self._polygons(name, masks))
            write_atomically(self._path("polygons", name, ".json"), text.encode())

    def _path(self, kind: str, name: str, suffix: str) -> Path:
        return self.folder / kind / f"{name}{suffix}"

    def _polygons(self, name: str, masks: InstanceMasks) -> dict[str, Any]:
        people = []
        for person, rings in enumerate(masks.polygons(self.threshold)):
            fields: dict[str, Any] = {
                "box_xyxy": [round(float(value), 3) for value in masks.boxes_xyxy[person]],
                "score": round(float(masks.scores[person]), 5),
                "polygons": [np.round(ring, 2).tolist() for ring in rings],
            }
            if masks.ids:
                fields["annotation_id"] = masks.ids[person]
            people.append(fields)
        return {"name": name, "size_hw": list(masks.size_hw), "people": people}


MISSING_SHARE = 0.05
"""A container's frame count is often a little off; more missing than this is a cut-off file."""


@dataclass(frozen=True)
class Frame:
    """One frame of a video.

    Attributes:
        number: its place in the video, from 0.
        seconds: when it is shown.
        image: uint8 [H, W, 3] RGB, upright.
    """

    number: int
    seconds: float
    image: ImageArray


class VideoReader:
    """The frames of a video file, one at a time.

    Attributes:
        fps: frames per second.
        count: frames that the file says it has; 0 if it does not say.
    """

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            InputError: it is missing or no video that OpenCV can decode.
        """
        if not path.is_file():
            raise InputError(f"{path}: no such video file")
        self._path = path
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise InputError(
                f"{path} is not a video that can be decoded: damaged, or its codec is "
                "unknown (ffmpeg -i FILE out.mp4 converts it)"
            )
        self.fps = self._capture.get(cv2.CAP_PROP_FPS) or 25.0
        self.count = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def frames(self, every: int = 1) -> Iterator[Frame]:
        """Every ``every``-th frame; the others are skipped without being converted.

        Raises:
            InputError: after the last frame, if the file ends long before its own count.
        """
        number = 0
        while self._capture.grab():
            if number % every == 0:
                good, bgr = self._capture.retrieve()
                if not good:
                    break
                image = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
                yield Frame(number, number / self.fps, image)
            number += 1
        if number == 0 or number < self.count * (1 - MISSING_SHARE):
            raise InputError(
                f"{self._path} is damaged or cut off: {number} of {self.count} frames "
                "could be decoded"
            )

    def close(self) -> None:
        """Close the file."""
        self._capture.release()


class VideoWriter:
    """The results of one video: ``video/NAME.mp4`` and ``video/NAME.jsonl``.

    A context manager; both files get their names when it ends without an error.
    """

    def __init__(self, files: ResultFiles, name: str, fps: float) -> None:
        """Write what ``files.kinds`` says.

        Args:
            files: the output folder and its formats.
            name: path of the results, without ending.
            fps: frames per second of the overlay video.
        """
        self._files, self._name, self._fps = files, name, fps
        self._stack = ExitStack()
        self._lines: IO[str] | None = None
        self._movie: cv2.VideoWriter | None = None

    def __enter__(self) -> VideoWriter:
        """Open the file of lines; the movie waits for the first frame's size."""
        if "coco" in self._files.kinds:
            partial = self._stack.enter_context(replacing(self._path(".jsonl")))
            self._lines = self._stack.enter_context(open(partial, "w", encoding="utf-8"))
        return self

    def __exit__(self, *error: Any) -> bool | None:
        """Close the files and give them their names, or remove them after an error."""
        return self._stack.__exit__(*error)

    def add(self, frame: Frame, masks: InstanceMasks) -> None:
        """Write one frame's results; frames come in order.

        Raises:
            InputError: a file cannot be written.
        """
        files = self._files
        if self._lines is not None:
            people = masks.to_coco(frame.number, threshold=files.threshold)
            line = {"frame": frame.number, "seconds": round(frame.seconds, 4), "people": people}
            self._lines.write(json.dumps(line) + "\n")
        if "overlay" in files.kinds:
            self._show(files.overlay(frame.image, masks))
        files.write_data(f"{self._name}/{frame.number:06}", frame.image, masks)

    def _show(self, picture: ImageArray) -> None:
        height, width = picture.shape[:2]
        if self._movie is None:
            self._movie = self._open_movie((width + width % 2, height + height % 2))
        # the codec wants even sides
        even = cv2.copyMakeBorder(picture, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        self._movie.write(cv2.cvtColor(even, cv2.COLOR_RGB2BGR))

    def _open_movie(self, size_wh: tuple[int, int]) -> cv2.VideoWriter:
        path = self._path(".mp4")
        partial = self._stack.enter_context(replacing(path))
        codec = cv2.VideoWriter.fourcc(*"mp4v")
        movie = cv2.VideoWriter(str(partial), codec, self._fps, size_wh)
        if not movie.isOpened():
            raise InputError(f"{path} cannot be written as a video of {size_wh[0]}x{size_wh[1]}")
        self._stack.callback(movie.release)
        return movie

    def _path(self, suffix: str) -> Path:
        return self._files.folder / "video" / f"{self._name}{suffix}"
