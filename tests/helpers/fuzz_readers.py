"""Everything that reads a file from outside, as functions of one path, with sound files to damage.

The readers import what they read with when they run, so that light ones start in a second.
"""

from __future__ import annotations

import io
import json
import random
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mutations import mutated, mutated_json

SIDE = 64
"""Height and width of the photos that the sound files are about."""

Files = dict[str, bytes]


# Sound files, by name.


def _noise(height: int = 48, width: int = 40) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    return Image.fromarray(pixels // 32 * 32)


def _photo(kind: str, mode: str = "RGB", **settings: Any) -> bytes:
    buffer = io.BytesIO()
    _noise().convert(mode).save(buffer, kind, **settings)
    return buffer.getvalue()


def photos() -> Files:
    """A photo of each kind that is read."""
    turned = Image.Exif()
    turned[0x0112] = 6
    return {
        "a.jpg": _photo("JPEG", exif=turned), "p.jpg": _photo("JPEG", progressive=True),
        "k.jpg": _photo("JPEG", "CMYK"), "a.png": _photo("PNG"), "p.png": _photo("PNG", "P"),
        "l.png": _photo("PNG", "LA"),
        "a.webp": _photo("WEBP"), "l.webp": _photo("WEBP", lossless=True, exif=turned),
        "a.tif": _photo("TIFF"), "z.tif": _photo("TIFF", compression="tiff_deflate", exif=turned),
        "a.bmp": _photo("BMP"), "a.gif": _photo("GIF"), "a.ppm": _photo("PPM"),
    }  # fmt: skip


def archives() -> Files:
    """Zip and tar files, stored and packed."""
    from archive_files import write_tar, write_zip

    files = {f"folder/{name}.png": name.encode() * 300 for name in "abc"} | {"d.jpg": b"d" * 700}
    return {
        "stored.zip": _written(write_zip, files, zipfile.ZIP_STORED),
        "packed.zip": _written(write_zip, files, zipfile.ZIP_DEFLATED),
        "pax.tar": _written(write_tar, files | {"l" * 300 + ".png": b"l"}),
        "gnu.tar": _written(write_tar, files | {"l" * 300 + ".png": b"l"}, 1),
    }


def _written(write: Callable[..., Path | None], *arguments: Any) -> bytes:
    """What a function writes to the path it is given, or to the one that it returns."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        return (write(path, *arguments) or path).read_bytes()


def _segmentations() -> list[Any]:
    from human_edge_detection.core.rle import encode_mask

    mask = np.zeros((SIDE, SIDE), np.bool_)
    mask[10:40, 8:30] = True
    square = [8.0, 10.0, 30.0, 10.0, 30.0, 40.0, 8.0, 40.0]
    runs = [8 * SIDE + 10, *[30, 34] * 21, 30, SIDE * SIDE - 29 * SIDE - 40]
    return [[square], encode_mask(mask), {"size": [SIDE, SIDE], "counts": runs}]


def coco() -> Files:
    """COCO annotations of three people in two photos."""
    people = [
        {"id": 10 + number, "image_id": 1 + number // 2, "category_id": 1, "iscrowd": 0,
         "bbox": [8, 10, 22, 30], "area": 660.0, "segmentation": shape}
        for number, shape in enumerate(_segmentations())
    ]  # fmt: skip
    images = [
        {"id": i, "file_name": f"{i}.jpg", "height": SIDE, "width": SIDE, "source": "web"}
        for i in (1, 2)
    ]
    content = {"info": {"year": 2024}, "images": images, "annotations": people,
               "categories": [{"id": 1, "name": "person"}]}  # fmt: skip
    return {"people.json": json.dumps(content).encode()}


def boxes() -> Files:
    """Boxes in each format that a file can have."""
    results = [
        {"image_id": number, "category_id": 1, "file_name": f"{number}.jpg", "score": 0.5,
         "bbox": [1.5, 2, 3, 4]}
        for number in (1, 2)
    ]  # fmt: skip
    numbered = [{k: v for k, v in item.items() if k != "file_name"} for item in results]
    return coco() | {
        "named.json": json.dumps(results).encode(),
        "numbered.json": json.dumps(numbered).encode(),
        "boxes.csv": b"file,x1,y1,x2,y2,score\n1.jpg,8,10,30,40,0.5\n2.jpg,1,2,3,4,1\n",
        "1.txt": b"0 0.5 0.5 0.25 0.25 0.9\n1 0.1 0.1 0.1 0.1\n0 0.3 0.3 0.2 0.2\n",
    }


def results() -> Files:
    """Predictions of each kind of mask."""
    found = [
        {"image_id": 1, "category_id": 1, "score": 0.5 + 0.1 * number, "segmentation": shape,
         "bbox": [8, 10, 22, 30], "annotation_id": 10, "file_name": "1.jpg"}
        for number, shape in enumerate(_segmentations())
    ]  # fmt: skip
    return {"results.json": json.dumps(found).encode()}


def onnx_models() -> Files:
    """A head, an extractor and an end-to-end file whose answers are known."""
    from analytic_model import write_constant_detector, write_extractor, write_head

    found = np.array([[[20.0, 20, 60, 60, 0.9, 0]]], np.float32)
    return {
        "head.onnx": _written(write_head),
        "extractor.onnx": _written(write_extractor),
        "detector.onnx": _written(write_constant_detector, {"output0": found}),
    }


def weights() -> Files:
    """A tiny head's checkpoint and safetensors file."""
    from torch import nn

    from human_edge_detection.core.spec import ModelSpec
    from human_edge_detection.modeling.heads import build_head
    from human_edge_detection.modeling.weights_file import save_weights
    from human_edge_detection.training.checkpoints import save_checkpoint

    spec = ModelSpec("lite", ("a",), (4,), (4.0,), (64, 64), 4)
    model = nn.ModuleDict({"head": build_head(spec)}).state_dict()
    return {
        "a.pth": _written(save_checkpoint, {"spec": spec.to_dict(), "weights": model}),
        "a.safetensors": _written(save_weights, model, spec),
    }


def resume_log() -> Files:
    """The log of two finished photos."""
    lines: list[dict[str, Any]] = [{"model": "x", "score": 0.5}] + [
        {"path": f"/photos/{i}.jpg", "name": str(i), "stamp": [100, 10**18], "image_id": i,
         "results": [{"image_id": i, "bbox": [1, 2, 3, 4], "score": 0.5}], "people": 1}
        for i in (1, 2)
    ]  # fmt: skip
    return {".predict.jsonl": b"".join(json.dumps(line).encode() + b"\n" for line in lines)}


def videos() -> Files:
    """Videos of eight frames in two containers."""
    import cv2

    def write(path: Path, suffix: str, code: str) -> Path:
        path = path.with_suffix(suffix)
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), 10, (64, 48))
        for number in range(8):
            writer.write(np.full((48, 64, 3), 20 * number, np.uint8))
        writer.release()
        return path

    return {
        "a.avi": _written(write, ".avi", "MJPG"),
        "a.mp4": _written(write, ".mp4", "mp4v"),
    }


