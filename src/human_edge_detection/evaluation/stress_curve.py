"""IoU against how much of a person another one covers, from the scores of a stress set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from human_edge_detection.evaluation.bootstrap import Estimate, estimate
from human_edge_detection.evaluation.evaluate import PersonScore

ROLES = ("behind", "front")


@dataclass(frozen=True)
class StressPoint:
    """The mean mask IoU of the people of one role, where one part is covered."""

    role: str
    covered: float
    iou: Estimate


def stress_curve(
    stress_ann: Path, scores: Sequence[PersonScore], rounds: int
) -> tuple[StressPoint, ...]:
    """The IoU of each role at each covered part, roles first, parts rising.

    Args:
        stress_ann: the annotations that :func:`write_stress_set` wrote.
        scores: scores of its people.
        rounds: resamplings of the pictures behind each interval.
    """
    facts = {
        int(record["id"]): (str(record["role"]), float(record["covered"]))
        for record in json.loads(stress_ann.read_bytes())["annotations"]
        if "role" in record
    }
    points = []
    for role in ROLES:
        for covered in sorted({part for own, part in facts.values() if own == role}):
            chosen = [s for s in scores if facts.get(s.person_id) == (role, covered)]
            numbers = estimate(chosen, 0.0, rounds)
            points.append(StressPoint(role, covered, numbers["target_iou_image"]))
    return tuple(points)
