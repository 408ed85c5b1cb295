import numpy as np
import pytest

from human_edge_detection.masks.probabilities import as_class_probs, smooth, softmax


def test_softmax():
    logits = np.log(np.array([0.2, 0.3, 0.5], np.float32)).reshape(1, 3, 1, 1) + 1000
    np.testing.assert_allclose(softmax(logits).ravel(), [0.2, 0.3, 0.5], atol=1e-4)
    assert softmax(np.zeros((0, 3, 56, 56))).shape == (0, 3, 56, 56)


def test_target_probabilities_alone_are_enough():
    target = np.array([[[0.25]]], np.float32)
    np.testing.assert_allclose(as_class_probs(target).ravel(), [0, 0.25, 0.75])
    with pytest.raises(ValueError, match=r"\[N, M, M\]"):
        as_class_probs(np.zeros((4, 2, 5, 5)))


def test_smoothing_rounds_and_keeps_the_mean():
    probs = np.zeros((1, 3, 56, 56), np.float32)
    probs[:, 1, 20:30, 20:30] = 1
    assert smooth(probs, 0.0) is probs
    soft = smooth(probs, 1.5)
    assert soft.shape == probs.shape
    assert abs(soft[0, 1].sum() - 100) < 0.1
    assert 0.5 < soft[0, 1, 20, 25] < soft[0, 1, 25, 25]
    assert 0 < soft[0, 1, 19, 25] < 0.5
