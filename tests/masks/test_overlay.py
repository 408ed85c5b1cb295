import numpy as np
import pytest
from PIL import Image

from human_edge_detection.core.structures import IGNORE_INDEX
from human_edge_detection.masks import fusion as masks
from human_edge_detection.masks import overlay as visualize
from human_edge_detection.masks.palette import PALETTE_SIZE, oklab, person_colors
from human_edge_detection.masks.tags import LEAST_SIZE, place_tag

GREY = np.full((40, 60, 3), 90, np.uint8)


def disc(size=16):
    yy, xx = np.mgrid[:size, :size]
    return (np.hypot(xx - size / 2 + 0.5, yy - size / 2 + 0.5) < size / 2.5).astype(np.float32)


def test_oklab_of_white_and_black():
    lab = oklab(np.array([[255, 255, 255], [0, 0, 0]], np.uint8))
    np.testing.assert_allclose(lab, [[1, 0, 0], [0, 0, 0]], atol=1e-3)


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
    drawn = visualize.draw_people(GREY, people, alpha=0.5)
    colors = person_colors(2)
    for color, left in zip(colors, (2, 30), strict=True):
        np.testing.assert_array_equal(drawn[4, left + 1], color)
        np.testing.assert_allclose(drawn[8, left + 5], (color / 2 + 45), atol=1)
        np.testing.assert_array_equal(drawn[3, left], GREY[0, 0])
    assert (drawn != GREY).any(axis=2).sum() == 2 * 64
    assert (GREY == 90).all()


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


@pytest.mark.parametrize("combine", ["max", "mean", "priority", "arbitrate"])
def test_overlay_of_target_or_class_probabilities(combine):
    target = np.stack([disc(), disc() * 0.9])
    rois = np.array([[2, 2, 30, 38], [20, 4, 58, 36]], np.float32)
    image = visualize.overlay_masks_on_image(GREY, target, rois, combine=combine)
    assert isinstance(image, Image.Image)
    drawn = np.asarray(image)
    assert (drawn[20, 14] != 90).any()
    assert (drawn[20, 45] != 90).any()
    np.testing.assert_array_equal(drawn[1], GREY[1])
    from_classes = visualize.overlay_masks_on_image(
        Image.fromarray(GREY), masks.as_class_probs(target), rois, combine=combine
    )
    np.testing.assert_array_equal(np.asarray(from_classes), drawn)


def test_priority_is_the_order_of_the_rois():
    target = np.stack([disc() * 0.6, disc()])
    rois = np.tile(np.array([5, 5, 35, 35], np.float32), (2, 1))
    first = np.asarray(visualize.overlay_masks_on_image(GREY, target, rois, combine="priority"))
    best = np.asarray(visualize.overlay_masks_on_image(GREY, target, rois, combine="max"))
    colors = person_colors(2)
    np.testing.assert_allclose(first[20, 20], colors[0] / 2 + 45, atol=1)
    np.testing.assert_allclose(best[20, 20], colors[1] / 2 + 45, atol=1)


def test_overlay_without_rois_and_with_too_few():
    empty = visualize.overlay_masks_on_image(GREY, np.zeros((0, 56, 56)), np.zeros((0, 4)))
    np.testing.assert_array_equal(np.asarray(empty), GREY)
    with pytest.raises(ValueError, match="rois must have 2 rows"):
        visualize.overlay_masks_on_image(GREY, np.zeros((2, 8, 8)), np.zeros((1, 4)))


def test_labels_are_red_blue_and_grey():
    label = np.zeros((8, 8), np.uint8)
    label[:, :4], label[:, 4:6], label[:, 6:] = 1, 2, IGNORE_INDEX
    rois = np.array([[0, 0, 32, 32]], np.float32)
    drawn = visualize.draw_labels(np.zeros((32, 32, 3), np.uint8), rois, label[None], alpha=1.0)
    np.testing.assert_array_equal(drawn[16, 5], visualize.TARGET_COLOR)
    np.testing.assert_array_equal(drawn[16, 19], visualize.NON_TARGET_COLOR)
    np.testing.assert_array_equal(drawn[16, 30], visualize.UNKNOWN_COLOR)


def test_a_panel_has_three_columns():
    labels = np.zeros((2, 8, 8), np.uint8)
    labels[:, 2:6, 2:6] = 1
    rois = np.array([[2, 2, 20, 38], [30, 2, 55, 38]], np.float32)
    panel = visualize.panel(GREY, rois + 1, rois, labels, 2 * labels)
    gap = visualize.MARGIN
    assert panel.shape == (40 + gap + 15, 3 * 60 + 2 * gap, 3)
    truth, guess = panel[:40, 60 + gap : 120 + gap], panel[:40, 120 + 2 * gap :]
    assert truth[20, 11, 0] > truth[20, 11, 2]
    assert guess[20, 11, 2] > guess[20, 11, 0]
    nothing = visualize.panel(GREY, rois[:0], rois[:0], labels[:0], labels[:0])
    assert nothing.shape == (40, 3 * 60 + 2 * gap, 3)


@pytest.mark.parametrize("size_hw", [(1, 1), (3, 500), (500, 3)])
def test_odd_images_can_be_drawn(size_hw):
    image = np.zeros((*size_hw, 3), np.uint8)
    rois = np.array([[0, 0, size_hw[1], size_hw[0]], [900, 900, 950, 950]], np.float32)
    visualize.overlay_masks_on_image(image, np.ones((2, 56, 56), np.float32), rois)
    labels = np.ones((2, 56, 56), np.uint8)
    visualize.panel(image, rois, rois, labels, labels)
    mask = np.ones(size_hw, bool)
    visualize.draw_people(image, [(mask, (0, 0, *size_hw[::-1]))], texts=["1"], boxes_xyxy=rois[:1])
