"""A model repository for Triton Inference Server: files of photos in, people as JSON out.

The repository's ``model.py`` loads :class:`TritonPythonModel` from here, inside Triton's Python
backend, where this package must be installed without any of its extras.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core import usable_cpus
from human_edge_detection.core.boxes import check_boxes
from human_edge_detection.core.errors import InputError, one_line
from human_edge_detection.core.files import write_atomically
from human_edge_detection.core.images import read_image
from human_edge_detection.inference.boxes import ImageBoxes
from human_edge_detection.inference.predictor import MaskPredictor
from human_edge_detection.inference.segment import Photo, reason, segment_each
from human_edge_detection.masks.instance_masks import InstanceMasks
from human_edge_detection.runtime import DEFAULT_SCORE
from human_edge_detection.runtime.model_files import (
    EXTRACTOR_NAME,
    HEAD_NAME,
    INT8_HEAD_NAME,
    WEIGHTS_DIR,
)
from human_edge_detection.runtime.providers import CUDA

MODEL = "people"
"""The model's name, which requests and the repository's folder have."""

MODEL_FILE = '''"""Cuts people out of photos; needs human-edge-detection in Triton's Python."""

from human_edge_detection.serving.triton import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''

CONFIG = """name: "{name}"
backend: "python"
max_batch_size: {photos}
dynamic_batching {{ max_queue_delay_microseconds: {wait} }}
input [
  {{ name: "image" data_type: TYPE_STRING dims: [ 1 ] }},
  {{ name: "boxes" data_type: TYPE_FP32 dims: [ -1, 4 ] optional: true allow_ragged_batch: true }}
]
output [ {{ name: "people" data_type: TYPE_STRING dims: [ 1 ] }} ]
parameters [
{parameters}
]
"""


@dataclass(frozen=True)
class TritonSettings:
    """What ``config.pbtxt`` holds as parameters.

    Attributes:
        score: lowest score of a person that is found.
        threshold: probability from which a pixel belongs to a person.
        max_pixels: a photo of more pixels is refused.
        max_people: a photo with more boxes is refused.
    """

    score: float = DEFAULT_SCORE
    threshold: float = 0.5
    max_pixels: int = 50_000_000
    max_people: int = 300

    @classmethod
    def of(cls, config: dict[str, Any]) -> TritonSettings:
        """Those of a model's configuration, as Triton hands it over."""
        given = {key: item["string_value"] for key, item in config.get("parameters", {}).items()}
        fields = {key: type(value) for key, value in vars(cls()).items()}
        return cls(**{key: fields[key](text) for key, text in given.items() if key in fields})


def write_repository(folder: Path, photos: int = 16, wait: int = 2000) -> None:
    """Write a repository with the model that ships.

    Args:
        folder: the repository, made if missing; another model in it stays.
        photos: most photos of one execution.
        wait: microseconds for which a request waits for others to join.

    Raises:
        InputError: the folder cannot be written.
    """
    lines = [
        f'  {{ key: "{key}" value: {{ string_value: "{value}" }} }}'
        for key, value in vars(TritonSettings()).items()
    ]
    config = CONFIG.format(name=MODEL, photos=photos, wait=wait, parameters=",\n".join(lines))
    version = folder / MODEL / "1"
    try:
        version.mkdir(parents=True, exist_ok=True)
        for name in (EXTRACTOR_NAME, HEAD_NAME, INT8_HEAD_NAME):
            shutil.copyfile(WEIGHTS_DIR / name, version / name)
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error}") from error
    write_atomically(version / "model.py", MODEL_FILE.encode())
    write_atomically(folder / MODEL / "config.pbtxt", config.encode())


class TritonPythonModel:
    """What Triton's Python backend calls: once :meth:`initialize`, then :meth:`execute`."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the model in the repository, on the GPU that Triton names, or on the CPU."""
        self._settings = TritonSettings.of(json.loads(args["model_config"]))
        folder = Path(args["model_repository"]) / args["model_version"]
        is_on_gpu = args["model_instance_kind"] == "GPU"
        gpu = [(CUDA, {"device_id": int(args["model_instance_device_id"])})]
        self._predictor = MaskPredictor(
            folder / (HEAD_NAME if is_on_gpu else INT8_HEAD_NAME),
            folder / EXTRACTOR_NAME,
            device="cpu",
            providers=gpu if is_on_gpu else None,
        )
        self._pool = ThreadPoolExecutor(usable_cpus(), thread_name_prefix="photos")

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """The answer to each request; all photos pass through the networks together."""
        import triton_python_backend_utils as utils

        asked = [self._asked(request) for request in requests]
        photos = list(self._pool.map(self._prepare, (pair for pairs in asked for pair in pairs)))
        good = [photo for photo in photos if isinstance(photo, Photo)]
        found = iter(segment_each(self._predictor, good, self._settings.score))
        masks = [next(found) if isinstance(photo, Photo) else photo for photo in photos]
        texts, responses = iter(list(self._pool.map(self._answer, masks))), []
        for pairs in asked:
            own = [next(texts) for _ in pairs]
            failed = next((text for text in own if isinstance(text, InputError)), None)
            if failed is not None:
                error = utils.TritonError(one_line(str(failed)), utils.TritonError.INVALID_ARG)
                responses.append(utils.InferenceResponse(error=error))
                continue
            tensor = utils.Tensor("people", np.array(own, np.object_).reshape(-1, 1))
            responses.append(utils.InferenceResponse(output_tensors=[tensor]))
        return responses

    @staticmethod
    def _asked(request: Any) -> list[tuple[bytes, NDArray[np.float32] | None]]:
        """The photos of a request, each with its boxes."""
        import triton_python_backend_utils as utils

        images = utils.get_input_tensor_by_name(request, "image").as_numpy().reshape(-1)
        boxes = utils.get_input_tensor_by_name(request, "boxes")
        every = [None] * len(images) if boxes is None else list(boxes.as_numpy())
        return list(zip(images, every, strict=True))

    def _prepare(self, pair: tuple[bytes, NDArray[np.float32] | None]) -> Photo | InputError:
        data, rows = pair
        try:
            image = read_image(data, max_pixels=self._settings.max_pixels)
            boxes = None
            if rows is not None:
                corners = check_boxes(rows)
                boxes = ImageBoxes(corners, np.ones(len(corners), np.float32))
                boxes.at_most(self._settings.max_people, "the photo")
            return Photo(image, self._predictor.prepare(image), boxes)
        except Exception as error:
            return InputError(reason(error))

    def _answer(self, masks: InstanceMasks | Exception) -> bytes | InputError:
        if isinstance(masks, Exception):
            return InputError(reason(masks))
        try:
            height, width = masks.size_hw
            people = masks.coco_people(self._settings.threshold)
        except Exception as error:
            return InputError(reason(error))
        return json.dumps({"image": {"height": height, "width": width}, "people": people}).encode()

    def finalize(self) -> None:
        """Close the model."""
        self._pool.shutdown()
        self._predictor.close()
