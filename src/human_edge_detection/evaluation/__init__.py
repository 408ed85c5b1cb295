"""How good the masks are: metrics, intervals, report. The names load on first use.

:func:`evaluate.evaluate`, which scores a model on a data set, is imported from its module, whose
name it has.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from human_edge_detection.evaluation.coco import average_precision
    from human_edge_detection.evaluation.evaluate import Evaluation
    from human_edge_detection.evaluation.validation import score

__all__ = ["Evaluation", "average_precision", "score"]

_HOMES = {"Evaluation": "evaluate", "average_precision": "coco", "score": "validation"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
