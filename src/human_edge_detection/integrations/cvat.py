"""People's masks in CVAT: everybody in a photo, or the person in a box that somebody drew.

CVAT loads this module by its name and calls :func:`create`::

    cvat-cli task auto-annotate 137 --function-module human_edge_detection.integrations.cvat

Both functions give masks; `docs/integrations.md` has the commands.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.images import EncodedImage
from human_edge_detection.inference.predictor import MaskPredictor
from human_edge_detection.masks.instance_masks import InstanceMasks
from human_edge_detection.runtime import DEFAULT_SCORE

if TYPE_CHECKING:
    import cvat_sdk.auto_annotation as cvat


def create(
    label: str = "person",
    boxes: bool = False,
    model: str | None = None,
    extractor: str | None = None,
    detector: str | None = None,
) -> PeopleFunction | BoxFunction:
    """What CVAT calls with the parameters of its command line.

    Args:
        label: the label of CVAT's project that people get.
        boxes: the person in a drawn box, instead of everybody.
        model: as of ``MaskPredictor``, as are ``extractor`` and ``detector``.
        extractor: the network that the head was trained on.
        detector: a YOLO export that finds people.

    Raises:
        InputError: a file is missing or does not fit, or the model finds no people by itself.
    """
    predictor = MaskPredictor(model, extractor, detector)
    return BoxFunction(predictor) if boxes else PeopleFunction(predictor, label)


class PeopleFunction:
    """Everybody in a photo: CVAT's interface of a detection function."""

    def __init__(self, predictor: MaskPredictor, label: str = "person") -> None:
        """Use an open predictor; people get the label of this name.

        Raises:
            InputError: the model finds no people by itself.
        """
        if not predictor.finds_people:
            raise InputError("this model finds no people by itself: name a detector, or boxes=True")
        self._predictor, self._cvat = predictor, _cvat()
        self.spec = self._cvat.DetectionFunctionSpec(labels=[self._cvat.label_spec(label, 0)])

    def detect(self, context: cvat.DetectionFunctionContext, image: Image.Image) -> list[Any]:
        """A mask per person, or polygons where CVAT asks for them, those of a person grouped."""
        least = context.conf_threshold
        score = DEFAULT_SCORE if least is None else least
        masks = self._predictor.segment(np.asarray(image.convert("RGB")), score)
        if not context.conv_mask_to_poly:
            return [self._cvat.mask(0, points) for points in _encoded(masks)]
        return [
            self._cvat.polygon(0, ring.ravel().tolist(), group=person)
            for person, rings in enumerate(masks.polygons(), start=1)
            for ring in rings
        ]


class BoxFunction:
    """The person in a box: CVAT's interface of an interaction function."""

    def __init__(self, predictor: MaskPredictor) -> None:
        self._predictor, self._cvat = predictor, _cvat()
        self.spec = self._cvat.InteractionFunctionSpec(min_pos_points=0, min_bounding_boxes=1)

    def preprocess_image(
        self, context: cvat.InteractionFunctionContext, image: Image.Image
    ) -> EncodedImage:
        """The photo's feature maps, which serve any number of boxes."""
        return self._predictor.encode(self._predictor.prepare(np.asarray(image.convert("RGB"))))

    def detect(
        self,
        context: cvat.InteractionFunctionContext,
        pp_image: EncodedImage,
        prompts: cvat.InteractionPrompts,
    ) -> list[cvat.InteractionResultShape]:
        """The mask of the person in the box, or nothing if nobody is there."""
        assert prompts.bounding_box is not None  # as the spec says
        (x1, y1), (x2, y2) = prompts.bounding_box
        masks = self._predictor.decode(pp_image, [[x1, y1, x2, y2]])
        shape = self._cvat.InteractionResultShape
        return [shape(type="mask", points=points) for points in _encoded(masks)]


def _cvat() -> Any:
    """CVAT's interface for functions.

    Raises:
        InputError: the package is missing.
    """
    try:
        import cvat_sdk.auto_annotation
    except ImportError as error:
        raise InputError(
            "CVAT's functions need the package cvat-sdk: pip install 'human-edge-detection[cvat]'"
        ) from error
    return cvat_sdk.auto_annotation


def _encoded(masks: InstanceMasks) -> Iterator[list[float]]:
    """The masks that are not empty as CVAT's points: run lengths, and the corners they fill."""
    from cvat_sdk.masks import encode_mask

    for mask, (left, top, _, _) in masks.iter_binary():
        if mask.any():
            *runs, x1, y1, x2, y2 = encode_mask(mask)
            yield [*runs, left + x1, top + y1, left + x2, top + y2]
