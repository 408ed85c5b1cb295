"""Mask IoU against how much of a person another one covers, on people pasted over each other.

uv run python benchmarks/stress.py MODEL --ann ANN --img_dir DIR --pairs 25

Each pair of annotated people gives ten pictures with exact masks: the one in front covers nothing
of the one behind, then a tenth, up to nine tenths.
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
from pycocotools import mask as mask_api

from human_edge_detection.core.images import read_image, save_image
from human_edge_detection.core.rle import encode_mask
from human_edge_detection.data.annotations import Person, Photo, decode_mask
from human_edge_detection.data.augment import (
    BoolArray,
    Cutout,
    cut_mask,
    paste_cutout,
    visible_part,
)
from human_edge_detection.data.coco_reader import load_photos
from human_edge_detection.data.dataset import PhotoDataset
from human_edge_detection.evaluation.bootstrap import estimate
from human_edge_detection.evaluation.evaluate import (
    Evaluation,
    evaluate,
    nearest_overlap,
    reaches_edge,
)
from human_edge_detection.evaluation.models import open_model_file
from human_edge_detection.evaluation.tables import estimate_text, table_text

COVERS = tuple(round(0.1 * step, 1) for step in range(10))
"""Fractions of the person behind that the one in front covers, one picture each."""

LEAST_SIDE = 48.0
"""Shortest box side, source pixels, of the people used."""

UPRIGHT = 1.3
"""Least height of the people used, in widths: it leaves out most lone limbs."""

SCALES = (1.0, 1.2, 1.45)
"""Heights tried for the person in front, in heights of the person behind."""

ATTEMPTS, POSITIONS = 40, 120
"""People tried per pair wanted, and places tried across a person, from just beside on."""

CATEGORY = {"id": 1, "name": "person"}


@dataclass(frozen=True)
class Pair:
    """A person, a cutout, and where the cutout must stand for each of ``COVERS``.

    Attributes:
        photo: the photo whose person is covered.
        behind: the person to be covered.
        front: the person to paste.
        top: upper edge of ``front``, pixels.
        lefts: left edge of ``front`` for each of ``COVERS``.
    """

    photo: Photo
    behind: Person
    front: Cutout
    top: int
    lefts: tuple[int, ...]


def find_pairs(photos: Sequence[Photo], count: int, seed: int = 0) -> Iterator[Pair]:
    """Up to ``count`` pairs of people of different photos, each person behind at most once."""
    rng = np.random.default_rng(seed)
    usable = [(f, p) for f in photos if f.exhaustive for p in f.people if is_usable(f, p)]
    found = 0
    for index in rng.permutation(len(usable))[: count * ATTEMPTS]:
        photo, behind = usable[int(index)]
        for other in rng.permutation(len(usable))[:6]:
            source, person = usable[int(other)]
            if found < count and source.id != photo.id:
                pair = fit_pair(photo, behind, source, person, rng)
                if pair is not None:
                    found += 1
                    yield pair
                    break


def is_usable(photo: Photo, person: Person) -> bool:
    """Whether a person stands whole, alone and large enough to be combined."""
    width, height = (float(side) for side in person.box_xyxy[2:] - person.box_xyxy[:2])
    return (
        person.is_target
        and min(width, height) >= LEAST_SIDE
        and height >= UPRIGHT * width
        and not reaches_edge(person.box_xyxy, photo.size_hw)
        and nearest_overlap(person, photo) < 0.05
    )


def fit_pair(
    photo: Photo, behind: Person, source: Photo, person: Person, rng: np.random.Generator
) -> Pair | None:
    """One person of ``source`` placed to cover another of ``photo``; None if it cannot."""
    truth, mask = decode_mask(behind, photo.size_hw), decode_mask(person, source.size_hw)
    if not truth.any() or not mask.any():
        return None
    cutout = cut_mask(read_image(source.file), mask)
    if rng.random() < 0.5:
        cutout = Cutout(cutout.image[:, ::-1].copy(), cutout.mask[:, ::-1].copy())
    rows = np.flatnonzero(truth.any(axis=1))
    height, bottom = int(rows[-1] + 1 - rows[0]), int(rows[-1]) + 1
    from_left = bool(rng.random() < 0.5)
    for scale in SCALES:
        factor = scale * height / cutout.mask.shape[0]
        if 0.3 <= factor <= 2:  # beyond, its sharpness would give it away
            front = scaled(cutout, factor)
            top = bottom + round(0.03 * height) - front.mask.shape[0]
            lefts = find_places(front, truth, top, COVERS, from_left)
            if lefts is not None:
                return Pair(photo, behind, front, top, tuple(lefts))
    return None


def scaled(cutout: Cutout, factor: float) -> Cutout:
    """The same person larger or smaller."""
    height, width = (max(1, round(side * factor)) for side in cutout.mask.shape)
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    image = cv2.resize(cutout.image, (width, height), interpolation=how)
    soft = cv2.resize(cutout.mask.astype(np.float32), (width, height), interpolation=how)
    return Cutout(np.asarray(image, np.uint8), np.asarray(soft >= 0.5))


def find_places(
    cutout: Cutout, behind: BoolArray, top: int, covers: Sequence[float], from_left: bool
) -> list[int] | None:
    """The left edges at which a cutout covers each fraction of a mask bool [H, W].

    None if a fraction cannot be met to within 0.04, or half of the cutout would leave the photo.
    """
    columns = np.flatnonzero(behind.any(axis=0))
    first, last = int(columns[0]) - cutout.mask.shape[1], int(columns[-1]) + 1
    lefts = np.unique(np.linspace(first, last, POSITIONS).round().astype(int))
    lefts = lefts if from_left else lefts[::-1]
    parts = np.array([covered_part(cutout, behind, int(left), top) for left in lefts])
    rising = parts[: int(parts.argmax()) + 1]
    found = []
    for cover in covers:
        error = np.abs(rising - cover)
        # Of the places that cover nothing, the nearest one: the last before they touch.
        best = int(len(error) - 1 - error[::-1].argmin()) if cover == 0 else int(error.argmin())
        left = int(lefts[best])
        part, _ = visible_part(cutout.mask.shape, left, top, behind.shape)
        if error[best] > 0.04 or cutout.mask[part].sum() < 0.5 * cutout.mask.sum():
            return None
        found.append(left)
    return found


def covered_part(cutout: Cutout, behind: BoolArray, left: int, top: int) -> float:
    """The fraction of a mask bool [H, W] that a cutout at ``left, top`` covers."""
    part, place = visible_part(cutout.mask.shape, left, top, behind.shape)
    return np.count_nonzero(cutout.mask[part] & behind[place]) / max(1, np.count_nonzero(behind))


def write_set(photos: Sequence[Photo], folder: Path, pairs: int, seed: int = 0) -> Path:
    """Write ``stress.json`` and its pictures into a folder and return the file's path.

    Annotations of a pair have its ``role``, "front" or "behind", and the fraction ``covered``.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for pair in find_pairs(photos, pairs, seed):
        original = read_image(pair.photo.file)
        height, width = pair.photo.size_hw
        for cover, left in zip(COVERS, pair.lefts, strict=True):
            picture, front = paste_cutout(original, pair.front, left, pair.top)
            number, name = len(images) + 1, f"stress_{len(images):04d}.jpg"
            save_image(folder / name, picture)
            images.append({"id": number, "file_name": name, "height": height, "width": width})
            for record in picture_annotations(pair, cover, front):
                own = {"id": len(annotations) + 1, "image_id": number, "category_id": 1}
                annotations.append({**own, **record})
    if not images:
        raise SystemExit("no two people stand alone, upright and large enough to be combined")
    content = {"images": images, "annotations": annotations, "categories": [CATEGORY]}
    path = folder / "stress.json"
    path.write_text(json.dumps(content))
    return path


