"""A server under load on the loopback interface: throughput, overhead, memory, hostile requests.

uv run python benchmarks/serve_load.py --photos photos/ --count 100 --memory 3000
"""

from __future__ import annotations

import argparse
import http.client
import io
import itertools
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "helpers"))
from served import Served, serving  # starts and ends the server

RSS = "process_resident_memory_bytes"
SIZES = ((320, 240), (640, 480), (1280, 720), (1920, 1080), (500, 900), (64, 64), (3000, 2000))
"""Widths and heights of the memory run's photos, in turn."""


@dataclass(frozen=True)
class Answered:
    """One answer: its status, seconds, and seconds in the server's stages."""

    status: int
    seconds: float
    stages: float = 0.0


class Client:
    """One connection that is kept."""

    def __init__(self, server: Served) -> None:
        """Connect with the first request."""
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)

    def post(self, body: bytes, query: str = "", **headers: str) -> Answered:
        """Send a photo."""
        started = time.perf_counter()
        self._connection.request("POST", f"/v1/segment{query}", body, headers)
        answer = self._connection.getresponse()
        answer.read()
        durations = re.findall(r"dur=([\d.]+)", answer.headers.get("server-timing", ""))
        seconds = time.perf_counter() - started
        return Answered(answer.status, seconds, sum(map(float, durations)) / 1000)


def send_all(server: Served, photos: Sequence[bytes], clients: int) -> tuple[float, list[Answered]]:
    """Seconds for all photos, and the answers, from several clients at once."""
    queue = iter(photos)

    def work(_: int) -> list[Answered]:
        client = Client(server)
        return [client.post(photo) for photo in queue]

    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        answers = [one for part in pool.map(work, range(clients)) for one in part]
    return time.perf_counter() - started, answers


def throughput(paths: Sequence[Path], work: Path) -> None:
    """``predict`` and two kinds of server on the same photos, each three times, in turn."""
    photos = [path.read_bytes() for path in paths]
    (work / "list").write_text("".join(f"{path}\n" for path in paths))
    speeds: dict[str, list[float]] = {}
    times: dict[str, list[float]] = {}
    for turn in range(3):
        command = [sys.executable, "-m", "human_edge_detection", "predict", "-", "--save", "coco"]
        with open(work / "list") as listed:
            done = subprocess.run(
                [*command, "--output", str(work / f"out{turn}")], stdin=listed, text=True,
                capture_output=True, check=True,
            )  # fmt: skip
        found = re.search(r"([\d.]+) images/s", done.stdout)
        assert found is not None, done.stdout
        speeds.setdefault("predict", []).append(float(found[1]))
        for workers, threads in ((2, 1), (1, 2)):
            flags = ["--workers", workers, "--threads", threads]
            with serving(work / "log", flags) as server:
                send_all(server, photos[:8], workers)
                seconds, answers = send_all(server, photos, 2 * workers)
            assert {answer.status for answer in answers} == {200}
            name = f"serve, {workers} x {threads}"
            speeds.setdefault(name, []).append(len(photos) / seconds)
            times.setdefault(name, []).extend(answer.seconds for answer in answers)
    for name, values in speeds.items():
        each = sorted(np.array(values) / np.array(speeds["predict"]))
        line = f"{name:14} {statistics.mean(values):6.2f} photos/s, {each[1]:.2f} of predict"
        line += f" ({each[0]:.2f} … {each[2]:.2f})"
        if name in times:
            p50, p95, p99 = np.percentile(times[name], [50, 95, 99])
            line += f", p50 {p50:.3f} s, p95 {p95:.3f}, p99 {p99:.3f}"
        print(line, flush=True)


def overhead(photos: Sequence[bytes], work: Path) -> None:
    """What a request takes beyond its stages, one after the other.

    The wall's share holds the waiting for a CPU on a busy machine; the processor time of the
    thread that talks HTTP, which works on no photo, does not.
    """
    with serving(work / "log", ["--workers", 1]) as server:
        client = Client(server)
        for photo in photos[:5]:
            client.post(photo)
        spent = _main_thread_seconds(server)
        answers = [client.post(photo) for photo in photos]
        spent = 1000 * (_main_thread_seconds(server) - spent) / len(photos)
        extra = np.array([1000 * (one.seconds - one.stages) for one in answers])
    least, p50, p95 = np.percentile(extra, [5, 50, 95])
    print(
        f"overhead a request: {spent:.2f} ms of processor time; wall p5 {least:.2f} ms, "
        f"p50 {p50:.2f}, p95 {p95:.2f}",
        flush=True,
    )


def _main_thread_seconds(server: Served) -> float:
    """Processor time of the thread that runs the event loop (Linux)."""
    pid = server.process.pid
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9


def resized(photos: Sequence[bytes]) -> list[bytes]:
    """Photos scaled to ``SIZES`` in turn, as JPEG."""
    found = []
    for photo, size in zip(photos, itertools.cycle(SIZES), strict=False):
        buffer = io.BytesIO()
        Image.open(io.BytesIO(photo)).convert("RGB").resize(size).save(buffer, "JPEG")
        found.append(buffer.getvalue())
    return found


