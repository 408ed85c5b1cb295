"""Scores of candidates: written-out overlaps, duplicates that fall, neighbours that stay."""

from __future__ import annotations

import time

import numpy as np
import pytest

from human_edge_detection.core.boxes import padded_rois
from human_edge_detection.masks.candidates import (
    BEST_QUALITY,
    SURELY_SAME,
    found_scores,
    least_score,
    mask_overlaps,
    person_scores,
    without_duplicates,
)
from human_edge_detection.masks.paste import paste_mask

WEIGHTS = (-0.5, 2.7, 0.5)


def probabilities(targets: np.ndarray) -> np.ndarray:
    """Three classes whose rest is background."""
    return np.stack([1 - targets, targets, np.zeros_like(targets)], axis=1).astype(np.float32)


def test_overlaps_of_rectangles_in_rois_of_different_size() -> None:
    masks = np.zeros((4, 8, 8), bool)
    masks[0, :, :4] = True  # x 0 … 40 of 0 … 80
    masks[1, :, :] = True  # x 20 … 60, in bins of 5 pixels
    masks[2, :, 4:] = True  # x 40 … 80, beside the first
    masks[3, :, :] = True  # elsewhere
    rois = np.array(
        [[0, 0, 80, 80], [20, 0, 60, 40], [0, 0, 80, 80], [200, 0, 280, 80]], np.float32
    )
    first, second, ious = mask_overlaps(masks, rois)
    found = {(i, j): iou for i, j, iou in zip(first.tolist(), second.tolist(), ious, strict=True)}
    shared, union = 20 * 40, 40 * 80 + 40 * 40 - 20 * 40
    expected = {(0, 1): shared / union, (1, 2): shared / union, (0, 2): 0.0}
    assert found == pytest.approx(expected)


def test_overlaps_are_those_of_the_pasted_masks() -> None:
    rng = np.random.default_rng(0)
    coarse = rng.normal(0.3, 2, (12, 7, 7))
    targets = 1 / (1 + np.exp(-np.repeat(np.repeat(coarse, 8, axis=1), 8, axis=2)))
    low = rng.uniform(20, 80, (12, 2))
    boxes = np.concatenate([low, low + rng.uniform(60, 120, (12, 2))], axis=1).astype(np.float32)
    rois = padded_rois(boxes, 0.1, (240, 240))
    pasted = np.zeros((12, 240, 240), bool)
    for whole, target, roi in zip(pasted, targets, rois, strict=True):
        mask, (x1, y1, x2, y2) = paste_mask(target, roi, (240, 240))
        whole[y1:y2, x1:x2] = mask
    first, second, ious = mask_overlaps(targets[:, ::2, ::2] >= 0.5, rois)
    assert len(first) > 30
    for i, j, iou in zip(first, second, ious, strict=True):
        exact = (pasted[i] & pasted[j]).sum() / (pasted[i] | pasted[j]).sum()
        assert iou == pytest.approx(exact, abs=0.03)


def test_a_duplicate_falls_and_those_behind_it_rise() -> None:
    scores = np.array([0.5, 0.9, 0.6], np.float32)
    first, second = np.array([0, 0, 1]), np.array([1, 2, 2])
    same = np.array([0.5, 0.9, 0.9])
    # 1 is surest; 2 is likely the same person; 0 loses half to 1, and little to what is left of 2
    third = 0.6 * 0.19 / (0.6 * 0.19 + 0.4)
    first_free = (1 - 0.5 * 0.9) * (1 - 0.9 * third)
    expected = [first_free / (first_free + 1), 0.9, third]
    assert without_duplicates(scores, first, second, same) == pytest.approx(expected)


