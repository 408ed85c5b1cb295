"""Ctrl-C and SIGTERM become a request, shown on real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from human_edge_detection.training.distributed import StopRequest, stop_on_signals

SOURCE = Path(__file__).resolve().parents[2] / "src"
posix_only = pytest.mark.skipif(os.name != "posix", reason="signals are sent as POSIX has them")

STEPS = """
import time
from human_edge_detection.training.distributed import stop_on_signals
with stop_on_signals() as stop:
    print("ready", flush=True)
    while not stop:
        time.sleep(0.01)  # a step
    print("finished the step", stop.signal.name, flush=True)
    {then}
"""


def start(code: str) -> subprocess.Popen[str]:
    """A Python process that has printed its first line."""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


@posix_only
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_step_finish(number: signal.Signals) -> None:
    process = start(STEPS.format(then="pass"))
    process.send_signal(number)
    out, error = process.communicate(timeout=60)
    assert out == f"finished the step {number.name}\n"
    assert (process.returncode, error) == (0, "")


@posix_only
def test_a_second_ctrl_c_interrupts_at_once() -> None:
    process = start(STEPS.format(then="time.sleep(120)"))
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    assert process.stdout.readline() == "finished the step SIGINT\n"
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in error
    assert process.returncode != 0


@posix_only
def test_a_second_sigterm_changes_nothing() -> None:
    process = start(STEPS.format(then="time.sleep(1); print('saved', flush=True)"))
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    assert process.stdout.readline() == "finished the step SIGTERM\n"
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert (out, process.returncode) == ("saved\n", 0)


@posix_only
def test_loader_workers_leave_the_answer_to_the_main_process() -> None:
    code = (
        "import time\nfrom human_edge_detection.training.distributed import ignore_signals\n"
        "ignore_signals(0)\nprint('ready', flush=True)\ntime.sleep(1)\nprint('alive')"
    )
    process = start(code)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert (out, process.returncode) == ("alive\n", 0)


def test_handlers_are_given_back() -> None:
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    with pytest.raises(ZeroDivisionError), stop_on_signals() as stop:
        assert not stop
        assert signal.getsignal(signal.SIGINT) is not before[signal.SIGINT]
        raise ZeroDivisionError
    assert {s: signal.getsignal(s) for s in before} == before


def test_a_signal_raised_here_sets_the_request() -> None:
    with stop_on_signals() as stop:
        signal.raise_signal(signal.SIGTERM)
        assert stop and stop.signal is signal.SIGTERM


def test_outside_the_main_thread_nobody_touches_the_handlers() -> None:
    before, seen = signal.getsignal(signal.SIGINT), []

    def run() -> None:
        with stop_on_signals() as stop:
            seen.append((bool(stop), signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [(False, before)]


def test_a_new_request_asks_for_nothing() -> None:
    assert not StopRequest()
