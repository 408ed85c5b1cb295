"""The repository for Triton: what is in it, its model with a stand-in, and the real server."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import types
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from human_edge_detection import MaskPredictor, cli, read_image
from human_edge_detection.data.sample import draw_crowd
from human_edge_detection.serving.triton import TritonPythonModel


def photo(number: int) -> bytes:
    image, _, _ = draw_crowd([3, number], (120 + 8 * number, 160), 4)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG")
    return buffer.getvalue()


def boxes(count: int) -> np.ndarray:
    corners = [[8 * n, 6 * n, 60 + 8 * n, 80 + 6 * n] for n in range(count)]
    return np.array(corners, np.float32).reshape(-1, 4)


def expected(
    predictor: MaskPredictor, data: bytes, rows: np.ndarray | None
) -> list[dict[str, Any]]:
    image = read_image(data)
    masks = predictor.segment(image, boxes_xyxy=rows)
    return masks.coco_people()


@pytest.fixture(scope="module")
def predictor() -> Iterator[MaskPredictor]:
    with MaskPredictor(device="cpu") as opened:
        yield opened


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("triton")
    assert cli.main(["export", "builtin", "--triton", str(folder)]) == 0
    return folder


def test_what_export_writes(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = sorted(str(path.relative_to(repository)) for path in repository.rglob("*.*"))
    assert names == [
        "people/1/model.py", "people/1/person_extractor.onnx", "people/1/person_head.onnx",
        "people/1/person_head_int8.onnx", "people/config.pbtxt",
    ]  # fmt: skip
    config = (repository / "people" / "config.pbtxt").read_text()
    assert "max_batch_size: 16" in config and "max_queue_delay_microseconds: 2000" in config
    assert "optional: true allow_ragged_batch: true" in config
    for flags, message in (
        (["a.pth"], "--triton .* takes the model that ships: export builtin"),
        (["builtin", "--output_dir", "x"], "--output_dir does not go with --triton"),
        (["builtin", "--web", "x"], "--web x excludes --triton"),
    ):
        assert cli.main(["export", *flags, "--triton", str(repository)]) == 2
        assert re.search(message, capsys.readouterr().err)


@dataclass
class Tensor:
    """What the stand-in's requests and responses hold."""

    name: str
    values: np.ndarray

    def as_numpy(self) -> np.ndarray:
        """The values."""
        return self.values


