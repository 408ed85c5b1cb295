"""Commands of the package in forked children that may be killed: everything is imported once."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import pkgutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path


def import_everything() -> None:
    """Load the package with torch, on one thread, before anything is forked."""
    import cv2
    import torch

    import human_edge_detection

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    for module in pkgutil.walk_packages(human_edge_detection.__path__, "human_edge_detection."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in ("pycocotools.mask", "torch.utils.tensorboard", "torch._dynamo", "onnx.compose"):
        importlib.import_module(name)


def fork(call: Callable[[], int | None], log: Path) -> int:
    """Start a call in a child, whose output goes to a file; the child's process id."""
    if child := os.fork():
        return child
    code = 70
    try:
        with contextlib.suppress(AttributeError):
            os.setpgid(0, 0)  # an interrupt from the keyboard is the parent's alone
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        logging.getLogger().handlers.clear()
        code = call() or 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait(child: int, seconds: float) -> int | None:
    """The exit code of a child, minus the signal that ended it; None if it runs on."""
    ends = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= ends:
            return None
        time.sleep(0.002)


def end(child: int, kind: int, seconds: float = 120) -> int:
    """Send a signal to a child that runs; its exit code. One that does not end is killed.

    Raises:
        TimeoutError: if the signal did not end it in time.
    """
    os.kill(child, kind)
    if (code := wait(child, seconds)) is None:
        os.kill(child, signal.SIGKILL)
        wait(child, seconds)
        raise TimeoutError(f"signal {kind} did not end the run in {seconds:g} s")
    return code
