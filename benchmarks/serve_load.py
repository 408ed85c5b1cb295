"""A server under load on the loopback interface: hostile requests, overhead, throughput.

uv run python benchmarks/serve_load.py --photos photos/ --count 48

``taskset -c 0`` before it keeps all sides on one CPU. Memory: ``benchmarks/serve_memory.py``.
"""

from __future__ import annotations

import argparse
import http.client
import io
import re
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from human_edge_detection.core import usable_cpus

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "helpers"))
from served import SOURCES, Served, serving  # starts and ends the server

PARTS = ("hostile", "overhead", "throughput")
RSS, CPU = "process_resident_memory_bytes", "process_cpu_seconds_total"


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


@dataclass
class Speeds:
    """What one side reached, turn after turn: photos a second, and processor ms a photo."""

    photos: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def line(self, name: str, other: Speeds) -> str:
        """Means, and the other side's processor time and speed as a multiple of these."""
        each = sorted(np.array(self.photos) / np.array(other.photos))
        cost = statistics.mean(self.cpu_ms)
        line = f"{name:14} {statistics.mean(self.photos):6.2f} photos/s, {each[len(each) // 2]:.2f}"
        line += f" of predict ({each[0]:.2f} … {each[-1]:.2f}); {cost:.1f} ms of a processor each, "
        line += f"{statistics.mean(other.cpu_ms) / cost:.2f}"
        if self.seconds:
            p50, p95, p99 = np.percentile(self.seconds, [50, 95, 99])
            line += f"; p50 {p50:.3f} s, p95 {p95:.3f}, p99 {p99:.3f}"
        return line


def predict(paths: Sequence[Path], work: Path) -> tuple[float, float]:
    """Photos a second of ``predict``, and its processor time in seconds, its start included."""
    (work / "list").write_text("".join(f"{path}\n" for path in paths))
    command = [sys.executable, "-m", "human_edge_detection", "predict", "-", "--save", "coco"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(work / "list") as listed:
        done = subprocess.run(
            [*command, "--output", tempfile.mkdtemp(dir=work)], stdin=listed, text=True,
            capture_output=True, check=True,
        )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = re.search(r"([\d.]+) images/s", done.stdout)
    assert found is not None, done.stdout
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return float(found[1]), spent


def throughput(paths: Sequence[Path], work: Path, turns: int) -> None:
    """``predict`` and the server on the same photos, several times, in turn.

    On a machine with other work the processor times tell more than the seconds: ``predict``'s
    without its start, the server's with the client's.
    """
    photos, few = [path.read_bytes() for path in paths], 4
    cpus = usable_cpus()
    kinds = sorted({(cpus, 1), (1, cpus)}, reverse=True)
    speeds = {name: Speeds() for name in ("predict", *(f"serve, {w} x {t}" for w, t in kinds))}
    for _ in range(turns):
        (_, start), (speed, spent) = predict(paths[:few], work), predict(paths, work)
        speeds["predict"].photos.append(speed)
        speeds["predict"].cpu_ms.append(1000 * (spent - start) / (len(paths) - few))
        for workers, threads in kinds:
            found = speeds[f"serve, {workers} x {threads}"]
            with serving(work / "log", ["--workers", workers, "--threads", threads]) as server:
                send_all(server, photos[:8], workers)
                spent = server.metric(CPU) + time.process_time()
                seconds, answers = send_all(server, photos, 2 * workers)
                spent = server.metric(CPU) + time.process_time() - spent
            assert {answer.status for answer in answers} == {200}
            found.photos.append(len(photos) / seconds)
            found.cpu_ms.append(1000 * spent / len(photos))
            found.seconds.extend(answer.seconds for answer in answers)
    for name, values in speeds.items():
        print(values.line(name, speeds["predict"]), flush=True)


def overhead(photos: Sequence[bytes], work: Path, against: Path | None) -> None:
    """What a request takes beyond its stages, one after the other.

    The wall's share holds the waiting for a CPU on a busy machine; the processor time of the
    thread that talks HTTP, which works on no photo, does not, but for what other work does to its
    caches: the lowest twentieth is nearest to an idle machine. Another checkout's server, if there
    is one, gets each photo in turn with this one, and bears the same neighbours.
    """
    sources = {"": SOURCES} | ({f", {against}": against} if against else {})
    with ExitStack() as stack:
        servers = [
            stack.enter_context(serving(work / f"log{at}", ["--workers", 1], place))
            for at, place in enumerate(sources.values())
        ]
        clients = [Client(server) for server in servers]
        rows = []
        for photo in [*photos[:5], *photos]:
            both = zip(servers, clients, strict=True)
            rows.append([_spent(server, client, photo) for server, client in both])
    spent, extra = np.moveaxis(1000 * np.array(rows[5:]), -1, 0)
    for at, name in enumerate(sources):
        for kind, values in (("processor time", spent), ("wall, client included", extra)):
            least, p50, p95 = np.percentile(values[:, at], [5, 50, 95])
            print(f"overhead, {kind}{name}: p5 {least:.2f} ms, p50 {p50:.2f}, p95 {p95:.2f}")
    if against:
        print(f"processor time, photo by photo: {np.median(spent[:, 0] / spent[:, 1]):.3f} of it")


def _spent(server: Served, client: Client, photo: bytes) -> tuple[float, float]:
    """Processor seconds of the event loop's thread for a photo, and the wall's beyond stages."""
    before = _main_thread_seconds(server)
    answer = client.post(photo)
    time.sleep(0.02)  # the thread tidies up after the answer
    return _main_thread_seconds(server) - before, answer.seconds - answer.stages


def _main_thread_seconds(server: Served) -> float:
    """Processor time of the thread that runs the event loop (Linux)."""
    pid = server.process.pid
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9


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
    parser.add_argument("--count", type=int, default=100, help="photos for each measurement")
    parser.add_argument("--turns", type=int, default=3, help="of the throughput")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--against", type=Path, help="src of another checkout, for the overhead")
    given = parser.parse_args()
    paths = sorted(path for path in given.photos.iterdir() if path.is_file())[: given.count]
    photos = [path.read_bytes() for path in paths]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if "hostile" in given.only:
            hostile(photos[0], work)
        if "overhead" in given.only:
            overhead(photos, work, given.against)
        if "throughput" in given.only:
            throughput(paths, work, given.turns)


if __name__ == "__main__":
    main()
