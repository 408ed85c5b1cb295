"""The recipes of docs/training.md run as they stand, on a handful of photos at the paths they name.

Only the epochs, the picture size, the head and the number of loader processes are made smaller.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from archive_files import write_zip
from doc_commands import HAS_BASH, ROOT, commands_of, program_of
from human_edge_detection import cli
from human_edge_detection.core.options import DEFAULT_ONNX_MODEL
from stand_in import LARGE_YOLO_LAYER, write_stand_in
from tiny_command import write_annotations
from tiny_run import SIZE, write_photos

SMALL = {
    "main.py": [
        "--epochs", "1", "--image_size", str(SIZE), str(SIZE), "--device", "cpu",
        "--num_workers", "0", "--min_roi_size", "4", "--roi_size", "4", "--mask_size", "8",
        "--head_widths", "8", "8", "4",
    ],
    "validate.py": ["--device", "cpu", "--num_workers", "0", "--bootstrap", "10"],
    "predict": ["--device", "cpu", "--threads", "1"],
}  # fmt: skip
STEM = "instances_{}2017{}.json"


def write_coco(folder: Path, split: str, count: int) -> None:
    """A split as COCO gives it: the photos as a folder and as a zip, people and a dog."""
    place = folder / "data" / "images" / f"{split}2017"
    place.mkdir(parents=True)
    photos = write_photos(place, count)
    annotations = folder / "data" / "annotations"
    annotations.mkdir(exist_ok=True)
    path = write_annotations(annotations / STEM.format(split, ""), photos)
    content = json.loads(path.read_text())
    content["categories"].append({"id": 18, "name": "dog"})
    content["annotations"].append(content["annotations"][0] | {"id": 999, "category_id": 18})
    path.write_text(json.dumps(content))
    files = {f"{split}2017/{item.name}": item.read_bytes() for item in place.iterdir()}
    write_zip(place.with_suffix(".zip"), files)


def write_world(folder: Path) -> None:
    """What a reader of the recipes has: COCO, an extractor, photos of the reader's own."""
    write_coco(folder, "train", 4)
    write_coco(folder, "val", 2)
    mine = folder / "mine" / "photos"
    mine.mkdir(parents=True)
    for split in ("train", "val"):
        write_annotations(folder / "mine" / f"{split}.json", write_photos(mine, 2))
    network = folder / DEFAULT_ONNX_MODEL
    network.parent.mkdir()
    write_stand_in(network, layer=LARGE_YOLO_LAYER, channels=16, size_hw=(SIZE, SIZE))


def run(words: list[str]) -> None:
    """Run one command of the document, made small."""
    program, *arguments = program_of(words)
    if program == "main.py":
        assert cli.train_main(arguments + SMALL[program]) == 0, words
    elif program == "validate.py":
        assert cli.validate_main(arguments + SMALL[program]) == 0, words
    else:
        assert program == "human-edge-detection"
        findings = arguments[0] == "check_data"  # the drawn splits share photos
        assert cli.main(arguments + SMALL.get(arguments[0], [])) == int(findings), words


@pytest.mark.thorough
@pytest.mark.skipif(not HAS_BASH, reason="needs bash")
def test_the_recipes_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_world(tmp_path)
    document = tmp_path / "document"
    document.mkdir()
    commands = commands_of(ROOT / "docs" / "training.md", document)
    monkeypatch.chdir(tmp_path)
    annotations = Path("data/annotations")
    for words in commands:
        if "torchrun" in words:
            continue  # parsed in test_docs, run in test_distributed
        run(words)
        if "subset" in words:  # too few photos here for the smaller files
            for split in ("train", "val"):
                whole = annotations / STEM.format(split, "_person_only_no_crowd")
                for count in (100, 500):
                    shutil.copy(whole, whole.with_name(f"{whole.stem}_{count}.json"))
    text = capsys.readouterr().out
    assert "2 photos with 4 people" in text
    assert "ensemble" in text.lower()
    for name in ("100", "500", "full", "mine", "100_500", "100_500_all", "seed1", "seed2", "seed3"):
        assert (tmp_path / "checkpoints" / name / "best_model.onnx").is_file(), name
    assert json.loads(Path("data_analyze_full.json").read_text())["total_instances"] == 8
    assert len(json.loads(Path("predictions/predictions.json").read_text())) == 4
