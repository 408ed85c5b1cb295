"""The sheet of the worst people: who is on it, in which order, and how large it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from human_edge_detection.core.images import read_image
from human_edge_detection.data.annotations import Photo
from human_edge_detection.data.coco_reader import load_photos
from human_edge_detection.evaluation import score_sheet
from human_edge_detection.evaluation.pictures import GAP, PANE_SIDE
from human_edge_detection.evaluation.score_sheet import CAPTION, sheet, write_score_sheet
from people_set import made_up_score, write_people_set


@pytest.fixture
def photos(tmp_path: Path) -> list[Photo]:
    found, _ = load_photos(write_people_set(tmp_path), tmp_path)
    return found


def test_the_worst_who_count_come_first(
    photos: list[Photo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[int, int]] = []
    real = score_sheet.person_card

    def card(rank: int, photo: Photo, score: score_sheet.PersonScore) -> score_sheet.ImageArray:
        drawn.append((rank, score.person_id))
        return real(rank, photo, score)

    monkeypatch.setattr(score_sheet, "person_card", card)
    monkeypatch.setattr(score_sheet, "PEOPLE", 2)
    scores = [
        made_up_score(1, 100, 0.8),
        made_up_score(1, 101, 0.2),
        made_up_score(2, 102, 0.5),
        made_up_score(3, 103, 0.1, side=8),
    ]
    path = write_score_sheet(photos, scores, 12.0, tmp_path / "sheet.png")
    assert drawn == [(1, 101), (2, 102)]
    assert path is not None
    picture = read_image(path)
    width = 3 * PANE_SIDE + 2 * GAP
    assert picture.shape == (2 * CAPTION + PANE_SIDE + GAP, 2 * (width + 2 * GAP), 3)


def test_unreadable_photos_are_left_out(photos: list[Photo], tmp_path: Path) -> None:
    photos[0].path.unlink()
    scores = [made_up_score(1, 100, 0.1)]
    assert write_score_sheet(photos, scores, 12.0, tmp_path / "sheet.png") is None
    assert not (tmp_path / "sheet.png").exists()


def test_cards_stand_row_by_row() -> None:
    cards = [np.full((10, 20, 3), shade, np.uint8) for shade in (10, 20, 30)]
    page = sheet(cards)
    assert page.shape == (CAPTION + 2 * (10 + GAP), 2 * (20 + 2 * GAP), 3)
    assert page[CAPTION, GAP, 0] == 10
    assert page[CAPTION, GAP + 20 + 2 * GAP, 0] == 20
    assert page[CAPTION + 10 + GAP, GAP, 0] == 30
    assert page[CAPTION + 10 + GAP, GAP + 20 + 2 * GAP, 0] == 255
