"""The people of a film: one number each, and masks that do not flicker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core.boxes import box_iou
from human_edge_detection.core.errors import InputError, check_number
from human_edge_detection.core.images import PreparedImage
from human_edge_detection.core.structures import FloatArray, ImageArray
from human_edge_detection.inference.predictor import MaskPredictor
from human_edge_detection.masks.carry import MOST_WEIGHT, CarriedEvidence
from human_edge_detection.masks.instance_masks import InstanceMasks
from human_edge_detection.masks.probabilities import log_odds
from human_edge_detection.runtime import DEFAULT_SCORE

FAINT_SCORE = 0.1
"""Detections of lower scores continue nobody's track."""

SURE_SCORE = 0.7
"""From here on a detection begins a track also where it overlaps a surer one."""

LEAST_OVERLAP = 0.2
"""IoU from which a detection may be a surer one's second box, which would steal its number."""


class VideoTracker:
    """One number and one steady mask per person, through the frames of one film in their order.

    ByteTrack, of the package ``trackers``, finds each person again by box and movement; a person
    who was hidden for less than a second mostly keeps the number. Detections that are too faint for
    a new person, or may be the second box of a surer one, continue people who are known.

    Example::

        with MaskPredictor() as predictor:
            tracker = VideoTracker(predictor, fps=25)
            for frame in frames:  # uint8 [H, W, 3] RGB
                masks = tracker.segment(frame)
                masks.track_ids  # (1, 2, 5): the people's numbers
    """

    def __init__(
        self, predictor: MaskPredictor, fps: float = 30.0, score: float = DEFAULT_SCORE
    ) -> None:
        """Start before the first frame; another film needs a new tracker.

        Args:
            predictor: makes the masks; the tracker does not close it.
            fps: frames per second of what :meth:`segment` is given.
            score: lowest score, 0…1, of a person who was not seen before; 0.7 for one whose box
                overlaps that of a surer one.

        Raises:
            InputError: the package ``trackers`` is missing, or a number cannot be used.
        """
        check_number("score", score)
        self._predictor, self._score = predictor, score
        self._tracks = _Tracks(fps, score)
        self._carried = CarriedEvidence()
        self._score_odds: dict[int, float] = {}

    def segment(
        self,
        frame: ImageArray,
        *,
        prepared: PreparedImage | None = None,
        boxes_xyxy: FloatArray | Sequence[Sequence[float]] | None = None,
        scores: FloatArray | Sequence[float] | None = None,
        ids: Sequence[int] | None = None,
    ) -> InstanceMasks:
        """The masks of the people in the next frame, by rising number, with ``track_ids``.

        Detections that neither begin nor continue a track are left out. The score of somebody who
        is found takes the frames before as evidence; that of a given box stays.

        Args:
            frame: uint8 [H, W, 3] RGB.
            prepared: the same frame from ``MaskPredictor.prepare``, if that was done already.
            boxes_xyxy: float [N, 4], pixels of the frame, instead of the detector's.
            scores: float [N], with ``boxes_xyxy``; ones if not given.
            ids: one per box, with ``boxes_xyxy``, carried through.

        Raises:
            InputError: there are no boxes and the model has no detector.
        """
        predictor, lowest = self._predictor, min(self._score, FAINT_SCORE)
        masks = predictor.segment(
            frame, lowest, prepared=prepared, boxes_xyxy=boxes_xyxy, scores=scores, ids=ids
        )
        numbers = self._tracks.update(masks.boxes_xyxy, masks.scores)
        rows = np.argsort(numbers, kind="stable")[np.count_nonzero(numbers == 0) :]
        masks = replace(masks.select(rows), track_ids=tuple(numbers[rows].tolist()))
        if boxes_xyxy is None:
            masks = replace(masks, scores=self._carried_scores(masks))
        return self._carried.mix(frame, masks)

    def _carried_scores(self, masks: InstanceMasks) -> FloatArray:
        """The scores float32 [N] with those of the frames before as evidence, as of the masks.

        Of two people who overlap the surer one gets the doubtful pixels; scores that jump would
        hand them to and fro.
        """
        odds = log_odds(masks.scores)
        for person, number in enumerate(masks.track_ids):
            before = self._score_odds.get(number, odds[person])
            odds[person] = (odds[person] + MOST_WEIGHT * before) / (1 + MOST_WEIGHT)
            self._score_odds[number] = float(odds[person])
        return np.asarray(1 / (1 + np.exp(-odds)), np.float32)


class _Tracks:
    """ByteTrack with numbers from 1 on that people have from their first frame on."""

    def __init__(self, fps: float, score: float) -> None:
        try:
            from trackers import ByteTrackTracker
        except ImportError as error:
            raise InputError(
                "tracking people through a video needs the package trackers: "
                "pip install 'human-edge-detection[track]'"
            ) from error
        check_number("fps", fps)
        if fps <= 0:
            raise InputError(f"fps must be over 0, but got {fps}")
        self._score = score
        self._tracker: Any = ByteTrackTracker(
            frame_rate=fps, track_activation_threshold=0.5, high_conf_det_threshold=0.5,
            minimum_consecutive_frames=1,
        )  # fmt: skip
        self._numbers: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        self._count = 0

    def update(self, boxes_xyxy: FloatArray, scores: FloatArray) -> NDArray[np.int64]:
        """The number of the person in each box of the next frame, int64 [N]; 0 for none."""
        from supervision import Detections

        rows, begins = np.arange(len(boxes_xyxy)), self._may_begin(boxes_xyxy, scores)
        found = self._tracker.update(
            Detections(xyxy=boxes_xyxy, confidence=begins.astype(np.float32), data={"row": rows})
        )
        numbers = np.zeros(len(boxes_xyxy), np.int64)
        by_id = {track.tracker_id: track for track in self._tracker.tracks}
        for row, tracker_id in zip(found.data.get("row", ()), found.tracker_id, strict=True):
            if tracker_id >= 0:
                numbers[row] = self._number(by_id[tracker_id])
        # A person's first frame: ByteTrack gives an id with the second, and holds the box till then
        for track in self._tracker.tracks:
            if track.tracker_id < 0 and track.time_since_update == 0:
                distance = np.abs(boxes_xyxy - track.get_state_bbox()).max(axis=1)
                row = int(np.where(numbers == 0, distance, np.inf).argmin())
                numbers[row] = self._number(track)
        return numbers

    def _may_begin(self, boxes_xyxy: FloatArray, scores: FloatArray) -> NDArray[np.bool_]:
        """Whether each detection may begin a track; the others are ByteTrack's faint ones."""
        surer = scores[None] > scores[:, None]
        overlaps = ((box_iou(boxes_xyxy, boxes_xyxy) >= LEAST_OVERLAP) & surer).any(axis=1)
        return (scores >= self._score) & ((scores >= SURE_SCORE) | ~overlaps)

    def _number(self, track: Any) -> int:
        if track not in self._numbers:
            self._count += 1
            self._numbers[track] = self._count
        return self._numbers[track]
