"""What is public: recorded names that may not go, and documentation that tells what users need."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import human_edge_detection

API = Path(__file__).resolve().parents[1] / "docs" / "api.md"
FACADES = (
    "dataset", "feature_extractor", "model", "losses", "train", "visualize", "export_onnx",
)  # fmt: skip

PROMISED = {
    "Detections": "boxes_xyxy scores",
    "InputError": "",
    "InstanceMasks": "probs rois_xyxy boxes_xyxy size_hw scores fuse ids track_ids",
    "InstanceMasks.binary": "threshold",
    "InstanceMasks.cutouts": "image threshold",
    "InstanceMasks.iter_binary": "threshold",
    "InstanceMasks.label_map": "threshold",
    "InstanceMasks.numbers": "",
    "InstanceMasks.overlay": "image threshold alpha numbers boxes tags",
    "InstanceMasks.polygons": "threshold tolerance",
    "InstanceMasks.to_coco": "image_id file_name category_id threshold",
    "InstanceMasks.to_supervision": "threshold",
    "MaskClass": "",
    "MaskPredictor": (
        "model extractor detector device providers max_rois fuse layout person_class threads"
    ),
    "MaskPredictor.close": "",
    "MaskPredictor.decode": "encoded boxes_xyxy scores ids",
    "MaskPredictor.decode_many": "encoded boxes_xyxy scores ids",
    "MaskPredictor.detect": "image score",
    "MaskPredictor.encode": "prepared score",
    "MaskPredictor.encode_many": "pictures score",
    "MaskPredictor.finds_people": "",
    "MaskPredictor.people": "image encoded score",
    "MaskPredictor.predict": "boxes_xyxy scores ids",
    "MaskPredictor.prepare": "image",
    "MaskPredictor.provider": "",
    "MaskPredictor.segment": "image score prepared boxes_xyxy scores ids",
    "MaskPredictor.set_image": "image",
    "VideoTracker": "predictor fps score",
    "VideoTracker.segment": "frame prepared boxes_xyxy scores",
    "YOLOv9FeatureExtractor": "onnx_path device providers layers image_size_hw threads",
    "overlay_masks_on_image": (
        "image masks rois threshold alpha combine smooth instance_colors logits"
    ),
    "read_image": "file max_pixels",
}
"""Names and parameters, in order, that versions have promised. More may come, none may go."""


def parameters(thing: Any) -> list[str]:
    """Names of a callable's parameters, without ``self``."""
    if not callable(thing) or (inspect.isclass(thing) and issubclass(thing, int | Exception)):
        return []
    return [name for name in inspect.signature(thing).parameters if name != "self"]


@pytest.mark.parametrize("name", PROMISED)
def test_no_promised_name_or_parameter_has_gone(name: str) -> None:
    thing: Any = human_edge_detection
    for part in name.split("."):
        thing = getattr(thing, part)
    kept = PROMISED[name].split()
    assert parameters(thing)[: len(kept)] == kept, "breaks callers: see docs/api.md on versions"


def test_every_public_name_is_promised_and_documented() -> None:
    text = API.read_text("utf-8")
    for name in human_edge_detection.__all__:
        assert name in PROMISED
        assert f"| `{name}` |" in text and f"\n## {name}\n" in text, name
    assert all(f"`{name}`" in text for name in FACADES)


# What documentation has to tell, by what the annotations and the code are.

ARRAYS = re.compile(r"FloatArray|ImageArray|NDArray|LabelMap|Tensor|Sequence\[Sequence\[float")
SHAPE = re.compile(r"\[[^\]]*\b[A-Z0-9][^\]]*\]|scalar|\[\d")
UNITS = {
    r"boxes|rois|size_hw|image_size": r"pixel|height and width|the same",
    r"threshold|score$|alpha": r"0…1|probability",
}
FAILS = re.compile(r"\braise [A-Z_]|\bcheck_\w+\(|\bas_boxes\(|_check_image\(|\bopen_\w+\(")
OWNERS: dict[str, type] = {}
ELSEWHERE = re.compile(r"See :\w+:|see :\w+:")


