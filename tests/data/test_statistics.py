"""Statistics and class weights, with the numbers written out."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from human_edge_detection.core.boxes import box_iou
from human_edge_detection.core.errors import InputError
from human_edge_detection.data import statistics
from human_edge_detection.data.annotations import Person, Photo
from human_edge_detection.data.statistics import (
    StatsOptions,
    find_class_weights,
    measure,
    read_weights,
    run_stats,
    separation_aware_weights,
)

LEFT = [0.0, 0.0, 10.0, 0.0, 10.0, 20.0, 0.0, 20.0]
RIGHT = [10.0, 0.0, 20.0, 0.0, 20.0, 20.0, 10.0, 20.0]


def _person(polygon: list[float], box: tuple[int, int, int, int]) -> Person:
    return Person(1, np.array(box, np.float32), [polygon], False, 200.0)


def test_the_known_ratios_give_the_known_weights() -> None:
    weights = separation_aware_weights([0.48647, 0.36598, 0.14756])
    np.testing.assert_allclose(weights, [0.5375, 0.7498, 1.7128], atol=1e-4)
    assert weights.mean() == pytest.approx(1)


def test_a_class_without_pixels_weighs_one() -> None:
    weights = separation_aware_weights([0.6, 0.4, 0])
    assert weights[2] == 1
    assert weights.mean() == pytest.approx(1)
    np.testing.assert_array_equal(separation_aware_weights([1, 0, 0]), [1, 1, 1])
    with pytest.raises(ValueError, match="3 shares"):
        separation_aware_weights([0.5, 0.5])


def test_two_people_side_by_side() -> None:
    people = (_person(LEFT, (0, 0, 20, 20)), _person(RIGHT, (0, 0, 20, 20)))
    photo = Photo(1, "1.jpg", (20, 20), people, Path())
    alone = Photo(2, "2.jpg", (20, 20), people[:1], Path())
    result = measure([photo, alone], size=4, padding=0)
    assert result["total_images"] == 2
    assert result["total_instances"] == 3
    assert result["images_with_multiple_instances"] == 1
    assert result["pixel_counts"] == {"background": 8, "target": 24, "non_target": 16}
    assert result["pixel_ratios"]["target"] == 0.5
    assert result["instance_count_distribution"] == {"1": 1, "2": 1}
    assert result["box_sizes"]["width"]["p50"] == 20
    assert result["overlaps"] == {"iou_above_0.1": 2, "iou_above_0.3": 2, "iou_above_0.5": 2}


def test_the_command_writes_what_training_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ann = tmp_path / "ann.json"
    people = [
        {"id": i, "image_id": 1, "category_id": 1, "bbox": [0, 0, 20, 20], "segmentation": [shape]}
        for i, shape in enumerate([LEFT, RIGHT])
    ]
    images = [{"id": 1, "file_name": "1.jpg", "height": 30, "width": 30}]
    categories = [{"id": 1, "name": "person"}]
    ann.write_text(json.dumps({"images": images, "annotations": people, "categories": categories}))
    output = tmp_path / "stats.json"
    run_stats(StatsOptions(ann=(ann,), output=output))
    written = json.loads(output.read_text())
    np.testing.assert_array_equal(
        read_weights(output), list(written["separation_aware_weights"].values())
    )
    assert "2 people" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "weights"),
    [
        ({"separation_aware_weights": [0.5, 0.7, 1.8]}, [0.5, 0.7, 1.8]),
        (
            {"separation_aware_weights": {"target": 0.7, "non_target": 1.8, "background": 0.5}},
            [0.5, 0.7, 1.8],
        ),
        ({"separation_aware_weights": {"0": 0.5, "1": 0.7, "2": 1.8}}, [0.5, 0.7, 1.8]),
        (
            {"pixel_ratios": {"background": 0.48647, "target": 0.36598, "non_target": 0.14756}},
            [0.5375, 0.7498, 1.7128],
        ),
    ],
)
def test_weights_are_read_from_every_spelling(
    tmp_path: Path, content: object, weights: list[float]
) -> None:
    path = tmp_path / "stats.json"
    path.write_text(json.dumps(content))
    np.testing.assert_allclose(read_weights(path), weights, atol=1e-4)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"separation_aware_weights": [1, 2]}',
     '{"separation_aware_weights": {"target": 1}}', '{"separation_aware_weights": [0, 1, -1]}'],
)  # fmt: skip
def test_what_is_no_statistics_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "stats.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"stats\.json"):
        read_weights(path)
    with pytest.raises(InputError, match=r"none\.json"):
        read_weights(tmp_path / "none.json")


@pytest.mark.parametrize("pairs", [1, 100, 10**6])
def test_the_nearest_boxes_of_a_crowd_in_blocks(
    pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    corners = np.random.default_rng(0).integers(0, 30, (37, 2))
    boxes = np.concatenate([corners, corners + 20], axis=1).astype(np.float32)
    whole = box_iou(boxes, boxes)
    np.fill_diagonal(whole, 0)
    monkeypatch.setattr(statistics, "_MAX_PAIRS", pairs)
    np.testing.assert_array_equal(statistics._closest(boxes), whole.max(axis=1))
    assert statistics._closest(boxes[:1]).tolist() == [0]
    assert statistics._closest(boxes[:0]).shape == (0,)


@pytest.mark.parametrize(
    "text",
    [
        '{"separation_aware_weights": [1, 1, 1e400]}', '{"separation_aware_weights": [1, 1, 1e39]}',
        '{"separation_aware_weights": [1, 1, 1' + "0" * 400 + "]}", '{"pixel_ratios": [5, 5, 5]}',
        '{"separation_aware_weights": ' + "9" * 5000 + "}", "[" * 100_000,
    ],
    ids=lambda text: text[:40],
)  # fmt: skip
def test_statistics_that_nobody_measured(text: str, tmp_path: Path) -> None:
    path = tmp_path / "stats.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"stats\.json") as caught:
        read_weights(path)
    assert len(str(caught.value)) < 400 and "\n" not in str(caught.value)


def test_percentages_are_named(tmp_path: Path) -> None:
    path = tmp_path / "stats.json"
    path.write_text(json.dumps({"pixel_ratios": [48.6, 36.6, 14.8]}))
    with pytest.raises(InputError, match=r"look like percentages: divide them by 100"):
        read_weights(path)
    path.write_text(json.dumps({"pixel_ratios": [1, 1, 1]}))
    with pytest.raises(InputError, match=r"fractions whose sum is 1: make the file anew"):
        read_weights(path)


def test_the_log_says_where_class_weights_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO)
    Path("data_analyze_full.json").write_text('{"separation_aware_weights": [0.5, 0.7, 1.8]}')
    assert find_class_weights(None, [], 0.1) == (0.5, 0.7, 1.8)
    assert "0.500 0.700 1.800: from data_analyze_full.json, found here" in caplog.text
    find_class_weights(Path("data_analyze_full.json"), [], 0.1)
    assert caplog.messages[-1].endswith("from data_analyze_full.json")
