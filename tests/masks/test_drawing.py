import numpy as np
import pytest

from human_edge_detection.masks.drawing import (
    LEAST_SIZE,
    PALETTE_SIZE,
    draw_people,
    person_colors,
    place_tag,
)

GREY = np.full((40, 60, 3), 90, np.uint8)
TO_LMS = np.array(
    [
        [0.4122215, 0.5363325, 0.0514460],
        [0.2119035, 0.6806995, 0.1073970],
        [0.0883025, 0.2817188, 0.6299787],
    ]
)
TO_LAB = np.array(
    [
        [0.2104543, 0.7936178, -0.0040720],
        [1.9779985, -2.4285922, 0.4505937],
        [0.0259040, 0.7827718, -0.8086758],
    ]
)


def oklab(colors):
    """OKLab [N, 3] of sRGB colours; distances there are as large as they look."""
    srgb = colors / 255.0
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ TO_LMS.T) @ TO_LAB.T


def test_colours_are_stable_and_far_apart():
    colors = person_colors(PALETTE_SIZE)
    np.testing.assert_array_equal(person_colors(5), colors[:5])
    np.testing.assert_array_equal(person_colors(PALETTE_SIZE + 2)[-2:], colors[:2])
    lab = oklab(colors)
    distance = np.linalg.norm(lab[:, None] - lab[None], axis=2) + np.eye(len(lab))
    assert distance[:8, :8].min() > 0.18
    assert distance.min() > 0.08
    assert lab[:, 0].min() > 0.55


def test_people_are_tinted_and_outlined_in_their_colours():
    mask = np.ones((10, 10), bool)
    mask[[0, -1]] = mask[:, [0, -1]] = False
    people = [(mask, (2, 3, 12, 13)), (mask, (30, 3, 40, 13))]
    drawn = draw_people(GREY, people, alpha=0.5)
    colors = person_colors(2)
    for color, left in zip(colors, (2, 30), strict=True):
        np.testing.assert_array_equal(drawn[4, left + 1], color)
        np.testing.assert_allclose(drawn[8, left + 5], (color / 2 + 45), atol=1)
        np.testing.assert_array_equal(drawn[3, left], GREY[0, 0])
    assert (drawn != GREY).any(axis=2).sum() == 2 * 64
    assert (GREY == 90).all()
    numbered = draw_people(GREY, people, alpha=0.5, numbers=(5, 2))
    np.testing.assert_array_equal(numbered[4, 3], person_colors(5)[4])
    np.testing.assert_array_equal(numbered[4, 31], colors[1])


def test_a_tag_sits_on_the_lower_body():
    mask = np.zeros((60, 30), bool)
    mask[2:20, 10:20] = mask[20:50, 4:26] = True
    tag = place_tag(mask, (100, 200, 130, 260), "7", (480, 640))
    x, y = tag.centre_xy
    assert mask[int(y) - 200, int(x) - 100]
    assert 220 < y < 250
    assert LEAST_SIZE <= tag.size <= 22


def test_small_people_wear_their_tag_over_the_head_and_specks_none():
    thin = place_tag(np.ones((14, 3), bool), (50, 30, 53, 44), "7", (480, 640))
    assert thin.centre_xy == (51, 26)
    assert thin.size == LEAST_SIZE
    assert place_tag(np.ones((4, 3), bool), (50, 30, 53, 34), "7", (480, 640)).size == 0
    assert place_tag(np.zeros((4, 3), bool), (50, 30, 53, 34), "7", (480, 640)).size == 0


def test_one_colour_for_all():
    mask = np.ones((4, 4), bool)
    drawn = draw_people(GREY, [(mask, (0, 0, 4, 4)), (mask, (9, 0, 13, 4))], 1.0, color=(1, 2, 3))
    assert (drawn[1, [1, 10]] == (1, 2, 3)).all()


@pytest.mark.parametrize("size_hw", [(1, 1), (3, 500), (500, 3)])
def test_people_of_odd_images_can_be_drawn(size_hw):
    image, mask = np.zeros((*size_hw, 3), np.uint8), np.ones(size_hw, bool)
    boxes = np.array([[0, 0, size_hw[1], size_hw[0]]], np.float32)
    draw_people(image, [(mask, (0, 0, *size_hw[::-1]))], texts=["1"], boxes_xyxy=boxes)
