from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from human_edge_detection.core import geometry
from human_edge_detection.core.boxes import box_areas, box_iou, clip_boxes
from human_edge_detection.masks import FUSE_RULES, fusion
from human_edge_detection.masks.fusion import RULES, fuse
from human_edge_detection.masks.paste import paste_mask, paste_window
from human_edge_detection.masks.probabilities import LEAST_PROBABILITY, cut, log_odds, softmax

LEAST = LEAST_PROBABILITY


def crowd(count, size_hw=(40, 60), seed=0, dtype=np.float32, side=56):
    """Probabilities, ROIs and scores of people that overlap, some of them tiny or outside."""
    rng = np.random.default_rng(seed)
    height, width = size_hw
    low = rng.uniform(-0.2, 0.9, (count, 2)) * [width, height]
    high = low + rng.uniform(0.02, 0.6, (count, 2)) * [width, height]
    rois = clip_boxes(np.concatenate([low, high], axis=1), size_hw)
    coarse = rng.normal(size=(count, 3, 7, 7)) * 3
    logits = coarse.repeat(side // 7, axis=2).repeat(side // 7, axis=3)
    scores = rng.choice([0.5, 0.7, 0.9], count).astype(np.float32)
    return softmax(logits).astype(dtype), rois, scores


def uniform(*classes):
    """One ROI's probabilities [3, 4, 4], the same in every bin."""
    return np.broadcast_to(np.array(classes, np.float32)[:, None, None], (3, 4, 4))


def slow_owner(values, scores, threshold, rule):
    """One pixel's owner from the values of its ROIs, and how near the decision was.

    ``values`` holds each person's t and n, the log-odds of t and of e·t, and log(1 - e·n).
    """
    least = odds(threshold)
    if len(values) == 1 or rule in ("max", "priority", "independent"):
        able = [i for i, value in values.items() if value["own"] >= least]
        near = min(abs(value["own"] - least) for value in values.values())
        if not able:
            return 0, near
        best = max(able, key=lambda i: scores[i] if rule == "priority" else values[i]["own"])
        rivals = [values[best]["own"] - values[i]["own"] for i in able if i != best]
        near = near if rule == "priority" else min(near, *rivals, np.inf)
        return best + 1, near
    t = {i: value["t"] for i, value in values.items()}
    n = {i: value["n"] for i, value in values.items()}
    if rule == "arbitrate":
        unseen = sum(value["unseen"] for value in values.values())
        raised = {i: -0.5 * (unseen - value["unseen"]) for i, value in values.items()}
        claims = {i: value["claim"] + raised[i] for i, value in values.items()}
        second, first = sorted(claims.values())[-2:]
        best = max(claims, key=claims.get)
        sure = values[best]["own"] + raised[best]
        return (best + 1 if sure >= least else 0), min(abs(sure - least), first - second)
    n = {i: max(value, LEAST) for i, value in n.items()}
    if rule == "mean":
        raw = {i: np.mean([t[j] if j == i else n[j] for j in values]) for i in values}
        best = max(raw, key=raw.get)
        apart = abs(t[best] - values[best]["n"])
        owns = raw[best] >= threshold and t[best] >= values[best]["n"]
        return (best + 1 if owns else 0), min(abs(raw[best] - threshold), apart)


def odds(probability):
    """Log-odds of probabilities that are cut to 0.001 … 0.999."""
    sure = np.clip(np.asarray(probability, np.float64), LEAST, 1 - LEAST)
    return np.log(sure / (1 - sure))


def slow_weights(count, low, high, first, last):
    """How much of each bin of low…high goes into each pixel, [last - first, count]."""
    bins = (high - low) / count  # pixels a bin
    weights = np.zeros((last - first, count))
    for row, pixel in enumerate(range(first, last)):
        if bins >= 1:  # between the centres of two bins, or beyond the outermost
            place = min(max((pixel + 0.5 - low) / bins - 0.5, 0), count - 1)
            before = int(place)
            weights[row, before] += 1 - (place - before)
            weights[row, min(before + 1, count - 1)] += place - before
            continue
        begin, end = max(pixel, low), min(pixel + 1, high)
        for k in range(count):
            shared = min(end, low + (k + 1) * bins) - max(begin, low + k * bins)
            weights[row, k] = max(shared, 0) / (end - begin)
    return weights


def slow_paste(plane, roi, size_hw):
    """A plane [M, M] at the pixels of its ROI, and their window."""
    left, top, right, bottom = roi.tolist()
    x1, y1 = max(int(np.floor(left)), 0), max(int(np.floor(top)), 0)
    x2, y2 = min(int(np.ceil(right)), size_hw[1]), min(int(np.ceil(bottom)), size_hw[0])
    if right <= left or bottom <= top or x2 <= x1 or y2 <= y1:
        return np.zeros((0, 0)), (0, 0, 0, 0)
    columns = slow_weights(plane.shape[1], left, right, x1, x2)
    rows = slow_weights(plane.shape[0], top, bottom, y1, y2)
    return rows @ plane @ columns.T, (x1, y1, x2, y2)


def slow_candidate_probability(rois, scores):
    """Probability that each is a person of its own, by loops."""
    exists = []
    for roi, score in zip(rois, scores, strict=True):
        own = float(score)
        for other, surer in zip(rois, scores, strict=True):
            if surer > score:
                own *= 1 - float(surer) * float(box_iou(roi[None], other[None])[0, 0])
        exists.append(own / (own + 1 - float(score)))
    return exists


def slow_fuse(probs, rois, scores, size_hw, threshold, rule):
    """The label map by loops over pixels, and where rounding may decide."""
    pasted = []
    for person, own in enumerate(slow_candidate_probability(rois, scores)):
        weight = own**0.5
        t, n = probs[person, 1:].astype(np.float64)
        planes = {
            "t": t,
            "n": n,
            "own": odds(t),
            "claim": odds(weight * t),
            "unseen": np.log(np.maximum(1 - weight * n, LEAST)),
        }
        pasted.append({k: slow_paste(plane, rois[person], size_hw) for k, plane in planes.items()})
    labels, near = np.zeros(size_hw, np.int32), np.zeros(size_hw, bool)
    for y in range(size_hw[0]):
        for x in range(size_hw[1]):
            values = {}
            for i, windows in enumerate(pasted):
                x1, y1, x2, y2 = windows["t"][1]
                if x1 <= x < x2 and y1 <= y < y2:
                    values[i] = {k: window[y - y1, x - x1] for k, (window, _) in windows.items()}
            if values:
                labels[y, x], distance = slow_owner(values, scores, threshold, rule)
                near[y, x] = distance < 1e-5
    return labels, near


def test_every_public_rule_exists():
    assert FUSE_RULES == tuple(rule for rule in RULES if rule != "independent")


@pytest.mark.parametrize("side", [56, 7])  # bins smaller than pixels, and larger
@pytest.mark.parametrize("scores", ["alike", "differing"])
@pytest.mark.parametrize("rule", list(RULES))
@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_fusing_equals_the_slow_reference(rule, threshold, scores, side):
    if rule == "priority" and scores == "alike":
        pytest.skip("the order among equals is not the reference's")
    probs, rois, _ = crowd(9, seed=3, side=side)
    ranks = np.random.default_rng(0).permutation(9)
    scores = np.ones(9, np.float32) if scores == "alike" else np.float32(ranks / 8)
    got = fuse(probs, rois, scores, (40, 60), threshold, rule)
    wanted, near = slow_fuse(probs, rois, scores, (40, 60), threshold, rule)
    assert ((got == wanted) | near).all()
    assert near.mean() < 0.01
    assert len(np.unique(got)) > 4


@pytest.mark.parametrize("count", [127, 128, 300])
def test_any_number_of_people_fits_in_one_band(count):
    probs, rois, scores = crowd(2 * count, seed=6, side=7)
    inside = np.flatnonzero(box_areas(rois))[:count]
    probs, rois, scores = probs[inside], rois[inside], scores[inside]
    everywhere = np.tile(np.array([0, 0, 60, 40], np.float32), (count, 1))
    rois = np.where(np.arange(count)[:, None] % 2, everywhere, rois)
    windows = geometry.all_roi_bounds(rois, (40, 60))
    assert len(fusion._bands(windows)) == 1
    assert (windows[:, 2:] > windows[:, :2]).all(axis=1).all()
    got = fuse(probs, rois, scores, (40, 60), 0.5)
    wanted, near = slow_fuse(probs, rois, scores, (40, 60), 0.5, "arbitrate")
    assert ((got == wanted) | near).all()
    assert near.mean() < 0.01
    assert len(np.unique(got)) > 20


@pytest.mark.parametrize("rule", list(RULES))
def test_the_order_of_the_people_changes_nothing(rule):
    probs, rois, scores = crowd(14, seed=5)
    whole = fuse(probs, rois, scores, (40, 60), 0.5, rule)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(14)
        mixed = fuse(probs[order], rois[order], scores[order], (40, 60), 0.5, rule)
        back = np.concatenate([[0], order + 1])
        np.testing.assert_array_equal(back[mixed], whole)


@pytest.mark.parametrize("rule", list(RULES))
@pytest.mark.parametrize("size_hw", [(90, 130), (130, 90)])
def test_bands_do_not_change_a_label(rule, size_hw, monkeypatch):
    # ROIs on both sides of 56 pixels, where averaging and interpolating part
    probs, rois, scores = crowd(14, size_hw, seed=5)
    whole = fuse(probs, rois, scores, size_hw, 0.5, rule)
    for band_pixels in (1, 600, 5000, 1 << 18):
        monkeypatch.setattr(fusion, "BAND_PIXELS", band_pixels)
        got = fuse(probs, rois, scores, size_hw, 0.5, rule)
        np.testing.assert_array_equal(got, whole)


def test_bands_cover_the_crowd_once_and_cut_few_people(monkeypatch):
    tall = np.array([[3, 5, 10, 90], [8, 2, 20, 99]])
    lying = tall[:, [1, 0, 3, 2]]
    assert fusion._bands(tall) == [(3, 2, 20, 99)]
    monkeypatch.setattr(fusion, "BAND_PIXELS", 97 * 9)
    assert fusion._bands(tall) == [(3, 2, 11, 99), (11, 2, 20, 99)]
    assert fusion._bands(lying) == [(2, 3, 99, 11), (2, 11, 99, 20)]
    monkeypatch.setattr(fusion, "BAND_PIXELS", 1)
    assert len(fusion._bands(tall)) == 17  # no band is empty
    assert fusion._bands(tall[:0]) == []


@pytest.mark.parametrize("rule", list(RULES))
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8])
def test_a_person_alone_is_plain_thresholding(rule, threshold):
    probs, _, scores = crowd(3, seed=1, dtype=np.float16)
    rois = np.array([[1.5, 2, 19.2, 38], [20, 0, 39.9, 40], [40, 3, 60, 39]], np.float32)
    labels = fuse(probs, rois, scores, (40, 60), threshold, rule)
    for person in range(3):
        target = probs[person, 1].astype(np.float32)
        window, (x1, y1, x2, y2) = paste_window(log_odds(target), rois[person], (40, 60))
        mine = labels[y1:y2, x1:x2] == person + 1
        np.testing.assert_array_equal(mine, window >= cut(threshold))
        slow, bounds = slow_paste(odds(target), rois[person], (40, 60))
        assert bounds == (x1, y1, x2, y2)
        assert ((mine == (slow >= odds(threshold))) | (abs(slow - odds(threshold)) < 1e-5)).all()


