import numpy as np
import pytest

from human_edge_detection.masks.carry import MOST_WEIGHT, CarriedEvidence
from human_edge_detection.masks.instance_masks import InstanceMasks

SIZE_HW = (96, 128)
ROI = np.array([[20, 10, 76, 80]], np.float32)


def picture(shift: int = 0, seed: int = 0) -> np.ndarray:
    """Smooth random colours, moved to the right."""
    coarse = np.random.default_rng(seed).uniform(0, 255, (12, 40, 3))
    wide = np.kron(coarse, np.ones((8, 8, 1)))[:, 64 - shift :][:, : SIZE_HW[1]]
    return wide.astype(np.uint8)


def person(target: float, rois: np.ndarray = ROI, number: int = 4) -> InstanceMasks:
    """One person whose mask is the left half of the ROI, surely; the right half has ``target``."""
    plane = np.full((28, 28), 0.99, np.float32)
    plane[:, 14:] = target
    probs = np.stack([1 - plane, plane, np.zeros_like(plane)])[None]
    return InstanceMasks(probs, rois, rois, SIZE_HW, track_ids=(number,))


def right_half(masks: InstanceMasks) -> float:
    return float(masks.probs[0, 1, 4:-4, 18:-4].mean())


def test_the_first_frame_is_as_it_was():
    masks = person(0.3)
    mixed = CarriedEvidence().mix(picture(), masks)
    np.testing.assert_allclose(mixed.probs[0, 1], masks.probs[0, 1], atol=2e-3)
    assert mixed.track_ids == (4,)


def test_where_nothing_moves_log_odds_are_averaged():
    carried = CarriedEvidence()
    carried.mix(picture(), person(0.9))
    found = right_half(carried.mix(picture(), person(0.4)))
    odds = (np.log(0.4 / 0.6) + MOST_WEIGHT * np.log(0.9 / 0.1)) / (1 + MOST_WEIGHT)
    assert found == pytest.approx(1 / (1 + np.exp(-odds)), abs=0.02)


def test_evidence_moves_with_the_picture_not_with_the_box():
    carried = CarriedEvidence()
    carried.mix(picture(), person(0.01))
    moved = carried.mix(picture(4), person(0.01, ROI + np.float32([4, 0, 4, 0])))
    np.testing.assert_allclose(moved.probs[0, 1, 4:-4, 16:-4], 0.01, atol=0.02)
    carried = CarriedEvidence()
    carried.mix(picture(), person(0.01))
    jittered = carried.mix(picture(), person(0.01, ROI + np.float32([8, 0, 8, 0])))
    edge = jittered.probs[0, 1, 4:-4, 10:14]  # 8 pixels further right the mask had ended before
    assert (edge < 0.9).all() and (moved.probs[0, 1, 4:-4, 10:13] > 0.95).all()


@pytest.mark.parametrize(
    ("image", "masks"),
    [
        (picture(seed=1), person(0.3)),
        (picture(), person(0.3, number=5)),
        (picture()[:48], person(0.3)),
        (picture(), person(0.3, ROI + np.float32([60, 0, 60, 0]))),
    ],
    ids=["another picture", "another person", "another size", "elsewhere"],
)
def test_what_the_frames_do_not_share_has_no_lag(image, masks):
    carried = CarriedEvidence()
    carried.mix(picture(), person(0.99))
    assert right_half(carried.mix(image, masks)) == pytest.approx(0.3, abs=0.05)


def test_nobody_and_people_who_come_and_go():
    carried = CarriedEvidence()
    nobody = InstanceMasks(np.zeros((0, 3, 28, 28)), np.zeros((0, 4)), np.zeros((0, 4)), SIZE_HW)
    for masks in (nobody, person(0.3), nobody, person(0.3)):
        assert len(carried.mix(picture(), masks)) == len(masks)
