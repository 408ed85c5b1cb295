"""ROI targets: the answer written out, then what must hold for any photo."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from human_edge_detection.core.structures import IGNORE_INDEX as X
from human_edge_detection.core.structures import NOT_TARGET_INDEX as N
from human_edge_detection.data.annotations import Person, Photo
from human_edge_detection.data.targets import PhotoMasks, roi_targets


def _rle(mask: np.ndarray) -> dict[str, Any]:
    flat = np.concatenate([[0], mask.T.ravel().astype(int), [1 - int(mask.T.ravel()[-1])]])
    edges = np.flatnonzero(np.diff(flat))
    counts = np.diff(np.concatenate([[0], edges])).tolist()
    return {"size": list(mask.shape), "counts": counts}


def _mask(size_hw: tuple[int, int], box: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros(size_hw, bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def _person(
    box: tuple[int, int, int, int], *, masked: bool = True, crowd: bool = False, size: Any = (4, 6)
) -> Person:
    shape = _rle(_mask(size, box)) if masked else None
    return Person(1, np.array(box, np.float32), shape, crowd, 1.0)


def _photo(*people: Person, exhaustive: bool = True, size_hw: tuple[int, int] = (4, 6)) -> Photo:
    return Photo(1, "1.jpg", size_hw, people, Path(), exhaustive=exhaustive)


def _labels(photo: Photo, roi: list[float], index: int = 0, size: int = 4) -> list[list[int]]:
    rois = np.array([roi], np.float32)
    return roi_targets(PhotoMasks(photo), rois, np.array([index]), size)[0].tolist()


def test_each_person_is_the_others_non_target() -> None:
    photo = _photo(_person((0, 0, 2, 2)), _person((2, 1, 4, 4)))
    expected = np.array([[1, 1, 0, 0], [1, 1, 2, 2], [0, 0, 2, 2], [0, 0, 2, 2]])
    assert _labels(photo, [0, 0, 4, 4], 0) == expected.tolist()
    swapped = np.select([expected == 1, expected == 2], [2, 1], 0)
    assert _labels(photo, [0, 0, 4, 4], 1) == swapped.tolist()


def test_crowds_and_boxes_are_unknown_where_no_mask_is() -> None:
    photo = _photo(
        _person((0, 0, 2, 2)),
        _person((1, 1, 3, 3), masked=False),
        _person((3, 0, 4, 4), crowd=True),
    )
    expected = [[1, 1, 0, X], [1, 1, X, X], [0, X, X, X], [0, 0, 0, X]]
    assert _labels(photo, [0, 0, 4, 4]) == expected
    assert PhotoMasks(photo).known.tolist() == [True, False, False]


def test_a_box_does_not_hide_a_neighbour_with_a_mask() -> None:
    photo = _photo(
        _person((0, 0, 1, 4)), _person((2, 0, 4, 4)), _person((0, 0, 6, 4), masked=False)
    )
    assert _labels(photo, [0, 0, 4, 4]) == [[1, X, 2, 2]] * 4


def test_unmarked_pixels_of_a_photo_not_fully_annotated_are_only_not_the_target() -> None:
    photo = _photo(_person((0, 0, 2, 4)), _person((3, 0, 4, 4)), exhaustive=False)
    assert _labels(photo, [0, 0, 4, 4]) == [[1, 1, N, 2]] * 4


def test_overlapping_masks_go_to_the_target() -> None:
    photo = _photo(_person((0, 0, 3, 4)), _person((1, 0, 4, 4)))
    assert _labels(photo, [0, 0, 4, 4], 0) == [[1, 1, 1, 2]] * 4
    assert _labels(photo, [0, 0, 4, 4], 1) == [[2, 1, 1, 1]] * 4


def test_half_a_bin_is_enough_and_touching_people_leave_no_seam() -> None:
    photo = _photo(_person((0, 0, 1, 4)), _person((1, 0, 4, 4)))
    # Bins are 2 pixels wide: the first is half and half, so it is the target's for both.
    assert _labels(photo, [0, 0, 4, 4], 0, size=2) == [[1, 2]] * 2
    assert _labels(photo, [0, 0, 4, 4], 1, size=2) == [[1, 1]] * 2
    # The last bin is half the neighbour's and half nobody's: half is enough for the neighbour too.
    photo = _photo(_person((0, 0, 2, 4)), _person((2, 0, 3, 4)))
    assert _labels(photo, [0, 0, 4, 4], 0, size=2) == [[1, 2]] * 2
    # 0.4 of the bin is the target's, 0.4 somebody else's, 0.2 nobody's: no background between.
    size = (5, 5)
    photo = _photo(_person((0, 0, 2, 5), size=size), _person((3, 0, 5, 5), size=size), size_hw=size)
    assert _labels(photo, [0, 0, 5, 5], 0, size=1) == [[2]]


def test_a_roi_may_reach_outside_and_be_empty() -> None:
    photo = _photo(_person((0, 0, 2, 2)))
    assert _labels(photo, [-2, -2, 2, 2]) == [[0, 0, 0, 0]] * 2 + [[0, 0, 1, 1]] * 2
    assert _labels(photo, [3, 3, 3, 3]) == [[0] * 4] * 4
    none = roi_targets(PhotoMasks(photo), np.zeros((0, 4), np.float32), np.zeros(0, int), 4)
    assert none.shape == (0, 4, 4)
    assert none.dtype == np.uint8


def test_masks_that_cannot_be_used_become_unknown_boxes(caplog: pytest.LogCaptureFixture) -> None:
    broken = Person(
        9, np.array([2, 0, 4, 4], np.float32), {"size": [3, 3], "counts": [9]}, False, 1
    )
    empty = Person(
        8, np.array([4, 0, 6, 4], np.float32), {"size": [4, 6], "counts": [24]}, False, 1
    )
    photo = _photo(_person((0, 0, 1, 4)), broken, empty)
    assert _labels(photo, [0, 0, 6, 4], size=6)[0] == [1, 0, X, X, X, X]
    assert "annotation 9" in caplog.text
    with pytest.raises(ValueError, match="no mask of its own"):
        _labels(photo, [0, 0, 4, 4], index=1)


def test_flipping_the_photo_flips_the_targets() -> None:
    rng = np.random.default_rng(3)
    size = (40, 60)
    shapes = [rng.random(size) < 0.3 for _ in range(3)]
    box = np.array([0, 0, 60, 40], np.float32)

    def photo(masks: list[np.ndarray]) -> Photo:
        return _photo(*(Person(1, box, _rle(m), False, 1.0) for m in masks), size_hw=size)

    rois = np.array([[5.5, 3, 41, 37], [0, 0, 60, 40]], np.float32)
    flipped = rois.copy()
    flipped[:, [0, 2]] = 60 - rois[:, [2, 0]]
    index = np.array([0, 2])
    straight = roi_targets(PhotoMasks(photo(shapes)), rois, index, 9)
    mirrored = roi_targets(PhotoMasks(photo([m[:, ::-1] for m in shapes])), flipped, index, 9)
    np.testing.assert_array_equal(straight, mirrored[:, :, ::-1])