def memory(photos: Sequence[bytes], count: int, work: Path) -> None:
    """Resident memory over requests of mixed sizes and formats, and its slope after the first."""
    mixed = resized(photos)
    formats = ("coco", "polygons", "labels", "overlay", "cutouts")
    with serving(work / "log", ["--workers", 2, "--max_pixels", 5_000_000]) as server:
        points: list[tuple[int, float]] = []
        with ThreadPoolExecutor(4) as pool:
            clients = [Client(server) for _ in range(4)]

            def ask(at: int) -> int:
                query = f"?format={formats[at // 4 % 5]}"
                return clients[at % 4].post(mixed[at // 4 * 5 % len(mixed)], query).status

            statuses: Counter[int] = Counter()
            for at in range(0, count, 4):
                statuses.update(pool.map(ask, range(at, at + 4)))
                if at % 100 == 0:
                    points.append((at, server.metric(RSS) / 1e6))
                    print(f"  after {at:5} requests {points[-1][1]:6.0f} MB", flush=True)
    table = np.array(points)
    late = table[table[:, 0] >= min(500, count // 2)]
    slope = np.polyfit(late[:, 0], late[:, 1], 1)[0] * 1000
    print(
        f"memory: {slope:+.2f} MB in 1,000 requests, {dict(statuses)}, peak {table[:, 1].max():.0f}"
    )


def raw(server: Served, *parts: bytes, pause: float = 0.0) -> str:
    """The status that parts of a request are answered with; "" if the connection is closed."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.settimeout(pause or 30)
        for part in parts:
            connection.sendall(part)
            if pause:
                with suppress(TimeoutError):
                    return connection.recv(200).decode(errors="replace")[9:12]
        return connection.recv(200).decode(errors="replace")[9:12]


def hostile(photo: bytes, work: Path) -> None:
    """Status, time and memory of requests that no friend sends."""
    bomb = io.BytesIO()
    Image.new("L", (13_000, 13_000)).save(bomb, "PNG")
    head = b"POST /v1/segment HTTP/1.1\r\nHost: x\r\n"
    big = bytes(21_000_000)
    chunk = b"%x\r\n%s\r\n" % (1_000_000, bytes(1_000_000))
    form = (
        b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n%s\r\n'
        b'--x\r\nContent-Disposition: form-data; name="boxes"\r\n\r\n%s\r\n--x--\r\n'
    )
    junk = form % (photo, b"[" * 500_000)
    many = form % (photo, b"[" + b",".join([b"[0,0,50,50]"] * 100_000) + b"]")
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    slow = [head + b"Content-Length: 1000\r\n\r\n", *[b"x"] * 20]

    def client(body: bytes, **headers: str) -> Callable[[Served], str]:
        return lambda server: str(Client(server).post(body, **headers).status)

    def many_at_once(server: Served) -> str:
        with ThreadPoolExecutor(200) as pool:
            sent = pool.map(lambda _: Client(server).post(photo).status, range(200))
            return str(dict(Counter(sent)))

    cases: dict[str, Callable[[Served], str]] = {
        "photo": client(photo),
        "PNG of 13000x13000": client(bomb.getvalue()),
        "EPS": client(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"),
        "half a photo": client(photo[: len(photo) // 2]),
        "21 MB": client(big),
        "21 MB in chunks": lambda s: raw(
            s, head + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 21
        ),
        "a byte a second": lambda s: raw(s, *slow, pause=1.0),
        "boxes 500,000 deep": client(junk, **kind),
        "100,000 boxes": client(many, **kind),
        "an address": client(b"http://127.0.0.1/photo.jpg"),
        "200 at once": many_at_once,
    }
    with serving(work / "log", ["--body_seconds", 3]) as server:
        client(photo)(server)
        for name, send in cases.items():
            before, started = server.metric(RSS), time.perf_counter()
            status = send(server)
            seconds, grown = time.perf_counter() - started, server.metric(RSS) - before
            print(
                f"  {name:20} {status} {1000 * seconds:7.0f} ms {grown / 1e6:+6.1f} MB", flush=True
            )
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(photo) + photo)
        server.wait_for("human_edge_detection_in_flight", 0, 30)
        line = 'human_edge_detection_requests_total{route="/v1/segment",status="499"}'
        print(f"  20 closed connections: all places free, {server.metric(line):.0f} were given up")


def main() -> None:
    """Measure what is asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--count", type=int, default=100, help="photos for the throughput")
    parser.add_argument("--memory", type=int, default=0, help="requests of the memory run")
    given = parser.parse_args()
    paths = sorted(path for path in given.photos.iterdir() if path.is_file())[: given.count]
    photos = [path.read_bytes() for path in paths]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        hostile(photos[0], work)
        overhead(photos, work)
        if given.count >= 20:
            throughput(paths, work)
        if given.memory:
            memory(photos, given.memory, work)


if __name__ == "__main__":
    main()
