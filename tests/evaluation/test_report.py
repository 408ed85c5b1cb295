"""The report: complete, self-contained, and alive in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from math import nan
from pathlib import Path

import pytest

from human_edge_detection.core.rle import encode_mask
from human_edge_detection.data.annotations import Photo, decode_mask
from human_edge_detection.data.coco_reader import load_photos
from human_edge_detection.evaluation.bootstrap import estimate
from human_edge_detection.evaluation.calibration import Calibration, ScoreRange
from human_edge_detection.evaluation.coco import average_precision
from human_edge_detection.evaluation.pictures import choose_photos, write_panels
from human_edge_detection.evaluation.predictions import (
    Prediction,
    Predictions,
    evaluate_predictions,
)
from human_edge_detection.evaluation.report import (
    ScoredModel,
    gallery_pictures,
    page_html,
    report_data,
    write_page,
    write_report_json,
)
from human_edge_detection.evaluation.robustness import ceiling
from people_set import write_people_set

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def predictions(photos: list[Photo], lost_rows: int) -> Predictions:
    found: Predictions = {}
    for photo in photos:
        for person in photo.people:
            mask = decode_mask(person, photo.size_hw)
            mask[:lost_rows] = False
            rle = encode_mask(mask)
            found.setdefault(photo.id, []).append(Prediction(rle, person.box_xyxy, 0.9))
    return found


@pytest.fixture
def photos(tmp_path: Path) -> list[Photo]:
    return load_photos(write_people_set(tmp_path), tmp_path)[0]


@pytest.fixture
def models(photos: list[Photo]) -> list[ScoredModel]:
    both = []
    rated = Calibration((ScoreRange(0.8, 0, nan, nan), ScoreRange(0.9, 5, 0.95, 0.8)), 0.15)
    for name, rows in (("first </script>", 10), ("second", 30)):
        given = predictions(photos, rows)
        found = evaluate_predictions(photos, given)
        numbers = estimate(found.scores, 12.0, 20)
        precision = (average_precision(photos, given),)
        both.append(ScoredModel(name, found, precision, {0.1: numbers}, rated))
    return both


@pytest.fixture
def page(tmp_path: Path, photos: list[Photo], models: list[ScoredModel]) -> Path:
    data = report_data("test set", photos, models, {"as targets": ceiling(photos, 12.0)}, 20)
    data |= {"best": models[0].name}
    pictures = gallery_pictures(photos, models[0])
    write_report_json(tmp_path / "out", data, pictures)
    return write_page(tmp_path / "out", data, pictures)


def test_json_tells_the_same_without_pictures(page: Path, models: list[ScoredModel]) -> None:
    data = json.loads((page.parent / "report.json").read_text())
    numbers = models[0].evaluation.summary()
    for name in ("miou", "target_iou_image", "iou_non_target"):
        assert data["models"][0]["headline"][name][0] == pytest.approx(numbers[name], abs=1e-5)
    assert data["models"][0]["difference"] is None
    ranges = [
        {"low": 0.8, "count": 0, "score": None, "right": None},
        {"low": 0.9, "count": 5, "score": 0.95, "right": 0.8},
    ]
    assert data["models"][0]["calibration"] == {"error": 0.15, "ranges": ranges}
    gain = data["models"][1]["difference"]["target_iou_image"]
    assert gain[0] < 0
    assert len(data["person_facts"]) == len(data["models"][1]["iou"]) == data["counted"]
    assert all("src" not in picture for picture in data["pictures"])
    assert "NaN" not in (page.parent / "report.json").read_text()


def test_the_page_loads_nothing_from_elsewhere(page: Path) -> None:
    text = page.read_text()
    assert not re.findall(r"(?:src|href)\s*=\s*[\"']?https?:", text)
    assert "@import" not in text
    assert text.count("</script>") == 2


def test_text_cannot_break_out_of_the_page() -> None:
    assert "</script><b>" not in page_html({"title": "</script><b>"})


def test_the_gallery_shows_the_worst_first(photos: list[Photo], models: list[ScoredModel]) -> None:
    pictures = gallery_pictures(photos, models[1])
    ious = [picture["iou"] for picture in pictures if picture["kind"] == "worst"]
    assert ious == sorted(ious)
    assert all(picture["src"].startswith("data:image/webp;base64,") for picture in pictures)


def test_panels_go_from_worst_to_best(
    tmp_path: Path, photos: list[Photo], models: list[ScoredModel]
) -> None:
    scores = models[1].evaluation.scores
    assert len(choose_photos(scores, 2)) == 2
    assert len(choose_photos(scores, 50)) == len(photos)
    (tmp_path / "panels").mkdir()
    for name in ("panel_01_of_before.jpg", "panel_mine.jpg"):
        (tmp_path / "panels" / name).touch()
    paths = write_panels(photos, scores, tmp_path / "panels", count=2)
    assert [path.name[:9] for path in paths] == ["panel_01_", "panel_02_"]
    assert {*(tmp_path / "panels").iterdir()} == {*paths, tmp_path / "panels" / "panel_mine.jpg"}
    assert all(path.stat().st_size > 1000 for path in paths)


def test_a_real_browser_draws_and_filters(page: Path) -> None:
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        pytest.skip("needs a headless Chromium")
    script = """<script>
      const all = document.querySelectorAll("#worst figure").length;
      const select = document.getElementById("f-overlap");
      select.value = "0.1 – 0.3"; select.dispatchEvent(new Event("change"));
      const some = document.querySelectorAll("#worst figure").length;
      document.title = `DONE ${all} ${some}`;
    </script></body>"""
    copy = page.with_name("scripted.html")
    copy.write_text(page.read_text().replace("</body>", script))
    command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    done = subprocess.run(
        [*command, f"--user-data-dir={page.parent}/profile", copy.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    counts = re.search(r"<title>DONE (\d+) (\d+)</title>", done.stdout)
    assert counts, done.stderr[-2000:]
    shown, filtered = int(counts[1]), int(counts[2])
    assert shown == 5
    assert 0 < filtered < shown
    for part in ("headline", "ap", "pr", "histogram", "by-size", "by-overlap", "limits"):
        assert re.search(rf'id="{part}"[^>]*>\s*<', done.stdout), part
