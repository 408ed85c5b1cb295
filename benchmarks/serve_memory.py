"""Resident memory of a server over many requests of mixed sizes, and its slope.

uv run human-edge-detection serve --workers 1 --max_pixels 5000000 &
uv run python benchmarks/serve_memory.py --log serve_memory.csv --count 20000

Photos are drawn crowds of 64 to 700 pixels a side, a few of 1,920 x 1,080, and one that is too
large, as JPEG, PNG and WebP; two of three requests bring one or two boxes, one leaves the finding
to the model, in all formats of an answer; some are damaged, and some senders leave. Every hundredth
request writes a row. A run that was cut off goes on from its last row while the server lives.
"""

from __future__ import annotations

import argparse
import http.client
import io
import re
import time
import urllib.request
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from PIL import Image

from human_edge_detection.data.sample import draw_crowd

SETTLED = 500
"""Requests before the slope is measured: caches fill in them."""

EVERY = 100
"""Requests from one row of the log to the next."""

PHOTOS = 48
KINDS = ("JPEG", "JPEG", "PNG", "WEBP")
FORMATS = ("coco", "polygons", "labels", "overlay", "cutouts")


@dataclass(frozen=True)
class Photo:
    """A photo as a file, and its size in pixels."""

    data: bytes
    width: int
    height: int


def draw_photos() -> list[Photo]:
    """The photos that are sent; the same ones in every run."""
    rng, found = np.random.default_rng(0), []
    crowds = [Image.fromarray(draw_crowd(seed, (480, 640), 4)[0]) for seed in range(4)]
    for number in range(PHOTOS):
        height, width = (int(side) for side in rng.integers(64, 701, 2))
        if number % 24 == 23:
            height, width = (1080, 1920) if number < PHOTOS - 1 else (2400, 3200)
        buffer = io.BytesIO()
        image = crowds[number % len(crowds)].resize((width, height))
        image.save(buffer, KINDS[number // len(crowds) % len(KINDS)])
        found.append(Photo(buffer.getvalue(), width, height))
    return found


def form(photo: Photo, count: int, rng: np.random.Generator) -> tuple[bytes, dict[str, str]]:
    """A form with a photo and some boxes, and its header."""
    corners = rng.uniform(0, 1, (count, 2, 2)) * [photo.width, photo.height]
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1) + 1], axis=1).round(1).tolist()
    part = '--part\r\nContent-Disposition: form-data; name="{}"\r\n\r\n'
    body = part.format("boxes").encode() + str(boxes).encode() + b"\r\n"
    body += part.format("image").encode() + photo.data + b"\r\n--part--\r\n"
    return body, {"Content-Type": "multipart/form-data; boundary=part"}


def ask(address: str, number: int, photos: list[Photo]) -> str:
    """Send the request of this number; its status comes back."""
    rng = np.random.default_rng(number)
    photo, query = photos[int(rng.integers(PHOTOS))], f"?format={FORMATS[number % len(FORMATS)]}"
    headers: Mapping[str, str] = {}
    body = photo.data
    if number % 50 == 49:
        body = body[: len(body) // 2]
    elif number % 3:
        body, headers = form(photo, number % 3, rng)
    connection = http.client.HTTPConnection(address, timeout=120)
    try:
        connection.request("POST", f"/v1/segment{query}", body, dict(headers))
        if number % 100 == 98:
            return "left"
        answer = connection.getresponse()
        answer.read()
        return str(answer.status)
    finally:
        connection.close()


def metric(address: str, name: str) -> float:
    """A figure that the server tells of itself."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=60) as answer:
        found = re.search(rf"^{name} (.+)$", answer.read().decode(), re.M)
    assert found is not None, name
    return float(found[1])


def read_rows(log: Path, started: float) -> list[tuple[int, float]]:
    """Requests and resident MB of the rows that a run with the same server has written."""
    if not log.exists():
        log.write_text(f"# server started {started}\nrequests,resident_mb,server_cpu_seconds\n")
    first, _, *lines = log.read_text().splitlines()
    if first != f"# server started {started}":
        raise SystemExit(f"error: {log} is about another server: name another --log")
    return [(int(at), float(mb)) for at, mb, _ in (line.split(",") for line in lines)]


def write_row(address: str, number: int, rows: list[tuple[int, float]], log: TextIO) -> None:
    """Add what the server takes after so many requests to the rows and to the log."""
    resident = metric(address, "process_resident_memory_bytes") / 1e6
    seconds = metric(address, "process_cpu_seconds_total")
    rows.append((number, resident))
    log.write(f"{number},{resident:.2f},{seconds:.1f}\n")
    log.flush()


def describe(rows: list[tuple[int, float]]) -> str:
    """The slope after the first requests, of all rows and of the least of each five.

    What a large photo took is given back some requests later, so that single rows lie higher.
    """
    table = np.array([row for row in rows if row[0] >= SETTLED])
    floors = np.array(
        [part[part[:, 1].argmin()] for part in np.split(table, range(5, len(table), 5))]
    )
    if len(floors) < 3:
        return f"{len(rows)} rows: too few for a slope"
    slope, floor = (1000 * np.polyfit(each[:, 0], each[:, 1], 1)[0] for each in (table, floors))
    return (
        f"{table[-1, 0]:.0f} requests, from {SETTLED} on {table[:, 1].min():.0f} to "
        f"{table[:, 1].max():.0f} MB, slope {slope:+.3f} MB in 1,000; least of each five rows "
        f"{floors[0, 1]:.1f} to {floors[-1, 1]:.1f} MB, slope {floor:+.3f}"
    )


def main() -> None:
    """Ask until the count is reached, and print the slope."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", default="127.0.0.1:8000", help="where the server listens")
    parser.add_argument("--log", type=Path, default=Path("serve_memory.csv"))
    parser.add_argument("--count", type=int, default=20_000)
    given = parser.parse_args()
    rows = read_rows(given.log, metric(given.address, "process_start_time_seconds"))
    statuses: Counter[str] = Counter()
    photos = draw_photos() if not rows or rows[-1][0] < given.count else []
    started = time.monotonic()
    with open(given.log, "a") as log:
        for number in range(rows[-1][0] if rows else 0, given.count):
            if number % EVERY == 0 and (not rows or number > rows[-1][0]):
                write_row(given.address, number, rows, log)
            statuses[ask(given.address, number, photos)] += 1
        if rows[-1][0] < given.count:
            write_row(given.address, given.count, rows, log)
    print(f"{describe(rows)}; {dict(statuses)} in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
