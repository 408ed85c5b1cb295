"""Boxes in, masks out: the entry point of the library."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from human_edge_detection.core.boxes import check_boxes, check_ids, check_scores
from human_edge_detection.core.errors import InputError, check_number
from human_edge_detection.core.images import EncodedImage, PreparedImage, check_image
from human_edge_detection.core.structures import Detections, FloatArray, ImageArray
from human_edge_detection.inference.networks import open_networks
from human_edge_detection.masks import FUSE_RULES
from human_edge_detection.masks.instance_masks import InstanceMasks
from human_edge_detection.runtime import DEFAULT_SCORE
from human_edge_detection.runtime.model_files import FileName, ModelFiles, name_files
from human_edge_detection.runtime.providers import Provider
from human_edge_detection.runtime.sessions import SessionOptions


class MaskPredictor(AbstractContextManager["MaskPredictor"]):
    """One mask per person, from boxes of your own or of a detector.

    Example::

        with MaskPredictor("checkpoints/best_model.onnx", extractor="yolov9.onnx") as predictor:
            predictor.set_image(image)            # uint8 [H, W, 3] RGB; the network runs here
            masks = predictor.predict(boxes_xyxy) # float [N, 4] in the image's pixels
            masks.binary(0.5)                     # bool [N, H, W]

    The probabilities of several models are averaged; a model with a smaller margin around the box
    counts within that margin alone. A network that several of them read is run for all of them.

    In all methods an image is uint8 [H, W, 3] RGB, and ``score`` the lowest score, 0…1, of a person
    that is found; what is no such image or number raises ``InputError``.

    Threads: :meth:`set_image` and :meth:`predict` share the image that was set, so they belong to
    one thread. All other methods keep nothing between calls and may be called by any number of
    threads at once.

    Processes: pickling carries the file names alone; the copy opens its own sessions. Start worker
    processes with ``spawn`` (sessions do not survive a fork), best by making the predictor in the
    pool's initializer.
    """

    def __init__(
        self,
        model: FileName | Sequence[FileName] | ModelFiles | None = None,
        extractor: FileName | Sequence[FileName | None] | None = None,
        detector: FileName | None = None,
        *,
        device: str = "auto",
        providers: Sequence[Provider] | None = None,
        max_rois: int | None = None,
        fuse: str = "arbitrate",
        layout: str = "auto",
        person_class: int | None = None,
        threads: int | None = None,
        image_size: int | None = None,
    ) -> None:
        """Open the model's files.

        Args:
            model: exported head, or end-to-end file, or several; None for the model that ships,
                whose head is an 8-bit one on a CPU. A ``ModelFiles`` names all files, with
                ``extractor``, ``detector``, ``layout`` and ``person_class`` left out.
            extractor: the network that the head was trained on, unless ``model`` holds it; of
                several models one for all, or one for each, None for one that holds it.
            detector: a YOLO export that finds people; if it is the extractor's own file, or no
                extractor is named, one pass returns boxes and features.
            device: ``auto``, ``cpu``, ``cuda`` or ``tensorrt``.
            providers: execution providers in order of preference, used instead of ``device``;
                those that cannot work here are left out with a warning.
            max_rois: people that pass through the head at once, None for 128, or 4 where it is
                the spec head; bounds memory, not the result.
            fuse: rule that gives a pixel of several people's masks to one, see ``InstanceMasks``.
            layout: how the detector's outputs are read, ``auto`` to recognise it.
            person_class: the detector's class of people; None to read it from the file.
            threads: CPU threads of one operation; None for ONNX Runtime's choice.
            image_size: longest side of a photo in the network, a multiple of 32 for the model that
                ships, None for the size that it was trained at: more finds smaller people, less
                is faster.

        Raises:
            InputError: a file is missing, damaged or does not fit the others, or the hardware
                that was asked for is absent.
        """
        if fuse not in FUSE_RULES:
            raise InputError(f"fuse '{fuse}' is not one of {', '.join(FUSE_RULES)}")
        self._arguments: dict[str, Any] = {
            "model": model, "extractor": extractor, "detector": detector, "device": device,
            "providers": providers, "max_rois": max_rois, "fuse": fuse, "layout": layout,
            "person_class": person_class, "threads": threads, "image_size": image_size,
        }  # fmt: skip
        self.fuse = fuse
        options = SessionOptions(device, providers, threads, max_rois, image_size)
        if not isinstance(model, ModelFiles):
            model = name_files(model, extractor, detector, layout, person_class, options)
        elif (extractor, detector, layout, person_class) != (None, None, "auto", None):
            raise InputError("model is a ModelFiles, which already names the other files")
        networks = open_networks(model, options)
        self._encoder, self._heads, self._detector, self._score_weights = networks
        self._current: EncodedImage | None = None
        self._no_image = "there is no image yet: call set_image(image) first"

    @property
    def provider(self) -> str:
        """The execution provider that the head runs on, by ONNX Runtime's name."""
        return self._heads.provider

    def set_image(self, image: ImageArray) -> None:
        """Run the backbone on a photo uint8 [H, W, 3] RGB, for any number of :meth:`predict`."""
        self._current = self.encode(self.prepare(image))

    def predict(
        self,
        boxes_xyxy: FloatArray | Sequence[Sequence[float]],
        scores: FloatArray | Sequence[float] | None = None,
        ids: Sequence[int] | None = None,
    ) -> InstanceMasks:
        """The masks of the people in the boxes of the photo that was set; see :meth:`decode`."""
        if self._current is None:
            raise RuntimeError(self._no_image)
        return self.decode(self._current, boxes_xyxy, scores, ids)

    def prepare(self, image: ImageArray) -> PreparedImage:
        """The photo uint8 [H, W, 3] RGB letterboxed for the network; cheap, runs no network."""
        return self._encoder.prepare(check_image(image))

    def encode(self, prepared: PreparedImage, score: float = DEFAULT_SCORE) -> EncodedImage:
        """The maps of a ``prepared`` photo for :meth:`decode`, and people if found with them."""
        return self.encode_many([prepared], score)[0]

    def encode_many(
        self, pictures: Sequence[PreparedImage], score: float = DEFAULT_SCORE
    ) -> list[EncodedImage]:
        """What :meth:`encode` returns for each of several ``pictures``, of any sizes.

        On a GPU they pass through the network together, on a CPU, where that is no faster, in turn.
        """
        check_number("score", score)
        return self._encoder.encode(pictures, score)

    def decode(
        self,
        encoded: EncodedImage,
        boxes_xyxy: FloatArray | Sequence[Sequence[float]],
        scores: FloatArray | Sequence[float] | None = None,
        ids: Sequence[int] | None = None,
    ) -> InstanceMasks:
        """The masks of the people in the boxes.

        Args:
            encoded: a photo from :meth:`encode`.
            boxes_xyxy: float [N, 4], pixels of the photo, end-exclusive; N may be 0. A box that
                is empty or lies outside the photo gets an empty mask, so that rows stay aligned.
            scores: float [N] in 0…1; ones if not given.
            ids: any numbers of yours, one per box, carried through.

        Raises:
            InputError: a box is reversed or not finite, or the counts differ.
        """
        return self.decode_many([encoded], [boxes_xyxy], [scores], [ids])[0]

    def decode_many(
        self,
        encoded: Sequence[EncodedImage],
        boxes_xyxy: Sequence[FloatArray | Sequence[Sequence[float]]],
        scores: Sequence[FloatArray | Sequence[float] | None] | None = None,
        ids: Sequence[Sequence[int] | None] | None = None,
    ) -> list[InstanceMasks]:
        """What :meth:`decode` returns for each of several photos, of any sizes, by their boxes.

        On a GPU all people pass through the head together: probabilities then differ by some 1e-5
        from those of one photo at a time. On a CPU they are the same bit for bit.

        Each photo of ``encoded`` has its ``boxes_xyxy`` float [N, 4], pixels of the photo, its
        ``scores`` float [N] or None, and its ``ids`` or None; errors are those of :meth:`decode`.
        """
        count = len(encoded)
        none = [None] * count
        columns = (boxes_xyxy, none if scores is None else scores, none if ids is None else ids)
        for name, column in zip(("boxes_xyxy", "scores", "ids"), columns, strict=True):
            if len(column) != count:
                raise InputError(f"{name} must be of {count} photos, but got {len(column)}")
        boxes = [check_boxes(rows) for rows in boxes_xyxy]
        found = self._heads(encoded, boxes)
        return [
            InstanceMasks(
                part.probs, part.rois_xyxy, own, photo.prepared.size_hw,
                check_scores(sure, len(own)), self.fuse, check_ids(names, len(own)),
            )
            for photo, part, own, sure, names in zip(
                encoded, found, boxes, *columns[1:], strict=True
            )
        ]  # fmt: skip

    def without_duplicates(
        self, masks: InstanceMasks, score: float = DEFAULT_SCORE
    ) -> InstanceMasks:
        """The people in a photo, of the ``masks`` of all candidates from ``candidate_score`` on.

        A score is then the probability that the mask is one of a person of its own: the detector's,
        weighed by the mask, less what may be a surer candidate's person (``masks/candidates``).
        """
        from human_edge_detection.masks.candidates import found_scores  # with the first photo

        scores = found_scores(masks.probs, masks.rois_xyxy, masks.scores, self._score_weights)
        return replace(masks, scores=scores).select(scores >= score)

    def candidate_score(self, score: float = DEFAULT_SCORE) -> float:
        """The detector's lowest score, 0…1, of candidates that may be people of this ``score``."""
        from human_edge_detection.masks.candidates import least_score

        check_number("score", score)
        return least_score(score, self._score_weights)

    def detect(self, image: ImageArray, score: float = DEFAULT_SCORE) -> Detections:
        """The people in a photo uint8 [H, W, 3] RGB, best first, by the detector alone.

        Without masks duplicates stay, and scores are the detector's own; :meth:`segment` has both.

        Raises:
            InputError: the model has no detector.
        """
        encoded = None if self._detector else self.encode(self.prepare(image), score)
        return self.people(check_image(image), encoded, score)

    def people(
        self, image: ImageArray, encoded: EncodedImage | None, score: float = DEFAULT_SCORE
    ) -> Detections:
        """The people in a photo that is encoded already, with this score; see :meth:`detect`.

        A detector of its own reads the image, so that ``encoded`` may then be None.
        """
        if self._detector is not None:
            check_number("score", score)
            encoded = self._detector.encode([self._detector.prepare(image)], score)[0]
        if encoded is None or encoded.people is None:
            raise InputError(
                "this model finds no people by itself: pass boxes, or the ONNX file of a detector"
            )
        return encoded.people

    def segment(
        self,
        image: ImageArray,
        score: float = DEFAULT_SCORE,
        *,
        prepared: PreparedImage | None = None,
        boxes_xyxy: FloatArray | Sequence[Sequence[float]] | None = None,
        scores: FloatArray | Sequence[float] | None = None,
        ids: Sequence[int] | None = None,
    ) -> InstanceMasks:
        """The masks of the people in a photo: of all that the detector finds, or in given boxes.

        Args:
            image: uint8 [H, W, 3] RGB.
            score: lowest score, 0…1, of a person that is found.
            prepared: the same photo from :meth:`prepare`, if another thread did that already.
            boxes_xyxy: float [N, 4], pixels of the photo, instead of the detector's.
            scores: float [N], with ``boxes_xyxy``; ones if not given.
            ids: one per box, with ``boxes_xyxy``, carried through.

        Raises:
            InputError: there are no boxes and the model has no detector, or what belongs to boxes.
        """
        if boxes_xyxy is None and (scores is not None or ids is not None):
            raise InputError("scores and ids belong to boxes_xyxy, which is missing: give all")
        least = self.candidate_score(score)
        encoded = self.encode(prepared or self.prepare(image), least)
        if boxes_xyxy is not None:
            return self.decode(encoded, boxes_xyxy, scores, ids)
        people = self.people(image, encoded, least)
        masks = self.decode(encoded, people.boxes_xyxy, people.scores)
        return self.without_duplicates(masks, score)

    @property
    def finds_people(self) -> bool:
        """Whether :meth:`detect` works, and :meth:`segment` without boxes."""
        return self._detector is not None or self._encoder.finds_people

    def close(self) -> None:
        """Free the sessions; the predictor cannot be used any more."""
        self._current, self._no_image = None, "the predictor is closed: open another"
        self._heads.close()
        self._encoder.close()
        if self._detector is not None:
            self._detector.close()

    def __exit__(self, *error: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return self._arguments  # from which a worker process opens the same files

    def __setstate__(self, arguments: dict[str, Any]) -> None:
        self.__init__(**arguments)  # type: ignore[misc]
