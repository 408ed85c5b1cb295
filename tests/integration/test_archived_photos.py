"""The commands do the same with photos in a folder, in a zip file and in tar shards."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from archive_files import write_tar, write_zip
from human_edge_detection.cli.data import CheckDataOptions, run_check_data
from human_edge_detection.cli.validate import run_validate
from human_edge_detection.core.errors import InputError
from human_edge_detection.core.options import changed, parse
from human_edge_detection.evaluation.options import ValidateOptions
from human_edge_detection.training.inputs import find_photos
from human_edge_detection.training.options import TrainOptions
from human_edge_detection.training.setup import run_train
from tiny_command import outputs, write_inputs


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainOptions]:
    """Six photos in a folder, in one zip below a leading folder, and in three shards."""
    folder = tmp_path_factory.mktemp("photos")
    flags = write_inputs(folder, 6)
    files = {path.name: path.read_bytes() for path in sorted(folder.glob("*.png"))}
    write_zip(folder / "photos.zip", {f"train2017/{name}": data for name, data in files.items()})
    for number in range(3):
        part = dict(list(files.items())[number::3])
        labels = {name.replace(".png", ".json"): b"{}" for name in part}
        write_tar(folder / "shards" / f"{number}.tar", part | labels)
    return folder, changed(parse(TrainOptions, "", flags), epochs=1, num_workers=2)


def places(folder: Path) -> dict[str, tuple[Path, ...]]:
    """What may be typed after ``--train_img_dir`` for the same photos."""
    return {
        "folder": (folder,), "zip": (folder / "photos.zip",), "shards": (folder / "shards",),
        "pattern": (folder / "shards" / "*.tar",),
        "listed": tuple(sorted((folder / "shards").glob("*.tar"))),
    }  # fmt: skip


def test_training_from_archives_gives_the_same_weights(
    inputs: tuple[Path, TrainOptions], tmp_path: Path, no_handover: None
) -> None:
    folder, options = inputs
    results = {}
    for kind in ("folder", "zip", "shards"):
        where = places(folder)[kind]
        written = parse(TrainOptions, "", outputs(tmp_path / kind))
        run = replace(
            changed(options, train_img_dir=where, val_img_dir=where), output=written.output
        )
        assert run_train(run) == 0
        results[kind] = torch.load(written.output.checkpoint_dir / "last.pth", weights_only=True)
    first = results["folder"]
    for kind in ("zip", "shards"):
        assert results[kind]["progress"]["best_miou"] == first["progress"]["best_miou"]
        for name, weights in first["weights"].items():
            assert torch.equal(weights, results[kind]["weights"][name]), (kind, name)
    model = tmp_path / "folder" / "checkpoints" / "best_model.pth"
    for kind in results:
        where = places(folder)[kind]
        validation = ValidateOptions(
            models=(str(model),), val_ann=options.data.val_ann, val_img_dir=where, num_workers=0,
            onnx_model=options.extractor.onnx_model, val_output_dir=tmp_path / kind / "report",
            bootstrap=10, no_visualization=True,
        )  # fmt: skip
        assert run_validate(validation) == 0
        results[kind] = json.loads(
            (tmp_path / kind / "report" / "best_model_pth" / "results.json").read_text()
        )
    assert results["folder"] == results["zip"] == results["shards"]


@pytest.mark.parametrize("kind", ["folder", "zip", "shards", "pattern", "listed"])
def test_every_way_to_name_the_photos_finds_them(
    inputs: tuple[Path, TrainOptions], kind: str
) -> None:
    folder, options = inputs
    where = places(folder)[kind]
    sets = find_photos(replace(options.data, train_img_dir=where, val_img_dir=()))
    assert len(sets.train) == len(sets.val) == 6
    assert sets.train[0].path.name == "photo_0.png"


def test_several_files_have_one_place_each_or_one_for_all(
    inputs: tuple[Path, TrainOptions],
) -> None:
    folder, options = inputs
    twice = replace(options.data, train_ann=options.data.train_ann * 2, train_img_dir=(folder,))
    kinds = places(folder)
    for where in (kinds["zip"], kinds["zip"] + kinds["pattern"]):
        assert len(find_photos(replace(twice, train_img_dir=where)).train) == 12
    with pytest.raises(InputError, match="names 3 places but --train_ann 2 files"):
        replace(twice, train_img_dir=kinds["listed"])


def test_a_photo_that_the_archives_lack_is_named(
    inputs: tuple[Path, TrainOptions], tmp_path: Path
) -> None:
    folder, options = inputs
    shutil.copy(folder / "shards" / "0.tar", tmp_path)
    with pytest.raises(InputError, match=r"4 of 6 photos.*0\.tar/photo_1\.png does not exist"):
        find_photos(replace(options.data, train_img_dir=(tmp_path,)))


def test_the_data_check_looks_into_archives(
    inputs: tuple[Path, TrainOptions], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, options = inputs
    kinds = places(folder)
    assert options.data.val_ann is not None
    check = CheckDataOptions(options.data.val_ann, kinds["zip"], min_roi_size=4, decode=True)
    assert run_check_data(check) == 0
    assert "nothing to mend" in capsys.readouterr().out
    both = replace(check, val_ann=options.data.val_ann, val_img_dir=kinds["listed"])
    assert run_check_data(both) == 1
    text = capsys.readouterr().out
    assert "MEND  6 x photo in train and val" in text
    assert "photos.zip/train2017/photo_0.png" in text
    assert run_check_data(replace(check, img_dir=kinds["listed"][1:])) == 1
    assert "MEND  2 x missing photo" in capsys.readouterr().out