@pytest.mark.parametrize("side", [56, 7])
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8])
def test_a_person_alone_is_the_same_under_every_rule(threshold, side):
    probs, _, _ = crowd(2, seed=7, side=side)
    rois = np.array([[1.5, 2, 19.2, 38], [20.3, 0.7, 59.1, 39.8]], np.float32)
    score = np.array([0.4, 1], np.float32)
    maps = [fuse(probs, rois, score, (40, 60), threshold, rule) for rule in RULES]
    for labels in maps[1:]:
        np.testing.assert_array_equal(labels, maps[0])
    for person in range(2):
        mask, (x1, y1, x2, y2) = paste_mask(probs[person, 1], rois[person], (40, 60), threshold)
        np.testing.assert_array_equal(maps[0][y1:y2, x1:x2] == person + 1, mask)
        assert 0.05 < mask.mean() < 0.95


@pytest.mark.parametrize("rule", list(RULES))
def test_what_only_one_of_a_crowd_covers_has_its_t_to_go_by(rule):
    probs, _, _ = crowd(2, seed=2, side=7)
    rois = np.array([[2.5, 3.1, 40.2, 38], [37.4, 1, 57.3, 36.7]], np.float32)
    labels = fuse(probs, rois, np.array([0.9, 0.6], np.float32), (40, 60), 0.5, rule)
    for person, columns in ((0, slice(2, 37)), (1, slice(41, 58))):
        mask, (x1, y1, x2, y2) = paste_mask(probs[person, 1], rois[person], (40, 60))
        whole = np.zeros((40, 60), bool)
        whole[y1:y2, x1:x2] = mask
        np.testing.assert_array_equal(labels[:, columns] == person + 1, whole[:, columns])
        assert 0.1 < whole[:, columns].mean() < 0.9