def statistics() -> Files:
    """The file that ``stats`` writes."""
    shares = {"background": 0.5, "target": 0.3, "non_target": 0.2}
    content = {"pixel_ratios": shares, "separation_aware_weights": shares, "total_images": 3}
    return {
        "stats.json": json.dumps(content).encode(),
        "ratios.json": json.dumps({"pixel_ratios": shares}).encode(),
    }


# Changes of a file's meaning, where changed bytes would hardly get past the container.


def lying_model(name: str, data: bytes, source: random.Random) -> bytes:
    """An ONNX file with other metadata, shapes, types or attributes; or other bytes."""
    import onnx

    if source.random() < 0.3:
        return mutated(data, source)
    model = onnx.load_from_string(data)
    for _ in range(source.randint(1, 2)):
        if model.metadata_props and source.random() < 0.6:
            entry = source.choice(model.metadata_props)
            try:
                entry.value = mutated_json(json.loads(entry.value), source).decode()
            except (ValueError, RecursionError):
                entry.value = source.choice(("", "[]", "x", "1e999", "-1", "[" * 5000, "9" * 5000))
            continue
        kind = source.randrange(4)
        if kind == 0:
            info = source.choice([*model.graph.input, *model.graph.output]).type.tensor_type
            info.elem_type = source.choice((1, 7, 8, 10))
            for dimension in info.shape.dim:
                dimension.dim_value = source.choice((-1, 0, 1, 3, 2**31, 2**62))
        elif kind == 1:
            node = source.choice(model.graph.node)
            for attribute in node.attribute:
                attribute.ints[:] = [source.choice((-1, 0, 2**31, 2**62)) for _ in attribute.ints]
        elif kind == 2:
            names = [name for node in model.graph.node for name in node.output]
            node = source.choice(model.graph.node)
            if node.input:
                node.input[source.randrange(len(node.input))] = source.choice(names)
        else:
            part = source.choice((model.graph.node, model.graph.input, model.graph.output))
            if part:
                del part[source.randrange(len(part))]
    return model.SerializeToString()