def test_of_two_people_in_nearly_one_box_both_stay_of_two_boxes_of_one_person_one() -> None:
    left, right = np.zeros((56, 56)), np.zeros((56, 56))
    left[:, :28], right[:, 28:] = 0.95, 0.95
    rois = np.array([[0, 0, 112, 112], [0, 0, 112, 112], [4, 0, 116, 112]], np.float32)
    scores = np.array([0.9, 0.8, 0.7], np.float32)
    people = found_scores(
        probabilities(np.stack([left, right, np.roll(right, -2, 1)])), rois, scores
    )
    free = 0.7 * (1 - SURELY_SAME * 0.8)
    assert people == pytest.approx([0.9, 0.8, free / (free + 0.3)], abs=1e-6)


def test_of_people_who_are_equally_sure_nobody_is_lost() -> None:
    """Annotated boxes taken as found: even one mask in both boxes is no reason against a person."""
    probs = probabilities(np.full((2, 56, 56), 0.9))
    rois = np.array([[0, 0, 112, 112], [9, 0, 121, 112]], np.float32)
    assert found_scores(probs, rois, np.ones(2)).tolist() == [1, 1]
    for score, least in ((0.999, 0.9), (0.8, 0.4), (0.5, 0.3)):
        assert found_scores(probs, rois, np.full(2, score)).min() > least


def test_weights_make_probabilities_that_rise_with_score_and_quality() -> None:
    targets = np.zeros((3, 4, 4), np.float32)
    targets[0, :2], targets[1, :2] = 0.6, 0.9
    scores = np.array([0.5, 0.5, 0.5], np.float32)
    poor, good, empty = person_scores(targets, scores, WEIGHTS)
    assert good == pytest.approx(1 / (1 + np.exp(0.5 - 0.5 * np.log(9))))
    assert empty < poor < good
    surer = person_scores(targets, scores + 0.3, WEIGHTS)
    assert (surer > [poor, good, empty]).all()
    assert person_scores(targets, scores, ()).tolist() == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("probability", [0.01, 0.3, 0.9])
def test_no_candidate_below_the_least_score_reaches_the_probability(probability: float) -> None:
    least = least_score(probability, WEIGHTS)
    best = np.full((1, 4, 4), BEST_QUALITY, np.float32)
    reached = person_scores(best, np.array([least], np.float32), WEIGHTS)
    assert reached == pytest.approx([probability], abs=1e-5)
    surest = person_scores(np.ones((1, 4, 4), np.float32), np.array([least], np.float32), WEIGHTS)
    assert surest == pytest.approx(reached)
    assert least_score(probability) == probability
    assert least_score(0, WEIGHTS) == 0


@pytest.mark.parametrize("side", [1, 2, 3, 56])
def test_nobody_and_grids_of_any_size(side: int) -> None:
    nobody = found_scores(
        np.zeros((0, 3, side, side), np.float32), np.zeros((0, 4), np.float32), np.zeros(0)
    )
    assert nobody.shape == (0,)
    rois = np.array([[0, 0, 9, 9], [0, 0, 9, 9], [5, 5, 5, 5]], np.float32)
    probs = probabilities(np.ones((3, side, side)))
    scores = np.array([0.8, 0.5, 0.4], np.float32)
    expected = [0.8, 0.5 * 0.24 / (0.5 * 0.24 + 0.5), 0.4]
    assert found_scores(probs, rois, scores) == pytest.approx(expected)


def test_a_crowd_takes_milliseconds() -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 1000, (100, 2)) * (1, 0.4)
    boxes = np.concatenate([low, low + rng.uniform(60, 200, (100, 2))], axis=1).astype(np.float32)
    centre = np.abs(np.linspace(-1, 1, 56))
    probs = probabilities(np.repeat(np.outer(1 - centre**2, 1 - centre)[None], 100, axis=0))
    scores = rng.uniform(0.3, 1, 100).astype(np.float32)
    found_scores(probs, boxes, scores, WEIGHTS)
    start = time.process_time()
    for _ in range(5):
        found_scores(probs, boxes, scores, WEIGHTS)
    assert (time.process_time() - start) / 5 < 0.1  # 4 ms where nothing else runs
