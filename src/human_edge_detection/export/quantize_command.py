"""Makes the 8-bit version of an exported head on photos of the user's. Behind ``quantize``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from human_edge_detection.core.boxes import padded_rois
from human_edge_detection.core.errors import InputError
from human_edge_detection.core.files import write_atomically
from human_edge_detection.core.images import read_image
from human_edge_detection.core.options import (
    DEFAULT_TRAIN_ANN,
    DEFAULT_TRAIN_IMG_DIR,
    option,
    require_at_least,
)
from human_edge_detection.core.spec import ExportedSpec
from human_edge_detection.core.structures import FloatArray, MaskClass
from human_edge_detection.data.annotations import Photo
from human_edge_detection.data.coco_reader import load_photos
from human_edge_detection.data.photos import open_photos
from human_edge_detection.export.quantize import Feeds, quantized
from human_edge_detection.inference.predictor import MaskPredictor
from human_edge_detection.masks.probabilities import softmax
from human_edge_detection.runtime.head import head_feeds
from human_edge_detection.runtime.onnx_graph import read_model
from human_edge_detection.runtime.sessions import ON_CPU, open_session

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class QuantizeOptions:
    """What ``quantize`` takes."""

    model: Path = option(
        Path("checkpoints/best_model.onnx"), "exported head to make small", positional=True
    )
    extractor: Path | None = option(None, "the ONNX network that the head was trained on")
    ann: Path = option(DEFAULT_TRAIN_ANN, "COCO annotations of photos like those of later use")
    img_dir: tuple[Path, ...] = option(
        (DEFAULT_TRAIN_IMG_DIR,), "folder, zip file or tar shards of the annotated photos"
    )
    photos: int = option(24, "photos that set the scales; as many others check the result")
    max_rois: int = option(8, "most people of one photo to look at")
    output: Path | None = option(None, "file to write (default: the head's name, _int8.onnx)")
    seed: int = option(42, "seed of the choice of photos")

    def __post_init__(self) -> None:
        """Refuse values that cannot work, by flag."""
        require_at_least(self, "photos", 1)
        require_at_least(self, "max_rois", 1)


LEAST_AGREEMENT = 0.95


@dataclass(frozen=True)
class Agreement:
    """How alike the masks of two heads are.

    Attributes:
        people: how many were compared.
        iou: mean IoU of their masks, one head against the other.
    """

    people: int
    iou: float


def run_quantize(options: QuantizeOptions) -> int:
    """Write the 8-bit head and print how it agrees with the float one; 0 comes back."""
    model = _read_head(options.model)
    photos, _ = load_photos(options.ann, open_photos(options.img_dir, "--img_dir"))
    drawn = draw_photos(photos, 2 * options.photos, options.seed)
    feeds = head_inputs(drawn, model, options)
    if len(feeds) < 2:
        raise InputError(f"--ann {options.ann} has fewer than two readable photos of people")
    half = (len(feeds) + 1) // 2
    found = quantized(model, feeds[:half]).SerializeToString()
    agreement = compare(model.SerializeToString(), found, feeds[half:])
    output = options.output or options.model.with_name(f"{options.model.stem}_int8.onnx")
    if agreement.iou < LEAST_AGREEMENT:
        raise InputError(
            f"{output} was not written: its masks agree with {options.model} only to an IoU of "
            f"{agreement.iou:.3f}: calibrate on more photos (--photos {2 * options.photos}) like "
            "those that it was trained on"
        )
    write_atomically(output, found)
    print(f"{output}: {len(found) / 1e6:.2f} MB, 8-bit, for CPUs; scales from {half} photos")
    print(
        f"  masks of {agreement.people} people in {len(feeds) - half} other photos: IoU "
        f"{agreement.iou:.4f} with {options.model}"
    )
    return 0


def _read_head(path: Path) -> onnx.ModelProto:
    model = onnx.load_model_from_string(read_model(path))
    facts = {item.key: item.value for item in model.metadata_props}
    if facts.get("format") != "human_edge_detection.head":
        raise InputError(f"model {path} is not an exported head: pass checkpoints/best_model.onnx")
    if facts.get("precision"):
        raise InputError(f"model {path} is {facts['precision']} already: pass the float one")
    return model


def draw_photos(photos: Sequence[Photo], count: int, seed: int) -> list[Photo]:
    """``count`` of the photos, or all if there are fewer, drawn at random."""
    order = np.random.default_rng(seed).permutation(len(photos))
    return [photos[index] for index in order[:count]]


def head_inputs(
    photos: Sequence[Photo], model: onnx.ModelProto, options: QuantizeOptions
) -> list[Feeds]:
    """What the head reads for each photo: its maps and the ROIs of its people.

    Photos that cannot be read are named and left out.
    """
    feeds: list[Feeds] = []
    metadata = {item.key: item.value for item in model.metadata_props}
    facts = ExportedSpec.from_metadata(metadata, options.model)
    with MaskPredictor(options.model, options.extractor, device="cpu") as predictor:
        for photo in photos:
            try:
                image = read_image(photo.file)
            except InputError as error:
                LOG.warning("%s", error)
                continue
            boxes = np.stack([person.box_xyxy for person in photo.people if person.is_target])
            rois = padded_rois(boxes[: options.max_rois], facts.roi_padding, photo.size_hw)
            encoded = predictor.encode(predictor.prepare(image))
            inputs = encoded.prepared.transform.to_input(rois)
            numbered = np.concatenate([np.zeros((len(inputs), 1)), inputs], axis=1)
            maps = {f"features_{i}": item for i, item in enumerate(encoded.features)}
            parts, _ = head_feeds(numbered.astype(np.float32), facts.small_side)
            # A trunk that nobody enters has no scales: it then takes everybody.
            full = {name: part if len(part) else numbered for name, part in parts.items()}
            feeds.append({**maps, **{k: v.astype(np.float32) for k, v in full.items()}})
    return feeds


def compare(first: bytes, second: bytes, feeds: Sequence[Feeds]) -> Agreement:
    """How alike the masks of two heads, given as files' bytes, are on the same inputs."""
    sessions = [open_session(data, ON_CPU, label="head") for data in (first, second)]
    ious: list[float] = []
    for feed in feeds:
        one, other = (_target_masks(session.run(None, feed)[0]) for session in sessions)
        shared = (one & other).sum(axis=(1, 2))
        either = (one | other).sum(axis=(1, 2))
        ious += list(np.where(either > 0, shared / np.maximum(either, 1), 1.0))
    return Agreement(len(ious), float(np.mean(ious)))


def _target_masks(logits: FloatArray) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    return np.asarray(softmax(logits)[:, MaskClass.TARGET] >= 0.5)
