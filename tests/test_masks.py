import numpy as np
import pytest

from human_edge_detection import geometry, masks, pasting, predict_options
from human_edge_detection.claims import LEAST_PROBABILITY
from human_edge_detection.masks import RULES, fuse

LEAST = LEAST_PROBABILITY


def crowd(count, size_hw=(40, 60), seed=0, dtype=np.float32):
    """Probabilities, ROIs and scores of people that overlap, some of them tiny or outside."""
    rng = np.random.default_rng(seed)
    height, width = size_hw
    low = rng.uniform(-0.2, 0.9, (count, 2)) * [width, height]
    high = low + rng.uniform(0.02, 0.6, (count, 2)) * [width, height]
    rois = geometry.clip_boxes(np.concatenate([low, high], axis=1), size_hw)
    coarse = rng.normal(size=(count, 3, 7, 7)) * 3
    logits = coarse.repeat(8, axis=2).repeat(8, axis=3)
    scores = rng.choice([0.5, 0.7, 0.9], count).astype(np.float32)
    return masks.softmax(logits).astype(dtype), rois, scores


def uniform(*classes):
    """One ROI's probabilities [3, 4, 4], the same in every bin."""
    return np.broadcast_to(np.array(classes, np.float32)[:, None, None], (3, 4, 4))


def slow_owner(words, scores, threshold, rule, exists):
    """One pixel's owner among (person, t, n) words, and how near the decision was."""
    if len(words) == 1 or rule in ("max", "priority", "independent"):
        able = [(scores[i] if rule == "priority" else t, i) for i, t, n in words if t >= threshold]
        near = min(abs(t - threshold) for _, t, _ in words)
        return (max(able)[1] + 1 if able else 0), near
    n = {i: max(n, LEAST) for i, _, n in words}
    b = {i: max(1 - t - other, LEAST) for i, t, other in words}
    if rule == "mean":
        raw = {i: np.mean([t if j == i else m for j, _, m in words]) for i, t, _ in words}
        best = max(raw, key=raw.get)
        _, t, other = next(word for word in words if word[0] == best)
        owns = raw[best] >= threshold and t >= other
        return (best + 1 if owns else 0), min(abs(raw[best] - threshold), abs(t - other))
    if rule == "arbitrate":
        raised = {
            i: np.prod([max(1 - exists[j] * n, LEAST) ** -0.5 for j, _, n in words if j != i])
            for i, _, _ in words
        }
        claims = sorted((odds(exists[i] * t) * raised[i], i) for i, t, _ in words)
        best = claims[-1][1]
        sure = odds(next(t for i, t, _ in words if i == best)) * raised[best]
        apart = 1 - claims[-2][0] / claims[-1][0]
        sure = sure / (1 + sure)
        return (best + 1 if sure >= threshold else 0), min(abs(sure - threshold), apart)
    product = {i: t * np.prod([n[j] for j in n if j != i]) for i, t, _ in words}
    total = sum(product.values()) + np.prod(list(b.values())) + np.prod(list(n.values()))
    best = max(product, key=product.get)
    sure = product[best] / total
    return (best + 1 if sure >= threshold else 0), abs(sure - threshold)


def odds(probability):
    sure = min(max(probability, LEAST), 1 - LEAST)
    return sure / (1 - sure)


def slow_existence(rois, scores):
    """Probability that each is a person of its own, by loops."""
    exists = []
    for roi, score in zip(rois, scores, strict=True):
        own = float(score)
        for other, surer in zip(rois, scores, strict=True):
            if surer > score:
                own *= 1 - float(surer) * float(geometry.box_iou(roi[None], other[None])[0, 0])
        exists.append(own / (own + 1 - float(score)))
    return exists


def slow_fuse(probs, rois, scores, size_hw, threshold, rule):
    """The label map by loops over pixels, and where rounding may decide."""
    pasted = [
        pasting.paste_window(p[1:].astype(np.float32), r, size_hw)
        for p, r in zip(probs, rois, strict=True)
    ]
    labels, near = np.zeros(size_hw, np.int32), np.zeros(size_hw, bool)
    exists = slow_existence(rois, scores)
    for y in range(size_hw[0]):
        for x in range(size_hw[1]):
            words = []
            for i, (window, (x1, y1, x2, y2)) in enumerate(pasted):
                if x1 <= x < x2 and y1 <= y < y2:
                    t, n = (float(v) for v in window[:, y - y1, x - x1])
                    words.append((i, t, n))
            if words:
                labels[y, x], distance = slow_owner(words, scores, threshold, rule, exists)
                near[y, x] = distance < 1e-5
    return labels, near


