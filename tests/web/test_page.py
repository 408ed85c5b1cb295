"""The built page in Chromium: what people do with it, and that nothing leaves the machine."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from human_edge_detection import MaskPredictor
from human_edge_detection.core.images import read_image
from human_edge_detection.data.sample.scene import draw_crowd
from human_edge_detection.runtime.model_files import EXTRACTOR_NAME, HEAD_NAME, WEIGHTS_DIR

HERE = Path(__file__).parent
WEB = HERE.parents[1] / "web"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(shutil.which("node") is None, reason="needs Node, which is not installed"),
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
    pytest.mark.skipif(
        not (WEB / "node_modules" / "playwright-core").is_dir(),
        reason="needs the page's packages: npm ci in web/",
    ),
]


def write_photos(folder: Path, crowd: np.ndarray, inside: tuple[float, float]) -> None:
    """A crowd, the same turned by EXIF, one of 20 megapixels, and a file that is no photo."""
    Image.fromarray(crowd).save(folder / "crowd.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side
    on_its_side = Image.fromarray(crowd).transpose(Image.Transpose.ROTATE_90)
    on_its_side.save(folder / "turned.jpg", quality=95, exif=exif)
    Image.fromarray(crowd).resize((5200, 3900)).save(folder / "large.jpg", quality=80)
    (folder / "broken.jpg").write_bytes(b"no photo at all")
    (folder / "inside.json").write_text(json.dumps(inside))


def open_predictor() -> MaskPredictor:
    """Python's pipeline with the page's head, the float one."""
    head, extractor = WEIGHTS_DIR / HEAD_NAME, WEIGHTS_DIR / EXTRACTOR_NAME
    return MaskPredictor(head, extractor=extractor, device="cpu")


@pytest.fixture(scope="module")
def expected() -> tuple[np.ndarray, np.ndarray]:
    """A drawn crowd and Python's label map of it."""
    crowd, _, _ = draw_crowd(12, (480, 640), 4)
    with open_predictor() as predictor:
        return crowd, predictor.segment(crowd).label_map()


