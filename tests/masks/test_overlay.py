import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from human_edge_detection.core.errors import InputError
from human_edge_detection.masks.drawing import person_colors
from human_edge_detection.masks.overlay import (
    NON_TARGET_COLOR,
    TARGET_COLOR,
    overlay_masks_on_image,
)
from human_edge_detection.masks.probabilities import as_class_probs, softmax

GREY = np.full((40, 60, 3), 90, np.uint8)
ROIS = np.array([[2, 2, 30, 38], [30, 2, 58, 38]], np.float32)


def disc(size=16):
    yy, xx = np.mgrid[:size, :size]
    return (np.hypot(xx - size / 2 + 0.5, yy - size / 2 + 0.5) < size / 2.5).astype(np.float32)


def tinted(color, alpha=0.5):
    return np.array(color) * alpha + 90 * (1 - alpha)


def logits(side=56):
    """Two ROIs [2, 3, M, M]: background, a disc of target, the rightmost bins non-target."""
    planes = np.full((2, 3, side, side), -4.0, np.float32)
    inside = disc(side) > 0
    planes[:, 0], planes[:, 1] = np.where(inside, -4, 4), np.where(inside, 4, -4)
    planes[:, 0, :, -side // 8 :] = -4
    planes[:, 2, :, -side // 8 :] = 4
    return planes


def check_red_and_blue(drawn):
    drawn = np.asarray(drawn)
    for x1 in (2, 30):
        np.testing.assert_allclose(drawn[20, x1 + 14], tinted(TARGET_COLOR), atol=1)
        np.testing.assert_allclose(drawn[20, x1 + 27], tinted(NON_TARGET_COLOR), atol=1)
    np.testing.assert_array_equal(drawn[20, 1], GREY[0, 0])


def test_logits_and_batch_rois_as_the_specification_calls_it():
    rois = np.concatenate([np.zeros((2, 1), np.float32), ROIS], axis=1)
    check_red_and_blue(overlay_masks_on_image(GREY, logits(), rois))
    drawn = overlay_masks_on_image(
        image=Image.fromarray(GREY), masks=logits(), rois=rois, threshold=0.5, alpha=0.5,
        combine="maximum",
    )  # fmt: skip
    check_red_and_blue(drawn)


def test_tensors_with_gradients_and_half_precision():
    torch = pytest.importorskip("torch")
    masks = torch.from_numpy(logits()).requires_grad_()
    rois = torch.cat([torch.full((2, 1), 3.0), torch.from_numpy(ROIS)], dim=1)
    check_red_and_blue(overlay_masks_on_image(GREY, masks, rois))
    check_red_and_blue(overlay_masks_on_image(GREY, masks.bfloat16(), rois.half()))


def test_torch_is_not_imported_for_it():
    code = (
        "import sys, numpy as np; from human_edge_detection import overlay_masks_on_image as draw;"
        "draw(np.zeros((8, 8, 3), np.uint8), np.ones((1, 4, 4)), np.array([[0, 0, 8, 8]]));"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_probabilities_draw_what_their_logits_draw(dtype):
    probs = softmax(logits()).astype(dtype)
    for rois in (ROIS, np.insert(ROIS, 0, 0, axis=1)):
        check_red_and_blue(overlay_masks_on_image(GREY, probs, rois))


def test_words_of_the_specification_for_the_rules():
    rng = np.random.default_rng(0)
    masks, rois = rng.normal(size=(2, 3, 8, 8)) * 3, np.float32([[2, 2, 38, 38], [9, 0, 55, 40]])
    for word, rule in (("maximum", "max"), ("average", "mean")):
        drawn = [overlay_masks_on_image(GREY, masks, rois, combine=name) for name in (word, rule)]
        np.testing.assert_array_equal(*map(np.asarray, drawn))
    with pytest.raises(InputError, match="combine must be one of arbitrate.*average.*'median'"):
        overlay_masks_on_image(GREY, masks, rois, combine="median")


@pytest.mark.parametrize(
    "masks",
    [
        np.zeros((2, 3, 8, 8)),  # an untrained head's logits?
        np.full((2, 3, 8, 8), 0.21),  # sigmoids?
        np.stack([disc(8), disc(8) * 0.5, disc(8)])[None].repeat(2, axis=0),
    ],
)
def test_what_may_be_logits_or_probabilities_is_refused(masks):
    with pytest.raises(InputError, match="masks lie in 0…1 but do not sum to 1.*logits=True"):
        overlay_masks_on_image(GREY, masks, ROIS)
    overlay_masks_on_image(GREY, masks, ROIS, logits=True)
    with pytest.raises(InputError, match="masks must be probabilities"):
        overlay_masks_on_image(GREY, masks, ROIS, logits=False)


def test_one_plane_of_logits_is_refused():
    with pytest.raises(InputError, match=r"masks \[N, M, M\] must be probabilities.*-4 … 4"):
        overlay_masks_on_image(GREY, logits()[:, 1], ROIS)
    with pytest.raises(InputError, match="logits of all three classes"):
        overlay_masks_on_image(GREY, np.stack([disc(), disc()]), ROIS, logits=True)


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"rois": np.insert(ROIS, 0, [0, 1], axis=1)}, "rois must be of one image.*0, 1"),
        ({"rois": ROIS[:1]}, "rois must have 2 rows"),
        ({"rois": ROIS[:, :3]}, r"rois must have shape \[N, 4\] or \[N, 5\]"),
        ({"rois": ROIS * np.nan}, "rois must be finite"),
        ({"masks": logits() * np.inf}, "masks must be finite"),
        ({"masks": np.zeros((2, 2, 5, 5))}, r"masks must be \[N, M, M\] or"),
        ({"masks": "mask.png"}, "masks must be an array of numbers"),
        ({"image": np.zeros((4, 4), np.uint8)}, "image must be uint8"),
        ({"threshold": 1.5}, "threshold must be between 0 and 1, but got 1.5"),
        ({"alpha": -1}, "alpha must be between 0 and 1, but got -1"),
    ],
)
def test_wrong_input_names_the_parameter(changed, text):
    with pytest.raises(InputError, match=text):
        overlay_masks_on_image(**{"image": GREY, "masks": logits(), "rois": ROIS} | changed)