def test_softmax():
    logits = np.log(np.array([0.2, 0.3, 0.5], np.float32)).reshape(1, 3, 1, 1) + 1000
    np.testing.assert_allclose(masks.softmax(logits).ravel(), [0.2, 0.3, 0.5], atol=1e-4)
    assert masks.softmax(np.zeros((0, 3, 56, 56))).shape == (0, 3, 56, 56)


def test_every_public_rule_exists():
    assert set(predict_options.FUSE_RULES) <= set(RULES)


@pytest.mark.parametrize("scores", ["alike", "differing"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_fusing_equals_the_slow_reference(rule, threshold, scores):
    if rule == "priority" and scores == "alike":
        pytest.skip("the order among equals is not the reference's")
    probs, rois, _ = crowd(9, seed=3)
    ranks = np.random.default_rng(0).permutation(9)
    scores = np.ones(9, np.float32) if scores == "alike" else np.float32(ranks / 8)
    got = fuse(probs, rois, scores, (40, 60), threshold, rule)
    wanted, near = slow_fuse(probs, rois, scores, (40, 60), threshold, rule)
    assert ((got == wanted) | near).all()
    assert near.mean() < 0.01
    assert len(np.unique(got)) > 4


@pytest.mark.parametrize("rule", RULES)
def test_the_order_of_the_people_changes_nothing(rule):
    probs, rois, scores = crowd(14, seed=5)
    whole = fuse(probs, rois, scores, (40, 60), 0.5, rule)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(14)
        mixed = fuse(probs[order], rois[order], scores[order], (40, 60), 0.5, rule)
        back = np.concatenate([[0], order + 1])
        np.testing.assert_array_equal(back[mixed], whole)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("size_hw", [(90, 130), (130, 90)])
def test_bands_do_not_change_a_label(rule, size_hw, monkeypatch):
    # ROIs on both sides of 56 pixels, where averaging and interpolating part
    probs, rois, scores = crowd(14, size_hw, seed=5)
    whole = fuse(probs, rois, scores, size_hw, 0.5, rule)
    for band_pixels in (1, 600, 5000, 1 << 18):
        monkeypatch.setattr(masks, "BAND_PIXELS", band_pixels)
        got = fuse(probs, rois, scores, size_hw, 0.5, rule)
        np.testing.assert_array_equal(got, whole)


def test_bands_cover_the_crowd_once_and_cut_few_people(monkeypatch):
    tall = np.array([[3, 5, 10, 90], [8, 2, 20, 99]])
    lying = tall[:, [1, 0, 3, 2]]
    assert masks._bands(tall) == [(3, 2, 20, 99)]
    monkeypatch.setattr(masks, "BAND_PIXELS", 97 * 9)
    assert masks._bands(tall) == [(3, 2, 11, 99), (11, 2, 20, 99)]
    assert masks._bands(lying) == [(2, 3, 99, 11), (2, 11, 99, 20)]
    monkeypatch.setattr(masks, "BAND_PIXELS", 1)
    assert len(masks._bands(tall)) == 17  # no band is empty
    assert masks._bands(tall[:0]) == []


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8])
def test_a_person_alone_is_plain_thresholding(rule, threshold):
    probs, _, scores = crowd(3, seed=1, dtype=np.float16)
    rois = np.array([[1.5, 2, 19.2, 38], [20, 0, 39.9, 40], [40, 3, 60, 39]], np.float32)
    labels = fuse(probs, rois, scores, (40, 60), threshold, rule)
    for person in range(3):
        target = probs[person, 1].astype(np.float32)
        window, (x1, y1, x2, y2) = pasting.paste_window(target, rois[person], (40, 60))
        np.testing.assert_array_equal(labels[y1:y2, x1:x2] == person + 1, window >= threshold)


def test_a_neighbour_that_sees_nobody_takes_nothing_away():
    probs = np.stack([uniform(0.4, 0.55, 0.05), uniform(0.9, 0.05, 0.05)])
    rois = np.array([[0, 0, 8, 4], [6, 0, 12, 4]], np.float32)
    labels = fuse(probs, rois, np.ones(2, np.float32), (4, 12))
    np.testing.assert_array_equal(labels[0], [1] * 8 + [0] * 4)  # 6, 7: the other sees nobody


