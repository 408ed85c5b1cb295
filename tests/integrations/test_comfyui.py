"""The node as ComfyUI finds and calls it, without ComfyUI."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from analytic_model import draw_person, write_constant_detector, write_extractor, write_head
from human_edge_detection import MaskPredictor

FOLDER = Path(__file__).resolve().parents[2] / "integrations" / "comfyui"


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    spec = importlib.util.spec_from_file_location("comfyui_node", FOLDER / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    people = np.zeros((1, 7, 6), np.float32)
    people[0, :2] = [20, 20, 80, 110, 0.9, 0], [85, 30, 120, 100, 0.8, 0]
    detector = write_constant_detector(tmp_path / "d.onnx", {"output0": people})
    names = write_head(tmp_path / "head.onnx"), write_extractor(tmp_path / "extractor.onnx")
    with MaskPredictor(*names, detector, threads=1) as predictor:
        monkeypatch.setattr(module, "predictor_of", lambda model, extractor: predictor)
        yield module


def pictures() -> tuple[np.ndarray, np.ndarray]:
    """Two images float32 [2, 128, 128, 3], and the people in them, bool [2, 2, 128, 128]."""
    first, left = draw_person((128, 128), (20, 20, 80, 110))
    other, right = draw_person((128, 128), (85, 30, 120, 100))
    images = np.stack([first, first | other]).astype(np.float32) / 255
    return images, np.stack([[left, np.zeros_like(left)], [left, right]])


def test_one_mask_per_person_and_one_of_everybody(node):
    torch = pytest.importorskip("torch")
    images, wanted = pictures()
    kind = node.NODE_CLASS_MAPPINGS["HumanEdgeDetectionPeopleMasks"]
    assert set(kind.INPUT_TYPES()["required"]) == {"image", "score"}
    masks, everybody = getattr(kind(), kind.FUNCTION)(image=torch.from_numpy(images), score=0.5)
    assert masks.dtype == everybody.dtype == torch.float32
    assert masks.shape == (4, 128, 128) and everybody.shape == (2, 128, 128)
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    for found, mask in zip(masks.numpy() > 0, wanted.reshape(-1, 128, 128), strict=True):
        assert (found ^ mask).sum() < 0.1 * wanted[0, 0].sum()
    np.testing.assert_array_equal(everybody[1], masks[2:].amax(dim=0))


def test_nobody_is_one_empty_mask(node):
    masks, everybody = node.people_of(pictures()[0], 0.95)
    assert masks.shape == (1, 128, 128) and not masks.any()
    assert everybody.shape == (2, 128, 128) and not everybody.any()
