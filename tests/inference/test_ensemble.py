"""Several models that answer together: each network once, each model in its own geometry."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import analytic_model
from analytic_model import draw_person, write_constant_detector, write_extractor, write_head
from human_edge_detection.cli import main
from human_edge_detection.core.errors import InputError
from human_edge_detection.core.images import save_image
from human_edge_detection.core.options import parse
from human_edge_detection.core.structures import FloatArray
from human_edge_detection.inference.ensemble import RoiProbs, mean_probs
from human_edge_detection.inference.options import PredictOptions
from human_edge_detection.inference.predictor import MaskPredictor
from human_edge_detection.masks.instance_masks import InstanceMasks
from human_edge_detection.masks.paste import paste_mask
from human_edge_detection.runtime.feature_extractor import YOLOv9FeatureExtractor
from tiny_command import ENVIRONMENT

BOX = (30.0, 20.0, 90.0, 100.0)
BOXES = [BOX, (0.0, 0.0, 128.0, 128.0), (50.0, 50.0, 50.0, 60.0), (100.0, 90.0, 140.0, 128.0)]
IMAGE, MASK = draw_person((128, 128), BOX)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two heads that disagree, one of other geometry, one end to end, and what they read."""
    folder = tmp_path_factory.mktemp("models")
    write_head(folder / "head.onnx")
    write_head(folder / "wide.onnx", roi_padding="0.4", layers=["inner"])
    model = onnx.load(write_head(folder / "doubtful.onnx"))
    for weight in model.graph.initializer:
        if weight.name in ("weight", "bias"):
            small = numpy_helper.to_array(weight) / 40
            weight.CopyFrom(numpy_helper.from_array(small, weight.name))
    onnx.save(model, folder / "doubtful.onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(analytic_model, "HEAD", analytic_model.HEAD.replace("{4.0}", "{1.0}"))
        write_head(folder / "whole.onnx", format="human_edge_detection.end_to_end")
    write_extractor(folder / "extractor.onnx")
    person = np.zeros((1, 7, 6), np.float32)
    person[0, 0] = [*BOX, 0.9, 0]
    write_constant_detector(folder / "detector.onnx", {"output0": person})
    return folder


def predict(
    files: Path, heads: Sequence[str], extractor: object = "extractor.onnx"
) -> InstanceMasks:
    paths = [files / f"{name}.onnx" for name in heads]
    if isinstance(extractor, str):
        extractor = files / extractor
    with MaskPredictor(paths, extractor, device="cpu", threads=1) as predictor:  # type: ignore[arg-type]
        predictor.set_image(IMAGE)
        return predictor.predict(BOXES)


def probs_of(files: Path, *heads: str) -> FloatArray:
    return np.asarray(predict(files, heads).probs)


def test_an_ensemble_of_a_model_with_itself_is_the_model(files: Path) -> None:
    alone, twice = predict(files, ["head"]), predict(files, ["head", "head"])
    np.testing.assert_array_equal(twice.probs, alone.probs)
    np.testing.assert_array_equal(twice.rois_xyxy, alone.rois_xyxy)


def test_the_probabilities_are_averaged_and_not_the_logits(files: Path) -> None:
    one, other = probs_of(files, "head"), probs_of(files, "doubtful")
    assert np.abs(one - other).max() > 0.3
    wanted = (one + other) / 2
    for heads in (("head", "doubtful"), ("doubtful", "head")):
        np.testing.assert_allclose(probs_of(files, *heads), wanted, atol=1e-6)


def count_passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The layers of each pass of an extractor from now on, without the dry runs."""
    passes: list[tuple[str, ...]] = []
    run = YOLOv9FeatureExtractor.__call__

    def counted(extractor: YOLOv9FeatureExtractor, images: FloatArray) -> list[FloatArray]:
        passes.append(tuple(extractor.layers))
        return run(extractor, images)

    monkeypatch.setattr(YOLOv9FeatureExtractor, "__call__", counted)
    return passes


def test_heads_on_one_extractor_run_it_once_whatever_layers_they_read(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = count_passes(monkeypatch)
    predict(files, ["head", "wide", "doubtful", "head"])
    assert passes == [("pooled", "inner")]
    passes.clear()
    (files / "link.onnx").unlink(missing_ok=True)
    (files / "link.onnx").symlink_to(files / "extractor.onnx")
    predict(files, ["head", "doubtful"], [files / "extractor.onnx", files / "link.onnx"])
    assert passes == [("pooled",)], "one file by two names"


def test_heads_on_different_networks_are_averaged_too(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = count_passes(monkeypatch)
    wanted = probs_of(files, "head", "doubtful", "head")
    passes.clear()
    other = files / "detector.onnx"  # holds the same features
    found = predict(files, ["head", "doubtful", "whole"], [files / "extractor.onnx", other, None])
    assert passes == [("pooled",)] * 2
    # The end-to-end stand-in looks at single pixels, which differ from the pooled ones at edges.
    assert np.abs(found.probs - wanted).mean() < 0.02
    assert found.probs[0, 1, 28, 20] > 0.7


def test_masks_of_different_margins_are_averaged_in_place(files: Path) -> None:
    narrow, wide = predict(files, ["head"]), predict(files, ["wide"])
    both = predict(files, ["head", "wide"])
    np.testing.assert_array_equal(both.rois_xyxy, wide.rois_xyxy)
    assert (both.rois_xyxy[0, :2] < narrow.rois_xyxy[0, :2]).all()
    mask, (x1, y1, x2, y2) = paste_mask(both.probs[0, 1], both.rois_xyxy[0], MASK.shape)
    found = np.zeros_like(MASK)
    found[y1:y2, x1:x2] = mask
    assert (found & MASK).sum() / (found | MASK).sum() > 0.9
    np.testing.assert_allclose(predict(files, ["wide", "head"]).probs, both.probs, atol=1e-6)
    assert (both.probs[2, 0] == 1).all(), "an empty box is background"


@pytest.mark.parametrize("extractor", [None, "extractor.onnx", "detector.onnx"])
def test_a_detector_serves_all(files: Path, extractor: str | None) -> None:
    heads = [files / "head.onnx", files / "doubtful.onnx", files / "whole.onnx"]
    named = None if extractor is None else files / extractor
    with MaskPredictor(
        heads, [named, named, None], files / "detector.onnx", device="cpu"
    ) as predictor:
        (box,) = predictor.detect(IMAGE).boxes_xyxy
        masks = predictor.segment(IMAGE)
    np.testing.assert_allclose(box, BOX, atol=0.01)
    assert len(masks) == 1


def test_an_ensemble_survives_pickling(files: Path) -> None:
    heads = [files / "head.onnx", files / "doubtful.onnx"]
    with MaskPredictor(heads, files / "extractor.onnx", device="cpu", threads=1) as predictor:
        copy = pickle.loads(pickle.dumps(predictor))
        predictor.set_image(IMAGE)
        copy.set_image(IMAGE)
        np.testing.assert_array_equal(predictor.predict([BOX]).probs, copy.predict([BOX]).probs)


def test_what_does_not_go_together_is_refused_by_name(files: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="extractor names 2 files but model 3: give one for"):
        predict(files, ["head"] * 3, [files / "extractor.onnx"] * 2)
    with pytest.raises(InputError, match=r"whole\.onnx is end to end.*none for this one"):
        predict(files, ["head", "whole"])
    with pytest.raises(InputError, match=r"doubtful\.onnx is a head without its extractor"):
        predict(files, ["head", "doubtful"], [files / "extractor.onnx", None])
    strange = write_head(tmp_path / "strange.onnx", channels=[7])
    with pytest.raises(InputError, match=r"strange\.onnx does not fit extractor .*7 channels"):
        MaskPredictor([files / "head.onnx", strange], files / "extractor.onnx", device="cpu")


def test_the_flags_take_several_names() -> None:
    given = parse(PredictOptions, "", "a.jpg --model x y --extractor e none".split())
    assert (given.model, given.extractors) == ((Path("x"), Path("y")), (Path("e"), None))
    assert parse(PredictOptions, "", "--model x y -- a.jpg".split()).source == ("a.jpg",)
    with pytest.raises(InputError, match="needs a SOURCE.*before the flags, or after --"):
        parse(PredictOptions, "", "--model x y a.jpg".split())


def test_the_command_averages(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save_image(tmp_path / "1.png", IMAGE)
    (tmp_path / "boxes.csv").write_text(f"file,x1,y1,x2,y2\n1.png,{','.join(map(str, BOX))}\n")
    results = []
    for number, heads in enumerate((["head"], ["head", "doubtful"], ["head", "head"])):
        words = [
            "predict", "1.png", "--boxes", "boxes.csv", "--extractor",
            str(files / "extractor.onnx"), "--device", "cpu", "--threads", "1", "--save", "coco",
            "--output", f"out{number}", "--model", *(str(files / f"{name}.onnx") for name in heads),
        ]  # fmt: skip
        assert main(words) == 0
        results.append(json.loads((tmp_path / f"out{number}" / "predictions.json").read_text()))
    alone, both, twice = results
    assert len(both) == len(alone) == 1
    assert twice == alone
    command = [sys.executable, "-m", "human_edge_detection", *words]
    again = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert again.returncode == 0 and "1 files were done before" in again.stdout, again.stderr
    capsys.readouterr()
    assert main([*words[:-2], str(files / "head.onnx")]) == 2, "other models, another output"
    assert "--model" in capsys.readouterr().err


ROI = np.array([[0, 0, 4, 4]], np.float32)


def answer(target: object, roi: object = ROI) -> RoiProbs:
    """One person with these target probabilities [M, M], the rest background."""
    plane = np.asarray(target, np.float32)
    probs = np.stack([1 - plane, plane, np.zeros_like(plane)])[None]
    return RoiProbs(probs, np.asarray(roi, np.float32))


def target_of(answers: list[RoiProbs], side: int, roi: FloatArray = ROI) -> FloatArray:
    probs = mean_probs(answers, roi, side)
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-6)
    return np.asarray(probs[0, 1])


def test_the_mean_of_two_written_out_arrays() -> None:
    one, other = answer([[1.0, 0.5], [0.25, 0.0]]), answer([[0.0, 1.0], [0.75, 0.0]])
    np.testing.assert_array_equal(target_of([one, other], 2), [[0.5, 0.75], [0.5, 0.0]])


@pytest.mark.parametrize("count", [1, 2, 4])
def test_one_answer_given_several_times_is_itself(count: int) -> None:
    one = answer(np.random.default_rng(0).random((5, 5)))
    np.testing.assert_array_equal(mean_probs([one] * count, ROI, 5), one.probs)


def test_a_narrower_answer_has_no_say_beyond_its_region() -> None:
    wide, narrow = answer(np.full((4, 4), 0.8)), answer(np.full((4, 4), 0.2), [[1, 1, 3, 3]])
    wanted = np.full((4, 4), 0.8)
    wanted[1:3, 1:3] = 0.5
    np.testing.assert_allclose(target_of([wide, narrow], 4), wanted, atol=1e-6)


def test_a_bin_that_is_half_covered_counts_half() -> None:
    wide, narrow = answer(np.full((4, 4), 0.8)), answer(np.full((4, 4), 0.2), [[0.5, 0, 4, 4]])
    wanted = np.full((4, 4), 0.5)
    wanted[:, 0] = (0.8 + 0.5 * 0.2) / 1.5
    np.testing.assert_allclose(target_of([wide, narrow], 4), wanted, atol=1e-6)


def test_masks_lie_where_their_regions_do() -> None:
    wide = answer(np.zeros((4, 4)))
    columns = np.tile([1.0, 0.0], (2, 1))  # of a region two pixels wide, one bin a pixel
    found = target_of([wide, answer(columns, [[2, 0, 4, 4]])], 4)
    np.testing.assert_allclose(found[1], [0, 0, 0.5, 0], atol=1e-6)


def test_a_coarser_grid_is_interpolated() -> None:
    coarse = answer([[0.0, 1.0], [0.0, 1.0]])
    np.testing.assert_allclose(target_of([coarse], 4)[0], [0, 0.25, 0.75, 1], atol=1e-6)


def test_where_nobody_has_looked_is_background() -> None:
    outside = np.array([[9, 9, 9, 9]], np.float32)
    seen, unseen = answer(np.full((2, 2), 0.6)), answer(np.full((2, 2), 0.9), outside)
    np.testing.assert_allclose(target_of([seen, unseen], 2), np.full((2, 2), 0.6))
    np.testing.assert_array_equal(target_of([unseen, unseen], 2, outside), np.zeros((2, 2)))


def test_nobody_is_nobody() -> None:
    empty = RoiProbs(np.zeros((0, 3, 2, 2), np.float32), np.zeros((0, 4), np.float32))
    assert mean_probs([empty, empty], empty.rois_xyxy, 2).shape == (0, 3, 2, 2)
