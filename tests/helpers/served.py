"""A real server in a process of its own, on a free port of the loopback interface."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[2] / "src"


@dataclass(frozen=True)
class Served:
    """A server that listens.

    Attributes:
        process: it.
        port: where it listens, on 127.0.0.1.
        log: the file of its output.
    """

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def metric(self, name: str) -> float:
        """The sum of a metric's values, by the start of their lines."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        lines = (line for line in text.splitlines() if line.startswith(name))
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    def wait_for(self, name: str, value: float, seconds: float = 10) -> None:
        """Wait until a metric has a value."""
        ends = time.monotonic() + seconds
        while (found := self.metric(name)) != value:
            assert time.monotonic() < ends, f"{name} stays {found}, not {value}"
            time.sleep(0.01)


@contextmanager
def serving(log: Path, flags: Sequence[object] = (), sources: Path = SOURCES) -> Iterator[Served]:
    """A server started with ``serve`` and such flags; it is ended, if it still runs, at the end."""
    command = [sys.executable, "-m", "human_edge_detection", "serve", "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(sources)}
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [*command, *map(str, flags)], stdout=output, stderr=output, env=environment
        )
    try:
        ends = time.monotonic() + 60
        while not (found := re.search(r"running on http://127.0.0.1:(\d+)", log.read_text())):
            assert process.poll() is None and time.monotonic() < ends, log.read_text()
            time.sleep(0.05)
        yield Served(process, int(found[1]), log)
    finally:
        process.kill()
        process.wait()