def picture_annotations(pair: Pair, cover: float, front: BoolArray) -> Iterator[dict[str, Any]]:
    """The people of one picture: the one in front, the one behind, the others of the photo."""
    yield annotation(front) | {"role": "front", "covered": cover}
    for person in pair.photo.people:
        if person.is_target:
            shown = decode_mask(person, pair.photo.size_hw) & ~front
            role = {"role": "behind", "covered": cover} if person is pair.behind else {}
            if shown.any():
                yield annotation(shown) | role
        else:
            x1, y1, x2, y2 = (float(value) for value in person.box_xyxy)
            yield {
                "iscrowd": int(person.is_crowd), "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": person.area, "segmentation": person.segmentation or [],
            }  # fmt: skip


def annotation(mask: BoolArray) -> dict[str, Any]:
    """The mask in COCO's terms."""
    rle = encode_mask(mask)
    box = [float(value) for value in mask_api.toBbox(rle)]
    return {"iscrowd": 0, "bbox": box, "area": int(mask.sum()), "segmentation": rle}


def rows(stress_ann: Path, found: Evaluation) -> Iterator[list[str]]:
    """Role, fraction covered and mask IoU with its interval, of each step."""
    records = json.loads(stress_ann.read_bytes())["annotations"]
    steps = {int(r["id"]): (r["role"], float(r["covered"])) for r in records if "role" in r}
    for role, covered in sorted(set(steps.values())):
        own = [s for s in found.scores if steps.get(s.person_id) == (role, covered)]
        iou = estimate(own, 0.0)["target_iou_image"]
        yield [role, f"{covered:.1f}", estimate_text(iou, 3)]


def main() -> None:
    """Write the set, score the model on it, print a line per role and fraction."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    for name in ("ann", "img_dir"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--onnx_model")
    parser.add_argument("--pairs", type=int, default=25)
    parser.add_argument("--output_dir", type=Path, default=Path("stress_set"))
    given = parser.parse_args()
    photos, _ = load_photos(given.ann, given.img_dir)
    stress_ann = write_set(photos, given.output_dir, given.pairs)
    stress_photos, _ = load_photos(stress_ann, given.output_dir)
    with open_model_file(given.model, given.onnx_model) as model:
        infer = model.infer_on(lambda spec: PhotoDataset(stress_photos, spec))
        found = evaluate(PhotoDataset(stress_photos, model.spec), infer)
    found = replace(found, min_side=0.0)
    print(table_text(["role", "covered", "mask IoU"], list(rows(stress_ann, found))))


if __name__ == "__main__":
    main()
