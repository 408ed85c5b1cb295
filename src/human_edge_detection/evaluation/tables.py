"""Numbers as text, set in columns for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from human_edge_detection.evaluation.bootstrap import Estimate


def number_text(value: float, digits: int = 4) -> str:
    """A number as text; a dash for NaN."""
    return f"{value:.{digits}f}" if value == value else "–"


def estimate_text(estimate: Estimate, digits: int = 4) -> str:
    """A number with its interval, ``0.7612 [0.7400, 0.7800]``."""
    if estimate.low != estimate.low:
        return number_text(estimate.value, digits)
    ends = f"[{number_text(estimate.low, digits)}, {number_text(estimate.high, digits)}]"
    return f"{number_text(estimate.value, digits)} {ends}"


def table_text(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in columns, the first to the left and the others to the right."""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    texts = []
    for line in lines:
        cells = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)]
        texts.append("  ".join([line[0].ljust(widths[0]), *cells[1:]]).rstrip())
    texts.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(texts)
