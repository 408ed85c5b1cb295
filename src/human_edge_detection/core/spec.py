"""What a model is: the facts that build its head and run it, in checkpoints and exported files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from human_edge_detection.core.errors import InputError, one_line
from human_edge_detection.core.structures import MaskClass

HEAD_FORMAT = "human_edge_detection.head"
END_TO_END_FORMAT = "human_edge_detection.end_to_end"

SMALL_CELLS = 1.25
"""Largest side of a small ROI in cells of the finest map, for each of ``roi_size`` bins."""

MAX_IMAGE_SIDE, MAX_IMAGE_PIXELS, MAX_ROI_SIZE, MAX_CHANNELS = 16384, 1 << 24, 512, 1 << 16
"""Bounds of what a file may ask for: an image of 4096x4096 is 0.2 GB of floats."""
MAX_PADDING, MAX_WEIGHT = 10.0, 100.0
STRIDE_TOLERANCE = 0.01
"""Largest relative difference of two strides that count as equal.

Measured strides are a little below 8, 16, … where the image is no multiple of them.
"""

NOT_IN_METADATA = ("roi_size", "small_branch", "widths")
"""Facts that an exported file has in other forms: ``mask_size``, ``small_side``, its graph."""
ALWAYS_IN_METADATA = ("layers", "channels", "strides", "image_size", "roi_padding")

Own = TypeVar("Own", bound="ModelSpec")


@dataclass(frozen=True)
class ModelSpec:
    """The facts that build a head and run it as it was trained.

    A new fact is one new field with a default, the value that older files mean by its absence:
    checkpoints, safetensors files and ONNX metadata then hold it under the field's name.

    Attributes:
        head: kind of the head, ``lite`` or ``spec``; "" if an exported file does not name it.
        layers: tensor names of the extractor, one per feature map.
        channels: channels of each map.
        strides: input pixels per cell of each map.
        image_size: height and width of the network's input.
        roi_size: bins along the ROI align's side; masks have twice as many.
        roi_padding: margin around a box on each side, as a fraction of that side.
        extractor_sha: short hash of the extractor's file, "" where it is trained along.
        class_weights: cross-entropy weights of the three classes; () if an exported file has none.
        widths: channels of a lite head at 28x28, 14x14 and 56x56; () for the default ones.
        small_branch: whether small ROIs have a trunk of their own.
        score_weights: what makes a probability of the score of the model's own detector and a
            mask's quality, see ``masks/candidates``; () where the score is taken as it is.
    """

    head: str
    layers: tuple[str, ...]
    channels: tuple[int, ...]
    strides: tuple[float, ...]
    image_size: tuple[int, int] = (640, 640)
    roi_size: int = 28
    roi_padding: float = 0.1
    extractor_sha: str = ""
    class_weights: tuple[float, ...] = (1.0, 1.0, 1.0)
    widths: tuple[int, ...] = ()
    small_branch: bool = False
    score_weights: tuple[float, ...] = ()

    @property
    def mask_size(self) -> int:
        """Bins along a mask's side."""
        return 2 * self.roi_size

    @property
    def small_side(self) -> float:
        """Largest side, input pixels, of a small ROI; 0 if there is no trunk for small ones.

        Half the bins still sample the finest map at least every ``SMALL_CELLS`` cells.
        """
        return SMALL_CELLS * self.roi_size * min(self.strides) if self.small_branch else 0.0

    def check_fits(
        self,
        channels: Sequence[int],
        strides: Sequence[float],
        *,
        head: Path | str,
        extractor: str,
        layers: Sequence[str] | None = None,
    ) -> None:
        """Refuse an extractor whose maps are not those that the head was trained on.

        ``channels`` and ``strides`` are those of the maps that it gives, ``layers`` their names
        where they were not chosen by ``self.layers``; messages name ``head`` and ``extractor``.

        Raises:
            InputError: naming the maps of both.
        """
        names = self.layers if layers is None else tuple(layers)
        if names == self.layers and tuple(channels) == self.channels and len(strides) == len(names):
            pairs = zip(strides, self.strides, strict=True)
            if all(math.isclose(a, b, rel_tol=STRIDE_TOLERANCE) for a, b in pairs):
                return
        raise InputError(
            f"head {head} does not fit extractor {extractor}: it was trained on "
            f"{_maps(self.layers, self.channels, self.strides)}, but the extractor gives "
            f"{_maps(names, channels, strides)}. Use the extractor and layers of its training"
        )

    def to_dict(self) -> dict[str, Any]:
        """The facts as plain values that survive ``weights_only`` loading and JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls: type[Own], values: Mapping[str, Any], path: Path | str) -> Own:
        """The spec of :meth:`to_dict`'s values; facts that an older file lacks have their default.

        Raises:
            InputError: if a fact is missing, unknown or impossible; names the file.
        """
        if not isinstance(values, Mapping):
            raise InputError(f"model {path} has no usable spec: use another file")
        needed = {field.name for field in fields(cls) if field.default is MISSING}
        known = {field.name for field in fields(cls)}
        if wrong := (needed - set(values)) | (set(values) - known):
            shown = sorted(map(str, wrong))
            raise InputError(f"model {path} does not fit this version: {shown} differ")
        try:
            return checked(cls(**{name: _plain(value) for name, value in values.items()}))
        except (ValueError, TypeError, OverflowError) as error:
            raise InputError(
                f"model {path} has facts that cannot be used ({one_line(str(error), 200)}): the "
                "file is damaged, or of another program"
            ) from error

    def to_metadata(self, *, end_to_end: bool = False) -> dict[str, str]:
        """The facts as ONNX metadata of an exported head, or, ``end_to_end``, of a whole file."""
        own = {k: v for k, v in self.to_dict().items() if k not in NOT_IN_METADATA}
        values = {
            "format": END_TO_END_FORMAT if end_to_end else HEAD_FORMAT,
            **own,
            "small_side": self.small_side,
            "mask_size": self.mask_size,
            "classes": [kind.name.lower() for kind in MaskClass],
            "geometry": "letterbox",
        }
        return {k: v if isinstance(v, str) else json.dumps(v) for k, v in values.items()}


@dataclass(frozen=True)
class ExportedSpec(ModelSpec):
    """The spec of an exported file, and how the file is used.

    Attributes:
        end_to_end: the extractor is inside; the file reads images instead of features.
        precision: "int8" for a quantized file, else "".
        exported_small_side: ``small_side`` as the file has it.
    """

    end_to_end: bool = False
    precision: str = ""
    exported_small_side: float = 0.0

    @property
    def small_side(self) -> float:
        """Largest side, input pixels, of the ROIs of the input ``small_rois``; 0 without it."""
        return self.exported_small_side

    @property
    def usual_max_rois(self) -> int:
        """How many ROIs at once are fast and need some hundred MiB at most."""
        return 4 if self.head == "spec" else 128

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], path: Path | str) -> ExportedSpec:
        """The spec in the ONNX metadata of a file.

        Raises:
            InputError: if the file is no head of this project, or a fact is missing or impossible.
        """
        kind = metadata.get("format", "")
        if kind not in (HEAD_FORMAT, END_TO_END_FORMAT):
            raise InputError(
                f"model {path} is not a head that this project exported (its metadata has no "
                f"format '{HEAD_FORMAT}'): pass the checkpoints/best_model.onnx of a training"
            )
        read = {"head": "", "class_weights": "[]", "mask_size": "56", "small_side": "0", **metadata}
        try:
            if missing := [name for name in ALWAYS_IN_METADATA if name not in metadata]:
                raise ValueError(f"without {', '.join(missing)}")
            if (geometry := metadata.get("geometry", "letterbox")) != "letterbox":
                raise ValueError(f"geometry '{geometry}'")
            values: dict[str, Any] = {
                field.name: read[field.name]
                if field.type == "str"
                else json.loads(read[field.name])
                for field in fields(ModelSpec)
                if field.name in read and field.name not in NOT_IN_METADATA
            }
            bins, side = json.loads(read["mask_size"]), json.loads(read["small_side"])
            if not isinstance(bins, int) or bins % 2:
                raise ValueError(f"mask_size {bins}")
            values |= {"roi_size": bins // 2, "small_branch": side > 0, "exported_small_side": side}
        except (ValueError, TypeError, RecursionError) as error:
            raise InputError(
                f"model {path} has metadata that cannot be used ({one_line(str(error), 200)}): "
                "export it again"
            ) from error
        values |= {"end_to_end": kind == END_TO_END_FORMAT, "precision": read.get("precision", "")}
        return cls.from_dict(values, path)


def are_small(rois: Any, small_side: float) -> Any:
    """Whether neither side of each ROI is longer than ``small_side``, bool [N].

    Args:
        rois: float32 [N, 5], batch index and xyxy, an array or a tensor; the result is alike.
        small_side: input pixels; at 0 no ROI is small.
    """
    width, height = rois[:, 3] - rois[:, 1], rois[:, 4] - rois[:, 2]
    return (width <= small_side) & (height <= small_side) & (small_side > 0)


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def checked(spec: Own) -> Own:
    """The spec itself, if a model can be like that.

    Raises:
        ValueError: if a fact is of the wrong kind or beyond its bounds.
    """
    maps = (spec.layers, spec.channels, spec.strides)
    rules = {
        "head": isinstance(spec.head, str),
        "layers": _all_in(spec.layers, str) and len({len(item) for item in maps}) == 1,
        "channels": _all_in(spec.channels, int, 1, MAX_CHANNELS),
        "strides": _all_in(spec.strides, float, 1e-3, MAX_IMAGE_SIDE),
        "image_size": _all_in(spec.image_size, int, 1, MAX_IMAGE_SIDE)
        and len(spec.image_size) == 2
        and spec.image_size[0] * spec.image_size[1] <= MAX_IMAGE_PIXELS,
        "roi_size": _all_in([spec.roi_size], int, 1, MAX_ROI_SIZE),
        "roi_padding": _all_in([spec.roi_padding], float, 0, MAX_PADDING),
        "extractor_sha": isinstance(spec.extractor_sha, str),
        "class_weights": _all_in(spec.class_weights, float, 0)
        and len(spec.class_weights) in (0, len(MaskClass)),
        "widths": _all_in(spec.widths, int, 1, MAX_CHANNELS),
        "small_branch": isinstance(spec.small_branch, bool),
        "small_side": _all_in([spec.small_side], float, 0, MAX_IMAGE_SIDE),
        "score_weights": _all_in(spec.score_weights, float, -MAX_WEIGHT, MAX_WEIGHT)
        and len(spec.score_weights) in (0, 3)
        and all(weight >= 0 for weight in spec.score_weights[1:])
        and 0 not in spec.score_weights[1:2],  # the score must count
    }
    for name, holds in rules.items():
        if not holds:
            raise ValueError(f"{name} {getattr(spec, name)}")
    return spec


def _all_in(values: Any, kind: type, low: float = -math.inf, high: float = math.inf) -> bool:
    """Whether a sequence's values are of a kind (integers count as floats), in ``low…high``."""
    kinds: tuple[Any, ...] = (int, float) if kind is float else (kind,)
    return isinstance(values, tuple | list) and all(
        isinstance(value, kinds)
        and not isinstance(value, bool)
        and (kind is str or (math.isfinite(value) and low <= value <= high))
        for value in values
    )


def _maps(layers: Sequence[str], channels: Sequence[int], strides: Sequence[float]) -> str:
    shown = [
        f"{count} channels at stride {stride:g}"
        for count, stride in zip(channels, strides, strict=False)
    ]
    return f"{', '.join(layers)} with {', '.join(shown)}"