def public_things() -> Iterator[tuple[str, Any]]:
    """Every public name of the package and of the façades, with the public methods of classes."""
    seen = set()
    homes = ["", *(f".{name}" for name in FACADES)]
    for home in homes:
        module = importlib.import_module(f"human_edge_detection{home}")
        for name in module.__all__:
            thing = getattr(module, name)
            if id(thing) in seen:
                continue
            seen.add(id(thing))
            yield name, thing
            OWNERS[name] = thing
            for member, found in vars(thing).items() if inspect.isclass(thing) else ():
                if not member.startswith("_") and isinstance(found, property | type(parameters)):
                    yield f"{name}.{member}", found


def entries(name: str) -> Iterator[re.Pattern[str]]:
    """Where a text may speak of a parameter, up to the next entry: in ``Args:``, else anywhere."""
    rest = r"(?P<said>.*(?:\n(?! *\w+:)(?! *$).*)*)"
    for start in (rf"^ *{name}:", rf"``{name}(?: …)?``", rf"\b{name}\b"):
        yield re.compile(start + rest, re.M)


def lacks(name: str, thing: Any) -> Iterator[str]:
    """What the documentation of a public name leaves out."""
    text = inspect.getdoc(thing) or ""
    if "." in name and (owner := OWNERS.get(name.split(".")[0])):
        text += f"\n\n{inspect.getdoc(owner)}"  # what it says of all its methods
    if inspect.isclass(thing):
        text += inspect.getdoc(thing.__init__) or ""
    if len(inspect.getdoc(thing) or "") < 15:
        yield "text"
    if isinstance(thing, property) or (
        inspect.isclass(thing) and issubclass(thing, int | Exception)
    ):
        return
    elsewhere = ELSEWHERE.search(text)
    signature = inspect.signature(thing)
    for parameter in signature.parameters.values():
        if parameter.name == "self":
            continue
        found = next(filter(None, (entry.search(text) for entry in entries(parameter.name))), None)
        first = text.partition("\n")[0]
        if elsewhere:
            continue
        if found is None:
            if not SHAPE.search(first):
                yield f"parameter {parameter.name}"
            continue
        said = f"{first} {found['said']}"
        if ARRAYS.search(str(parameter.annotation)) and not SHAPE.search(said):
            yield f"shape of {parameter.name}"
        for pattern, unit in UNITS.items():
            is_number = not re.search("bool|int", str(parameter.annotation))
            named = re.search(pattern, parameter.name) and is_number
            if named and not re.search(unit, said):
                yield f"unit of {parameter.name}"
    if ARRAYS.search(str(signature.return_annotation)) and not SHAPE.search(text):
        yield "shape of the result"
    if FAILS.search(_source(thing)) and not (re.search(r"Raises:|InputError", text) or elsewhere):
        yield "errors"


def _source(thing: Any) -> str:
    """The code that runs when a public name is called."""
    if not inspect.isclass(thing):
        return inspect.getsource(thing)
    makers = (vars(thing).get(name) for name in ("__init__", "__post_init__"))
    own = [item for item in makers if item and not item.__code__.co_filename.startswith("<")]
    return "".join(map(inspect.getsource, own))


def test_documentation_tells_shapes_units_and_errors() -> None:
    found = {name: list(lacks(name, thing)) for name, thing in public_things()}
    assert len(found) > 40
    assert {name: gaps for name, gaps in found.items() if gaps} == {}


def test_gaps_are_found() -> None:
    def bare(image: ImageArray, score: float) -> FloatArray:  # type: ignore[name-defined]  # noqa: F821
        """Something with an image and a score."""
        raise ValueError

    bare.__annotations__ = {"image": "ImageArray", "score": "float", "return": "FloatArray"}
    assert "shape of image" in list(lacks("bare", bare))
    assert {"shape of the result", "errors"} <= set(lacks("bare", bare))
