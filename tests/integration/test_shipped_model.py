"""What ships: a stand-in through the same steps, and the package's own files where they are."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime as ort
import pytest
import torch

from human_edge_detection import MaskPredictor
from human_edge_detection.cli.export import ExportOptions, run_export
from human_edge_detection.cli.predict import run_predict
from human_edge_detection.cli.validate import run_validate
from human_edge_detection.core.errors import InputError
from human_edge_detection.core.images import save_image
from human_edge_detection.core.rle import decode_segmentation, encode_mask
from human_edge_detection.evaluation.options import ValidateOptions
from human_edge_detection.inference.options import PredictOptions
from human_edge_detection.masks.instance_masks import InstanceMasks
from human_edge_detection.modeling.weights import load_checkpoint, read_trained
from human_edge_detection.runtime.head import HeadSession
from human_edge_detection.runtime.model_files import (
    EXTRACTOR_NAME,
    HEAD_NAME,
    INT8_HEAD_NAME,
    WEIGHTS_DIR,
    WEIGHTS_NAME,
    default_model,
    own_extractor,
    shipped_weights,
)
from human_edge_detection.runtime.sessions import ON_CPU, SessionOptions
from human_edge_detection.training.checkpoints import save_checkpoint
from people_set import write_people_set
from tiny_person import write_person_checkpoint

torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parents[2]
LICENCES = ("NOTICE.md", "LICENSE-APACHE-2.0.txt")


def script(name: str) -> ModuleType:
    """A script of the folder ``release``, which stands outside the package."""
    found = importlib.util.spec_from_file_location(name, ROOT / "release" / f"{name}.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # its dataclasses look themselves up
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def release() -> ModuleType:
    return script("ship_person_model")


@pytest.fixture(scope="module")
def shipped(release: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of a model with random weights, and their card."""
    work, folder = tmp_path_factory.mktemp("run"), tmp_path_factory.mktemp("weights")
    checkpoint = write_person_checkpoint(work / "best_model.pth")
    options = {"epochs": "7", "train_ann": "(PosixPath('/home/me/secret.json'),)", "lr": "None"}
    progress = {"epoch": 7, "step": 70, "best_epoch": 5}
    payload = {**load_checkpoint(checkpoint), "options": options, "progress": progress}
    save_checkpoint(checkpoint, payload)
    annotations = write_people_set(work)
    release.ship(checkpoint, (64, 64), folder, annotations, work)
    measured = ValidateOptions(
        models=("builtin",), val_ann=annotations, val_img_dir=(work,), num_workers=0,
        device="cpu", bootstrap=50, no_visualization=True, val_output_dir=work / "out",
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("human_edge_detection.runtime.model_files.WEIGHTS_DIR", folder)
        assert run_validate(measured) == 0
    release.write_card(checkpoint, work / "out" / "report.json", folder)
    for name in LICENCES:
        (folder / name).write_bytes((WEIGHTS_DIR / name).read_bytes())
    return folder


def check_folder(folder: Path) -> None:
    """All that a folder of shipped files must keep."""
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    files = {HEAD_NAME, INT8_HEAD_NAME, EXTRACTOR_NAME, WEIGHTS_NAME}
    assert set(sizes) == {*files, "MODEL_CARD.md", *LICENCES}
    assert sum(sizes.values()) < 25_000_000
    card = (folder / "MODEL_CARD.md").read_text()
    assert "__" not in card
    for name in files:
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() in card, name
    facts = HeadSession(folder / HEAD_NAME, ON_CPU).facts
    assert replace(facts, precision="int8") == HeadSession(folder / INT8_HEAD_NAME, ON_CPU).facts
    assert own_extractor(folder / HEAD_NAME, facts) == folder / EXTRACTOR_NAME
    trained = read_trained(folder / WEIGHTS_NAME)
    assert trained.spec.image_size == facts.image_size
    images = np.random.default_rng(0).random((1, 3, *facts.image_size), np.float32)
    session = ort.InferenceSession(folder / EXTRACTOR_NAME, providers=["CPUExecutionProvider"])
    found = session.run([*facts.layers, "boxes", "scores"], {"images": images})
    with torch.no_grad():
        maps, people = trained.model()["extractor"](torch.from_numpy(images))
    for array, wanted in zip(found, (*maps, people.boxes, people.logits.sigmoid()), strict=True):
        atol = 1e-3 * max(1.0, float(wanted.abs().max()))
        np.testing.assert_allclose(array, wanted.numpy(), rtol=0, atol=atol)


def test_a_stand_in_passes_through_all_steps(shipped: Path) -> None:
    check_folder(shipped)
    card = (shipped / "MODEL_CARD.md").read_text()
    assert "`--epochs 7`" in card and "epoch 5" in card
    assert "secret" not in card
    assert "| all | 5 |" in card and "overlap: > 0.5" in card


@pytest.mark.skipif(not (WEIGHTS_DIR / HEAD_NAME).exists(), reason="no person model ships yet")
def test_the_files_that_ship_keep_their_promises() -> None:
    check_folder(WEIGHTS_DIR)


def test_the_licences_are_there_in_either_state() -> None:
    assert "RTMDet-nano" in (WEIGHTS_DIR / "NOTICE.md").read_text()
    text = (WEIGHTS_DIR / "LICENSE-APACHE-2.0.txt").read_text()
    assert "Version 2.0, January 2004" in text and "END OF TERMS AND CONDITIONS" in text


def test_prediction_without_flags_uses_what_ships(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("human_edge_detection.runtime.model_files.WEIGHTS_DIR", shipped)
    image = np.random.default_rng(0).integers(0, 255, (50, 70, 3), np.uint8)
    with MaskPredictor(device="cpu") as predictor:
        assert len(predictor.segment(image, score=0.0)) > 0
    save_image(tmp_path / "photo.png", image)
    options = PredictOptions(
        (str(tmp_path / "photo.png"),), score=0.0, output=tmp_path / "out", device="cpu", threads=1
    )
    assert run_predict(options) == 0
    found = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert found and (tmp_path / "out" / "overlay" / "photo.jpg").is_file()


def test_the_shipped_weights_are_exported_at_another_size(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("human_edge_detection.runtime.model_files.WEIGHTS_DIR", shipped)
    options = ExportOptions(Path("builtin"), output_dir=tmp_path, image_size=(32, 64))
    assert run_export(options) == 0
    assert HeadSession(tmp_path / HEAD_NAME, ON_CPU).facts.image_size == (32, 64)


def test_the_8_bit_head_is_for_cpus(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("human_edge_detection.runtime.model_files.WEIGHTS_DIR", shipped)
    assert default_model(ON_CPU) == (shipped / INT8_HEAD_NAME, shipped / EXTRACTOR_NAME)
    assert (
        default_model(SessionOptions(providers=["CPUExecutionProvider"]))[0]
        == shipped / INT8_HEAD_NAME
    )
    chosen = "human_edge_detection.runtime.model_files.choose_providers"
    monkeypatch.setattr(chosen, lambda device, providers: ["CUDAExecutionProvider"])
    assert default_model(SessionOptions()) == (shipped / HEAD_NAME, shipped / EXTRACTOR_NAME)


def test_absent_files_say_what_to_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("human_edge_detection.runtime.model_files.WEIGHTS_DIR", tmp_path)
    for call in (default_model, shipped_weights, lambda: MaskPredictor(device="cpu")):
        with pytest.raises(InputError, match="no person model ships"):
            call()


def test_score_weights_are_fitted_and_written_into_every_file(
    shipped: Path, tmp_path: Path
) -> None:
    fit = script("fit_scores")
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 2, (20000, 2))
    right = rng.random(20000) < 1 / (1 + np.exp(1 - 2 * rows[:, 0] - 0.5 * rows[:, 1]))
    assert fit.logistic(rows, right) == pytest.approx((-1, 2, 0.5), abs=0.1)
    assert fit.logistic(rows * [1, -1], right)[2] == 0
    with pytest.raises(InputError, match="0 are people: take more photos"):
        fit.logistic(rows, right & False)
    folder = shutil.copytree(shipped, tmp_path / "folder")
    written = [path.name for path in fit.write(folder, (-1.0, 2.0, 0.5))]
    assert written == [HEAD_NAME, INT8_HEAD_NAME, WEIGHTS_NAME]
    for name in written[:2]:
        facts, before = (HeadSession(f / name, ON_CPU).facts for f in (folder, shipped))
        assert facts == replace(before, score_weights=(-1.0, 2.0, 0.5))
    after, before = (read_trained(f / WEIGHTS_NAME) for f in (folder, shipped))
    assert after.spec == replace(before.spec, score_weights=(-1.0, 2.0, 0.5))
    assert all(torch.equal(after.weights[k], v) for k, v in before.weights.items())


def test_cut_outs_stand_in_a_row_with_their_feet_at_one_height() -> None:
    picture = script("draw_picture")
    tall, small = (np.full((height, 10, 4), (9, 9, 9, 255), np.uint8) for height in (30, 10))
    row = picture.in_a_row([tall, small], 72)
    assert row.shape == (18 + 2 * picture.GAP, 72, 3)
    assert (row[0] == picture.PAPER).all()
    feet = row[picture.GAP + 17]
    assert np.flatnonzero((feet == 9).all(-1)).tolist() == [*range(20, 26), *range(46, 52)]
    assert (row[picture.GAP + 11, 46:52] == picture.PAPER).all()  # above the small one


def test_people_known_by_a_box_get_the_part_of_a_mask_that_is_sure() -> None:
    """Four quarters of 16x16 pixels: a mask that is given, one of the head, a keypoint, nothing."""
    labels = script("label_boxes")
    boxes = np.array(
        [[0, 0, 16, 16], [16, 0, 32, 16], [0, 16, 16, 32], [16, 16, 32, 32]], np.float32
    )
    probs = np.zeros((4, 3, 4, 4), np.float32)
    probs[:, 0] = 1
    probs[1, :, :, :] = np.array([0.05, 0.95, 0])[:, None, None]
    probs[1, :, :, 3] = np.array([0.4, 0.6, 0])[:, None]  # four columns of pixels in doubt
    given = encode_mask(np.pad(np.ones((16, 16), bool), ((0, 16), (0, 16))))
    point = [0.0] * 48 + [8.0, 24.0, 2.0]
    people = [{"category_id": 1, "segmentation": shape} for shape in (given, [], [], [])]
    people[2]["keypoints"] = point
    counts = Counter()
    crowd = labels.label(people, InstanceMasks(probs, boxes, boxes, (32, 32)), counts)
    assert dict(counts) == {"by the model": 1, "by keypoints": 1, "left a box": 1}
    assert people[0]["segmentation"] is given and people[3]["segmentation"] == []
    head, keypoint = (decode_segmentation(people[i]["segmentation"], (32, 32)) for i in (1, 2))
    assert np.flatnonzero(head.all(axis=0) | head[:16].all(axis=0)).tolist() == [*range(16, 27)]
    assert np.argwhere(keypoint).tolist() == [[23, 7], [23, 8], [24, 7], [24, 8]]
    unsure = decode_segmentation(crowd["segmentation"], (32, 32))
    assert crowd["iscrowd"] == 1 and crowd["bbox"][2:] == [1, 1]
    assert unsure[16:].sum() == 2 * 256 - 4 and unsure[:16, 27:].all() and unsure[:16].sum() == 80


def test_a_pixel_that_two_people_claim_is_nobodys_unless_a_keypoint_tells() -> None:
    """Nobody in the photo has a mask, and both heads claim all of it."""
    labels = script("label_boxes")
    boxes = np.tile(np.array([0, 0, 16, 16], np.float32), (2, 1))
    probs = np.zeros((2, 3, 4, 4), np.float32)
    probs[:, 1] = 1
    outside = [-90.0, 8.0, 2.0, 8.0, 90.0, 2.0, 0.0, 0.0, 1.0]  # the last one is not visible
    people = [{"category_id": 1, "segmentation": [], "keypoints": outside} for _ in range(2)]
    people[0] = people[0] | {"keypoints": [*outside, 4.0, 8.0, 2.0]}
    crowd = labels.label(people, InstanceMasks(probs, boxes, boxes, (16, 16)), Counter())
    known = decode_segmentation(people[0]["segmentation"], (16, 16))
    assert np.argwhere(known).tolist() == [[7, 3], [7, 4], [8, 3], [8, 4]]
    assert people[1]["segmentation"] == []
    assert (decode_segmentation(crowd["segmentation"], (16, 16)) == ~known).all()


def test_labelling_a_file_leaves_crowds_and_other_categories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = script("label_boxes")
    save_image(tmp_path / "one.png", np.full((32, 32, 3), 114, np.uint8))
    box = {"image_id": 5, "bbox": [0, 0, 32, 32], "segmentation": [], "category_id": 3}
    content = {
        "images": [{"id": 5, "file_name": "one.png", "height": 32, "width": 32}],
        "categories": [{"id": 3, "name": "person"}, {"id": 4, "name": "dog"}],
        "annotations": [
            box | {"id": 7}, box | {"id": 9, "iscrowd": 1}, box | {"id": 8, "category_id": 4}
        ],
    }  # fmt: skip
    ann, out = tmp_path / "boxes.json", tmp_path / "known.json"
    ann.write_text(json.dumps(content))
    command = ["label_boxes", str(ann), "--img_dir", str(tmp_path), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", command)
    assert labels.main() == 0 and "1 people left a box" in capsys.readouterr().out
    *before, region = json.loads(out.read_text())["annotations"]
    assert before == content["annotations"]
    assert (region["id"], region["image_id"], region["category_id"]) == (10, 5, 3)
    assert (region["iscrowd"], region["area"]) == (1, 32 * 32)
    damaged = box | {"id": 6, "segmentation": [[1, 2]]}
    ann.write_text(json.dumps(content | {"annotations": [damaged, box | {"id": 7}]}))
    assert labels.main() == 2 and "annotation 6: " in capsys.readouterr().err


def test_what_cannot_ship_is_refused(release: ModuleType, shipped: Path, tmp_path: Path) -> None:
    plain = write_person_checkpoint(tmp_path / "plain.pth", with_detector=False)
    with pytest.raises(InputError, match="--train_detector"):
        release.ship(plain, None, tmp_path, tmp_path / "a.json", tmp_path)
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"models": [{"name": "other.pth"}]}))
    with pytest.raises(InputError, match="validate.py builtin"):
        release.write_card(plain, report, tmp_path)
