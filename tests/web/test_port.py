"""The page's modules in Node against the Python that they are ports of."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from human_edge_detection.core.boxes import padded_rois
from human_edge_detection.core.geometry import (
    PAD_VALUE,
    all_roi_bounds,
    frame_hw,
    letterbox,
    letterbox_transform,
)
from human_edge_detection.core.rle import run_lengths
from human_edge_detection.masks.arbitration import candidate_probability
from human_edge_detection.masks.candidates import found_scores, least_score, person_scores
from human_edge_detection.masks.fusion import fuse
from human_edge_detection.masks.paste import paste_at
from human_edge_detection.masks.probabilities import LEAST_PROBABILITY, softmax
from human_edge_detection.runtime.detector_layouts import Layout, person_candidates
from human_edge_detection.runtime.head import head_feeds

HERE = Path(__file__).parent
WEB = HERE.parents[1] / "web"

pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="needs Node, which is not installed"),
    pytest.mark.skipif(
        not (WEB / "node_modules" / "esbuild").is_dir(),
        reason="needs the page's packages: npm ci in web/",
    ),
]


def pack(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def unpack(text: str, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype).reshape(shape)


def size_of(size_hw: tuple[int, int]) -> dict[str, int]:
    return {"height": size_hw[0], "width": size_hw[1]}


def ask(folder: Path, questions: list[dict[str, Any]]) -> list[Any]:
    """The port's answers to some questions, from one run of Node."""
    (folder / "questions.json").write_text(json.dumps(questions))
    command = ["node", HERE / "port.mjs", folder / "questions.json", folder / "answers.json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "answers.json").read_text())


def test_letterbox_is_opencvs_to_the_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sizes = [
        (480, 640), (427, 640), (640, 427), (333, 500), (720, 1280), (1024, 1024), (1536, 2048),
        (100, 130), (300, 511), (512, 512), (256, 256), (17, 2000), (3, 3), (1, 5), (513, 700),
    ]  # fmt: skip
    photos = [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    outs = [(512, 512), (448, 640)]
    questions = [
        {
            "ask": "letterbox", "pixels": pack(_with_alpha(photo) if alpha else photo),
            "channels": 4 if alpha else 3, "size": size_of(out), "pad": PAD_VALUE,
            **size_of(photo.shape[:2]),
        }
        for out in outs for alpha, photo in enumerate(photos[:1] * 2 + photos[1:])
        for alpha in [alpha % 2]
    ]  # fmt: skip
    asked = [(out, photo) for out in outs for photo in photos[:1] * 2 + photos[1:]]
    for (out, photo), answer in zip(asked, ask(tmp_path, questions), strict=True):
        wanted, transform = letterbox(photo, out)
        found = unpack(answer["pixels"], np.uint8, wanted.shape)
        np.testing.assert_array_equal(found, wanted, err_msg=f"{photo.shape} to {out}")
        assert answer["scale"] == list(transform.scale_xy)
        assert answer["offset"] == list(transform.offset_xy)


def test_frames_are_as_small_as_pythons(tmp_path: Path) -> None:
    sizes = np.random.default_rng(1).integers(1, 3000, (200, 2)).tolist()
    sizes += [[480, 640], [427, 640], [512, 352], [1, 9999], [640, 640]]
    questions = [
        {"ask": "frame", "photo": size_of(size), "most": size_of((512, 640)), "multiple": 32}
        for size in sizes
    ]
    for size, answer in zip(sizes, ask(tmp_path, questions), strict=True):
        assert answer == size_of(frame_hw(tuple(size), (512, 640), 32))


def _with_alpha(photo: np.ndarray) -> np.ndarray:
    return np.dstack([photo, np.full(photo.shape[:2], 255, np.uint8)])


def random_boxes(rng: np.random.Generator, count: int, size_hw: tuple[int, int]) -> np.ndarray:
    height, width = size_hw
    low = rng.uniform(-0.1, 0.8, (count, 2)) * (width, height)
    side = rng.uniform(0.01, 0.6, (count, 2)) * (width, height)
    return np.concatenate([low, low + side], axis=1).astype(np.float32)


def test_candidates_are_those_of_the_detector(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    boxes, scores = random_boxes(rng, 800, (512, 512)), rng.random(800).astype(np.float32)
    boxes[5] = np.nan
    facts = {"layout": "boxes_scores", "nms_iou": 0.65, "max_candidates": 1000}
    question = {"ask": "candidates", "facts": facts, "boxes": pack(boxes), "scores": pack(scores)}
    (found,) = ask(tmp_path, [{**question, "least": 0.3}])
    layout = Layout("boxes_scores", ("boxes", "scores"))
    wanted, wanted_scores = person_candidates(layout, [boxes[None], scores[None]], 0.3)
    assert 50 < len(wanted) < 600
    assert [one["box"] for one in found] == wanted.tolist()
    assert [one["score"] for one in found] == wanted_scores.tolist()


def test_rois_are_padded_moved_and_sorted_alike(tmp_path: Path) -> None:
    rng, size_hw = np.random.default_rng(2), (427, 640)
    boxes = random_boxes(rng, 200, size_hw)
    transform = letterbox_transform(size_hw, (512, 512))
    question = {
        "ask": "rois", "boxes": boxes.tolist(), "padding": 0.1, "size": size_of(size_hw),
        "small_side": 140.0,
        "transform": {"scale": transform.scale_xy, "offset": transform.offset_xy},
    }  # fmt: skip
    (found,) = ask(tmp_path, [question])
    rois = padded_rois(boxes, 0.1, size_hw)
    moved = transform.to_input(rois)
    assert found["rois"] == rois.tolist()
    assert found["moved"] == moved.tolist()
    assert found["windows"] == all_roi_bounds(rois, size_hw).tolist()
    rows = np.concatenate([np.zeros((len(moved), 1), np.float32), moved], axis=1)
    assert found["order"] == head_feeds(rows, 140.0)[1].tolist()


@pytest.mark.parametrize("side", [1, 2, 56])
def test_bins_are_pasted_alike(side: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(side)
    rois = random_boxes(rng, 30, (300, 400))
    rois[:5, 2:] = rois[:5, :2] + rng.uniform(0.5, 20, (5, 2)).astype(np.float32)  # fine bins
    rois = padded_rois(rois, 0.1, (300, 400))
    windows = all_roi_bounds(rois, (300, 400))
    keep = (windows[:, 2:] > windows[:, :2]).all(axis=1)
    values = rng.normal(size=(len(rois), side, side)).astype(np.float32)
    people = list(zip(values[keep], rois[keep], windows[keep], strict=True))
    questions = [
        {
            "ask": "paste", "values": pack(value), "side": side, "roi": roi.tolist(),
            "window": window.tolist(),
        }
        for value, roi, window in people
    ]  # fmt: skip
    for (value, roi, window), answer in zip(people, ask(tmp_path, questions), strict=True):
        wanted = paste_at(value, roi, tuple(window.tolist()))
        found = unpack(answer, np.float32, wanted.shape)
        np.testing.assert_allclose(found, wanted, atol=2e-6)


def crowd(seed: int, count: int, size_hw: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """Smooth random probabilities, ROIs that overlap, and scores."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(0, 3, (count, 3, 8, 8)).astype(np.float32)
    logits = np.repeat(np.repeat(coarse, 7, axis=2), 7, axis=3)
    rois = padded_rois(random_boxes(rng, count, size_hw), 0.1, size_hw)
    return softmax(logits), rois, rng.uniform(0.1, 1, count).astype(np.float32)


def test_softmax_and_candidate_probability(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 8, (3, 56, 56)).astype(np.float32)
    _, rois, scores = crowd(4, 12, (300, 400))
    scores[3] = 1
    questions = [
        {"ask": "softmax", "logits": pack(logits)},
        {"ask": "candidate_probability", "rois": rois.tolist(), "scores": scores.tolist()},
    ]
    found, exists = ask(tmp_path, questions)
    np.testing.assert_allclose(
        unpack(found, np.float32, (3, 56, 56)), softmax(logits[None])[0], rtol=1e-6, atol=1e-9
    )
    np.testing.assert_allclose(exists, candidate_probability(rois, scores), rtol=1e-6)


@pytest.mark.parametrize(("count", "sure"), [(1, False), (2, True), (9, False), (40, True)])
@pytest.mark.parametrize("threshold", [0.5, 0.8])
def test_the_same_owner_of_every_pixel(
    count: int, sure: bool, threshold: float, tmp_path: Path
) -> None:
    size_hw = (240, 320)
    probs, rois, scores = crowd(count, count, size_hw)
    if sure:
        scores = np.ones_like(scores)
    people = [
        {"probs": pack(p), "roi": roi.tolist(), "score": float(score)}
        for p, roi, score in zip(probs, rois, scores, strict=True)
    ]
    question = {
        "ask": "arbitrate", "people": people, "size": size_of(size_hw), "threshold": threshold,
        "least": LEAST_PROBABILITY,
    }  # fmt: skip
    (answer,) = ask(tmp_path, [question])
    wanted = fuse(probs, rois, scores, size_hw, threshold)
    assert (wanted > 0).any()
    differ = unpack(answer, np.uint16, size_hw) != wanted
    assert differ.sum() <= 1e-4 * (wanted > 0).sum()


@pytest.mark.parametrize("sure", [False, True])
def test_more_people_change_what_all_of_them_would(sure: bool, tmp_path: Path) -> None:
    """A box of one's own is decided in its surroundings alone, to the pixel as the whole is."""
    size_hw, questions = (240, 320), []
    for seed, count in enumerate((1, 2, 5, 12, 25)):
        probs, rois, scores = crowd(seed, count, size_hw)
        scores[-1 if not sure else slice(None)] = 1
        people = [
            {"probs": pack(p), "roi": roi.tolist(), "score": float(score)}
            for p, roi, score in zip(probs, rois, scores, strict=True)
        ]
        common = {"ask": "arbitrate", "people": people, "size": size_of(size_hw)}
        questions += [
            {**common, "threshold": 0.5, "least": LEAST_PROBABILITY, "count": known}
            for known in {0, count // 2, count - 1, count}
        ]
    answers = ask(tmp_path, questions)
    assert all(answer["whole"] == answer["again"] for answer in answers)
    assert all(unpack(answer["whole"], np.uint16, size_hw).any() for answer in answers)


@pytest.mark.parametrize("weights", [[], [-0.5, 2.7, 0.5]])
def test_the_same_scores_of_people_found(weights: list[float], tmp_path: Path) -> None:
    probs, rois, scores = crowd(6, 40, (240, 320))
    probs[1], rois[1] = probs[0], rois[0] + np.float32([3, -2, 5, 1])  # one person twice
    scores[2], rois[3] = scores[3], rois[3, [0, 1, 0, 1]]  # equally sure; outside the photo
    people = [
        {"probs": pack(p), "roi": roi.tolist(), "score": float(score)}
        for p, roi, score in zip(probs, rois, scores, strict=True)
    ]
    common = {"weights": weights, "least": LEAST_PROBABILITY}
    limits = [0.0, 0.01, 0.3, 0.95]
    questions = [{"ask": "found_scores", "people": people, **common}] + [
        {"ask": "least_score", "probability": limit, **common} for limit in limits
    ]
    found, *least = ask(tmp_path, questions)
    wanted = found_scores(probs, rois, scores, weights)
    assert min(wanted[:2]) < 0.7 * min(person_scores(probs[:2, 1], scores[:2], weights))
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    np.testing.assert_allclose(least, [least_score(limit, weights) for limit in limits], rtol=1e-6)


def test_run_lengths_are_cocos(tmp_path: Path) -> None:
    rng, size_hw = np.random.default_rng(5), (23, 31)
    windows = [(0, 0, 31, 23), (3, 4, 20, 23), (0, 0, 7, 23), (5, 2, 9, 9), (24, 0, 31, 23)]
    windows += [(4, 4, 4, 9)]
    questions, wanted = [], []
    for x1, y1, x2, y2 in windows:
        for share in (0.0, 0.3, 1.0):
            labels = np.zeros(size_hw, np.uint16)
            labels[y1:y2, x1:x2] = np.where(rng.random((y2 - y1, x2 - x1)) < share, 7, 3)
            window = (x1, y1, x2, y2)
            mask = labels[y1:y2, x1:x2] == 7
            counts = run_lengths(mask, window, size_hw)
            runs = {"size": list(size_hw), "counts": counts}
            text = coco_mask.frPyObjects(runs, *size_hw)["counts"].decode()
            wanted.append({"counts": counts, "text": text})
            questions.append(
                {
                    "ask": "rle", "labels": pack(labels), "label": 7, "window": window,
                    "size": size_of(size_hw),
                }
            )  # fmt: skip
    assert ask(tmp_path, questions) == wanted


def test_a_file_that_arrives_or_was_kept_damaged_is_not_used(tmp_path: Path) -> None:
    whole, damaged = pack(np.arange(99, dtype=np.uint8)), pack(np.zeros(99, np.uint8))
    sha = hashlib.sha256(bytes(range(99))).hexdigest()[:12]
    cases = [(whole, None), (damaged, None), (whole, damaged), (damaged, whole)]
    questions = [
        {"ask": "load", "sha": sha, "fetched": fetched, "stored": stored}
        for fetched, stored in cases
    ]
    sound = {"found": whole, "kept": 1}
    refused = {"found": "Error: a.onnx arrived damaged: reload the page", "kept": 0}
    assert ask(tmp_path, questions) == [sound, refused, refused, sound]


def test_the_address_chooses_the_head(tmp_path: Path) -> None:
    both, queries = ["float", "int8"], ("", "?x=1", "?head=int8", "?x=1&head=float", "?head=small")
    questions = [{"ask": "head", "heads": both, "query": query} for query in queries]
    questions.append({"ask": "head", "heads": ["float"], "query": "?head=int8"})
    *known, unknown, absent = ask(tmp_path, questions)
    assert known == ["float", "float", "int8", "float"]
    assert "?head=small" in unknown and "(float, int8): write one of them" in unknown
    assert "?head=int8" in absent and "(float)" in absent
