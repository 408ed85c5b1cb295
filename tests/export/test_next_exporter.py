"""Why PyTorch's next exporter is not used yet: it cannot reach the opset that is promised.

``dynamo=False`` is announced for removal. The day on which this test fails is the day to move.
"""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from human_edge_detection.export.torch_to_onnx import OPSET

pytest.importorskip("onnxscript", reason="the next exporter needs onnxscript")


class _Padded(nn.Module):
    """The built-in extractor's uneven padding, as ``conv_padded`` does it outside an export."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.pad(x, (0, 1, 0, 1))


@pytest.mark.thorough
@pytest.mark.slow
def test_the_next_exporter_stays_above_the_promised_opset() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _Padded(), (torch.zeros(1, 2, 4, 4),), dynamo=True, opset_version=OPSET, verbose=False
        )
    assert program is not None
    reached = {item.domain: item.version for item in program.model_proto.opset_import}
    assert reached[""] > OPSET, (
        f"torch {torch.__version__} exports padding at opset {OPSET}: try the next exporter in "
        "export/torch_to_onnx.py under all parity checks, then lift torch's bound in pyproject.toml"
    )