@pytest.mark.parametrize("rule", list(RULES))
@pytest.mark.parametrize(("beyond", "nearest"), [(0.0, LEAST), (5e-4, LEAST), (1.0, 1 - LEAST)])
def test_thresholds_end_where_probabilities_do(rule, beyond, nearest):
    probs, rois, scores = crowd(9, seed=3)
    probs[:3] = uniform(0, 1, 0).repeat(14, axis=1).repeat(14, axis=2)
    probs[3:5] = uniform(1, 0, 0).repeat(14, axis=1).repeat(14, axis=2)
    ends = [fuse(probs, rois, scores, (40, 60), end, rule) for end in (beyond, nearest)]
    np.testing.assert_array_equal(*ends)
    assert len(np.unique(ends[0])) > 2


@pytest.mark.parametrize("rule", list(RULES))
@pytest.mark.parametrize("target", [0.0, 0.1, 0.3, 0.5, 0.77, 1.0])
def test_who_just_reaches_the_threshold_owns(rule, target):
    probs = np.tile(uniform(0.97 - 0.97 * target, target, 0.03 - 0.03 * target), (3, 1, 1, 1))
    rois = np.array([[0.3, 0.2, 9.1, 3.7], [8.4, 0, 20, 4], [30.2, 0.1, 33.3, 3.9]], np.float32)
    labels = fuse(probs, rois, np.array([0.9, 0.4, 0.7], np.float32), (4, 40), target, rule)
    assert (labels[:, :8] == 1).all() and (labels[:, 10:20] == 2).all()
    assert (labels[:, 30:34] == 3).all()


