"""Identity switches and flicker of masks through made clips, frame by frame and with `--track`.

Cut-outs of people walk, turn and pass each other before a drawn place, with a camera's noise and
JPEG's losses; so every pixel's owner and every movement is known. People are drawn, or cut out of
the photos of a COCO file.

uv run python benchmarks/film.py [--ann FILE.json --img_dir DIR] [--clips 3] [--pictures DIR]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from human_edge_detection import InstanceMasks, MaskPredictor, VideoTracker, read_image
from human_edge_detection.core.boxes import box_iou
from human_edge_detection.core.images import save_image
from human_edge_detection.core.rle import decode_segmentation
from human_edge_detection.core.structures import ImageArray
from human_edge_detection.data.sample.person import draw_person
from human_edge_detection.data.sample.scene import PLACES, draw_backdrop

SIZE_HW = (360, 640)
NOISE, JPEG_QUALITY = 4.0, 85
LEAST_CUTOUT = 150
"""Least height in pixels of a photo's cut-out, so that it is rarely enlarged."""


@dataclass(frozen=True)
class Shown:
    """One frame: its picture, whose pixel each is (``i + 1``), and each person's movement.

    Attributes:
        image: uint8 [H, W, 3] RGB.
        owners: int [H, W], 0 for background.
        moves: float [P, 2, 3], from a cut-out's pixels to the frame's.
    """

    image: ImageArray
    owners: NDArray[np.integer]
    moves: NDArray[np.floating]


def drawn_cutouts(rng: np.random.Generator, count: int) -> Iterator[NDArray[np.float32]]:
    """Drawn people, float32 [h, w, 4] with colours multiplied by the opacity 0…1."""
    for _ in range(count):
        light = np.array([0.5, -0.86])
        layer = draw_person(rng, np.array([200.0, 380.0]), 330, light, (420, 400))
        yield np.dstack([layer.color, layer.alpha]).astype(np.float32)


def photo_cutouts(
    rng: np.random.Generator, count: int, ann: Path, img_dir: Path
) -> Iterator[NDArray[np.float32]]:
    """People cut out of photos, as of :func:`drawn_cutouts`; whole ones, alone in their box."""
    content: dict[str, Any] = json.loads(ann.read_bytes())
    photos = {photo["id"]: photo for photo in content["images"]}
    boxes: dict[int, list[list[float]]] = {}
    for person in content["annotations"]:
        x, y, width, height = person["bbox"]
        boxes.setdefault(person["image_id"], []).append([x, y, x + width, y + height])
    people = content["annotations"]
    for index in rng.permutation(len(people)).tolist():
        person, photo = people[index], photos[people[index]["image_id"]]
        x, y, width, height = person["bbox"]
        inside = 3 < x and 3 < y and x + width < photo["width"] - 3 and y + height < photo["height"]
        own = np.array([[x, y, x + width, y + height]])
        overlap = box_iou(own, np.array(boxes[photo["id"]])).sum()
        if person["iscrowd"] or height < LEAST_CUTOUT or not inside or overlap > 1.05:
            continue
        mask = decode_segmentation(person["segmentation"], (photo["height"], photo["width"]))
        image = read_image(img_dir / photo["file_name"])
        part = (slice(int(y), int(y + height) + 1), slice(int(x), int(x + width) + 1))
        alpha = cv2.GaussianBlur(mask[part].astype(np.float32), (0, 0), 0.7)[..., None]
        yield np.concatenate([image[part] * alpha, alpha], axis=2).astype(np.float32)
        count -= 1
        if not count:
            return


def clip(
    cutouts: list[NDArray[np.float32]], rng: np.random.Generator, frames: int
) -> Iterator[Shown]:
    """A clip of people who walk to and fro, the last one in front."""
    height, width = SIZE_HW
    place = PLACES[list(PLACES)[int(rng.integers(len(PLACES)))]]
    backdrop = draw_backdrop(rng, SIZE_HW, 0.4, place)
    count = len(cutouts)
    lanes = rng.permutation(count)
    statures = height * (0.55 + 0.3 * np.arange(count) / max(count - 1, 1))
    starts = (lanes + 0.5) / count * width
    speeds = rng.choice([-1, 1], count) * rng.uniform(0.6, 3.0, count)
    phases = rng.uniform(0, 2 * np.pi, (3, count))
    for number in range(frames):
        picture, owners, moves = backdrop.copy(), np.zeros(SIZE_HW, np.int32), []
        for person, cutout in enumerate(cutouts):
            tall, wide = cutout.shape[:2]
            sway = [np.sin(phase[person] + number / 9) for phase in phases]
            scale = statures[person] / tall * (1 + 0.04 * sway[0])
            span = width - 80
            x = (starts[person] + speeds[person] * number - 40) % (2 * span)
            x = 40 + min(x, 2 * span - x)  # to and fro
            foot = height * (0.86 + 0.1 * person / count) + 4 * sway[1]
            move = cv2.getRotationMatrix2D((wide / 2, tall), 4 * sway[2], scale)
            move[:, 2] += (x - wide / 2, foot - tall)
            layer = cv2.warpAffine(cutout, move, (width, height), flags=cv2.INTER_AREA)
            picture = picture * (1 - layer[..., 3:]) + layer[..., :3]
            owners[layer[..., 3] >= 0.5] = person + 1
            moves.append(move)
        picture += rng.normal(0, NOISE, picture.shape)
        pixels = np.clip(picture, 0, 255).astype(np.uint8)
        packed = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
        yield Shown(np.asarray(cv2.imdecode(packed, 1), np.uint8), owners, np.array(moves))


