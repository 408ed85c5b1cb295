"""The tables that validation prints: models, intervals, groups, differences."""

from __future__ import annotations

from collections.abc import Sequence

from human_edge_detection.evaluation.bootstrap import (
    LEAST_PHOTOS,
    Estimate,
    break_down,
    estimate,
    paired_difference,
)
from human_edge_detection.evaluation.calibration import Calibration
from human_edge_detection.evaluation.report import GROUP_NUMBERS, ScoredModel, best_of


def number_text(value: float, digits: int = 4) -> str:
    """A number as text; a dash for NaN."""
    return f"{value:.{digits}f}" if value == value else "–"


def estimate_text(estimate: Estimate, digits: int = 4) -> str:
    """A number with its interval, ``0.7612 [0.7400, 0.7800]``, or ``0.7612 [n/a]``."""
    if not estimate.has_interval:
        return number_text(estimate.value, digits) + " [n/a]" * (estimate.value == estimate.value)
    ends = f"[{number_text(estimate.low, digits)}, {number_text(estimate.high, digits)}]"
    return f"{number_text(estimate.value, digits)} {ends}"


def table_text(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with its first column aligned left and the others right."""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    texts = []
    for line in lines:
        cells = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)]
        texts.append("  ".join([line[0].ljust(widths[0]), *cells[1:]]).rstrip())
    texts.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(texts)


COLUMNS = {
    "loss": "loss",
    "ce": "CE",
    "dice": "Dice",
    "miou": "mIoU",
    "iou_background": "background",
    "iou_target": "target",
    "iou_non_target": "non-target",
    "target_iou_roi": "target_iou_roi",
    "target_iou_image": "target_iou_image",
}
"""The numbers of the comparison table, and their headings."""

MIOU_TEXT = "mIoU: mean of target and non-target IoU at 56×56, pooled over all ROIs"
NO_INTERVAL_TEXT = f"[n/a]: fewer than {LEAST_PHOTOS} photos have a value, so there is no interval"


def comparison_text(models: Sequence[ScoredModel], best_by: str) -> str:
    """The comparison table, and the best of several by the number of that name."""
    rows = []
    for model in models:
        numbers = model.evaluation.summary()
        rows.append([model.name, *(number_text(numbers.get(k, float("nan"))) for k in COLUMNS)])
    text = table_text(["model", *COLUMNS.values()], rows) + f"\n{MIOU_TEXT}"
    for model in models:
        for found in model.precision:
            stats = ", ".join(f"{name} {number_text(v)}" for name, v in found.stats.items())
            text += f"\n{model.name}, {found.kind}: {stats}"
        if model.calibration is not None:
            text += f"\n\n{calibration_text(model.name, model.calibration)}"
    if len(models) > 1:
        best = best_of(models, best_by)
        text += f"\nbest by {best_by}: {best.name} "
        text += f"({number_text(best.evaluation.summary()[best_by])})"
    return text


def calibration_text(name: str, found: Calibration) -> str:
    """The reliability table of a model's scores: those in each range, and how many are right."""
    rows = [
        [f"from {r.low:.1f}", str(r.count), number_text(r.score, 3), number_text(r.right, 3)]
        for r in found.ranges
        if r.count
    ]
    table = table_text([f"{name}, score", "predictions", "mean score", "right"], rows)
    return f"{table}\nexpected calibration error: {number_text(found.error)}"


def headline_text(model: ScoredModel, rounds: int) -> str:
    """The headline numbers of one model with their intervals."""
    numbers = estimate(model.evaluation.scores, model.evaluation.min_side, rounds)
    rows = [[name, estimate_text(value)] for name, value in numbers.items()]
    for amount, shifted in model.jitter.items():
        label = f"target_iou_image, boxes ± {amount:.0%}"
        rows.append([label, estimate_text(shifted["target_iou_image"])])
    return _explained(table_text([model.name, "95 % interval over photos"], rows))


def groups_text(model: ScoredModel, rounds: int) -> str:
    """The numbers of one model by size, overlap and truncation."""
    rows = []
    for group in break_down(model.evaluation.scores, model.evaluation.min_side, rounds):
        numbers = [estimate_text(group.numbers[name], 3) for name in GROUP_NUMBERS]
        rows.append([f"{group.aspect}: {group.name}", str(group.count), *numbers])
    return _explained(table_text(["people", "count", *GROUP_NUMBERS], rows))


def difference_text(first: ScoredModel, second: ScoredModel, rounds: int) -> str:
    """The second model's numbers minus the first's, and whether each difference is noise."""
    try:
        gains = paired_difference(
            first.evaluation.scores, second.evaluation.scores, first.evaluation.min_side, rounds
        )
    except ValueError:
        return f"{second.name} - {first.name}: not scored on the same people, see the report"
    rows = [[name, estimate_text(gain), _verdict(gain)] for name, gain in gains.items()]
    header = [f"{second.name} - {first.name}", "paired difference", ""]
    return _explained(table_text(header, rows))


def _verdict(gain: Estimate) -> str:
    if not gain.has_interval:
        return ""
    return "clear" if gain.is_clear else "within noise"


def _explained(table: str) -> str:
    return f"{table}\n{NO_INTERVAL_TEXT}" if "[n/a]" in table else table
