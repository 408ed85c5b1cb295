"""The frozen extractor: which layers, which shapes, and what it answers to mistakes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from human_edge_detection.core.errors import InputError
from human_edge_detection.runtime.feature_extractor import YOLOv9FeatureExtractor
from stand_in import LARGE_YOLO_LAYER, write_stand_in

REAL_LAYERS = (
    "/model.2/Concat_output_0",
    "/model.14/Concat_output_0",
    "/model.22/Concat_output_0",
    "/model.11/Concat_output_0",
)


def noise(count: int, height: int = 16, width: int = 24) -> np.ndarray:
    return np.random.default_rng(count).random((count, 3, height, width), np.float32)


def small(tmp_path: Path, **changes: object) -> Path:
    settings: dict = {"channels": 6, "size_hw": (16, 24), **changes}
    return write_stand_in(tmp_path / "small.onnx", **settings)


def reference(path: Path, layer: str, images: np.ndarray) -> np.ndarray:
    """The tensor ``layer`` image by image, made an output by the onnx package."""
    model = onnx.load(path)
    if layer not in [item.name for item in model.graph.output]:
        model.graph.output.append(onnx.ValueInfoProto(name=layer))
    session = ort.InferenceSession(model.SerializeToString())
    name = session.get_inputs()[0].name
    return np.concatenate([session.run([layer], {name: image[None]})[0] for image in images])


def test_the_large_yolo_contract(tmp_path: Path) -> None:
    extractor = YOLOv9FeatureExtractor(write_stand_in(tmp_path / "large.onnx"), "cpu")
    assert extractor.layers == (LARGE_YOLO_LAYER,)
    assert (extractor.channels, extractor.strides) == ((1024,), (8.0,))
    assert extractor.input_size_hw == (640, 640)
    (features,) = extractor(noise(1, 640, 640))
    assert features.shape == (1, 1024, 80, 80) and features.dtype == np.float32


@pytest.mark.parametrize(
    "layer", [LARGE_YOLO_LAYER, "/model.34/Concat_output_0", "/model.14/Concat_output_0"]
)
@pytest.mark.parametrize("declared", [True, False])
def test_usual_layers_are_found(tmp_path: Path, layer: str, declared: bool) -> None:
    path = small(tmp_path, layer=layer, declared=declared)
    before = path.read_bytes()
    with YOLOv9FeatureExtractor(path, "cpu") as extractor:
        assert extractor.layers == (layer,)
        (features,) = extractor(noise(2))
    assert np.allclose(features, reference(path, layer, noise(2)), atol=1e-5)
    assert path.read_bytes() == before


def test_several_layers_come_in_the_order_asked(tmp_path: Path) -> None:
    path = small(tmp_path)
    for names in (("stem_relu", LARGE_YOLO_LAYER), (LARGE_YOLO_LAYER, "stem_relu")):
        extractor = YOLOv9FeatureExtractor(path, "cpu", layers=names)
        assert extractor.layers == names
        for name, channels, features in zip(
            names, extractor.channels, extractor(noise(2)), strict=True
        ):
            assert features.shape == (2, channels, 2, 3)
            assert np.allclose(features, reference(path, name, noise(2)), atol=1e-5)


@pytest.mark.parametrize("batch", [1, 2, "N"])
@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_any_number_of_images_fits_any_batch_size(
    tmp_path: Path, batch: int | str, count: int
) -> None:
    extractor = YOLOv9FeatureExtractor(small(tmp_path, batch=batch), "cpu")
    free = small(tmp_path)
    (features,) = extractor(noise(count))
    assert features.shape == (count, 6, 2, 3)
    if count:
        assert np.allclose(features, reference(free, LARGE_YOLO_LAYER, noise(count)), atol=1e-5)


def test_half_precision_networks_take_and_give_float32(tmp_path: Path) -> None:
    (features,) = YOLOv9FeatureExtractor(small(tmp_path, half=True), "cpu")(noise(2))
    expected = reference(small(tmp_path), LARGE_YOLO_LAYER, noise(2))
    assert features.dtype == np.float32
    assert np.allclose(features, expected, atol=2e-2)


def test_a_free_image_size_follows_the_wish(tmp_path: Path) -> None:
    path = small(tmp_path, size_hw=("H", "W"), stride=4)
    extractor = YOLOv9FeatureExtractor(path, "cpu", image_size_hw=(32, 48))
    assert extractor.input_size_hw == (32, 48) and extractor.strides == (4.0,)
    assert extractor(noise(1, 32, 48))[0].shape == (1, 6, 8, 12)
    assert YOLOv9FeatureExtractor(path, "cpu").input_size_hw == (640, 640)


def test_a_size_that_the_file_does_not_take_names_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"image_size 32 32 .* use image_size 16 24"):
        YOLOv9FeatureExtractor(small(tmp_path), "cpu", image_size_hw=(32, 32))
    with pytest.raises(ValueError, match=r"\[B, 3, 16, 24\], but got \[1, 3, 8, 8\]"):
        YOLOv9FeatureExtractor(small(tmp_path), "cpu")(noise(1, 8, 8))


def test_a_wrong_layer_is_answered_with_the_maps(tmp_path: Path) -> None:
    path = small(tmp_path, layer="/neck/Concat_output_0", declared=False)
    with pytest.raises(InputError) as caught:
        YOLOv9FeatureExtractor(path, "cpu", layers=["/neck/Concat"])
    text = str(caught.value)
    assert "no tensor '/neck/Concat'" in text
    assert "/neck/Concat_output_0 (6 channels, stride 8)" in text
    assert "scores" not in text
    with pytest.raises(InputError, match="none of the usual layers"):
        YOLOv9FeatureExtractor(path, "cpu")
    with pytest.raises(InputError, match=r"gives 'scores' as \[1, 6\], no feature map"):
        YOLOv9FeatureExtractor(path, "cpu", layers=["scores"])
    with pytest.raises(InputError, match="more than once"):
        YOLOv9FeatureExtractor(path, "cpu", layers=["stem", "stem"])


def test_a_network_of_another_kind_is_refused(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 7])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 7])
    node = helper.make_node("Relu", ["x"], ["y"])
    graph = helper.make_graph([node], "other", [value], [result])
    path = tmp_path / "other.onnx"
    opset = [helper.make_opsetid("", 16)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    with pytest.raises(InputError, match=r"must take one image \[B, 3, H, W\]"):
        YOLOv9FeatureExtractor(path, "cpu", layers=["y"])


def test_broken_files_are_named(tmp_path: Path) -> None:
    path = small(tmp_path)
    cut = tmp_path / "cut.onnx"
    for share in (0.2, 0.5, 0.98):
        cut.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        with pytest.raises(InputError, match=r"cut\.onnx"):
            YOLOv9FeatureExtractor(cut, "cpu")
    with pytest.raises(InputError, match="does not exist"):
        YOLOv9FeatureExtractor(tmp_path / "none.onnx", "cpu")


def test_weights_in_a_file_beside_the_model_are_found(tmp_path: Path) -> None:
    path = small(tmp_path)
    expected = reference(path, "stem_relu", noise(1))
    outside = tmp_path / "external" / "model.onnx"
    outside.parent.mkdir()
    onnx.save(
        onnx.load(path), outside, save_as_external_data=True, location="w.bin", size_threshold=0
    )
    (features,) = YOLOv9FeatureExtractor(outside, "cpu", layers=["stem_relu"])(noise(1))
    assert np.allclose(features, expected, atol=1e-5)


def test_a_closed_extractor_says_so(tmp_path: Path) -> None:
    extractor = YOLOv9FeatureExtractor(small(tmp_path), "cpu")
    extractor.close()
    with pytest.raises(RuntimeError, match="closed"):
        extractor(noise(1))


def test_neither_torch_nor_onnx_is_loaded(tmp_path: Path) -> None:
    path = small(tmp_path, declared=False)
    code = (
        "import sys\n"
        "from human_edge_detection.runtime.feature_extractor import YOLOv9FeatureExtractor\n"
        f"YOLOv9FeatureExtractor({str(path)!r}, 'cpu', layers=['stem_relu']); "
        "print([name for name in ('torch', 'onnx') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_real_yolo(yolo_path: Path) -> None:
    images = noise(2, 640, 640)
    extractor = YOLOv9FeatureExtractor(yolo_path, "cpu", layers=REAL_LAYERS)
    assert extractor.channels == (32, 80, 89, 112)
    assert extractor.strides == (4.0, 8.0, 8.0, 16.0)
    for name, features in zip(REAL_LAYERS, extractor(images), strict=True):
        assert np.allclose(features, reference(yolo_path, name, images), atol=1e-4)
    assert YOLOv9FeatureExtractor(yolo_path, "cpu").layers == REAL_LAYERS[1:2]


def test_the_real_yolo_lists_its_maps(yolo_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        YOLOv9FeatureExtractor(yolo_path, "cpu", layers=["/model.2/Concat"])
    text = str(caught.value)
    assert "/model.2/Concat_output_0 (32 channels, stride 4)" in text
    assert "/model.11/Concat_output_0 (112 channels, stride 16)" in text
