"""A real server on the loopback interface: load, slow and broken clients, and its end."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from analytic_model import draw_person, write_constant_detector, write_extractor, write_head
from doc_commands import ROOT, shell_blocks
from human_edge_detection.core.images import encode_image
from human_edge_detection.core.options import parse
from human_edge_detection.serving.run import ServeOptions
from served import SOURCES, Served, serving

IMAGE, _ = draw_person((96, 128), (20, 10, 90, 80))
PHOTO = encode_image(IMAGE, ".png")
NOISE = np.random.default_rng(0).integers(0, 255, (900, 1200, 3), np.uint8)
LARGE = encode_image(NOISE, ".jpg")
LIMITS = ("--workers", 2, "--queue", 14, "--max_mb", 2, "--body_seconds", 1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """The flags of a small model."""
    folder = tmp_path_factory.mktemp("model")
    people = np.array([[[20, 10, 90, 80, 0.9, 0]]], np.float32)
    return [
        "--model", write_head(folder / "head.onnx"),
        "--extractor", write_extractor(folder / "extractor.onnx"),
        "--detector", write_constant_detector(folder / "detector.onnx", {"output0": people}),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def server(model: list[object], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("log") / "log", [*model, *LIMITS]) as served:
        yield served
        served.wait_for("human_edge_detection_in_flight", 0)


CLIENT = httpx.Client(timeout=30, limits=httpx.Limits(max_connections=None))


def send(server: Served, photo: bytes = PHOTO) -> httpx.Response:
    return CLIENT.post(f"{server.url}/v1/segment", content=photo)


def raw(server: Served, *lines: str) -> socket.socket:
    """A connection on which the head of a request was sent."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    head = ("POST /v1/segment HTTP/1.1", "Host: here", *lines, "", "")
    connection.sendall("\r\n".join(head).encode())
    return connection


def test_sixty_at_once_are_all_answered(server: Served) -> None:
    with ThreadPoolExecutor(60) as pool:
        answers = list(pool.map(lambda _: send(server, LARGE), range(60)))
    found = Counter(answer.status_code for answer in answers)
    assert set(found) == {200, 503} and found[200] >= 16, found
    assert all("retry-after" in a.headers for a in answers if a.status_code == 503)
    assert send(server).status_code == 200


def test_a_slow_body_is_given_up(server: Served) -> None:
    started = time.monotonic()
    with raw(server, "Content-Length: 1000") as connection:
        connection.settimeout(0.1)
        answer = b""
        while b"}" not in answer and time.monotonic() < started + 10:
            try:
                connection.sendall(b"" if answer else b"x")
                answer += connection.recv(4096)
            except TimeoutError:
                pass
    assert answer.startswith(b"HTTP/1.1 408 ") and b'"reason":"slow"' in answer
    assert 0.9 < time.monotonic() - started < 4


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_body_is_refused_before_it_is_all_there(server: Served, chunked: bool) -> None:
    before = server.metric("process_resident_memory_bytes")
    part = b"%x\r\n%s\r\n" % (1 << 16, bytes(1 << 16)) if chunked else bytes(1 << 16)
    kind = "Transfer-Encoding: chunked" if chunked else "Content-Length: 900000000"
    with raw(server, kind) as connection:
        answer, sent = b"", 0
        while not answer and sent < 64 << 20:
            connection.settimeout(20)
            connection.sendall(part)
            sent += len(part)
            connection.settimeout(0.001)
            try:
                answer = connection.recv(4096)
            except TimeoutError:
                pass
        connection.settimeout(20)
        answer += connection.recv(4096) if b"}" not in answer else b""
    assert answer.startswith(b"HTTP/1.1 413 ") and b'"reason":"bytes"' in answer
    assert server.metric("process_resident_memory_bytes") - before < 30e6


