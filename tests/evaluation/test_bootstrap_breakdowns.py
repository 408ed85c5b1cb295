"""Every person falls into one group of each aspect, and the limits are where they are said."""

from __future__ import annotations

import numpy as np
import pytest

from human_edge_detection.evaluation.bootstrap import break_down, overlap_name, size_name
from people_set import made_up_score


@pytest.mark.parametrize(
    ("side", "name"), [(31.9, "small"), (32, "medium"), (95.9, "medium"), (96, "large")]
)
def test_size_limits_are_cocos(side: float, name: str) -> None:
    assert size_name(made_up_score(1, 1, 0.5, side=side)) == name


@pytest.mark.parametrize(
    ("overlap", "name"), [(0.0, "< 0.1"), (0.1, "0.1 – 0.3"), (0.3, "0.3 – 0.5"), (0.7, "> 0.5")]
)
def test_overlap_limits(overlap: float, name: str) -> None:
    assert overlap_name(made_up_score(1, 1, 0.5, overlap=overlap)) == name


def test_groups_share_everybody_out() -> None:
    scores = [
        made_up_score(1, 1, 0.5, side=20),
        made_up_score(1, 2, 0.7, overlap=0.4, is_truncated=True),
        made_up_score(2, 3, 0.9, overlap=0.6),
    ]
    groups = break_down(scores, 12.0, rounds=20)
    counts = {(group.aspect, group.name): group.count for group in groups}
    assert counts["size", "small"] == 1
    assert counts["size", "large"] == 0
    assert counts["overlap", "0.3 – 0.5"] == counts["image edge", "at the edge"] == 1
    for aspect in ("size", "overlap", "image edge"):
        assert sum(group.count for group in groups if group.aspect == aspect) == 3
    by_name = {(group.aspect, group.name): group.numbers["target_iou_image"] for group in groups}
    assert by_name["size", "medium"].value == pytest.approx(0.8)
    assert np.isnan(by_name["size", "large"].value)