@pytest.mark.parametrize("combine", ["max", "mean", "priority", "arbitrate"])
def test_overlay_of_target_or_class_probabilities(combine):
    target = np.stack([disc(), disc() * 0.9])
    rois = np.array([[2, 2, 30, 38], [20, 4, 58, 36]], np.float32)
    image = overlay_masks_on_image(GREY, target, rois, combine=combine, instance_colors=True)
    assert isinstance(image, Image.Image)
    drawn = np.asarray(image)
    assert (drawn[20, 14] != 90).any()
    assert (drawn[20, 45] != 90).any()
    np.testing.assert_array_equal(drawn[1], GREY[1])
    classes = as_class_probs(target)
    from_classes = overlay_masks_on_image(
        Image.fromarray(GREY), classes, rois, combine=combine, instance_colors=True
    )
    np.testing.assert_array_equal(np.asarray(from_classes), drawn)


def test_target_probabilities_alone_show_no_non_targets():
    drawn = np.asarray(overlay_masks_on_image(GREY, disc()[None], ROIS[:1]))
    np.testing.assert_allclose(drawn[20, 16], tinted(TARGET_COLOR), atol=1)
    np.testing.assert_array_equal(drawn[3, 3], GREY[0, 0])


def test_priority_is_the_order_of_the_rois():
    target = np.stack([disc() * 0.6, disc()])
    rois = np.tile(np.array([5, 5, 35, 35], np.float32), (2, 1))
    first, best = (
        np.asarray(overlay_masks_on_image(GREY, target, rois, combine=rule, instance_colors=True))
        for rule in ("priority", "max")
    )
    colors = person_colors(2)
    np.testing.assert_allclose(first[20, 20], tinted(colors[0]), atol=1)
    np.testing.assert_allclose(best[20, 20], tinted(colors[1]), atol=1)


@pytest.mark.parametrize("masks", [np.zeros((0, 56, 56)), np.zeros((0, 3, 56, 56))])
@pytest.mark.parametrize("rois", [np.zeros((0, 4)), np.zeros((0, 5))])
def test_overlay_without_rois(masks, rois):
    np.testing.assert_array_equal(np.asarray(overlay_masks_on_image(GREY, masks, rois)), GREY)


@pytest.mark.parametrize("size_hw", [(1, 1), (3, 500), (500, 3)])
def test_odd_images_can_be_drawn(size_hw):
    image = np.zeros((*size_hw, 3), np.uint8)
    rois = np.array([[0, 0, size_hw[1], size_hw[0]], [900, 900, 950, 950]], np.float32)
    overlay_masks_on_image(image, np.ones((2, 56, 56), np.float32), rois)