def test_of_equal_claims_the_higher_score_wins():
    rois = np.tile(np.array([0, 0, 4, 4], np.float32), (3, 1))
    scores = np.array([0.5, 0.9, 0.7], np.float32)
    torn = np.tile(uniform(0.0, 0.55, 0.45), (3, 1, 1, 1))
    for rule in RULES:
        assert (fuse(torn, rois, scores, (4, 4), 0.2, rule) == 2).all(), rule
        assert (fuse(torn, rois, scores + 1, (4, 4), 0.2, rule) == 2).all(), "all surely exist"
    sure = np.stack([uniform(0.0, 0.9995, 0.0), uniform(0.0, 0.9991, 0.0), uniform(0.0, 1.0, 0.0)])
    for rule in ("max", "priority", "independent"):  # all three as sure as can be
        assert (fuse(sure, rois, scores, (4, 4), 0.5, rule) == 2).all(), rule


def test_threads_do_not_disturb_each_other():
    crowds = [crowd(20, (90, 130), seed) for seed in range(4)]
    alone = [fuse(*people, (90, 130)) for people in crowds]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            both = list(pool.map(lambda people: fuse(*people, (90, 130)), crowds))
            for labels, wanted in zip(both, alone, strict=True):
                np.testing.assert_array_equal(labels, wanted)