@pytest.fixture(scope="module")
def visit(
    expected: tuple[np.ndarray, np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Path]:
    """What the browser saw, and the folder of what it saved and of its screenshots."""
    folder = tmp_path_factory.mktemp("page")
    photos, out = folder / "photos", Path(os.environ.get("HED_SCREENSHOTS") or folder / "out")
    photos.mkdir()
    out.mkdir(exist_ok=True)
    crowd, labels = expected
    rows, columns = np.nonzero(labels == 1)
    middle = len(rows) // 2
    inside = ((columns[middle] + 0.5) / crowd.shape[1], (rows[middle] + 0.5) / crowd.shape[0])
    write_photos(photos, crowd, inside)
    environment = {**os.environ, "PYTHON": sys.executable}
    subprocess.run(["npm", "run", "--silent", "build"], cwd=WEB, env=environment, check=True)
    command = ["node", HERE / "page.mjs", WEB / "dist", photos, out, str(CHROMIUM)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return {**json.loads((out / "seen.json").read_text()), "photos": str(photos)}, out


def open_labels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(np.int32)


def share_equal(found: np.ndarray, wanted: np.ndarray) -> float:
    somebody = (found > 0) | (wanted > 0)
    return float((found == wanted)[somebody].mean())


def test_nothing_leaves_the_origin_and_nothing_fails(visit: tuple[dict[str, Any], Path]) -> None:
    seen, _ = visit
    foreign = [
        url
        for url in seen["requests"]
        if not url.startswith((seen["origin"] + "/", f"blob:{seen['origin']}/"))
    ]
    assert len(seen["requests"]) > 10 and foreign == []
    assert seen["errors"] == []
    assert seen["elsewhere"] == ["connect-src"] * 2  # the policy holds the worker too


def test_a_dropped_photo_becomes_pythons_label_map(
    visit: tuple[dict[str, Any], Path], expected: tuple[np.ndarray, np.ndarray]
) -> None:
    seen, out = visit
    labels = open_labels(out / seen["saved"]["labels"])
    assert seen["dropped"]["people"] == expected[1].max()
    assert share_equal(labels, expected[1]) >= 0.999


def test_what_is_saved_agrees_with_the_label_map(
    visit: tuple[dict[str, Any], Path], expected: tuple[np.ndarray, np.ndarray]
) -> None:
    seen, out = visit
    assert seen["names"][:5] == [
        "crowd_labels.png", "crowd_coco.json", "crowd_overlay.png", "crowd_cutouts.zip",
        "crowd_cutout.png",
    ]  # fmt: skip
    labels = open_labels(out / seen["saved"]["labels"])
    results = json.loads((out / seen["saved"]["coco"]).read_text())
    assert len(results) == labels.max()
    for place, result in enumerate(results):
        mask = coco_mask.decode(result["segmentation"])
        np.testing.assert_array_equal(mask, labels == place + 1)
        assert 0.3 <= result["score"] <= 1 and min(result["bbox"][2:]) > 0
    with zipfile.ZipFile(out / seen["saved"]["zip"]) as archive:
        pictures = {name: np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name in
                    archive.namelist()}  # fmt: skip
    assert sorted(pictures) == [f"crowd_{n + 1}.png" for n in range(labels.max())]
    for place in range(labels.max()):
        rows, columns = np.nonzero(labels == place + 1)
        window = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        picture = pictures[f"crowd_{place + 1}.png"]
        owned = labels[window] == place + 1
        np.testing.assert_array_equal(picture[..., 3], np.where(owned, 255, 0))
        np.testing.assert_array_equal(picture[owned][:, :3], expected[0][window][owned])
    everybody = np.asarray(Image.open(out / seen["saved"]["cutout"]))
    assert (everybody[..., 3] == 255).sum() == (labels > 0).sum()
    overlay = np.asarray(Image.open(out / seen["saved"]["overlay"]).convert("RGB")).astype(int)
    changed = np.abs(overlay - expected[0]).max(axis=2) > 2
    assert changed[labels > 0].mean() > 0.95 and changed[labels == 0].mean() < 0.02


def test_people_are_chosen_drawn_and_removed(visit: tuple[dict[str, Any], Path]) -> None:
    seen, out = visit
    assert seen["hover"].startswith("Person 1, score ")
    assert (seen["chosen"], seen["who"], seen["unchosen"]) == (1, "1 chosen", 0)
    one = np.asarray(Image.open(out / seen["saved"]["one"]))
    labels = open_labels(out / seen["saved"]["labels"])
    assert (one[..., 3] == 255).sum() == (labels == 1).sum()
    count = seen["dropped"]["people"]
    assert seen["drawn"]["people"] == count + 1
    assert seen["key"].startswith("Person ")
    assert seen["removed"]["after"] == count
    assert seen["keyBox"] == count + 2
    left = seen["strict"]["people"]
    assert 2 <= left < count + 2  # one's own boxes stay, whatever the score
    assert seen["strict"]["status"] == f"{left} people"


def test_photos_are_upright_bounded_and_never_crash_the_tab(
    visit: tuple[dict[str, Any], Path],
) -> None:
    seen, out = visit
    turned = read_image(Path(seen["photos"]) / "turned.jpg")
    height, width = open_labels(out / seen["saved"]["large"]).shape
    large = Image.open(Path(seen["photos"]) / "large.jpg").resize((width, height))
    with open_predictor() as predictor:
        wanted = predictor.segment(turned).label_map()
        count = len(predictor.segment(np.asarray(large)))
    labels = open_labels(out / seen["saved"]["turned"])
    assert labels.shape == (480, 640)
    assert share_equal(labels, wanted) > 0.98  # the browser's JPEG decoder is another
    assert "no picture" in seen["broken"]
    assert seen["besideBroken"] == seen["dropped"]["people"]  # of the photo that was being read
    assert 15e6 < height * width <= 16e6 and "scaled down" in seen["large"]["status"]
    assert seen["large"]["people"] == count > 0


def test_an_unknown_head_in_the_address_is_told(visit: tuple[dict[str, Any], Path]) -> None:
    seen, _ = visit
    assert "?head=small" in seen["wrongHead"] and "(float, int8)" in seen["wrongHead"]


def test_dark_offline_and_on_a_phone(visit: tuple[dict[str, Any], Path]) -> None:
    seen, _ = visit
    assert seen["dark"] == "rgb(19, 20, 23)"
    assert seen["offline"]["people"] >= 4
    assert seen["phone"]["people"] >= 4 and seen["phone"]["chosen"] == 1
    assert seen["phone"]["overflow"] <= 0 and seen["phone"]["small"] == []
