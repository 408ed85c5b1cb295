"""Sends each file of a folder through every command that could take it, and prints a table.

    python tests/helpers/every_command.py FOLDER [--table TABLE.md]

Each command runs in a forked child, in an empty folder inside another in which nothing may appear.
It fails the file if it ends by a signal or after two minutes, prints a traceback, ends with other
codes than 0, 1 and 2, does nothing without a line that names the file, or writes elsewhere.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "src")]

from forked import end, fork, import_everything, wait  # noqa: E402

SECONDS = 120
SHOWN = 150
"""Characters of a last line in the table."""

FILE = "FILE"
COMMANDS = (
    "predict FILE", "predict photo.png --boxes FILE", "predict photo.png --model FILE",
    "predict photo.png --extractor FILE", "predict photo.png --detector FILE", "stats FILE",
    "subset FILE", "check_data FILE .", "check_data people.json FILE", "quantize FILE",
    "quantize head.onnx --ann FILE", "export FILE",
    "export head.pth --onnx_model FILE", "benchmark --photos FILE",
    "benchmark --model FILE", "validate FILE", "validate results.json --val_ann FILE",
    "validate results.json --val_img_dir FILE", "train --train_ann FILE",
    "train --train_img_dir FILE", "train --onnx_model FILE", "train --init_from FILE",
    "train --resume FILE", "serve --model FILE", "POST FILE",
)  # fmt: skip
"""Commands with what is theirs alone; the rest of their options is sound."""


@dataclass(frozen=True)
class Ended:
    """What a command did with a file.

    Attributes:
        command: the command, ``FILE`` being the file.
        file: the file's name.
        code: its exit code.
        line: the last line of its output.
        written: files that it wrote.
        fault: what it may not do, or nothing: ``""``.
    """

    command: str
    file: str
    code: int
    line: str
    written: tuple[str, ...]
    fault: str


def write_inputs(folder: Path) -> None:
    """The sound photos, annotations, results and networks that the commands take besides."""
    from PIL import Image

    from analytic_model import draw_person, write_constant_detector, write_extractor, write_head
    from human_edge_detection.core.spec import ModelSpec
    from human_edge_detection.modeling.heads import build_head
    from human_edge_detection.training.checkpoints import save_checkpoint
    from tiny_command import write_annotations
    from tiny_run import write_photos

    write_annotations(folder / "people.json", write_photos(folder, 12))
    image, _ = draw_person((64, 48), [10, 10, 40, 50])
    Image.fromarray(image).save(folder / "photo.png")
    write_head(folder / "head.onnx")
    write_extractor(folder / "extractor.onnx")
    person = np.array([[[10, 10, 40, 50, 0.9, 0]]], np.float32)
    write_constant_detector(folder / "detector.onnx", {"output0": person})
    spec = ModelSpec("lite", ("pooled",), (3,), (4.0,), (64, 64), 4, widths=(8, 8, 8))
    weights = {f"head.{name}": value for name, value in build_head(spec).state_dict().items()}
    save_checkpoint(folder / "head.pth", {"spec": spec.to_dict(), "weights": weights})
    (folder / "results.json").write_text(
        '[{"image_id": 0, "category_id": 1, "score": 1, "segmentation": [[4, 8, 30, 8, 30, 60]]}]'
    )


SOUND = {
    "predict": {"--model": "head.onnx", "--extractor": "extractor.onnx", "--device": "cpu",
                "--detector": "detector.onnx", "--output": "out", "--threads": "1"},
    "stats": {"--output": "stats.json"},
    "quantize": {"--ann": "people.json", "--img_dir": ".", "--extractor": "extractor.onnx"},
    "benchmark": {"--model": "head.onnx", "--extractor": "extractor.onnx", "--threads": "1",
                  "--people": "1", "--rounds": "1", "--warmup": "0", "--no_cold": ""},
    "validate": {"--val_ann": "people.json", "--val_img_dir": ".", "--bootstrap": "9",
                 "--device": "cpu", "--num_workers": "0", "--onnx_model": "extractor.onnx"},
    "train": {"--train_ann": "people.json", "--train_img_dir": ".", "--val_ann": "people.json",
              "--val_img_dir": ".", "--onnx_model": "extractor.onnx", "--layers": "pooled",
              "--image_size": "64 64", "--roi_size": "4", "--mask_size": "8", "--epochs": "1",
              "--min_roi_size": "4", "--num_workers": "0", "--device": "cpu"},
    "serve": {"--port": "0", "--device": "cpu"},
}  # fmt: skip


def call_of(command: str, file: Path) -> Callable[[], int]:
    """The command as a function for a child."""
    from human_edge_detection.cli import main, train_main, validate_main

    name, *own = (str(file) if word == FILE else word for word in command.split())
    if name == "POST":
        return lambda: post(file)
    sound = {k: v for k, v in SOUND.get(name, {}).items() if k not in own}
    if "--boxes" in own:  # either finds the people
        del sound["--detector"]
    rest = [word for key, value in sound.items() for word in (key, *value.split())]
    words = [*own, *rest]
    if name in ("train", "validate"):
        return lambda: (train_main if name == "train" else validate_main)(words)
    return lambda: main([name, *words])


def post(file: Path) -> int:
    """Send a file to the server in this process; 0, or 1 for a refusal."""
    import httpx

    from human_edge_detection.inference.predictor import MaskPredictor
    from human_edge_detection.serving.app import create_app
    from human_edge_detection.serving.run import ServeOptions

    predictor = MaskPredictor("head.onnx", "extractor.onnx", "detector.onnx", device="cpu")
    app = create_app(predictor, ServeOptions(workers=1), {"version": "0"})

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.post("/v1/segment", content=file.read_bytes())

    answer = asyncio.run(ask())
    detail = answer.json().get("detail", "")
    print(f"{answer.status_code} {detail}")
    return 0 if answer.status_code == 200 else 1 if answer.status_code < 500 else 70


def files_below(folder: Path) -> set[Path]:
    """All files, links not followed."""
    return {
        Path(place, name).relative_to(folder) for place, _, names in os.walk(folder)
        for name in names
    }  # fmt: skip


def send(command: str, file: Path, inputs: Path, base: Path) -> Ended:
    """Run one command on one file, in a folder of its own."""
    outside = base / "outside"
    shutil.rmtree(outside, ignore_errors=True)
    work = outside / "work"
    shutil.copytree(inputs, work)
    shutil.copy(file, work / file.name)
    before, log = files_below(outside), base / "log.txt"
    path = Path(file.name)

    def run() -> int:
        os.chdir(work)
        return call_of(command, path)()

    child = fork(run, log)
    if (code := wait(child, SECONDS)) is None:
        code = -1
        end(child, signal.SIGKILL)
    text = log.read_text(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    found = sorted(files_below(outside) - before)
    written = tuple(str(path.relative_to("work")) for path in found if path.parts[0] == "work")
    named = any(file.name in line for line in lines) or "photo of" in text  # bytes have no name
    faults = {
        "hang" if code == -1 else f"ended with {code}": code not in (0, 1, 2),
        "traceback": "Traceback" in text,
        "file not named": code == 2 and not named,
        f"wrote {found}": any(path.parts[0] != "work" for path in found),
    }
    fault = ", ".join(what for what, holds in faults.items() if holds)
    return Ended(command, file.name, code, lines[-1] if lines else "", written, fault)


def rows(found: list[Ended]) -> Iterator[str]:
    """The table: each command with each file."""
    yield "| command | file | exit | last line | files written |"
    yield "|---|---|---|---|---|"
    for item in found:
        line = item.line.replace("|", r"\|")
        line = line if len(line) <= SHOWN else f"{line[:SHOWN]}…"
        written = f"{len(item.written)}: {', '.join(item.written[:2])}" if item.written else "–"
        fault = f" **{item.fault}**" if item.fault else ""
        yield f"| `{item.command}` | {item.file} | {item.code}{fault} | {line} | {written:.60} |"


def main() -> int:
    """Print the table; 1 if a command did what it may not."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--table", type=Path, help="also write the table here")
    given = parser.parse_args()
    import_everything()
    found = []
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        inputs = base / "inputs"
        inputs.mkdir()
        write_inputs(inputs)
        for command in COMMANDS:
            for file in sorted(path for path in given.folder.iterdir() if path.is_file()):
                found.append(send(command, file.resolve(), inputs, base))
                print(list(rows(found[-1:]))[-1], flush=True)
    if given.table:
        given.table.write_text("\n".join(rows(found)) + "\n")
    faults = sum(bool(item.fault) for item in found)
    print(f"{len(found)} runs, {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