@pytest.mark.parametrize(
    ("rule", "owner"),
    # 1: t .55 n .40, 2: t .60 n .10 b .30; both would take the pixel, 2 is much less torn
    [
        ("arbitrate", 2),
        ("product", 2),
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


def test_a_neighbour_that_sees_somebody_else_settles_a_doubt():
    probs = np.stack([uniform(0.50, 0.45, 0.05), uniform(0.10, 0.05, 0.85)])
    rois = np.tile(np.array([0, 0, 4, 4], np.float32), (2, 1))
    score = np.ones(2, np.float32)
    assert (fuse(probs, rois, score, (4, 4), 0.5, "arbitrate") == 1).all()
    assert (fuse(probs, rois, score, (4, 4), 0.5, "max") == 0).all()


# Two ROIs side by side that share columns 4 and 5, of an IoU of 2 / 10: 1 is sure, 2 may be nobody
SHARING = np.array([[0, 0, 6, 4], [4, 0, 10, 4]], np.float32)


@pytest.mark.parametrize(
    ("score", "owner"),
    # 2 exists with .3·.8 / (.3·.8 + .7) = .255 and claims .243; then with .878, and claims .834
    [(0.3, 1), (0.9, 2), (1.0, 2)],
)
def test_a_weak_candidate_claims_only_as_far_as_it_exists(score, owner):
    probs = np.stack([uniform(0.3, 0.7, 0.0), uniform(0.05, 0.95, 0.0)])
    labels = fuse(probs, SHARING, np.array([1, score], np.float32), (4, 10))
    np.testing.assert_array_equal(labels[0], [1] * 4 + [owner] * 2 + [2] * 4)


def test_a_weak_candidate_keeps_what_nobody_surer_wants():
    probs = np.stack([uniform(0.9, 0.1, 0.0), uniform(0.3, 0.7, 0.0)])
    labels = fuse(probs, SHARING, np.array([1, 0.3], np.float32), (4, 10))
    np.testing.assert_array_equal(labels[0], [0] * 4 + [2] * 6)  # 4, 5: claims .1 and .179


@pytest.mark.parametrize(("score", "owner"), [(0.1, 0), (1.0, 1)])
def test_a_weak_candidate_s_somebody_else_settles_no_doubt(score, owner):
    probs = np.stack([uniform(0.50, 0.45, 0.05), uniform(0.10, 0.05, 0.85)])
    labels = fuse(probs, SHARING, np.array([1, score], np.float32), (4, 10))
    np.testing.assert_array_equal(labels[0], [0] * 4 + [owner] * 2 + [0] * 4)


def test_a_duplicate_takes_nothing_from_the_surer_box():
    probs = np.stack([uniform(0.25, 0.75, 0.0), uniform(0.0, 1.0, 0.0)])
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
    everybody = np.concatenate([np.ones(5), np.full(30, 1e-3)]).astype(np.float32)
    both = fuse(np.concatenate([probs, more]), np.concatenate([rois, where]), everybody, (40, 60))
    assert (both[sure > 0] == sure[sure > 0]).mean() > 0.995


def test_sure_rois_without_number_do_not_overflow():
    probs = np.concatenate([np.tile(uniform(1, 0, 0), (150, 1, 1, 1)), uniform(0, 1, 0)[None]])
    rois = np.tile(np.array([0, 0, 4, 4], np.float32), (151, 1))
    with np.errstate(all="raise", under="ignore"):
        assert (fuse(probs, rois, np.ones(151, np.float32), (4, 4)) == 151).all()
        product = fuse(probs, rois, np.ones(151, np.float32), (4, 4), rule="product")
    assert (product == 0).all()  # one veto is enough there
    probs = np.concatenate([np.tile(uniform(0, 0, 1), (150, 1, 1, 1)), uniform(0, 1, 0)[None]])
    assert (fuse(probs, rois, np.ones(151, np.float32), (4, 4)) == 151).all()


def test_twins_share_nothing():
    probs, rois, _ = crowd(1, seed=4)
    twice = fuse(
        np.tile(probs, (2, 1, 1, 1)), np.tile(rois, (2, 1)), np.ones(2), (40, 60), 0.3, "max"
    )
    assert set(np.unique(twice)) <= {0, 1}


def test_nobody_and_wrong_rules():
    assert fuse(np.zeros((0, 3, 56, 56)), np.zeros((0, 4)), np.zeros(0), (5, 7)).shape == (5, 7)
    with pytest.raises(ValueError, match="arbitrate"):
        fuse(np.zeros((0, 3, 56, 56)), np.zeros((0, 4)), np.zeros(0), (5, 7), rule="best")


def test_target_probabilities_alone_are_enough():
    target = np.array([[[0.25]]], np.float32)
    np.testing.assert_allclose(masks.as_class_probs(target).ravel(), [0, 0.25, 0.75])
    with pytest.raises(ValueError, match=r"\[N, M, M\]"):
        masks.as_class_probs(np.zeros((4, 2, 5, 5)))


def test_smoothing_rounds_and_keeps_the_mean():
    probs = np.zeros((1, 3, 56, 56), np.float32)
    probs[:, 1, 20:30, 20:30] = 1
    assert masks.smooth(probs, 0.0) is probs
    soft = masks.smooth(probs, 1.5)
    assert soft.shape == probs.shape
    assert abs(soft[0, 1].sum() - 100) < 0.1
    assert 0.5 < soft[0, 1, 20, 25] < soft[0, 1, 25, 25]
    assert 0 < soft[0, 1, 19, 25] < 0.5
