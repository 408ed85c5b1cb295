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
from human_edge_detection.core.errors import InputError
from human_edge_detection.core.files import write_atomically
from human_edge_detection.core.geometry import mask_window, pixel_bounds
from human_edge_detection.core.images import read_image
from human_edge_detection.core.rle import decode_segmentation, encode_mask
from human_edge_detection.core.structures import FloatArray, ImageArray, MaskClass
from human_edge_detection.data.coco_file import CocoFile
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


def sure_parts(
    probs: FloatArray, roi_xyxy: FloatArray, box_xyxy: FloatArray, size_hw: tuple[int, int]
) -> tuple[BoolArray, BoolArray] | None:
    """Where a person surely is and where somebody may be, both bool [H, W].

    None for a mask [3, M, M] that does not fill the person's box.
    """
    classes, (x1, y1, x2, y2) = paste_window(probs, roi_xyxy, size_hw)
    whole = classes[MaskClass.TARGET] >= 0.5
    extent = np.array(mask_window(whole), np.float32) + np.array([x1, y1, x1, y1], np.float32)
    if not whole.any() or box_iou(extent[None], box_xyxy[None])[0, 0] < BOX_IOU:
        return None
    sure, somebody = np.zeros((2, *size_hw), np.bool_)
    sure[y1:y2, x1:x2] = classes[MaskClass.TARGET] >= SURE
    somebody[y1:y2, x1:x2] = classes[MaskClass.BACKGROUND] < SURE
    return sure, somebody


def given_mask(person: dict[str, Any], size_hw: tuple[int, int]) -> BoolArray:
    """The mask bool [H, W] that the file holds; empty for a person known by a box alone."""
    if not person.get("segmentation"):
        return np.zeros(size_hw, np.bool_)
    try:
        return decode_segmentation(person["segmentation"], size_hw)
    except ValueError as error:
        raise InputError(f"annotation {person['id']}: {error}: mend or empty its mask") from error


def label(
    people: list[dict[str, Any]], masks: InstanceMasks, counts: Counter[str]
) -> dict[str, Any] | None:
    """Write what is sure into the annotations of a photo's ``people`` without a mask.

    Returns the crowd region of what is not, without its ids, or None where there is none.
    """
    size_hw = masks.size_hw
    given = [bool(person.get("segmentation")) for person in people]
    taken = np.logical_or.reduce([given_mask(person, size_hw) for person in people])
    own, points = np.zeros((2, len(people), *size_hw), np.bool_)
    unsure = np.zeros(size_hw, np.bool_)
    for row, person in enumerate(people):
        if given[row]:
            continue
        roi, box = masks.rois_xyxy[row], masks.boxes_xyxy[row]
        keypoints = np.array(person.get("keypoints") or np.zeros(51), np.float32)
        points[row] = squares(keypoints.reshape(-1, 3), roi, size_hw)
        if parts := sure_parts(masks.probs[row], roi, box, size_hw):
            own[row] = parts[0]
            unsure |= parts[1]
            counts["by the model"] += 1
        else:
            left, top, right, bottom = pixel_bounds(box, size_hw)
            unsure[top:bottom, left:right] = True
            counts["by keypoints" if points[row].any() else "left a box"] += 1
    # A pixel that two people claim is nobody's, but a keypoint outweighs the model.
    claims, pointed = own.sum(axis=0), points.sum(axis=0)
    for row, person in enumerate(people):
        if not given[row]:
            elsewhere = (pointed > points[row]) | taken
            own[row] = (own[row] & (claims == 1) | points[row]) & ~elsewhere
            if own[row].any():
                person["segmentation"] = encode_mask(own[row])
    unsure &= ~(own.any(axis=0) | taken)
    if not unsure.any():
        return None
    y, x = np.argwhere(unsure)[0]
    return {
        "category_id": people[0]["category_id"], "bbox": [int(x), int(y), 1, 1], "iscrowd": 1,
        "area": int(unsure.sum()), "segmentation": encode_mask(unsure),
    }  # fmt: skip


def label_photos(
    content: dict[str, Any], category: int, img_dir: Path, predictor: MaskPredictor
) -> Counter[str]:
    """Label a file's content in place, people of a category; returns how many were, by how."""
    next_id = max((person["id"] for person in content["annotations"]), default=0) + 1
    people_of: dict[int, list[dict[str, Any]]] = {}
    for person in content["annotations"]:
        if person["category_id"] == category and not person.get("iscrowd"):
            people_of.setdefault(person["image_id"], []).append(person)
    counts: Counter[str] = Counter()
    for photo in tqdm(content["images"], disable=None):
        people = people_of.get(photo["id"], [])
        if all(person.get("segmentation") for person in people):
            continue
        image = read_image(img_dir / photo["file_name"])
        if image.shape[:2] != (photo["height"], photo["width"]):
            counts["in a photo of another size"] += len(people)
            continue
        boxes = np.array([person["bbox"] for person in people], np.float32)
        boxes[:, 2:] += boxes[:, :2]
        region = label(people, mean_of_mirrored(predictor, image, boxes), counts)
        if region is not None:
            content["annotations"].append(region | {"id": next_id, "image_id": photo["id"]})
            next_id += 1
    return counts


def main() -> int:
    """Label a file of annotations."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ann", type=Path, help="COCO-format annotations")
    parser.add_argument("--img_dir", type=Path, required=True, help="folder of the photos")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    parser.add_argument("--model", type=Path, help="head that labels (default: the one that ships)")
    args = parser.parse_args()
    try:
        category = CocoFile(args.ann).person_category()
        content = json.loads(args.ann.read_text())
        with MaskPredictor(args.model, device="cpu", threads=1) as predictor:
            counts = label_photos(content, category, args.img_dir, predictor)
        write_atomically(args.out, json.dumps(content).encode())
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{args.out}:", ", ".join(f"{count} people {how}" for how, count in counts.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
