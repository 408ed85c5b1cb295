"""The lines of docs/integrations.md that hand results over by files, run as they stand."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO

from human_edge_detection.data.coco_reader import load_photos
from human_edge_detection.data.photos import open_photos
from human_edge_detection.masks.instance_masks import InstanceMasks

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "integrations.md"
SIZE_HW = (40, 60)


def lines_of(section: str) -> str:
    text = DOCUMENT.read_text("utf-8").split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.search(r"```python\n(.*?)```", text, re.S)[1]


@pytest.fixture
def masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """Two photos with results of ``predict`` in the current folder, and the masks in them."""
    monkeypatch.chdir(tmp_path)
    probs = np.full((2, 3, 28, 28), 0.05, np.float32)
    probs[:, 1] = 0.9
    rois = np.float32([[3, 4, 20, 30], [25, 2, 50, 39]])
    results, wanted = [], {}
    for number, name in enumerate(("b.png", "a.png"), start=7):
        own = rois[: number - 6]  # one person, then two
        people = InstanceMasks(probs[: len(own)], own, own, SIZE_HW)
        results += people.to_coco(number, name)
        wanted[name] = people.binary()
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.new("RGB", SIZE_HW[::-1]).save(tmp_path / "photos" / name)
    (tmp_path / "predictions").mkdir()
    (tmp_path / "predictions" / "predictions.json").write_text(json.dumps(results))
    return wanted


def test_a_coco_file_loads_here_and_in_pycocotools(masks, tmp_path):
    exec(lines_of("A COCO file"), {})
    coco = COCO(tmp_path / "instances.json")
    assert {photo["file_name"] for photo in coco.imgs.values()} == set(masks)
    for photo in coco.imgs.values():
        found = [coco.annToMask(person) for person in coco.imgToAnns[photo["id"]]]
        np.testing.assert_array_equal(np.array(found, bool), masks[photo["file_name"]])
    photos, _ = load_photos(tmp_path / "instances.json", open_photos((tmp_path / "photos",), "x"))
    assert len(photos) == 2


def test_fiftyone_gets_what_its_importer_reads(masks, monkeypatch):
    """A stand-in takes the documented arguments; FiftyOne decodes with pycocotools, as here."""
    given = {}

    class Dataset:
        @classmethod
        def from_images_dir(cls, folder):
            names = sorted(path.name for path in Path(folder).iterdir())
            dataset = cls()
            dataset.samples = [SimpleNamespace(filename=name) for name in names]
            return dataset

        def __iter__(self):
            return iter(self.samples)

        def set_values(self, field, values):
            for sample, value in zip(self.samples, values, strict=True):
                setattr(sample, field, value)

    def add_coco_labels(
        sample_collection, label_field, labels_or_path, categories,
        label_type="detections", coco_id_field=None,
    ):  # fmt: skip
        assert label_type == "segmentations" and label_field == "people"
        for sample in sample_collection:
            number = getattr(sample, coco_id_field)
            labels = [label for label in labels_or_path if label["image_id"] == number]
            assert all(categories[label["category_id"] - 1] == "person" for label in labels)
            given[sample.filename] = [rle.decode(label["segmentation"]) for label in labels]

    modules = {name: ModuleType(name) for name in ("fiftyone", "fiftyone.utils")}
    coco = ModuleType("fiftyone.utils.coco")
    coco.add_coco_labels, modules["fiftyone"].Dataset = add_coco_labels, Dataset
    modules["fiftyone"].utils, modules["fiftyone.utils"].coco = modules["fiftyone.utils"], coco
    for name, module in {**modules, "fiftyone.utils.coco": coco}.items():
        monkeypatch.setitem(sys.modules, name, module)
    exec(lines_of("FiftyOne"), {})
    assert set(given) == set(masks)
    for name, found in given.items():
        np.testing.assert_array_equal(np.array(found, bool), masks[name])
