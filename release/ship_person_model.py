"""Writes the person model's files into the package, then, once they are measured, their card.

uv run python release/ship_person_model.py checkpoints/best_model.pth --image_size 512 512 \
    --ann TRAIN.json --img_dir PHOTOS
uv run validate.py builtin --robustness --val_ann VAL.json --val_img_dir PHOTOS
uv run python release/ship_person_model.py checkpoints/best_model.pth \
    --report validation_results/report.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from human_edge_detection.cli.export import QuantizeOptions, run_quantize
from human_edge_detection.core.errors import InputError
from human_edge_detection.core.files import write_atomically
from human_edge_detection.core.options import option_values
from human_edge_detection.export.person_model import export_pair
from human_edge_detection.export.torch_to_onnx import origin
from human_edge_detection.modeling.weights import Payload, load_checkpoint, read_trained, require
from human_edge_detection.modeling.weights_file import save_weights
from human_edge_detection.runtime.head import HeadSession
from human_edge_detection.runtime.model_files import (
    EXTRACTOR_NAME,
    HEAD_NAME,
    INT8_HEAD_NAME,
    WEIGHTS_DIR,
    WEIGHTS_NAME,
)
from human_edge_detection.runtime.sessions import ON_CPU
from human_edge_detection.training.options import TrainOptions

NAMES = (HEAD_NAME, INT8_HEAD_NAME, EXTRACTOR_NAME, WEIGHTS_NAME)
CARD_NAME = "MODEL_CARD.md"
TEMPLATE = Path(__file__).with_name("model_card.md")
MOST_BYTES = 25_000_000
SHOWN = (
    "head_widths", "small_branch", "image_size", "train_image_size", "zoom_middle",
    "zoom_jitter", "copy_paste", "repeat_crowds", "batch_size", "epochs", "lr", "backbone_lr",
    "weight_decay", "warmup_steps", "gradient_clip", "ema", "amp", "box_jitter", "color_jitter",
    "detector_weight", "max_rois", "seed",
)  # fmt: skip
"""Training options that a card tells where they are not the default ones; no paths."""


def ship(
    checkpoint: Path,
    image_size: tuple[int, int] | None,
    folder: Path,
    ann: Path,
    img_dir: Path,
) -> None:
    """Write the four files of a joint checkpoint; a card of the files before them is removed.

    The 8-bit head has its scales from photos of ``ann`` in ``img_dir``, which are to be training's.

    Raises:
        InputError: if the checkpoint holds no extractor or no detector, or the files are too big.
    """
    trained = read_trained(checkpoint).at_size(image_size)
    if not (trained.has_extractor and trained.has_detector):
        raise InputError(
            f"{checkpoint} lacks the extractor or the detector: train with --train_extractor "
            "--train_detector"
        )
    (folder / CARD_NAME).unlink(missing_ok=True)
    save_weights(folder / WEIGHTS_NAME, trained.weights, trained.spec, half=True)
    head, extractor = export_pair(read_trained(folder / WEIGHTS_NAME), folder)
    small = folder / INT8_HEAD_NAME
    run_quantize(QuantizeOptions(head, extractor, ann, (img_dir,), output=small))
    total = sum((folder / name).stat().st_size for name in NAMES)
    if total > MOST_BYTES:
        raise InputError(f"{folder} holds {total / 1e6:.1f} MB, more than {MOST_BYTES / 1e6:.0f}")
    print(f"{folder}: {total / 1e6:.1f} MB; next: measure them, then come back with --report")


def write_card(checkpoint: Path, report: Path, folder: Path) -> Path:
    """Write the card of the files in the folder; its path comes back.

    Args:
        checkpoint: what they were made from, for how it was trained.
        report: what ``validate.py builtin`` wrote about them.
        folder: where they are.

    Raises:
        InputError: if a file is missing or the report is of something else.
    """
    if not report.is_file():
        raise InputError(f"--report {report} does not exist: write it with 'validate.py builtin'")
    content = json.loads(report.read_text(encoding="utf-8"))
    if content["models"][0]["name"] != INT8_HEAD_NAME:
        raise InputError(
            f"--report {report} begins with {content['models'][0]['name']}: write it with "
            "'validate.py builtin' on a CPU"
        )
    payload = load_checkpoint(checkpoint)
    require(payload, checkpoint, "options", "progress")
    text = TEMPLATE.read_text(encoding="utf-8")
    parts = {"FILES": files(folder), "TRAINING": training(payload), "RESULTS": results(content)}
    for name, lines in parts.items():
        text = text.replace(f"__{name}__", "\n".join(lines))
    write_atomically(folder / CARD_NAME, text.encode())
    return folder / CARD_NAME


def files(folder: Path) -> Iterator[str]:
    """Name, size and hash of each file, and what the head says of itself."""
    facts = HeadSession(folder / HEAD_NAME, ON_CPU).facts
    yield from ("| file | MB | SHA-256 |", "|---|---|---|")
    for name in NAMES:
        data = (folder / name).read_bytes()
        yield f"| `{name}` | {len(data) / 1e6:.1f} | `{hashlib.sha256(data).hexdigest()}` |"
    height, width = facts.image_size
    made = origin()
    yield f"\nInput {height}x{width}, version {made['version']}, revision {made['git_revision']}."


def training(payload: Payload) -> Iterator[str]:
    """How long and with which options the model was trained."""
    progress, options = payload["progress"], payload["options"]
    yield (
        f"{progress['epoch']} epochs ({progress['step']} steps) of `main.py --train_extractor "
        f"--train_detector`; these weights are of epoch {progress['best_epoch']}. Options that are "
        "not the default ones:\n"
    )
    usual = option_values(TrainOptions())
    changed = [
        f"`--{name} {options[name]}`"
        for name in SHOWN
        if name in options and options[name] != str(usual[name])
    ]
    yield ", ".join(changed) + "."
    if options.get("init_from") not in (None, "None"):
        yield "\nThese weights began with trained ones: `docs/person-model.md` has which."


def results(content: Mapping[str, Any]) -> Iterator[str]:
    """The report's numbers as tables."""
    first = content["models"][0]
    yield (
        f"{content['photos']} photos of `{content['title']}`, {content['counted']} people whose "
        f"box side is at least {content['min_side']:g} px, annotated boxes, masks at the photo's "
        "own resolution. In brackets the 95 % interval over photos.\n"
    )
    yield from ("| people | count | mask IoU | Boundary IoU |", "|---|---|---|---|")
    yield _row("all", content["counted"], first["headline"])
    for group in first["groups"]:
        yield _row(f"{group['aspect']}: {group['name']}", group["count"], group["numbers"])
    for item in first["jitter"]:
        name = f"all, boxes shifted by up to {item['amount']:.0%}"
        yield _row(name, content["counted"], item["headline"])
    found = [(model["name"], item) for model in content["models"] for item in model["precision"]]
    if found:
        yield from ("\n| its own boxes, of | AP50 | AP |", "|---|---|---|")
    for name, item in found:
        stats = item["stats"]
        yield f"| {item['kind']} (`{name}`) | {stats['AP50']:.3f} | {stats['AP']:.3f} |"