def test_a_neighbour_without_non_target_takes_nothing_away():
    probs = np.stack([uniform(0.4, 0.55, 0.05), uniform(0.9, 0.05, 0.05)])
    rois = np.array([[0, 0, 8, 4], [6, 0, 12, 4]], np.float32)
    labels = fuse(probs, rois, np.ones(2, np.float32), (4, 12))
    np.testing.assert_array_equal(labels[0], [1] * 8 + [0] * 4)  # 6, 7: the other's n is low


@pytest.mark.parametrize(
    ("rule", "owner"),
    # 1: t .55 n .40, 2: t .60 n .10 b .30; both would take the pixel, 2 is much less torn
    [
        ("arbitrate", 2),
        ("mean", 2),
        ("max", 2),
        ("priority", 1),
        ("independent", 2),
    ],
)
def test_who_gets_a_pixel_that_two_claim(rule, owner):
    probs = np.stack([uniform(0.05, 0.55, 0.40), uniform(0.30, 0.60, 0.10)])
    rois = np.tile(np.array([0, 0, 4, 4], np.float32), (2, 1))
    scores = np.array([0.9, 0.8] if rule == "priority" else [1, 1], np.float32)
    labels = fuse(probs, rois, scores, (4, 4), 0.4, rule)
    assert (labels == owner).all()


def test_non_target_evidence_beats_the_higher_target():
    probs = np.stack([uniform(0.01, 0.59, 0.40), uniform(0.44, 0.55, 0.01)])
    rois = np.tile(np.array([0, 0, 4, 4], np.float32), (2, 1))
    score = np.ones(2, np.float32)
    assert (fuse(probs, rois, score, (4, 4), 0.4, "max") == 1).all()
    assert (fuse(probs, rois, score, (4, 4), 0.4, "arbitrate") == 2).all()


def test_a_neighbour_with_high_non_target_settles_a_doubt():
    probs = np.stack([uniform(0.50, 0.45, 0.05), uniform(0.10, 0.05, 0.85)])
    rois = np.tile(np.array([0, 0, 4, 4], np.float32), (2, 1))
    score = np.ones(2, np.float32)
    assert (fuse(probs, rois, score, (4, 4), 0.5, "arbitrate") == 1).all()
    assert (fuse(probs, rois, score, (4, 4), 0.5, "max") == 0).all()


# Two ROIs side by side that share columns 4 and 5, of an IoU of 2 / 10: 1 is sure, 2 may not exist
SHARING = np.array([[0, 0, 6, 4], [4, 0, 10, 4]], np.float32)


@pytest.mark.parametrize(
    ("score", "owner"),
    # 2 exists with .3·.8 / (.3·.8 + .7) = .255 and claims √.255·.95 = .480; then with .878: .890
    [(0.3, 1), (0.9, 2), (1.0, 2)],
)
def test_a_weak_candidate_claims_only_as_far_as_it_exists(score, owner):
    probs = np.stack([uniform(0.3, 0.7, 0.0), uniform(0.05, 0.95, 0.0)])
    labels = fuse(probs, SHARING, np.array([1, score], np.float32), (4, 10))
    np.testing.assert_array_equal(labels[0], [1] * 4 + [owner] * 2 + [2] * 4)


