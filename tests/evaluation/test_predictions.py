"""Results of other tools: every kind of mask is read, matched and scored; faults are named."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.rle import compress, decode_rle, encode_mask
from human_edge_detection.data.annotations import Photo, decode_mask
from human_edge_detection.data.coco_reader import load_photos
from human_edge_detection.evaluation.predictions import (
    Prediction,
    evaluate_predictions,
    match_people,
    read_predictions,
)
from people_set import write_people_set

SQUARE = np.zeros((96, 96), bool)
SQUARE[8:88, 8:40] = True


@pytest.fixture
def photos(tmp_path: Path) -> list[Photo]:
    return load_photos(write_people_set(tmp_path), tmp_path)[0]


def test_every_kind_of_mask_is_the_same_mask() -> None:
    run_lengths = [8 * 96 + 8, *[80, 16] * 31, 80, 56 * 96 + 8]
    kinds = [
        encode_mask(SQUARE),
        {"size": [96, 96], "counts": run_lengths},
        [[8, 8, 40, 8, 40, 88, 8, 88]],
    ]
    for kind in kinds:
        np.testing.assert_array_equal(decode_rle(compress(kind, (96, 96))), SQUARE)


def test_results_are_grouped_by_photo(tmp_path: Path, photos: list[Photo]) -> None:
    rle = encode_mask(SQUARE)
    records = [
        {"image_id": 1, "category_id": 1, "segmentation": rle, "score": 0.5, "annotation_id": 100},
        {"file_name": "elsewhere/photo_2.jpg", "category_id": 1, "segmentation": rle},
        {"image_id": 1, "category_id": 7, "segmentation": rle},
        {"image_id": 99, "category_id": 1, "segmentation": rle},
    ]
    path = tmp_path / "results" / "out.json"
    path.parent.mkdir()
    path.write_text(json.dumps(records))
    for given in (path, path.parent):
        found = read_predictions(given, photos)
        assert {photo: len(items) for photo, items in found.items()} == {1: 1, 2: 1}
        assert found[1][0].person_id == 100
        assert found[2][0].box_xyxy.tolist() == [8, 8, 40, 88]


def test_label_maps(tmp_path: Path, photos: list[Photo]) -> None:
    folder = tmp_path / "out" / "labels"
    folder.mkdir(parents=True)
    labels = np.zeros((96, 96), np.uint16)
    labels[SQUARE], labels[0:4] = 1, 300
    cv2.imwrite(str(folder / "photo_1.png"), labels)
    found = read_predictions(folder.parent, photos)
    assert len(found[1]) == 2
    np.testing.assert_array_equal(decode_rle(found[1][0].rle), SQUARE)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as JSON"),
        ('{"images": []}', "not a COCO results file"),
        ('[{"image_id": 5, "category_id": 1, "segmentation": []}]', "none of its 1 entries"),
        ('[{"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9]}]', "entry 0 .photo 1.*mask"),
        (
            '[{"image_id": 1, "category_id": 1, "segmentation": {"size": [9, 9], "counts": [81]}}]',
            r"of size \[9, 9\] in an image of size",
        ),
    ],
)
def test_faults_are_named(tmp_path: Path, photos: list[Photo], content: str, message: str) -> None:
    path = tmp_path / "faulty.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_predictions(path, photos)


def test_an_empty_folder_is_named(tmp_path: Path, photos: list[Photo]) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds neither"):
        read_predictions(tmp_path / "empty", photos)


def predicted(photo: Photo, index: int, person_id: int | None = None) -> Prediction:
    person = photo.people[index]
    rle = encode_mask(decode_mask(person, photo.size_hw))
    return Prediction(rle, person.box_xyxy, person_id=person_id)


def test_the_truth_scores_one(photos: list[Photo]) -> None:
    everybody = {p.id: [predicted(p, i) for i in range(len(p.people))] for p in photos}
    numbers = evaluate_predictions(photos, everybody).summary()
    for name in ("target_iou_image", "target_iou_roi", "miou", "iou_non_target"):
        assert numbers[name] == pytest.approx(1.0), name


def test_who_is_missed_scores_zero(photos: list[Photo]) -> None:
    evaluation = evaluate_predictions(photos, {1: [predicted(photos[0], 0)]})
    assert [score.iou for score in evaluation.scores] == [1.0, 0.0, 0.0, 0.0, 0.0]


def test_a_prediction_serves_one_person(photos: list[Photo]) -> None:
    photo = photos[0]
    truths = [decode_mask(person, photo.size_hw) for person in photo.people]
    both = Prediction(encode_mask(truths[0] | truths[1]), photo.people[0].box_xyxy)
    assert match_people(photo.people, truths, [both]).count(None) == 1
    better = [both, predicted(photo, 1)]
    assert match_people(photo.people, truths, better) == [0, 1]


def test_a_prompt_decides_who_is_meant(photos: list[Photo]) -> None:
    photo = photos[0]
    truths = [decode_mask(person, photo.size_hw) for person in photo.people]
    ids = [person.id for person in photo.people]
    crossed = [predicted(photo, 0, person_id=ids[1]), predicted(photo, 1, person_id=ids[0])]
    assert match_people(photo.people, truths, crossed) == [1, 0]
    evaluation = evaluate_predictions([photo], {photo.id: crossed})
    assert max(score.iou for score in evaluation.scores) < 0.1
    assert evaluation.matrix[1, 2] > 0


def test_no_overlap_is_no_match(photos: list[Photo]) -> None:
    photo = photos[1]
    corner = np.zeros(photo.size_hw, bool)
    corner[90:, :5] = True
    stray = Prediction(encode_mask(corner), np.array([0, 90, 5, 96], np.float32))
    truth = decode_mask(photo.people[0], photo.size_hw)
    assert match_people(photo.people, [truth], [stray]) == [None]