def _row(name: str, count: int, numbers: Mapping[str, Sequence[float | None]]) -> str:
    shown = [_interval(numbers[key]) for key in ("target_iou_image", "boundary_iou")]
    return f"| {name} | {count} | {' | '.join(shown)} |"


def _interval(numbers: Sequence[float | None]) -> str:
    if any(number is None for number in numbers):
        return "-"
    value, low, high = numbers
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def main() -> int:
    """Write the files, or with ``--report`` their card; the exit code comes back."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--image_size", type=int, nargs=2, help="default: as trained")
    parser.add_argument("--ann", type=Path, help="COCO annotations for the 8-bit head's scales")
    parser.add_argument("--img_dir", type=Path, help="their photos")
    parser.add_argument("--report", type=Path, help="write the card alone, with its numbers")
    parser.add_argument("--folder", type=Path, default=WEIGHTS_DIR)
    given = parser.parse_args()
    try:
        if given.report:
            print(write_card(given.checkpoint, given.report, given.folder))
        elif not (given.ann and given.img_dir):
            raise InputError("--ann and --img_dir are missing: the 8-bit head needs photos")
        else:
            size = (given.image_size[0], given.image_size[1]) if given.image_size else None
            ship(given.checkpoint, size, given.folder, given.ann, given.img_dir)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