def test_a_weak_candidate_keeps_what_no_surer_one_claims():
    probs = np.stack([uniform(0.9, 0.1, 0.0), uniform(0.3, 0.7, 0.0)])
    labels = fuse(probs, SHARING, np.array([1, 0.3], np.float32), (4, 10))
    np.testing.assert_array_equal(labels[0], [0] * 4 + [2] * 6)  # 4, 5: claims .1 and .354


@pytest.mark.parametrize(("score", "owner"), [(0.1, 0), (1.0, 1)])
def test_the_non_target_of_a_weak_candidate_settles_no_doubt(score, owner):
    probs = np.stack([uniform(0.50, 0.45, 0.05), uniform(0.10, 0.05, 0.85)])
    labels = fuse(probs, SHARING, np.array([1, score], np.float32), (4, 10))
    np.testing.assert_array_equal(labels[0], [0] * 4 + [owner] * 2 + [0] * 4)


def test_a_duplicate_takes_nothing_from_the_surer_box():
    probs = np.stack([uniform(0.20, 0.80, 0.0), uniform(0.0, 1.0, 0.0)])
    rois = np.array([[0, 0, 9, 4], [1, 0, 10, 4]], np.float32)  # an IoU of .8
    scores = np.array([0.9, 0.8], np.float32)
    labels = fuse(probs, rois, scores, (4, 10))
    np.testing.assert_array_equal(labels[0], [1] * 9 + [2])
    apart = np.array([[0, 0, 6, 4], [5, 0, 11, 4]], np.float32)  # 1 / 11: two people
    np.testing.assert_array_equal(fuse(probs, apart, scores, (4, 11))[0], [1] * 5 + [2] * 6)


def test_surely_existing_people_are_not_weighed_however_close():
    probs = np.stack([uniform(0.25, 0.75, 0.0), uniform(0.0, 1.0, 0.0)])
    rois = np.array([[0, 0, 9, 4], [1, 0, 10, 4]], np.float32)
    labels = fuse(probs, rois, np.ones(2, np.float32), (4, 10))
    np.testing.assert_array_equal(labels[0], [1] + [2] * 9)


def test_candidates_of_low_score_leave_sure_people_their_masks():
    probs, rois, _ = crowd(5, seed=2)
    sure = fuse(probs, rois, np.ones(5, np.float32), (40, 60))
    more, where, _ = crowd(30, seed=8)
    scores = np.concatenate([np.ones(5), np.full(30, 1e-3)]).astype(np.float32)
    both = fuse(np.concatenate([probs, more]), np.concatenate([rois, where]), scores, (40, 60))
    assert (both[sure > 0] == sure[sure > 0]).mean() > 0.995


def test_sure_rois_without_number_do_not_overflow():
    probs = np.concatenate([np.tile(uniform(1, 0, 0), (150, 1, 1, 1)), uniform(0, 1, 0)[None]])
    rois = np.tile(np.array([0, 0, 4, 4], np.float32), (151, 1))
    with np.errstate(all="raise", under="ignore"):
        assert (fuse(probs, rois, np.ones(151, np.float32), (4, 4)) == 151).all()
    probs = np.concatenate([np.tile(uniform(0, 0, 1), (150, 1, 1, 1)), uniform(0, 1, 0)[None]])
    assert (fuse(probs, rois, np.ones(151, np.float32), (4, 4)) == 151).all()


def test_twins_share_nothing():
    probs, rois, _ = crowd(1, seed=4)
    twice = fuse(
        np.tile(probs, (2, 1, 1, 1)), np.tile(rois, (2, 1)), np.ones(2), (40, 60), 0.3, "max"
    )
    assert set(np.unique(twice)) <= {0, 1}


def test_no_people_and_wrong_rules():
    assert fuse(np.zeros((0, 3, 56, 56)), np.zeros((0, 4)), np.zeros(0), (5, 7)).shape == (5, 7)
    with pytest.raises(ValueError, match="arbitrate"):
        fuse(np.zeros((0, 3, 56, 56)), np.zeros((0, 4)), np.zeros(0), (5, 7), rule="best")
