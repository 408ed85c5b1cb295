"""An exported head in 8-bit integers, which takes half the time of the float one on a CPU.

Weights and activations of the convolutions become integers with scales that are measured on a few
photos (static quantization, `Jacob et al. 2018 <https://arxiv.org/abs/1712.05877>`_, by ONNX
Runtime's own tool). Sampling positions stay in float: an 8-bit coordinate is off by whole cells.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from human_edge_detection.core.boxes import padded_rois
from human_edge_detection.core.errors import InputError
from human_edge_detection.core.images import read_image
from human_edge_detection.core.spec import HEAD_FORMAT, ExportedSpec
from human_edge_detection.core.structures import FloatArray, MaskClass
from human_edge_detection.data.annotations import Photo
from human_edge_detection.export.int8_graph import in_int8_forms
from human_edge_detection.export.torch_to_onnx import parsed
from human_edge_detection.inference.predictor import MaskPredictor
from human_edge_detection.masks.probabilities import softmax
from human_edge_detection.runtime.head import head_feeds
from human_edge_detection.runtime.onnx_graph import read_model
from human_edge_detection.runtime.sessions import ON_CPU, open_session

LOG = logging.getLogger(__name__)

Feeds = dict[str, FloatArray]
"""One float32 array per input of a model."""

QUANTIZED_OPS = ("Conv", "Add", "Relu", "Concat", "Resize")


def quantized(model: onnx.ModelProto, feeds: Sequence[Feeds]) -> onnx.ModelProto:
    """The model with 8-bit convolutions, same inputs, outputs and metadata.

    Weights keep to 7 bits, so that the sums of processors without VNNI instructions do not
    saturate and the masks are the same everywhere. The range of activations that typical inputs
    cause sets the scales.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with TemporaryDirectory() as folder:
        source, plain, target = (str(Path(folder) / f"{name}.onnx") for name in "abc")
        onnx.save(in_int8_forms(model), source)
        quant_pre_process(source, plain, skip_symbolic_shape=True)
        root = logging.getLogger()
        level = root.level
        root.setLevel(logging.ERROR)  # the tool advises the preprocessing that was just done
        try:
            quantize_static(
                plain,
                target,
                _Reader(feeds),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=coordinate_nodes(onnx.load(plain).graph),
                op_types_to_quantize=list(QUANTIZED_OPS),
            )
        finally:
            root.setLevel(level)
        found = onnx.load(target)
    del found.metadata_props[:]
    facts = {item.key: item.value for item in model.metadata_props}
    helper.set_model_props(found, {**facts, "precision": "int8"})
    return found


def coordinate_nodes(graph: onnx.GraphProto) -> list[str]:
    """The names of the nodes that compute where ``GridSample`` reads."""
    maker = {name: node for node in graph.node for name in node.output}
    waiting = [node.input[1] for node in graph.node if node.op_type == "GridSample"]
    found: dict[str, None] = {}
    while waiting:
        node = maker.get(waiting.pop())
        # Sizes of the feature maps reach the positions too, but not what the maps hold.
        if node is not None and node.name not in found and node.op_type != "Shape":
            found[node.name] = None
            waiting += node.input
    return list(found)


class _Reader:
    """Gives the calibration one input after the other."""

    def __init__(self, feeds: Iterable[Feeds]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Feeds | None:
        return next(self._feeds, None)


@dataclass(frozen=True)
class Agreement:
    """The agreement of two heads' masks.

    Attributes:
        people: how many were compared.
        iou: mean IoU of their masks, one head against the other.
    """

    people: int
    iou: float


def read_float_head(path: Path) -> onnx.ModelProto:
    """An exported head that can be quantized.

    Raises:
        InputError: if the file is no exported head, or has been quantized already.
    """
    model = parsed(read_model(path), path)
    facts = {item.key: item.value for item in model.metadata_props}
    if facts.get("format") != HEAD_FORMAT:
        raise InputError(f"model {path} is not an exported head: pass checkpoints/best_model.onnx")
    if facts.get("precision"):
        raise InputError(f"model {path} is {facts['precision']} already: pass the float one")
    return model


def draw_photos(photos: Sequence[Photo], count: int, seed: int) -> list[Photo]:
    """``count`` photos drawn at random, or all if there are fewer."""
    order = np.random.default_rng(seed).permutation(len(photos))
    return [photos[index] for index in order[:count]]


def head_inputs(
    photos: Sequence[Photo], head: Path, extractor: Path | None = None, max_rois: int = 8
) -> list[Feeds]:
    """A head's inputs for each photo: its feature maps and the ROIs of its people.

    Photos, which have at least one person each, are logged and left out if they cannot be read.
    """
    feeds: list[Feeds] = []
    metadata = {item.key: item.value for item in read_float_head(head).metadata_props}
    facts = ExportedSpec.from_metadata(metadata, head)
    with MaskPredictor(head, extractor, device="cpu") as predictor:
        for photo in photos:
            try:
                image = read_image(photo.file)
            except InputError as error:
                LOG.warning("%s", error)
                continue
            boxes = np.stack([person.box_xyxy for person in photo.people if person.is_target])
            rois = padded_rois(boxes[:max_rois], facts.roi_padding, photo.size_hw)
            encoded = predictor.encode(predictor.prepare(image))
            inputs = encoded.prepared.transform.to_input(rois)
            numbered = np.concatenate([np.zeros((len(inputs), 1)), inputs], axis=1)
            maps = {f"features_{i}": item for i, item in enumerate(encoded.features)}
            parts, _ = head_feeds(numbered.astype(np.float32), facts.small_side)
            # Without any ROI a trunk's activations have no range: it then takes all of them.
            full = {name: part if len(part) else numbered for name, part in parts.items()}
            feeds.append({**maps, **{k: v.astype(np.float32) for k, v in full.items()}})
    return feeds


def compare(first: bytes, second: bytes, feeds: Sequence[Feeds]) -> Agreement:
    """The agreement of two heads' masks on the same inputs; the heads are files' bytes."""
    sessions = [open_session(data, ON_CPU, label="head", quietly=True) for data in (first, second)]
    ious: list[float] = []
    for feed in feeds:
        one, other = (_target_masks(session.run(None, feed)[0]) for session in sessions)
        shared = (one & other).sum(axis=(1, 2))
        either = (one | other).sum(axis=(1, 2))
        ious += list(np.where(either > 0, shared / np.maximum(either, 1), 1.0))
    return Agreement(len(ious), float(np.mean(ious)))


def _target_masks(logits: FloatArray) -> NDArray[np.bool_]:
    return np.asarray(softmax(logits)[:, MaskClass.TARGET] >= 0.5)
