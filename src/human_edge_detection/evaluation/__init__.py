"""How good the masks are: metrics, intervals, report. The names load on first use.

:func:`evaluate.evaluate`, which scores a model on a data set, is imported from its module, whose
name it has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from human_edge_detection.core import lazy_names

if TYPE_CHECKING:
    from human_edge_detection.evaluation.coco import average_precision
    from human_edge_detection.evaluation.evaluate import Evaluation
    from human_edge_detection.evaluation.validation import score

__all__ = ["Evaluation", "average_precision", "score"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {"Evaluation": "evaluate", "average_precision": "coco", "score": "validation"},
)
