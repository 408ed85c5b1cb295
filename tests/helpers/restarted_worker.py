"""A ``main.py`` that ends with its last validation; once, its second process may be killed.

With ``KILL_EPOCH`` in the environment, the process of rank 1 that torchrun started first kills
itself after a step of that epoch, as a machine that is lost would. It leaves a file ``killed``.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from human_edge_detection.cli import train_main
from human_edge_detection.training.run import Run
from human_edge_detection.training.trainer import Trainer


def work() -> int:
    """Run ``main.py`` with the arguments of this process."""
    train_epoch = Trainer.train_epoch
    first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" and os.environ["RANK"] == "1"
    epoch = int(os.environ.get("KILL_EPOCH", "-1"))

    def mortal(trainer: Trainer, progress: Any, stop: Any, on_step: Any) -> Any:
        def killing(*values: Any) -> None:
            on_step(*values)
            if first and progress.epoch == epoch:
                Path("killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)

        return train_epoch(trainer, progress, stop, killing)

    Trainer.train_epoch = mortal  # type: ignore[method-assign]
    Run.finish = lambda _run, _log: 0  # type: ignore[method-assign, assignment]
    return train_main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(work())
