"""Requests that schemathesis draws from the server's own schema: no 5xx, nothing undocumented."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analytic_model import write_constant_detector, write_extractor, write_head
from human_edge_detection.inference.predictor import MaskPredictor
from human_edge_detection.serving.app import create_app
from human_edge_detection.serving.run import ServeOptions

schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis, of the group dev")
hypothesis = pytest.importorskip("hypothesis", reason="needs hypothesis, of the group dev")

REQUESTS = 12
"""Drawn for each operation."""


def test_what_the_schema_allows_is_answered_as_it_says(tmp_path: Path) -> None:
    from schemathesis import checks

    write_head(tmp_path / "head.onnx")
    write_extractor(tmp_path / "extractor.onnx")
    person = np.array([[[20, 10, 90, 80, 0.9, 0]]], np.float32)
    write_constant_detector(tmp_path / "detector.onnx", {"output0": person})
    files = [tmp_path / f"{name}.onnx" for name in ("head", "extractor", "detector")]
    predictor = MaskPredictor(*files, device="cpu", threads=1)
    app = create_app(predictor, ServeOptions(workers=1), {"version": "0"})
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    wanted = [
        checks.not_a_server_error, checks.status_code_conformance,
        checks.content_type_conformance, checks.response_schema_conformance,
    ]  # fmt: skip
    seen = []
    for found in schema.get_all_operations():
        operation = found.ok()

        @hypothesis.settings(
            derandomize=True, database=None, deadline=None, max_examples=REQUESTS,
            suppress_health_check=list(hypothesis.HealthCheck),
        )  # fmt: skip
        @hypothesis.given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            answer = case.call()
            seen.append((case.method, case.path, answer.status_code))
            case.validate_response(answer, checks=wanted)

        ask()
    assert {path for _, path, _ in seen} >= {"/v1/segment", "/v1/detect", "/healthz", "/readyz"}
    print(f"{len(seen)} requests")
