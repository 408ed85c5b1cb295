"""The facts of a model through every kind of file, impossible ones, and which ROIs are small."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.spec import ExportedSpec, ModelSpec, are_small
from human_edge_detection.runtime.head import head_feeds

# widths and heights: 10x10, 11x3, 3x11, 0x0, 10x9
ROIS = np.array(
    [[0, 5, 5, 15, 15], [0, 0, 0, 11, 3], [1, 0, 0, 3, 11], [1, 7, 7, 7, 7], [0, 1, 1, 11, 10]],
    np.float32,
)


def test_neither_side_of_a_small_roi_is_longer() -> None:
    wanted = [True, False, False, True, True]
    assert are_small(ROIS, 10.0).tolist() == wanted
    assert are_small(torch.from_numpy(ROIS), 10.0).tolist() == wanted


def test_no_roi_is_small_without_a_limit() -> None:
    assert not are_small(ROIS, 0.0).any()
    feeds, order = head_feeds(ROIS, 0.0)
    assert list(feeds) == ["rois"] and feeds["rois"] is ROIS
    assert order.tolist() == [0, 1, 2, 3, 4]


def test_small_rois_come_last_and_the_order_tells_whose_they_are() -> None:
    feeds, order = head_feeds(ROIS, 10.0)
    assert order.tolist() == [1, 2, 0, 3, 4]
    np.testing.assert_array_equal(feeds["rois"], ROIS[[1, 2]])
    np.testing.assert_array_equal(feeds["small_rois"], ROIS[[0, 3, 4]])


def test_nobody_at_all() -> None:
    feeds, order = head_feeds(ROIS[:0], 10.0)
    assert [part.shape for part in feeds.values()] == [(0, 5), (0, 5)]
    assert order.shape == (0,)


SPEC = ModelSpec(
    "lite", ("fine", "coarse"), (3, 5), (4.0, 7.98), (96, 128), 16, 0.2, "abc", (0.5, 1.0, 2.0),
    (4, 6, 2), True, (-0.5, 2.75, 0.5),
)  # fmt: skip


def test_a_spec_travels_through_plain_values() -> None:
    assert ModelSpec.from_dict(json.loads(json.dumps(SPEC.to_dict())), "a.pth") == SPEC


def test_an_older_checkpoint_without_a_later_fact_means_its_default() -> None:
    values = SPEC.to_dict()
    del values["small_branch"], values["widths"]
    found = ModelSpec.from_dict(values, "old.pth")
    assert found == replace(SPEC, small_branch=False, widths=())


def test_metadata_holds_what_runs_the_file() -> None:
    metadata = SPEC.to_metadata(end_to_end=True)
    assert metadata == {
        "format": "human_edge_detection.end_to_end",
        "head": "lite",
        "layers": '["fine", "coarse"]',
        "channels": "[3, 5]",
        "strides": "[4.0, 7.98]",
        "image_size": "[96, 128]",
        "roi_padding": "0.2",
        "extractor_sha": "abc",
        "class_weights": "[0.5, 1.0, 2.0]",
        "score_weights": "[-0.5, 2.75, 0.5]",
        "small_side": "80.0",
        "mask_size": "32",
        "classes": '["background", "target", "non_target"]',
        "geometry": "letterbox",
    }
    found = ExportedSpec.from_metadata({**metadata, "version": "9"}, "head.onnx")
    assert replace(SPEC, widths=()).to_dict().items() <= found.to_dict().items()
    assert found.end_to_end and found.small_side == 80.0 and found.precision == ""


def test_an_older_export_without_later_facts_opens() -> None:
    metadata = SPEC.to_metadata()
    later = ("head", "extractor_sha", "class_weights", "small_side", "mask_size", "geometry")
    for name in (*later, "score_weights"):
        del metadata[name]
    found = ExportedSpec.from_metadata(metadata, "old.onnx")
    assert (found.head, found.class_weights, found.mask_size, found.small_side) == ("", (), 56, 0)
    assert found.score_weights == ()


IMPOSSIBLE: dict[str, list[Any]] = {
    "head": [3],
    "layers": ["ab", ["fine"], [1, 2], None],
    "channels": [[0, 5], [3.5, 5], [3], [3, 1 << 40], "35", True],
    "strides": [[0, 8], [float("nan"), 8], [float("inf"), 8], [4], {"a": 1, "b": 2}],
    "image_size": [[96], [0, 96], [96, -1], [10**9, 10**9], "ab", 640],
    "roi_size": [0, -4, 10**6, 2.5, "28", True],
    "roi_padding": [-0.1, float("nan"), float("inf"), 1e9, "0.1", None],
    "extractor_sha": [None],
    "class_weights": [[1, 1], [-1, 1, 1], [float("nan"), 1, 1], 1.0],
    "widths": [[0, 1, 2], "abc", [1 << 40]],
    "small_branch": [1, "yes"],
    "score_weights": [
        [1.0, 2.0],
        [0, 0, 1],
        [0, 2, -0.1],
        [float("nan"), 1, 1],
        [0, 1e9, 1],
        "abc",
    ],
}


@pytest.mark.parametrize(("name", "value"), [(k, v) for k, vs in IMPOSSIBLE.items() for v in vs])
def test_impossible_facts_are_refused_by_file_and_name(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=r"bad\.pth has facts that cannot be used"):
        ModelSpec.from_dict({**SPEC.to_dict(), name: value}, "bad.pth")


@pytest.mark.parametrize("values", [None, 3, [1, 2], "spec"])
def test_a_spec_that_is_no_mapping_is_refused(values: Any) -> None:
    with pytest.raises(InputError, match=r"bad\.pth has no usable spec"):
        ModelSpec.from_dict(values, "bad.pth")


@pytest.mark.parametrize(
    "changes",
    [
        {"mask_size": "55"}, {"mask_size": "1e9"}, {"mask_size": "0"}, {"mask_size": "2000000"},
        {"small_side": "NaN"}, {"small_side": '"9"'}, {"small_side": "-Infinity"},
        {"roi_padding": "NaN"}, {"roi_padding": "wide"}, {"strides": "[4.0]"},
        {"strides": "[1e400, 8]"}, {"image_size": "[0, 0]"},
        {"image_size": "[4097, 4096]"}, {"image_size": "[" * 100_000},
        {"channels": "{}"}, {"geometry": "stretch"}, {"layers": "[[1]]"},
    ],
)  # fmt: skip
def test_impossible_metadata_is_refused_by_file(changes: dict[str, str]) -> None:
    with pytest.raises(InputError, match=r"bad\.onnx has .* that cannot be used"):
        ExportedSpec.from_metadata({**SPEC.to_metadata(), **changes}, "bad.onnx")


def test_what_is_no_head_and_what_lacks_a_fact_is_named() -> None:
    with pytest.raises(InputError, match=r"net\.onnx is not a head"):
        ExportedSpec.from_metadata({}, "net.onnx")
    metadata = SPEC.to_metadata()
    del metadata["roi_padding"]
    with pytest.raises(InputError, match="without roi_padding"):
        ExportedSpec.from_metadata(metadata, "head.onnx")


def test_an_extractor_fits_by_channels_and_nearly_equal_strides() -> None:
    SPEC.check_fits([3, 5], [4.0, 8.0], head="h.onnx", extractor="e.onnx")
    wrong: list[tuple[list[int], list[float], list[str] | None]] = [
        ([3, 6], [4.0, 8.0], None), ([3, 5], [4.0, 9.0], None), ([3], [4.0], None),
        ([3, 5], [4.0, 8.0], ["fine", "other"]),
    ]  # fmt: skip
    for channels, strides, layers in wrong:
        with pytest.raises(InputError, match=r"h\.onnx does not fit .*e\.onnx.* 3 channels"):
            SPEC.check_fits(channels, strides, head="h.onnx", extractor="e.onnx", layers=layers)