def lying_weights(name: str, data: bytes, source: random.Random) -> bytes:
    """A checkpoint or safetensors file with another spec or other weights; or other bytes."""
    import torch
    from safetensors.torch import load, save

    choice = source.random()
    if choice < 0.3:
        return mutated(data, source)
    try:
        if name.endswith(".safetensors"):
            length = int.from_bytes(data[:8], "little")
            header = json.loads(data[8 : 8 + length])
            if choice < 0.7:
                spec = json.loads(header["__metadata__"]["spec"])
                facts = {**header["__metadata__"], "spec": mutated_json(spec, source).decode()}
                facts.pop("sha256", None)  # the lie is to be read, not to be noticed as damage
                return save(load(data), facts)
            changed = mutated_json(header, source)
            return len(changed).to_bytes(8, "little") + changed + data[8 + length :]
        payload = torch.load(io.BytesIO(data), weights_only=True)
        plain = {key: value for key, value in payload.items() if key != "weights"}
        found = json.loads(mutated_json(plain, source))
        if isinstance(found, dict):
            found["weights"] = payload["weights"]
            if choice > 0.8:
                key = source.choice(list(payload["weights"]))
                found["weights"][key] = source.choice((None, 5, "x", torch.zeros(0), torch.eye(9)))
        buffer = io.BytesIO()
        torch.save(found, buffer)
        return buffer.getvalue()
    except (ValueError, RecursionError):  # no JSON any more
        return mutated(data, source)


# Readers.


def read_photo(path: Path) -> None:
    """``read_image`` and ``read_size``, which have to agree."""
    from human_edge_detection.core.images import read_image, read_size

    image = read_image(path)
    assert read_size(path) == image.shape[:2]


def read_archive(path: Path) -> None:
    """All names of an archive and the bytes of each member."""
    from human_edge_detection.core.errors import InputError
    from human_edge_detection.data.photos import PhotoStore

    store = PhotoStore([path])
    faults = []
    for name in store.names():
        assert name and ".." not in name.split("/") and not name.startswith("/")
        try:
            assert len(store.read(name)) == store.size(name)
        except InputError as error:
            faults.append(error)
    if faults:
        raise faults[0]


def read_annotations(path: Path) -> None:
    """``stats``, ``check_data`` and the samples of training."""
    from human_edge_detection.cli.data import check_split
    from human_edge_detection.data.coco_reader import load_photos
    from human_edge_detection.data.statistics import measure

    check_split(path, path.parent, 16, False)
    measure(load_photos(path, path.parent, check_files=False)[0])


def cut_subset(path: Path) -> None:
    """``subset``, whose file is then read."""
    from human_edge_detection.data.coco_file import CocoFile
    from human_edge_detection.data.subset import SubsetOptions, run_subset

    run_subset(SubsetOptions((path,), sizes=(1,)))
    for written in path.parent.glob("*_person_only*.json"):
        CocoFile(written)


def read_boxes(path: Path) -> None:
    """The boxes of a file for the two photos that it may name."""
    from human_edge_detection.inference.box_files import open_boxes

    is_folder = path.suffix == ".txt"
    file = open_boxes(path.parent if is_folder else path)
    for name in ("1.jpg", "2.jpg"):
        key = file.key(name)
        if key is not None:
            found = file.read(key)
            assert np.isfinite(found.boxes_xyxy).all() and np.isfinite(found.scores).all()


