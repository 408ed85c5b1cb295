"""Finds people with the YOLO exports that users have; in one pass with features where it can."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import onnxruntime as ort

from human_edge_detection.core.boxes import box_areas, clip_boxes
from human_edge_detection.core.errors import InputError, shown
from human_edge_detection.core.geometry import AxisTransform, frame_hw
from human_edge_detection.core.images import PreparedImage, check_image, prepare_image
from human_edge_detection.core.structures import Detections, FloatArray, ImageArray, stacked
from human_edge_detection.runtime import DEFAULT_SCORE
from human_edge_detection.runtime.detector_layouts import (
    WHOLE_BODY_OUTPUT,
    Layout,
    class_names,
    of_photo,
    person_candidates,
    recognise,
)
from human_edge_detection.runtime.onnx_graph import (
    DEFAULT_SIZE_HW,
    SIZE_MULTIPLE,
    MalformedModel,
    ModelFile,
    read_model,
    read_outputs,
    select_outputs,
    short_hash,
    with_shape_outputs,
)
from human_edge_detection.runtime.providers import CPU, in_passes, pass_size
from human_edge_detection.runtime.sessions import (
    ANYWHERE,
    ON_CPU,
    ImageInput,
    SessionOptions,
    check_size,
    is_map,
    log_once,
    open_session,
    run_session,
)

PERSON_NAMES = ("person", "people", "human", "body")


class DetectorSession(AbstractContextManager["DetectorSession"]):
    """A detector ONNX whose layout is recognised from its outputs.

    A network whose input's name contains ``bgr`` gets BGR in 0…255, any other RGB in 0…1,
    letterboxed. May be called from several threads at once. Used in a ``with`` statement, it is
    closed at the end.

    Attributes:
        input_size_hw: height and width that the network works at, read from its graph; the most
            that it works at where each photo has a frame of its own (``multiple``).
        multiple: what each photo's height and width in the network are multiples of; 0 where all
            photos have ``input_size_hw``, as on a GPU, where they pass through together.
        half_size_hw: half of ``input_size_hw``; None where the network takes one size alone.
        layers: feature maps that the same pass returns, in this order.
        channels: channels of each of those maps.
        strides: input pixels per map pixel of each of those maps.
        layout: how its outputs are read.
        provider: the execution provider that it runs on, by ONNX Runtime's name.
        sha: short hash of the model file.
    """

    def __init__(
        self,
        onnx_path: Path | str,
        options: SessionOptions = ANYWHERE,
        *,
        layers: Sequence[str] = (),
        layout: str = "auto",
        person_class: int | None = None,
        image_size_hw: tuple[int, int] = DEFAULT_SIZE_HW,
    ) -> None:
        """Open the detector and run it once to learn its outputs.

        Args:
            onnx_path: the detector's file.
            options: where and how to run.
            layers: tensors, inner ones too, to return with the boxes.
            layout: a key of ``LAYOUTS``; ``auto`` to recognise it.
            person_class: class of people; None for the class named so in the file, else 0.
            image_size_hw: input size where the graph leaves it open.

        Raises:
            InputError: the file is no ONNX model, no known detector, or lacks a layer.
        """
        model = ModelFile.read(Path(onnx_path))
        self.sha = short_hash(model.data)
        self.layers = tuple(layers)
        self._path = model.path
        names = _wanted_outputs(model, self.layers)
        self._session: ort.InferenceSession | None = open_session(
            select_outputs(model.data, names),
            options,
            label=str(model.path),
            data_dir=model.path.parent,
            quietly=True,
        )
        self._input = ImageInput.of(self._session.get_inputs(), model.path)
        if self._input.batch not in (None, 1):
            raise InputError(
                f"detector {model.path} must take one image at once, but takes {self._input.batch}"
            )
        self._raw_bgr = "bgr" in self._input.name.lower()
        inner = _inner_size(model, self._input.name) if None in self._input.size_hw else None
        self.input_size_hw = inner or self._input.sized(image_size_hw)
        check_size(self.input_size_hw, model.path)
        self.provider: str = self._session.get_providers()[0]
        multiple = self._multiple() if self._input.size_hw == (None, None) else 0
        self.half_size_hw = _half(self.input_size_hw, multiple)
        self.multiple = multiple if self.provider == CPU else 0
        height = self.input_size_hw[0]
        arrays = self._run(np.zeros((1, 3, *self.input_size_hw), np.float32), names)
        self.layout = self._read_layout(dict(zip(names, arrays, strict=True)), layout, person_class)
        maps = arrays[len(names) - len(self.layers) :]
        for name, item in zip(self.layers, maps, strict=True):
            if not is_map(item.shape):
                if self._input.size_hw == (None, None) and len(item.shape) == 4:
                    raise self._size_error(self.multiple or height // max(item.shape[2], 1))
                raise InputError(
                    f"detector {model.path} gives '{name}' as {list(item.shape)}, no feature map "
                    "[B, C, h, w]: it cannot be the head's extractor too; name the extractor"
                )
        self.channels: tuple[int, ...] = tuple(item.shape[1] for item in maps)
        self.strides: tuple[float, ...] = tuple(height / item.shape[2] for item in maps)
        size = f"{height}x{self.input_size_hw[1]}"
        log_once(f"{model.path} on {self.provider}: {self.layout.kind} detector at {size}")

    def _read_layout(
        self, arrays: dict[str, FloatArray], wanted: str, person_class: int | None
    ) -> Layout:
        shapes = {name: item.shape for name, item in arrays.items() if name not in self.layers}
        try:
            kind, outputs = recognise(shapes, wanted)
        except InputError as error:
            raise InputError(f"detector {self._path}: {error}") from None
        assert self._session is not None
        classes = class_names(self._session.get_modelmeta().custom_metadata_map)
        if person_class is None:
            people = [index for index, name in enumerate(classes) if name.lower() in PERSON_NAMES]
            person_class = people[0] if people else 0
        return Layout(kind, outputs, person_class, len(classes) or None)

    def _multiple(self) -> int:
        """What the file's metadata says that all sides of images must be multiples of, or 0."""
        assert self._session is not None
        text = self._session.get_modelmeta().custom_metadata_map.get(SIZE_MULTIPLE, "0")
        sides = self.input_size_hw
        if not (text.isdecimal() and len(text) < 5):
            raise InputError(
                f"detector {self._path} has {SIZE_MULTIPLE} {shown(text, 20)} in its metadata, "
                "which is no number of pixels: export it again"
            )
        if int(text) and any(side % int(text) for side in sides):
            raise self._size_error(int(text))
        return int(text)

    def _size_error(self, multiple: int) -> InputError:
        height, width = self.input_size_hw
        size = height if height == width else f"{height}x{width}"
        return InputError(
            f"image_size {size} does not fit detector {self._path}: use a multiple of {multiple} "
            f"from {2 * multiple} on"
        )

    def prepare(self, image: ImageArray, size_hw: tuple[int, int] | None = None) -> PreparedImage:
        """The photo uint8 [H, W, 3] RGB letterboxed for this network, in ``size_hw`` at most."""
        size_hw = size_hw or self.input_size_hw
        if self.multiple:
            height, width = check_image(image).shape[:2]
            size_hw = frame_hw((height, width), size_hw, self.multiple)
        return prepare_image(image, size_hw, raw_bgr=self._raw_bgr)

    def run(
        self, pictures: Sequence[PreparedImage], score: float = DEFAULT_SCORE
    ) -> list[tuple[Detections, list[FloatArray]]]:
        """Each photo's people, best first, and feature maps of ``layers``, from one pass.

        Args:
            pictures: photos from :meth:`prepare`; on a GPU they pass through the network together.
            score: lowest score of a person.

        Returns:
            Detections in source pixels, cut to the photo, and float32 [1, C, h, w] per layer.
        """
        names, count = [*self.layout.outputs, *self.layers], len(self.layout.outputs)
        found = []
        for some in in_passes(pictures, self.provider, self._input.batch):
            size = pass_size(len(some), self.provider)
            arrays = self._run(stacked([picture.tensor for picture in some], size), names)
            for number, picture in enumerate(some):
                outputs = of_photo(self.layout, arrays[:count], number, size)
                maps = [item[number : number + 1] for item in arrays[count:]]
                found.append((self._people(picture, outputs, score), maps))
        return found

    def _people(
        self, prepared: PreparedImage, outputs: list[FloatArray], score: float
    ) -> Detections:
        """The people in one photo's outputs."""
        try:
            boxes, scores = person_candidates(self.layout, outputs, score)
        except (IndexError, TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            shapes = ", ".join(str(list(item.shape)) for item in outputs)
            raise InputError(
                f"detector {self._path} gave outputs of shapes {shapes}, which are no "
                f"{self.layout.kind} boxes: {error}"
            ) from error
        return _in_source(boxes, scores, prepared.transform, prepared.size_hw)

    def _run(self, tensor: FloatArray, names: Sequence[str]) -> list[FloatArray]:
        if self._session is None:
            raise RuntimeError("the detector is closed")
        feeds = {self._input.name: tensor.astype(self._input.dtype, copy=False)}
        arrays = run_session(self._session, names, feeds, str(self._path))
        try:
            return [np.asarray(item, np.float32) for item in arrays]
        except (TypeError, ValueError) as error:  # texts, sequences, maps
            text = f"detector {self._path} has outputs that are no arrays of numbers: {error}"
            raise InputError(text) from error

    def close(self) -> None:
        """Free the session; the detector cannot be called any more."""
        self._session = None

    def __exit__(self, *error: object) -> None:
        self.close()


def holds_detector(onnx_path: Path | str) -> bool:
    """Whether a feature extractor's file has person boxes among its outputs, by their names."""
    try:
        outputs = read_outputs(read_model(onnx_path))
    except (MalformedModel, RecursionError):
        return False
    return WHOLE_BODY_OUTPUT in outputs or {"boxes", "scores"}.issubset(outputs)


def _wanted_outputs(model: ModelFile, layers: tuple[str, ...]) -> list[str]:
    """The declared outputs that are no layers, then the layers."""
    if missing := [name for name in layers if name not in model.tensors]:
        raise InputError(
            f"detector {model.path} has no tensor '{missing[0]}', which the head reads: it cannot "
            "be the head's extractor too; name the extractor"
        )
    return [name for name in model.declared if name not in layers] + list(layers)


def _inner_size(model: ModelFile, input_name: str) -> tuple[int, int] | None:
    """The fixed size that the graph resizes any input to, or None if it does not."""
    resizes = [
        node.outputs[0]
        for node in model.nodes
        if node.op_type == "Resize" and node.inputs and node.inputs[0] == input_name
    ]
    if not resizes:
        return None
    probe = with_shape_outputs(select_outputs(model.data, resizes), resizes)
    label = str(model.path)
    session = open_session(probe, ON_CPU, label=label, quietly=True)
    dtype = ImageInput.of(session.get_inputs(), model.path).dtype
    images = (np.zeros((1, 3, *size), dtype) for size in ((64, 64), (96, 128)))
    runs = (run_session(session, None, {input_name: image}, label)[0] for image in images)
    shapes = {tuple(map(int, shape[2:])) for shape in runs}
    size = shapes.pop()
    return None if shapes or len(size) != 2 else (size[0], size[1])


def _half(size_hw: tuple[int, int], multiple: int) -> tuple[int, int] | None:
    """Half of a height and width in multiples; None where there are none, or not two of them."""
    if not multiple or min(size_hw) < 4 * multiple:
        return None
    height, width = (round(side / 2 / multiple) * multiple for side in size_hw)
    return height, width


def _in_source(
    boxes: FloatArray, scores: FloatArray, transform: AxisTransform, size_hw: tuple[int, int]
) -> Detections:
    """Boxes in input pixels as detections in source pixels; those outside are left out."""
    source = clip_boxes(transform.to_source(boxes), size_hw)
    inside = box_areas(source) > 0
    return Detections(source[inside], scores[inside])
