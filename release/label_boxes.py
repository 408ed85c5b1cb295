"""Gives people known by a box alone the part of a mask that is sure, for training a model further.

uv run python release/label_boxes.py ANN.json --img_dir PHOTOS --out LABELLED.json

The model cuts these people out of their boxes, in the photo and in its mirror image. What both
together are sure of becomes their mask, if it fills the box; of others only the surroundings of
COCO's visible keypoints, a point lies on its person. All else that may be somebody becomes a crowd
region, whose class is unknown in training (``data/targets``). Its box is one pixel, so that no
candidate of the detector lies in it. Masks that the file holds stay as they are.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from human_edge_detection import MaskPredictor
from human_edge_detection.core.boxes import box_iou
from human_edge_detection.core.files import write_atomically
from human_edge_detection.core.geometry import mask_window, pixel_bounds
from human_edge_detection.core.images import read_image
from human_edge_detection.core.rle import decode_segmentation, encode_mask
from human_edge_detection.core.structures import FloatArray, ImageArray, MaskClass
from human_edge_detection.masks.instance_masks import InstanceMasks
from human_edge_detection.masks.paste import paste_window

SURE = 0.9
"""Least probability of a class that is taken for known."""

BOX_IOU = 0.7
"""Least IoU of a mask's extent with the person's box for the mask to be kept."""

POINT = 0.75 / 56
"""Half the side of the square around a visible keypoint, as a fraction of the ROI's."""

BoolArray = NDArray[np.bool_]


def mean_of_mirrored(
    predictor: MaskPredictor, image: ImageArray, boxes_xyxy: FloatArray
) -> InstanceMasks:
    """The people's masks in a photo uint8 [H, W, 3], the mean of it and its mirror image."""
    plain = predictor.segment(image, boxes_xyxy=boxes_xyxy)
    boxes = boxes_xyxy.copy()
    boxes[:, [0, 2]] = image.shape[1] - boxes_xyxy[:, [2, 0]]
    mirrored = predictor.segment(np.ascontiguousarray(image[:, ::-1]), boxes_xyxy=boxes)
    return replace(plain, probs=(plain.probs + mirrored.probs[..., ::-1]) / 2)


def squares(points: FloatArray, roi_xyxy: FloatArray, size_hw: tuple[int, int]) -> BoolArray:
    """The surroundings of visible keypoints [17, 3] x, y, v of a person, bool [H, W]."""
    out = np.zeros(size_hw, np.bool_)
    half = np.maximum((roi_xyxy[2:] - roi_xyxy[:2]) * POINT, 0.5)
    for at in points[points[:, 2] == 2, :2]:
        x1, y1, x2, y2 = pixel_bounds(np.concatenate([at - half, at + half]), size_hw)
        out[y1:y2, x1:x2] = True
    return out


def label(
    people: list[dict[str, Any]], masks: InstanceMasks, counts: Counter[str]
) -> dict[str, Any] | None:
    """Write what is sure into the annotations of a photo's ``people`` without a mask.

    Returns the crowd region of what is not, without its ids, or None where there is none.
    """
    size_hw = masks.size_hw
    given = [bool(person.get("segmentation")) for person in people]
    nobody = np.zeros(size_hw, np.bool_)
    real = [
        decode_segmentation(person["segmentation"], size_hw) if known else nobody
        for person, known in zip(people, given, strict=True)
    ]
    taken = np.logical_or.reduce(real)
    unsure, own, points = nobody.copy(), [], []
    for row, person in enumerate(people):
        sure, at = nobody.copy(), nobody.copy()
        if not given[row]:
            roi, box = masks.rois_xyxy[row], masks.boxes_xyxy[row]
            classes, (x1, y1, x2, y2) = paste_window(masks.probs[row], roi, size_hw)
            whole = classes[MaskClass.TARGET] >= 0.5
            extent = np.array(mask_window(whole), np.float32) + np.array([x1, y1, x1, y1])
            keypoints = np.array(person.get("keypoints") or np.zeros(51), np.float32)
            at = squares(keypoints.reshape(-1, 3), roi, size_hw)
            if whole.any() and box_iou(extent[None], box[None])[0, 0] >= BOX_IOU:
                sure[y1:y2, x1:x2] = classes[MaskClass.TARGET] >= SURE
                unsure[y1:y2, x1:x2] |= classes[MaskClass.BACKGROUND] < SURE
                counts["by the model"] += 1
            else:
                left, top, right, bottom = pixel_bounds(box, size_hw)
                unsure[top:bottom, left:right] = True
                counts["by keypoints" if at.any() else "left a box"] += 1
        own.append(sure)
        points.append(at)
    claims = np.sum(own, axis=0) + taken
    pointed = np.sum(points, axis=0)
    for row, person in enumerate(people):
        if not given[row]:
            elsewhere = (pointed > points[row]) | taken
            own[row] = (own[row] & (claims == 1) | points[row]) & ~elsewhere
            if own[row].any():
                person["segmentation"] = encode_mask(own[row])
    unsure &= ~(np.logical_or.reduce(own) | taken)
    if not unsure.any():
        return None
    y, x = np.argwhere(unsure)[0]
    return {
        "category_id": people[0]["category_id"], "bbox": [int(x), int(y), 1, 1], "iscrowd": 1,
        "area": int(unsure.sum()), "segmentation": encode_mask(unsure),
    }  # fmt: skip


def main() -> int:
    """Label a file of annotations."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ann", type=Path, help="COCO-format annotations")
    parser.add_argument("--img_dir", type=Path, required=True, help="folder of the photos")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    parser.add_argument("--model", default="builtin", help="head that labels (%(default)s)")
    args = parser.parse_args()
    content = json.loads(args.ann.read_text())
    next_id = max(person["id"] for person in content["annotations"]) + 1
    people_of: dict[int, list[dict[str, Any]]] = {}
    for person in content["annotations"]:
        if not person.get("iscrowd"):
            people_of.setdefault(person["image_id"], []).append(person)
    counts: Counter[str] = Counter()
    with MaskPredictor(args.model, device="cpu", threads=1) as predictor:
        for photo in tqdm(content["images"], disable=None):
            people = people_of.get(photo["id"], [])
            if all(person.get("segmentation") for person in people):
                continue
            image = read_image(args.img_dir / photo["file_name"])
            if image.shape[:2] != (photo["height"], photo["width"]):
                counts["in a photo of another size"] += len(people)
                continue
            boxes = np.array([person["bbox"] for person in people], np.float32)
            boxes[:, 2:] += boxes[:, :2]
            region = label(people, mean_of_mirrored(predictor, image, boxes), counts)
            if region is not None:
                content["annotations"].append(region | {"id": next_id, "image_id": photo["id"]})
                next_id += 1
    write_atomically(args.out, json.dumps(content).encode())
    print(f"{args.out}:", ", ".join(f"{count} people {how}" for how, count in counts.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
