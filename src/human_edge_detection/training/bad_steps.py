"""What becomes of a run whose losses are not finite: named, passed over, in the end given up."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from human_edge_detection.core.errors import InputError

LOG = logging.getLogger(__name__)
MAX_BAD_STEPS = 10
"""Steps in a row with a loss that is not finite before the run gives up."""


class BadSteps:
    """Counts the steps left out because a loss or a gradient was not finite.

    Attributes:
        in_a_row: those since the last good step.
    """

    def __init__(self, lr: float) -> None:
        """Advise on a run with this peak learning rate."""
        self.lr = lr
        self.in_a_row = 0

    def forget(self) -> None:
        """A good step was made."""
        self.in_a_row = 0

    def note(self, step: int, costs: Mapping[str, float], names: Sequence[str]) -> None:
        """Report a bad step.

        Args:
            step: its number.
            costs: its loss and terms.
            names: file names of its photos.

        Raises:
            InputError: if there have been too many in a row, with advice.
        """
        self.in_a_row += 1
        LOG.warning("step %d skipped, not finite: %s on %s", step, dict(costs), list(names))
        if self.in_a_row >= MAX_BAD_STEPS:
            raise InputError(
                f"{MAX_BAD_STEPS} steps in a row were not finite: lower --lr {self.lr}, set "
                "--gradient_clip 1, use --amp_dtype bfloat16 instead of float16, or leave out --amp"
            )
