"""The pictures of whole photos: which ones are drawn, and that they are the same every time."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from human_edge_detection.core.structures import MaskClass
from human_edge_detection.data.annotations import Photo
from human_edge_detection.data.dataset import PhotoDataset
from human_edge_detection.evaluation.evaluate import PersonScore, evaluate
from human_edge_detection.evaluation.pictures import (
    FIXED_WIDTH,
    LEGEND,
    LINE_HEIGHT,
    PHOTO_SIDE,
    choose_photos,
    fixed_panels,
    fixed_photos,
    photo_panel,
)
from tiny_run import SPEC, box_person, write_photos


@pytest.fixture
def photos(tmp_path: Path) -> list[Photo]:
    return write_photos(tmp_path)


def scores_of(photos: list[Photo]) -> tuple[PersonScore, ...]:
    """The scores of a model that calls everything the target."""
    logits = np.zeros((1, 3, SPEC.mask_size, SPEC.mask_size), np.float32)
    logits[:, MaskClass.TARGET] = 1
    dataset = PhotoDataset(photos, SPEC)
    found = evaluate(dataset, lambda batch: logits.repeat(sum(len(s.rois) for s in batch), 0))
    return found.scores


def with_people(photo: Photo, count: int) -> Photo:
    people = tuple(box_person(100 * photo.id + n, 4, 4, 20, 30) for n in range(count))
    return replace(photo, people=people)


def test_the_fixed_photos_go_from_one_person_to_a_crowd(photos: list[Photo]) -> None:
    counts = (3, 0, 9, 1, 2)
    crowds = [with_people(photo, count) for photo, count in zip(photos, counts, strict=True)]
    shown = fixed_photos(crowds, 3)
    assert [len(photo.people) for photo in shown] == [1, 3, 9], "nobody's photo shows nothing"
    assert len(fixed_photos(crowds, 10)) == 4
    assert fixed_photos([], 3) == []


def test_the_fixed_photos_do_not_depend_on_the_scores(photos: list[Photo]) -> None:
    good, bad = scores_of(photos), [replace(s, iou=1 - s.iou) for s in scores_of(photos)]
    assert choose_photos(good, 2) != choose_photos(bad, 2)
    names = [[name for name, _ in fixed_panels(photos, scores)] for scores in (good, bad)]
    assert names[0] == names[1] == ["1_photo_0", "2_photo_1", "3_photo_3", "4_photo_4"]


def test_panels_are_pictures_of_a_bounded_width(photos: list[Photo]) -> None:
    for _, picture in fixed_panels(photos, scores_of(photos)):
        assert picture.dtype == np.uint8 and picture.shape[2] == 3
        assert 3 * photos[0].size_hw[1] <= picture.shape[1] <= FIXED_WIDTH


def test_panels_have_one_size_to_look_at_captions_and_a_legend(photos: list[Photo]) -> None:
    own = [score for score in scores_of(photos) if score.photo_id == photos[0].id]
    picture = photo_panel(photos[0], own)
    assert 3 * PHOTO_SIDE <= picture.shape[1] <= 3 * PHOTO_SIDE + 20
    height = round(photos[0].size_hw[0] * PHOTO_SIDE / max(photos[0].size_hw))
    assert picture.shape[0] >= height + 4 * LINE_HEIGHT
    legend = picture[-2 * LINE_HEIGHT : -LINE_HEIGHT].reshape(-1, 3)
    for color, _ in LEGEND:
        assert (legend == color).all(axis=1).sum() > 100, "a square of each colour"
    for band in (slice(0, LINE_HEIGHT), slice(LINE_HEIGHT, 2 * LINE_HEIGHT)):
        assert (picture[band] < 100).any() and (picture[band] == 255).mean() > 0.5


def test_a_photo_that_cannot_be_read_costs_its_panel_only(
    photos: list[Photo], caplog: pytest.LogCaptureFixture
) -> None:
    scores = scores_of(photos)
    (photos[0].image_dir / "photo_0.png").unlink()
    with caplog.at_level(logging.WARNING):
        names = [name for name, _ in fixed_panels(photos, scores)]
    assert names == ["2_photo_1", "3_photo_3", "4_photo_4"]
    assert "photo_0.png" in caplog.text
    seen = [score for score in scores if score.photo_id != photos[1].id]
    assert [name for name, _ in fixed_panels(photos, seen)] == ["3_photo_3", "4_photo_4"]