def test_closed_connections_leave_nothing_behind(server: Served) -> None:
    for lines, body in (
        (["Content-Length: 1000"], b"x"), ([f"Content-Length: {len(LARGE)}"], LARGE),
        (["Transfer-Encoding: chunked"], b"5\r\nab"), (["Content-Length: no"], b""),
    ):  # fmt: skip
        with raw(server, *lines) as connection:
            connection.sendall(body)
    server.wait_for("human_edge_detection_in_flight", 0)
    assert send(server).status_code == 200


def test_a_head_without_end_is_refused(server: Served) -> None:
    for part in (b"a" * 10_000, b"a\r\nX-A: " * 2000):
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        with connection, pytest.raises(ConnectionError):
            connection.sendall(b"POST /v1/segment HTTP/1.1\r\nX-A: ")
            for _ in range(1000):
                connection.sendall(part)
    assert send(server).status_code == 200


def test_an_offer_of_http2_does_not_cost_the_photo(server: Served) -> None:
    lines = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAA")
    with raw(server, *lines, f"Content-Length: {len(PHOTO)}") as connection:
        connection.sendall(PHOTO)
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_sigterm_finishes_what_was_accepted(model: list[object], tmp_path: Path) -> None:
    name = "human_edge_detection_in_flight"
    with serving(tmp_path / "log", [*model, "--workers", 1, "--queue", 20]) as server:
        with ThreadPoolExecutor(12) as pool:
            jobs = [pool.submit(send, server, LARGE) for _ in range(12)]
            while server.metric(name) + sum(job.done() for job in jobs) < 12:
                time.sleep(0.005)
            waiting = sum(not job.done() for job in jobs)
            server.process.send_signal(signal.SIGTERM)
            statuses = [job.result().status_code for job in jobs]
        assert server.process.wait(20) == 0
    assert waiting > 1 and statuses == [200] * 12
    assert "Traceback" not in server.log.read_text()


def test_it_listens_on_the_loopback_interface_alone(server: Served) -> None:
    own = socket.gethostbyname(socket.gethostname())
    if own.startswith("127."):
        pytest.skip("this machine has no other address")
    with pytest.raises(OSError):
        socket.create_connection((own, server.port), timeout=5).close()


def test_a_wrong_model_is_an_error_of_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "human_edge_detection", "serve", "--model", tmp_path / "no.onnx"],
        capture_output=True, text=True, env={"PYTHONPATH": str(SOURCES)}, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr.startswith("error: ")
    assert "no.onnx" in done.stderr and "Traceback" not in done.stderr


def test_the_containerfile_names_what_is_there(server: Served) -> None:
    text = (ROOT / "Containerfile").read_text("utf-8").replace("\\\n", " ")
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.M)
    assert copied and all((ROOT / name).exists() for line in copied for name in line.split())
    found = (
        re.search(r"^ENTRYPOINT (.*)$", text, re.M),
        re.search(r"^HEALTHCHECK.* CMD (.*)$", text, re.M),
    )
    entry, check = (json.loads(line[1]) for line in found if line)
    assert entry[:2] == ["human-edge-detection", "serve"]
    assert parse(ServeOptions, "", entry[2:]).host == "0.0.0.0"
    own = [word.replace("http://127.0.0.1:8000", server.url) for word in check[1:]]
    assert own != check[1:] and ServeOptions().port == 8000
    subprocess.run([sys.executable, *own], check=True)


def curl_lines() -> list[str]:
    """The document's calls, continued lines joined."""
    text = "\n".join(shell_blocks(ROOT / "docs" / "serve.md")).replace("\\\n", " ")
    return re.findall(r"^curl .*", text, re.M)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_documents_calls_work(server: Served, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(encode_image(IMAGE, ".jpg"))
    lines = curl_lines()
    assert len(lines) >= 8
    for line in lines:
        line = line.replace("http://127.0.0.1:8000", server.url)
        done = subprocess.run(
            ["bash", "-c", line.replace("curl ", "curl --fail-with-body -sS ", 1)],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
    for name in ("labels.png", "overlay.jpg", "cutouts.zip", "person.png"):
        assert (tmp_path / name).stat().st_size > 100