def matches(masks: NDArray[np.bool_], owners: NDArray[np.integer], people: int) -> NDArray[np.intp]:
    """The row of the mask of each person, by IoU over 0.5 of the visible pixels; -1 for none."""
    rows = np.full(people, -1)
    for person in range(people):
        own = owners == person + 1
        union = (masks | own).sum(axis=(1, 2))
        iou = (masks & own).sum(axis=(1, 2)) / np.maximum(union, 1)
        if len(iou) and iou.max() > 0.5:
            rows[person] = int(iou.argmax())
    return rows


class Score:
    """Sums over a clip: identity switches, flicker and IoU."""

    def __init__(self) -> None:
        self.switches, self.flicker, self.iou = 0, [], []
        self._numbers: dict[int, int] = {}
        self._last: tuple[Shown, dict[int, NDArray[np.bool_]]] | None = None

    def add(self, shown: Shown, masks: NDArray[np.bool_], numbers: Sequence[int]) -> None:
        """Compare a frame's masks with its people, and with the frame before."""
        people = len(shown.moves)
        rows, here = matches(masks, shown.owners, people), {}
        for person in range(people):
            own = shown.owners == person + 1
            if rows[person] < 0:
                if own.any():
                    self.iou.append(0.0)
                continue
            mask = here[person] = masks[rows[person]]
            self.iou.append(float((mask & own).sum() / (mask | own).sum()))
            number = numbers[rows[person]]
            self.switches += self._numbers.get(person, number) != number
            self._numbers[person] = number
            if self._last is not None and person in self._last[1]:
                self.flicker.append(self._change(person, shown, mask, *self._last))
        self._last = (shown, here)

    def _change(
        self, person: int, shown: Shown, mask: NDArray[np.bool_], before: Shown,
        masks_before: dict[int, NDArray[np.bool_]],
    ) -> float:  # fmt: skip
        """Changed pixels of a mask that its person's movement does not explain, per visible one."""
        whole = [cv2.invertAffineTransform(before.moves[person]), shown.moves[person]]
        squares = [np.vstack([move, (0, 0, 1)]) for move in whole]
        move = (squares[1] @ squares[0])[:2]
        size_wh = SIZE_HW[::-1]
        moved = cv2.warpAffine(masks_before[person].astype(np.float32), move, size_wh) >= 0.5
        other = (before.owners != person + 1) & (before.owners > 0)
        hidden = cv2.warpAffine(other.astype(np.float32), move, size_wh, borderValue=1) > 0
        hidden |= (shown.owners != person + 1) & (shown.owners > 0)
        own = (shown.owners == person + 1) & ~hidden
        return float(((moved != mask) & ~hidden).sum() / max(own.sum(), 1))

    def row(self) -> str:
        """The sums as one line."""
        changed = 100 * float(np.mean(self.flicker))
        return f"{self.switches:9d} {changed:11.2f} % {np.mean(self.iou):8.4f}"


def by_place(shown: list[Shown], predictor: MaskPredictor) -> Iterator[InstanceMasks]:
    """Masks of each frame alone, numbered by their place, as without `--track`."""
    for frame in shown:
        yield predictor.segment(frame.image)


def frame_by_frame(shown: list[Shown], predictor: MaskPredictor) -> Iterator[InstanceMasks]:
    """Masks of each frame alone; a person has the number of whoever was there a frame before."""
    count, before, numbers = 0, np.zeros((0, 4), np.float32), []
    for frame in shown:
        masks = predictor.segment(frame.image)
        iou, found = box_iou(masks.boxes_xyxy, before), [0] * len(masks)
        while iou.size and iou.max() > 0.3:
            here, there = np.unravel_index(iou.argmax(), iou.shape)
            found[here] = numbers[there]
            iou[here], iou[:, there] = 0, 0
        for person in range(len(masks)):
            if not found[person]:
                count += 1
                found[person] = count
        before, numbers = masks.boxes_xyxy, found
        yield replace(masks, track_ids=tuple(found))


def with_tracks(shown: list[Shown], predictor: MaskPredictor) -> Iterator[InstanceMasks]:
    """Masks and numbers of ``VideoTracker``."""
    tracker = VideoTracker(predictor, fps=25)
    for frame in shown:
        yield tracker.segment(frame.image)


WAYS = {"by place": by_place, "frame by frame": frame_by_frame, "--track": with_tracks}


def main() -> None:
    """Print switches, flicker and IoU of every clip, and write frames side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ann", type=Path, help="COCO file of people to cut out")
    parser.add_argument("--img_dir", type=Path)
    parser.add_argument("--clips", type=int, default=3)
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--people", type=int, default=4)
    parser.add_argument("--pictures", type=Path, help="folder for frames, before above after")
    arguments = parser.parse_args()
    print("                    switches     flicker      IoU")
    with MaskPredictor() as predictor:
        for number in range(arguments.clips):
            rng = np.random.default_rng([number, 5])
            if arguments.ann is None:
                cutouts = list(drawn_cutouts(rng, arguments.people))
            else:
                files = (arguments.ann, arguments.img_dir)
                cutouts = list(photo_cutouts(rng, arguments.people, *files))
            shown = list(clip(cutouts, rng, arguments.frames))
            strips = []
            for name, way in WAYS.items():
                score, pictures = Score(), []
                for frame, masks in zip(shown, way(shown, predictor), strict=True):
                    score.add(frame, masks.binary(), masks.numbers)
                    pictures.append(masks.overlay(frame.image))
                print(f"{number} {name:14} {score.row()}", flush=True)
                strips.append(np.hstack(pictures[:: max(1, len(pictures) // 4)][:4]))
            if arguments.pictures is not None:
                save_image(arguments.pictures / f"clip_{number}.png", np.vstack(strips))


if __name__ == "__main__":
    main()
