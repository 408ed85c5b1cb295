"""From torch to ONNX to 8 bits, with proof; torch loads with the first of these names."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from human_edge_detection.export.extractors import open_extractor
    from human_edge_detection.export.head import export_end_to_end, export_head
    from human_edge_detection.export.person_model import export_person_model
    from human_edge_detection.export.quantize import quantized

__all__ = [
    "export_end_to_end",
    "export_head",
    "export_person_model",
    "open_extractor",
    "quantized",
]

_HOMES = {
    "export_end_to_end": "head",
    "export_head": "head",
    "export_person_model": "person_model",
    "open_extractor": "extractors",
    "quantized": "quantize",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
