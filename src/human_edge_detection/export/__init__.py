"""From torch to ONNX to 8 bits, with proof; torch loads with the first of these names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from human_edge_detection.core import lazy_names

if TYPE_CHECKING:
    from human_edge_detection.export.head import export_end_to_end, export_head
    from human_edge_detection.export.person_model import export_person_model, open_extractor
    from human_edge_detection.export.quantize import quantized

__all__ = [
    "export_end_to_end",
    "export_head",
    "export_person_model",
    "open_extractor",
    "quantized",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "export_end_to_end": "head",
        "export_head": "head",
        "export_person_model": "person_model",
        "open_extractor": "person_model",
        "quantized": "quantize",
    },
)