@pytest.fixture
def utils(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the module that Triton's Python backend brings."""
    module: Any = types.ModuleType("triton_python_backend_utils")
    module.Tensor = Tensor
    module.TritonError = lambda message, code: (code, message)
    module.TritonError.INVALID_ARG = 3
    module.InferenceResponse = lambda output_tensors=(), error=None: (output_tensors, error)
    module.get_input_tensor_by_name = lambda request, name: request.get(name)
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", module)


def request(data: list[bytes], rows: np.ndarray | None = None) -> dict[str, Tensor]:
    images = Tensor("image", np.array(data, np.object_).reshape(-1, 1))
    return {"image": images} | ({} if rows is None else {"boxes": Tensor("boxes", rows)})


def test_each_request_gets_its_own_people_or_error(
    repository: Path, predictor: MaskPredictor, utils: None
) -> None:
    model = TritonPythonModel()
    config = {"parameters": {"max_people": {"string_value": "7"}}}
    model.initialize(
        {
            "model_config": json.dumps(config), "model_repository": str(repository / "people"),
            "model_version": "1", "model_instance_kind": "CPU", "model_instance_device_id": "0",
        }
    )  # fmt: skip
    answers = model.execute(
        [
            request([photo(0)]),
            request([photo(1)], boxes(3)[None]),
            request([b"junk"]),
            request([photo(2), photo(3)], np.stack([boxes(2), boxes(2) + 5])),
            request([photo(0)], np.array([[[9, 9, 2, 2]]], np.float32)),
            request([photo(0)], boxes(8)[None]),
            request([photo(0)], boxes(0)[None]),
        ]
    )
    wanted = [
        [expected(predictor, photo(0), None)],
        [expected(predictor, photo(1), boxes(3))],
        "is not an image",
        [expected(predictor, photo(2), boxes(2)), expected(predictor, photo(3), boxes(2) + 5)],
        "is reversed",
        "8 boxes, more than max_people 7",
        [[]],
    ]
    for (tensors, error), people in zip(answers, wanted, strict=True):
        if isinstance(people, str):
            assert tensors == () and error[0] == 3 and people in error[1]
            continue
        found = [json.loads(text) for text in tensors[0].values[:, 0]]
        assert error is None and [item["people"] for item in found] == people
        assert found[0]["image"]["width"] == 160
    model.finalize()


@dataclass(frozen=True)
class Server:
    """A Triton that listens.

    Attributes:
        port: of HTTP.
        metrics: port of the metrics.
    """

    port: int
    metrics: int

    def count(self, name: str) -> float:
        """A metric's value."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=10) as page:
            lines = page.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name}{{"))

    def ask(self, data: bytes, rows: np.ndarray | None) -> tuple[int, list[dict[str, Any]] | str]:
        """The status, and the people or the error."""
        parts, inputs = [len(data).to_bytes(4, "little") + data], []
        inputs.append({"name": "image", "shape": [1, 1], "datatype": "BYTES"})
        if rows is not None:
            parts.append(rows.tobytes())
            inputs.append({"name": "boxes", "shape": [1, *rows.shape], "datatype": "FP32"})
        for part, described in zip(parts, inputs, strict=True):
            described["parameters"] = {"binary_data_size": len(part)}
        head = json.dumps({"inputs": inputs}).encode()
        url = f"http://127.0.0.1:{self.port}/v2/models/people/infer"
        headers = {"Inference-Header-Content-Length": str(len(head))}
        body = b"".join([head, *parts])
        asked = urllib.request.Request(url, body, headers)
        try:
            with urllib.request.urlopen(asked, timeout=60) as page:
                answer = json.loads(page.read())
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        return 200, json.loads(answer["outputs"][0]["data"][0])["people"]


@pytest.fixture(scope="module")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    found = importlib.util.find_spec("pytriton")
    if found is None or found.origin is None:
        pytest.skip("needs Triton itself, in an environment of its own: nvidia-pytriton (.ci/run)")
    triton = Path(found.origin).parent / "tritonserver"
    backends = tmp_path_factory.mktemp("backends")
    shutil.copytree(triton / "backends" / "python", backends / "python")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = triton / "python_backend_stubs" / version / "triton_python_backend_stub"
    shutil.copy(stub, backends / "python")
    ports = []
    for _ in range(2):
        with socket.socket() as any_port:
            any_port.bind(("127.0.0.1", 0))
            ports.append(any_port.getsockname()[1])
    libraries = triton.parents[1] / "nvidia_pytriton.libs"
    log = backends / "log"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [
                triton / "bin" / "tritonserver", f"--model-repository={repository}",
                f"--backend-directory={backends}", f"--http-port={ports[0]}",
                f"--metrics-port={ports[1]}", "--allow-grpc=false", "--http-address=127.0.0.1",
            ],
            env={
                **os.environ, "LD_LIBRARY_PATH": str(libraries), "VIRTUAL_ENV": sys.prefix,
                "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}",
            },
            stdout=output, stderr=output,
        )  # fmt: skip
    try:
        ends = time.monotonic() + 120
        while True:
            assert process.poll() is None and time.monotonic() < ends, log.read_text()[-3000:]
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{ports[0]}/v2/health/ready", timeout=5)
                break
            except OSError:
                time.sleep(0.2)
        yield Server(*ports)
    finally:
        process.terminate()
        process.wait(60)


def test_requests_at_once_share_executions_of_the_real_server(
    server: Server, predictor: MaskPredictor
) -> None:
    """Eight with 1 to 7 boxes and without any, and a junk photo that fails by itself."""
    asked = [(photo(number % 4), boxes(number + 1)) for number in range(7)]
    asked += [(photo(0), None), (b"junk", None)]
    assert server.ask(*asked[0])[0] == 200
    before = server.count("nv_inference_exec_count")
    with ThreadPoolExecutor(len(asked)) as pool:
        answers = list(pool.map(lambda pair: server.ask(*pair), asked))
    executions = server.count("nv_inference_exec_count") - before
    for (status, found), (data, rows) in zip(answers[:-1], asked[:-1], strict=True):
        assert status == 200 and found == expected(predictor, data, rows)
    status, text = answers[-1]
    assert status == 400 and "is not an image" in text
    assert executions < len(asked), f"{len(asked)} requests in {executions} executions"
