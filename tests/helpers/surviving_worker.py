"""A process that runs cases for a test and may die of one: the test goes on with the next.

A reader is a function of one path. It may return or raise an ``InputError``. Anything else is a
fault: another exception, a signal, a time-out, a message of several lines, a file written outside
the case's folder, a process started, a connection opened. The worker is started as
``python surviving_worker.py MODULE:FUNCTION SOUND_FILE`` and answers one line a case.
"""

from __future__ import annotations

import gc
import importlib
import json
import logging
import os
import re
import resource
import select
import subprocess
import sys
import time
import traceback
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

HERE = Path(__file__).resolve().parent
EXTRA_BYTES = 2 << 30
"""What a case may allocate beyond what the worker has mapped after reading the sound file."""
LONGEST_MESSAGE = 1000


@dataclass(frozen=True)
class Outcome:
    """What became of one case.

    Attributes:
        path: the case's file.
        kind: ``ok``, ``clear`` (an ``InputError``) or a fault: ``trace``, ``crash``, ``hang``,
            ``long`` (a message too long, or of several lines that are no indented list),
            ``outside`` (wrote, started or connected to something).
        text: the message, the traceback, or the signal.
        before: the files of the cases before in the same process: damage of memory shows late.
    """

    path: Path
    kind: str
    text: str
    before: tuple[Path, ...] = ()

    @property
    def is_fault(self) -> bool:
        """Whether the reader did what it may not."""
        return self.kind not in ("ok", "clear")


def run_cases(
    reader: str, sound: Path, paths: Iterable[Path], seconds: float = 20.0
) -> Iterator[Outcome]:
    """The outcome of each case; a worker that dies or hangs is replaced.

    Args:
        reader: ``module:function`` of the reader, importable from the tests' helpers.
        sound: a file that the reader accepts.
        paths: the files, each in a folder of its own.
        seconds: longest time of one case.

    Raises:
        RuntimeError: if a worker cannot read the sound file.
    """
    worker: subprocess.Popen[str] | None = None
    before: deque[Path] = deque(maxlen=3)
    try:
        for path in paths:
            if worker is None:
                worker = _start(reader, sound)
                before.clear()
            kind, text = _ask(worker, path, seconds)
            yield Outcome(path, kind, text, tuple(before) if kind == "crash" else ())
            before.append(path)
            if kind in ("crash", "hang"):
                _end(worker)
                worker = None
    finally:
        if worker is not None:
            _end(worker)


def _end(worker: subprocess.Popen[str]) -> None:
    worker.kill()
    worker.communicate()


def _start(reader: str, sound: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    places = [str(HERE.parents[1] / "src"), str(HERE)]
    environment["PYTHONPATH"] = os.pathsep.join([*places, environment.get("PYTHONPATH", "")])
    worker = subprocess.Popen(
        [sys.executable, str(Path(__file__)), reader, str(sound)], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment,
    )  # fmt: skip
    kind, text = _answer(worker, 180)  # all is imported then
    if kind != "ok":
        _end(worker)
        raise RuntimeError(f"{reader} does not read the sound file {sound}: {kind} {text}")
    return worker


def _ask(worker: subprocess.Popen[str], path: Path, seconds: float) -> tuple[str, str]:
    assert worker.stdin is not None
    try:
        worker.stdin.write(f"{path}\n")
        worker.stdin.flush()
    except BrokenPipeError:
        return "crash", f"exit code {worker.wait()}"
    kind, text = _answer(worker, seconds)
    lines = re.split(r"\n(?=  )", text)  # a list of what there is may follow
    if kind == "clear" and any("\n" in line or len(line) > LONGEST_MESSAGE for line in lines):
        return "long", text
    return kind, text


def _answer(worker: subprocess.Popen[str], seconds: float) -> tuple[str, str]:
    line = _line(worker.stdout, seconds)
    if line is None:
        return "hang", f"no answer in {seconds:g} s"
    if not line.endswith("\n"):
        return "crash", f"exit code {worker.wait()}"
    kind, text = json.loads(line)
    return kind, text


def _line(stream: IO[str] | None, seconds: float) -> str | None:
    """A line, a part of one or nothing at the stream's end, None after the time."""
    assert stream is not None
    ready, _, _ = select.select([stream], [], [], seconds)
    return stream.readline() if ready else None


class _Watch:
    """Notes what a case does besides reading; see ``sys.addaudithook``."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.seen: list[str] = []
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.folder is None:
            return
        if event in (
            "subprocess.Popen",
            "os.system",
            "os.exec",
            "os.posix_spawn",
            "socket.connect",
        ):
            self.seen.append(f"{event} {arguments!r:.200}")
        elif event in ("os.rename", "os.remove", "os.mkdir", "os.symlink", "os.link"):
            if not self._is_inside(arguments[0]):
                self.seen.append(f"{event} {arguments!r:.200}")
        elif event == "open" and not isinstance(arguments[0], int):
            flags = arguments[2]
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes and not self._is_inside(arguments[0]):
                self.seen.append(f"{event} {arguments!r:.200}")

    def _is_inside(self, path: object) -> bool:
        text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
        if text == os.devnull or text.endswith(".pyc") or "/__pycache__" in text:
            return True
        if "\0" in text:
            return True  # which no system call takes
        folder = self.folder
        self.folder = None  # resolving looks at files
        try:
            return folder is None or Path(text).resolve().is_relative_to(folder)
        finally:
            self.folder = folder


def _work(name: str, sound: Path) -> None:
    """Answer one case a line until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    module, function = name.split(":")
    read = getattr(importlib.import_module(module), function)
    from human_edge_detection.core.errors import InputError

    logging.disable(logging.CRITICAL)
    watch = _Watch()

    def answer(path: Path, is_watched: bool = True) -> tuple[str, str]:
        watch.seen.clear()
        watch.folder = path.parent.resolve() if is_watched else None
        try:
            read(path)
            found = ("ok", "")
        except InputError as error:
            found = ("clear", str(error))
        except BaseException:
            found = ("trace", traceback.format_exc()[-3000:])
        watch.folder = None
        return ("outside", "; ".join(watch.seen)) if watch.seen else found

    def say(found: tuple[str, str]) -> None:
        print(json.dumps(found), file=answers, flush=True)

    first = answer(sound, is_watched=False)  # while libraries are loaded
    gc.collect()
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + EXTRA_BYTES, mapped + EXTRA_BYTES))
    say(first)
    for line in sys.stdin:
        say(answer(Path(line.rstrip("\n"))))


# Readers that show what each fault looks like.


def sound_or_not(path: Path) -> None:
    """Do what the file's name says."""
    from human_edge_detection.core.errors import InputError

    if path.stem == "trace":
        raise KeyError(path.stem)
    if path.stem == "clear":
        raise InputError(f"{path} is refused")
    if path.stem == "long":
        raise InputError("two\nlines")
    if path.stem == "crash":
        os.abort()
    if path.stem == "hang":
        time.sleep(60)
    if path.stem == "memory":
        bytearray(EXTRA_BYTES + 1)
    if path.stem == "outside":
        (path.parents[1] / "escaped.txt").write_text("")


if __name__ == "__main__":
    _work(sys.argv[1], Path(sys.argv[2]))
