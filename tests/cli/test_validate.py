"""The door behind validate.py, on three drawn photos and a random head."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from human_edge_detection.cli.validate import find_models, run_validate
from human_edge_detection.core.errors import InputError
from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.evaluation.evaluate import Evaluation
from human_edge_detection.evaluation.options import ValidateOptions
from human_edge_detection.evaluation.report import ScoredModel, best_of
from human_edge_detection.evaluation.tables import comparison_text
from human_edge_detection.export.head import export_end_to_end, export_head
from human_edge_detection.modeling.heads import build_head
from human_edge_detection.modeling.weights import read_trained
from human_edge_detection.runtime.model_files import HEAD_NAME
from human_edge_detection.training.checkpoints import save_checkpoint
from people_set import made_up_score, matrix, write_people_set
from stand_in import write_stand_in


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> ValidateOptions:
    """A set, an extractor and two checkpoints of random heads."""
    folder = tmp_path_factory.mktemp("validate")
    annotations = write_people_set(folder)
    extractor = write_stand_in(folder / "net.onnx", layer="map", channels=8, size_hw=(96, 96))
    for seed in (0, 1):
        torch.manual_seed(seed)
        spec = ModelSpec("lite", ("map",), (8,), (8.0,), image_size=(96, 96), roi_size=8)
        weights = {f"head.{name}": w for name, w in build_head(spec).state_dict().items()}
        path = folder / f"checkpoint_{seed}.pth"
        save_checkpoint(path, {"spec": spec.to_dict(), "weights": weights})
    return ValidateOptions(
        models=(str(folder / "checkpoint_0.pth"),),
        val_ann=annotations,
        val_img_dir=(folder,),
        onnx_model=str(extractor),
        num_workers=0,
        device="cpu",
        val_output_dir=folder / "out",
        bootstrap=50,
    )


def test_one_checkpoint(options: ValidateOptions, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_validate(options) == 0
    text = capsys.readouterr().out
    assert "checkpoint_0.pth" in text
    assert "target_iou_image" in text
    assert "best by" not in text


def test_several_by_pattern(options: ValidateOptions, capsys: pytest.CaptureFixture[str]) -> None:
    pattern = str(options.val_img_dir[0] / "*.pth")
    assert run_validate(replace(options, models=(pattern,), multiple=True)) == 0
    text = capsys.readouterr().out
    assert "checkpoint_0.pth" in text
    assert "checkpoint_1.pth" in text
    assert "best by target_iou_image: checkpoint_" in text


def test_the_best_of_several_is_the_one_whose_masks_are_best_in_the_photo() -> None:
    clear = Evaluation((made_up_score(1, 1, 0.9, confusion=matrix(10, 10, 0, swapped=9)),))
    tidy = Evaluation((made_up_score(1, 1, 0.6, confusion=matrix(10, 10, 10)),))
    assert clear.miou < tidy.miou
    models = [ScoredModel(*both) for both in (("0", Evaluation(())), ("1", tidy), ("2", clear))]
    assert best_of(models, "target_iou_image").name == "2"
    assert "best by target_iou_image: 2 (0.9" in comparison_text(models, "target_iou_image")
    assert best_of(models, "miou").name == "1"
    assert f"best by miou: 1 ({tidy.miou:.4f})" in comparison_text(models, "miou")
    assert "mIoU: mean of target and non-target IoU" in comparison_text(models, "miou")


def test_best_by_picks_the_model_of_the_pictures(
    options: ValidateOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pattern = str(options.val_img_dir[0] / "checkpoint_*.pth")
    given = replace(options, models=(pattern,), multiple=True, val_output_dir=tmp_path)
    assert run_validate(replace(given, best_by="miou", no_visualization=True)) == 0
    assert "best by miou: checkpoint_" in capsys.readouterr().out
    data = json.loads((tmp_path / "report.json").read_text())
    mious = {model["name"]: model["headline"]["miou"][0] for model in data["models"]}
    assert (data["best_by"], data["best"]) == ("miou", max(mious, key=lambda name: mious[name]))


def test_no_visualization_writes_no_page_and_no_picture(
    options: ValidateOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_validate(replace(options, no_visualization=True, val_output_dir=tmp_path)) == 0
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    results = ("results.json", "predictions_coco.json", "failures_coco.json")
    expected = {"report.json", *(f"checkpoint_0_pth/{name}" for name in results)}
    assert written == expected
    assert "report.json" in capsys.readouterr().out


def test_two_photos_have_no_interval(
    options: ValidateOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert options.val_ann is not None
    content = json.loads(options.val_ann.read_text())
    content["images"] = content["images"][:2]
    kept = {image["id"] for image in content["images"]}
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] in kept]
    (tmp_path / "two.json").write_text(json.dumps(content))
    given = replace(options, val_ann=tmp_path / "two.json", val_output_dir=tmp_path / "out")
    assert run_validate(given) == 0
    text = capsys.readouterr().out
    assert re.search(r"target_iou_image +0\.\d+ \[n/a\]", text)
    assert "[n/a]: fewer than 3 photos" in text
    data = json.loads((tmp_path / "out" / "report.json").read_text())
    assert data["models"][0]["headline"]["target_iou_image"][1:] == [None, None]


@pytest.fixture(scope="module")
def whole(options: ValidateOptions) -> Path:
    """The first checkpoint as one file with its extractor; its head alone lies beside it."""
    trained = read_trained(Path(options.models[0]))
    spec, head = trained.spec, trained.model()["head"]
    path = Path(options.models[0]).with_name("whole.onnx")
    export_head(head, spec, path.with_name("head.onnx"))
    export_end_to_end(head, spec, Path(str(options.onnx_model)), path)
    return path


def test_exports_score_as_their_checkpoint_does(options: ValidateOptions, whole: Path) -> None:
    files = (*options.models, str(whole.with_name("head.onnx")), str(whole))
    output = whole.with_name("exports")
    given = replace(options, models=files, val_output_dir=output, no_visualization=True)
    assert run_validate(given) == 0
    check_equal_scores(output)


def check_equal_scores(output: Path) -> None:
    models = json.loads((output / "report.json").read_text())["models"]
    for model in models[1:]:
        for name, value in models[0]["losses"].items():
            assert model["losses"][name] == pytest.approx(value, abs=1e-4)
        for name, (value, *_) in models[0]["headline"].items():
            assert model["headline"][name][0] == pytest.approx(value, abs=1e-3), name


def test_a_person_model_scores_the_same_from_every_file(
    options: ValidateOptions, person_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("human_edge_detection.runtime.model_files.WEIGHTS_DIR", person_folder)
    monkeypatch.setattr("human_edge_detection.runtime.model_files.INT8_HEAD_NAME", HEAD_NAME)
    files = (str(person_folder / "best_model.pth"), str(person_folder / HEAD_NAME), "builtin")
    given = replace(
        options, models=files, image_size=(96, 64), val_output_dir=tmp_path / "out",
        no_visualization=True,
    )  # fmt: skip
    assert len(find_models(given)) == 2  # the shipped head is named twice
    assert run_validate(given) == 0
    check_equal_scores(tmp_path / "out")


def test_an_export_is_scored_at_any_size_but_end_to_end_at_its_own(
    options: ValidateOptions, whole: Path, person_folder: Path
) -> None:
    given = replace(options, models=(str(person_folder / HEAD_NAME),), image_size=(64, 64))
    assert run_validate(given) == 0
    for size, fault in (((40, 64), "give its longest side twice"), ((40, 40), "image_size 40")):
        with pytest.raises(InputError, match=fault):
            run_validate(replace(given, image_size=size))
    with pytest.raises(InputError, match="export it again with --image_size"):
        run_validate(replace(given, models=(str(whole),)))


def test_everything_at_once(options: ValidateOptions, capsys: pytest.CaptureFixture[str]) -> None:
    output = options.val_img_dir[0] / "all"
    assert run_validate(replace(options, robustness=True, val_output_dir=output)) == 0
    assert "boxes ± 20%" in capsys.readouterr().out
    again = output / "checkpoint_0_pth" / "results.json"
    assert run_validate(replace(options, models=(str(again),))) == 0
    assert "AP50" in capsys.readouterr().out
    assert len(list((output / "panels").glob("*.jpg"))) == 3
    assert (output / "report.html").stat().st_size > 20_000


def test_what_is_missing_is_named(options: ValidateOptions, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="CKPT is missing"):
        run_validate(replace(options, models=()))
    with pytest.raises(InputError, match=r"nothing\.pth does not exist"):
        run_validate(replace(options, models=("nothing.pth",)))
    with pytest.raises(InputError, match="--multiple"):
        find_models(replace(options, models=(str(tmp_path / "*.pth"),)))
    with pytest.raises(InputError, match="matches no file"):
        find_models(replace(options, models=(str(tmp_path / "*.pth"),), multiple=True))
    with pytest.raises(InputError, match="--val_ann"):
        run_validate(replace(options, val_ann=tmp_path / "no.json"))
    with pytest.raises(InputError, match="--onnx_model"):
        run_validate(replace(options, onnx_model=str(tmp_path / "no.onnx")))


def test_a_file_of_another_kind_is_refused(options: ValidateOptions, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match=r"notes\.txt"):
        run_validate(replace(options, models=(str(tmp_path / "notes.txt"),)))
    (tmp_path / "cut.pth").write_bytes(b"PK\x03\x04 not a checkpoint")
    with pytest.raises(InputError, match=r"cut\.pth"):
        run_validate(replace(options, models=(str(tmp_path / "cut.pth"),)))
