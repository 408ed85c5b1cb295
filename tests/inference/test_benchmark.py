"""The benchmark's arithmetic on given numbers, and the command on a model that costs nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analytic_model import write_extractor, write_head
from human_edge_detection.cli.benchmark import BenchmarkOptions, _short_names, plan, run_benchmark
from human_edge_detection.cli.benchmark_tables import Results, as_json, markdown, summary_table
from human_edge_detection.core.errors import InputError
from human_edge_detection.core.images import save_image
from human_edge_detection.inference.benchmark import (
    STAGES,
    ColdStart,
    Laps,
    Ratio,
    Target,
    make_scene,
    measure_cold,
    pair_up,
    person_boxes,
    present_devices,
    time_pass,
    time_targets,
)

A, B = (Target(name, Path(f"{name}.onnx"), None, "cpu") for name in "ab")
A_RT = Target("a", Path("a.onnx"), None, "tensorrt")


def laps(target: Target, *totals: float, people: int = 1) -> Laps:
    """A fifth of each total in every stage."""
    return Laps(target, people, np.repeat(np.array(totals)[:, None] / 5, 5, axis=1))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    write_head(folder / "head.onnx")
    write_extractor(folder / "extractor.onnx")
    pixels = np.random.default_rng(0).integers(0, 255, (96, 160, 3), np.uint8)
    save_image(folder / "photo.jpg", pixels)
    return folder


def test_boxes_lie_in_the_photo_and_the_first_ones_stay():
    many = person_boxes((720, 1280), 100)
    assert many.shape == (100, 4) and many.dtype == np.float32
    assert (many[:, :2] >= 0).all() and (many[:, 2:] <= [1280, 720]).all()
    sides = many[:, 3] - many[:, 1]
    assert 720 / 13 < sides.min() and sides.max() < 541
    assert np.array_equal(person_boxes((720, 1280), 5), many[:5])


def test_ratios_are_taken_round_by_round():
    # The machine slows down by ten in the second round; the ratio does not.
    ratio = Ratio.between(laps(A, 2.0, 20.0, 2.0), laps(B, 1.0, 10.0, 0.5))
    assert ratio.total == pytest.approx(2)
    assert (ratio.low, ratio.high) == (pytest.approx(2), pytest.approx(3.6))
    assert ratio.head == pytest.approx(2)


def test_every_target_is_paired_with_the_first_model_or_the_first_provider():
    b_rt = Target("b", Path("b.onnx"), None, "tensorrt")
    found = pair_up([laps(target, 1.0) for target in (A, B, A_RT, b_rt)])
    assert [(r.slow, r.fast) for r in found] == [(A, B), (A, A_RT), (A_RT, b_rt)]


def test_the_summary_has_first_run_and_cached_rows_for_tensorrt():
    cold = [
        (A_RT, ColdStart("first run", 0.5, 30.0, (2.0, 3.0))),
        (A_RT, ColdStart("cached", 0.5, 1.0, (0.1, 0.2))),
    ]
    warm = [laps(A, 0.1, 0.1), laps(A_RT, 0.02, 0.01)]
    warm += [laps(A, 0.4, 0.4, people=5), laps(A_RT, 0.04, 0.04, people=5)]
    results = Results({"cpu": "slow"}, warm, pair_up(warm), cold)
    assert summary_table(results) == [
        "| model | provider | N = 1 | N = 5 | speed-up |",
        "| --- | --: | --: | --: | --: |",
        "| a | CPU | 100.0 | 400.0 | 1 |",
        "| a | TensorRT, first run | 32000 | 3000 |  |",
        "| a | TensorRT, cached | 15.0 | 40.0 | 10.00 |",
    ]
    text = markdown(results)
    assert "- cpu: slow" in text
    assert "| a | TensorRT cached | 0.50 | 1.00 | 0.10 | 1.60 |" in text
    assert "| a (TensorRT) against a (CPU) | 5 | 10.00 | 10.00 – 10.00 | 10.00 |" in text
    content = json.loads(json.dumps(as_json(results)))
    assert content["warm"][0]["total_median_ms"] == 100
    assert len(content["warm"][0]["rounds_ms"]) == 2
    assert content["ratios"][1]["median"] == 10


def test_a_pass_times_every_stage_and_rounds_alternate(files):
    target = Target("a", files / "head.onnx", files / "extractor.onnx", "cpu", threads=1)
    scene = make_scene(files / "photo.jpg", 3)
    with target.open() as predictor:
        lap = time_pass(predictor, scene, 2)
    assert len(lap) == len(STAGES) and min(lap) > 0
    found = time_targets([target, target], [scene], [1, 3], rounds=3, warmup=1)
    assert [(item.people, item.seconds.shape) for item in found] == [
        (1, (3, 5)), (1, (3, 5)), (3, (3, 5)), (3, (3, 5)),
    ]  # fmt: skip


def test_a_cold_start_runs_in_a_process_of_its_own(files):
    target = Target("a", files / "head.onnx", files / "extractor.onnx", "cpu", 8, 1)
    (start,) = measure_cold(target, files / "photo.jpg", (1, 4))
    assert start.label == "" and len(start.first_s) == 2
    assert start.until_first_mask_s > start.import_s > 0.01
    with pytest.raises(InputError, match=r"does not start in a fresh process: .*no\.onnx"):
        measure_cold(replace(target, model=Path("no.onnx")), files / "photo.jpg", (1,))


def test_the_command_compares_two_models(files, tmp_path, capsys):
    out = tmp_path / "result.json"
    options = BenchmarkOptions(
        model=(files / "head.onnx",), extractor=(str(files / "extractor.onnx"),),
        versus=files / "head.onnx", providers=("cpu",), people=(1, 3), rounds=3, warmup=1,
        photos=(str(files / "photo.jpg"),), no_cold=True, threads=1, output=out,
    )  # fmt: skip
    run_benchmark(options)
    text = capsys.readouterr().out
    assert "(2) (CPU) against" in text and "onnxruntime" in text
    content = json.loads(out.read_text())
    assert [item["people"] for item in content["warm"]] == [1, 1, 3, 3]
    assert all(item["median"] > 0 for item in content["ratios"])
    assert content["stamp"]["photos"] == "1 given"


def test_what_to_pass_is_said(files, tmp_path, monkeypatch):
    monkeypatch.setattr("human_edge_detection.runtime.model_files.WEIGHTS_DIR", tmp_path)
    with pytest.raises(InputError, match="model checkpoints"):
        plan(BenchmarkOptions())
    for wrong, text in (
        ({"people": (0,)}, "--people"),
        ({"rounds": 0}, "--rounds"),
        ({"extractor": ("a",)}, "without --model"),
        ({"model": (Path("a"),), "extractor": ("a", "b")}, "one for all"),
        ({"versus_extractor": "a"}, "needs --versus"),
    ):
        with pytest.raises(InputError, match=text):
            BenchmarkOptions(**wrong)
    if "cuda" not in present_devices():
        with pytest.raises(InputError, match="device cuda"):
            plan(BenchmarkOptions(model=(files / "head.onnx",), providers=("cuda",)))


def test_models_are_spread_over_providers_and_named_apart(files):
    head = files / "head.onnx"
    options = BenchmarkOptions(
        model=(head,), extractor=("x.onnx",), versus=head, versus_extractor="none",
        providers=("cpu",),
    )  # fmt: skip
    first, second = plan(options)
    assert (first.extractor, second.extractor) == (Path("x.onnx"), None)
    assert first.name != second.name
    assert _short_names([Path("r/a.onnx"), Path("r/b.onnx")]) == ["a", "b"]
    assert _short_names([Path("r/a.onnx"), Path("s/a.onnx")]) == ["r/a", "s/a"]