def score_results(path: Path) -> None:
    """``validate.py`` on a results file."""
    from human_edge_detection.data.annotations import Person, Photo
    from human_edge_detection.evaluation.predictions import evaluate_predictions, read_predictions

    box = np.array([8, 10, 30, 40], np.float32)
    people = (Person(10, box, _segmentations()[0], False, 660.0),)
    annotated = [Photo(1, "1.jpg", (SIDE, SIDE), people, path.parent)]
    evaluate_predictions(annotated, read_predictions(path, annotated))


def run_model(path: Path) -> None:
    """A predictor of the file and its sound partners, and the masks of one photo."""
    from human_edge_detection.inference.predictor import MaskPredictor

    files = {"model": path.with_name("head.onnx"), "extractor": path.with_name("extractor.onnx")}
    if path.name == "detector.onnx":
        files["detector"] = path
    for file in files.values():
        if not file.exists():
            file.write_bytes(_sound_models()[file.name])
    with MaskPredictor(**files, device="cpu", threads=1) as predictor:
        image = np.asarray(_noise(128, 128))
        if path.name == "detector.onnx":
            predictor.detect(image)
        predictor.set_image(image)
        predictor.predict([[20, 20, 60, 60]]).binary(0.5)


def open_weights(path: Path) -> None:
    """A model out of a checkpoint or a safetensors file."""
    from human_edge_detection.modeling.weights import read_trained

    read_trained(path).model()


def resume(path: Path) -> None:
    """A second run in an output folder."""
    from human_edge_detection.inference.resume_log import ResumeLog, reserved
    from human_edge_detection.inference.sources import Source

    with reserved(path.parent):
        log = ResumeLog(path.parent, {"model": "x", "score": 0.5})
        source = Source(path, path.name)
        log.finished(source, source.stamp())
        name, _ = log.claim(source, 1)
        log.add(source, name, source.stamp(), image_id=None)
        log.write_predictions()


def read_video(path: Path) -> None:
    """All frames of a video."""
    from human_edge_detection.inference.sources import VideoReader

    reader = VideoReader(path)
    try:
        for number, frame in enumerate(reader.frames()):
            assert frame.image.ndim == 3 and frame.seconds >= 0
            if number > 100:
                break
    finally:
        reader.close()


def class_weights(path: Path) -> None:
    """The class weights out of a statistics file."""
    from human_edge_detection.data.statistics import read_weights

    assert np.isfinite(np.asarray(read_weights(path), np.float32)).all()


@cache
def _sound_models() -> Files:
    return onnx_models()


@dataclass(frozen=True)
class Reader:
    """One reader for the fuzz test.

    Attributes:
        read: the function.
        files: writes its sound files.
        is_text: they are text with numbers.
        share: its cases, as a fraction of those of the fastest.
        lie: changes a file by its name, bytes and a generator, instead of changing bytes.
    """

    read: Callable[[Path], None]
    files: Callable[[], Files]
    is_text: bool = False
    share: float = 1.0
    lie: Callable[[str, bytes, random.Random], bytes] | None = None

    def damaged(self, name: str, data: bytes, source: random.Random) -> bytes:
        """A damaged copy of a sound file."""
        if self.lie is not None:
            return self.lie(name, data, source)
        return mutated(data, source, self.is_text)


READERS: Sequence[Reader] = (
    Reader(read_photo, photos),
    Reader(read_archive, archives),
    Reader(read_annotations, coco, True),
    Reader(cut_subset, coco, True, share=0.5),
    Reader(read_boxes, boxes, True),
    Reader(score_results, results, True),
    Reader(run_model, onnx_models, share=0.3, lie=lying_model),
    Reader(open_weights, weights, share=0.15, lie=lying_weights),
    Reader(resume, resume_log, True, share=0.5),
    Reader(read_video, videos, share=0.5),
    Reader(class_weights, statistics, True, share=0.5),
)
