import numpy as np

from human_edge_detection.masks.arbitration import candidate_probability

BOXES = np.array([[0, 0, 10, 6], [0, 2, 10, 8], [20, 0, 30, 6]], np.float32)  # IoU .5, and apart


def test_a_score_is_the_probability_of_a_person_found_once():
    np.testing.assert_allclose(
        candidate_probability(BOXES[1:], np.array([0.5, 0.8])), [0.5, 0.8], atol=1e-7
    )


def test_what_may_be_the_surer_person_again_exists_less():
    exists = candidate_probability(BOXES, np.array([0.8, 0.5, 0.5]))
    np.testing.assert_allclose(exists, [0.8, 0.375, 0.5], atol=1e-7)  # .5·(1 - .8·.5) = .3 to .5
    exists = candidate_probability(BOXES, np.array([1.0, 0.5, 0.5]))
    np.testing.assert_allclose(exists, [1, 1 / 3, 0.5], atol=1e-7)  # .25 to .5


def test_equals_and_the_sure_lose_nothing():
    np.testing.assert_array_equal(candidate_probability(BOXES, np.ones(3)), [1, 1, 1])
    np.testing.assert_array_equal(candidate_probability(BOXES, np.array([1, 1, 0.5])), [1, 1, 0.5])
    np.testing.assert_allclose(candidate_probability(BOXES, np.full(3, 0.5)), [0.5] * 3, atol=1e-7)
    same = np.tile(BOXES[:1], (2, 1))
    np.testing.assert_array_equal(candidate_probability(same, np.array([1, 0.9])), [1, 0])


def test_scores_beyond_probabilities_and_nobody():
    np.testing.assert_allclose(candidate_probability(BOXES[1:], np.array([87, -3])), [1, 0])
    assert candidate_probability(np.zeros((0, 4)), np.zeros(0)).shape == (0,)
