"""Masks of people in given boxes by what is at hand without training, against the shipped model.

uv run python benchmarks/comparison.py --ann ANN --img_dir DIR --output results
uv run validate.py results/*/results.json --val_ann results/annotations.json --val_img_dir DIR

Each way writes COCO results, which ``validate.py`` scores like any other tool's, and
``annotations.json`` holds the photos that were taken (``--every N``). MediaPipe takes part where
``mediapipe==0.10.21`` is installed, which brings its network along.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from human_edge_detection import MaskPredictor
from human_edge_detection.core.images import read_image
from human_edge_detection.core.rle import encode_mask
from human_edge_detection.core.structures import FloatArray, ImageArray
from human_edge_detection.data.coco_reader import load_photos

Masks = NDArray[np.bool_]
Way = Callable[[ImageArray, FloatArray], Masks]
"""A photo uint8 [H, W, 3] RGB and boxes float32 [N, 4] → masks bool [N, H, W]."""


def in_boxes(image: ImageArray, boxes_xyxy: FloatArray) -> Masks:
    """The boxes, filled: what a tool without masks gives."""
    masks = np.zeros((len(boxes_xyxy), *image.shape[:2]), np.bool_)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes_xyxy.round().astype(int), strict=True):
        mask[y1:y2, x1:x2] = True
    return masks


def around(mask: NDArray[np.bool_]) -> tuple[tuple[slice, slice], tuple[int, int, int, int]]:
    """The window of a filled box and a quarter of a box around it; the box in it, xywh."""
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    margin = max(width, height) // 4
    left, top = max(0, x - margin), max(0, y - margin)
    window = slice(top, y + height + margin), slice(left, x + width + margin)
    return window, (x - left, y - top, width, height)


def grabcut(image: ImageArray, boxes_xyxy: FloatArray) -> Masks:
    """OpenCV's GrabCut from each box: its colours against those around; the box if all is lost."""
    cv2.setRNGSeed(0)
    masks = in_boxes(image, boxes_xyxy)
    bgr = np.ascontiguousarray(image[..., ::-1])
    for mask in masks:
        window, box = around(mask)
        if min(box[2:]) < 2 or mask[window].all():
            continue
        labels, models = np.zeros(mask[window].shape, np.uint8), np.zeros((2, 1, 65))
        cv2.grabCut(bgr[window], labels, box, *models, 5, cv2.GC_INIT_WITH_RECT)
        inside = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
        if inside.any():
            mask[window] = inside
    return masks


def mediapipe() -> Way:
    """MediaPipe's selfie segmentation of each box's surroundings, cut at the box."""
    from mediapipe.python.solutions.selfie_segmentation import SelfieSegmentation

    network = SelfieSegmentation(model_selection=0)

    def segment(image: ImageArray, boxes_xyxy: FloatArray) -> Masks:
        masks = in_boxes(image, boxes_xyxy)
        for mask in masks:
            if mask.any():
                window, _ = around(mask)
                found = network.process(np.ascontiguousarray(image[window]))
                mask[window] &= found.segmentation_mask >= 0.5
        return masks

    return segment


def shipped() -> Way:
    """The model that ships, overlaps decided."""
    predictor = MaskPredictor(device="cpu", threads=1)

    def segment(image: ImageArray, boxes_xyxy: FloatArray) -> Masks:
        predictor.set_image(image)
        return predictor.predict(boxes_xyxy).binary()

    return segment


def write_part(annotations: Path, every: int, folder: Path) -> Path:
    """Write the annotations of each N-th photo into a folder; the file."""
    content = json.loads(annotations.read_bytes())
    content["images"] = content["images"][::every]
    kept = {image["id"] for image in content["images"]}
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] in kept]
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / "annotations.json"
    part.write_text(json.dumps(content))
    return part


def main() -> None:
    """Write each way's results, and print its processor time and the pixels it gives twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("ann", "img_dir", "output"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1, help="take each N-th photo")
    arguments = parser.parse_args()
    chosen = write_part(arguments.ann, arguments.every, arguments.output)
    photos, _ = load_photos(chosen, arguments.img_dir)
    ways = {"boxes": in_boxes, "grabcut": grabcut, "shipped": shipped()}
    if importlib.util.find_spec("mediapipe"):
        ways["mediapipe"] = mediapipe()
    cv2.setNumThreads(1)
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    twice = dict.fromkeys(ways, 0)
    for photo in photos:
        image = read_image(photo.file)
        people = [person for person in photo.people if person.is_target]
        boxes = np.stack([person.box_xyxy for person in people])
        for name, way in ways.items():
            started = time.process_time()
            masks = way(image, boxes)
            seconds[name].append(time.process_time() - started)
            twice[name] += int(np.maximum(masks.sum(0) - 1, 0).sum())
            results[name] += [
                {"image_id": photo.id, "annotation_id": person.id, "category_id": 1, "score": 1.0,
                 "segmentation": encode_mask(mask)}
                for person, mask in zip(people, masks, strict=True)
            ]  # fmt: skip
    print("| masks | CPU ms a photo, median | mean | pixels given twice |\n|---|---|---|---|")
    for name, times in seconds.items():
        folder = arguments.output / name
        folder.mkdir(exist_ok=True)
        (folder / "results.json").write_text(json.dumps(results[name]))
        median, mean = 1000 * np.median(times), 1000 * np.mean(times)
        print(f"| {name} | {median:.0f} | {mean:.0f} | {twice[name]:,} |")


if __name__ == "__main__":
    main()
