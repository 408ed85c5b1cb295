"""``fleet`` on Ray: on this machine, on a cluster of three nodes, and with parts of it killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ray = pytest.importorskip("ray", reason="needs the extra fleet")

from archive_files import write_tar  # noqa: E402
from fleet_photos import do_job, photo_bytes, results, write_photos  # noqa: E402
from human_edge_detection.core.errors import InputError  # noqa: E402
from human_edge_detection.fleet.cluster import cluster as cluster_of  # noqa: E402
from human_edge_detection.fleet.options import FleetOptions  # noqa: E402

pytestmark = [pytest.mark.fleet, pytest.mark.slow]
SOURCES = Path(__file__).resolve().parents[2] / "src"
MEMORY = 160 << 20
SECONDS = 600

KILLER = """
import os
import PIL.Image

real = PIL.Image.open

def open_or_die(file, *rest, **named):
    if hasattr(file, "getvalue") and file.getvalue()[:4] == b"KILL":
        os._exit(9)
    return real(file, *rest, **named)

PIL.Image.open = open_or_die
"""
"""A ``sitecustomize`` with which a photo that begins with KILL ends the process that decodes it."""


Start = Callable[..., "subprocess.Popen[str]"]
Wanted = Callable[[Path], list[dict[str, Any]]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts ``fleet`` in blocks of four photos; what still runs at the end of a test is killed."""
    processes = []

    def begin(
        source: Path, output: Path, *flags: str, before: tuple[Path, ...] = ()
    ) -> subprocess.Popen[str]:
        path = os.pathsep.join(map(str, (*before, SOURCES)))
        environment = {**os.environ, "PYTHONPATH": path, "RAY_USAGE_STATS_ENABLED": "0"}
        environment.pop("RAY_ADDRESS", None)
        command = [sys.executable, "-m", "human_edge_detection", "fleet", str(source)]
        command += ["--output", str(output), "--block", "4", *flags]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, env=environment, text=True, stdout=pipe, stderr=pipe)
        processes.append(process)
        return process

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> str:
    """What a run printed, which ended well."""
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err[-3000:]
    return out + err


def wait_for_blocks(process: subprocess.Popen[str], output: Path, count: int) -> None:
    ends = time.monotonic() + SECONDS
    while len(list((output / "masks").glob("0*.parquet"))) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < ends
        time.sleep(0.01)


def people(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> Wanted:
    """The rows that a folder's photos must become, as of one process without Ray."""

    def rows(folder: Path) -> list[dict[str, Any]]:
        output = tmp_path_factory.mktemp("alone")
        return people(do_job(FleetOptions((str(folder),), str(output / "out"))))

    return rows


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    head = {"num_cpus": 1, "object_store_memory": MEMORY, "include_dashboard": False}
    nodes = Cluster(initialize_head=True, head_node_args=head)
    yield nodes
    nodes.shutdown()


def test_a_driver_that_is_killed_goes_on_by_the_same_command(
    tmp_path: Path, start: Start, wanted: Wanted
) -> None:
    folder, output = write_photos(tmp_path / "photos", 60), tmp_path / "out"
    (folder / "junk.jpg").write_bytes(b"junk")
    process = start(folder, output, "--max_errors", "0.1")
    wait_for_blocks(process, output, 2)
    process.kill()
    process.wait()
    before = results(output)
    assert 8 <= len(before) < 61
    said = ended(start(folder, output, "--max_errors", "0.1"))
    rows = results(output)
    assert [row["id"] for row in rows] == list(range(61))
    assert people(rows) == wanted(folder)
    assert "photos were done before" in said and "61 photos done" not in said
    kept = {row["id"]: row for row in before}
    assert [row for row in rows if row["id"] in kept] == before, "what was done is not done again"


def test_a_node_that_is_killed(tmp_path: Path, start: Start, cluster: Any, wanted: Wanted) -> None:
    folder, output = write_photos(tmp_path / "photos", 80), tmp_path / "out"
    node = {"num_cpus": 1, "object_store_memory": MEMORY}
    kept, lost = cluster.add_node(**node), cluster.add_node(**node)
    cluster.wait_for_nodes()
    process = start(folder, output, "--address", cluster.address, "--actors", "2:2")
    wait_for_blocks(process, output, 2)
    cluster.remove_node(lost, allow_graceful=False)
    done = len(list((output / "masks").glob("*.parquet")))
    ended(process)
    cluster.remove_node(kept)
    assert done < 20, "the node was lost before the end"
    rows = results(output)
    assert [row["id"] for row in rows] == list(range(80)), "every photo once"
    assert people(rows) == wanted(folder)


def test_a_photo_that_kills_its_reader_is_a_row(tmp_path: Path, start: Start) -> None:
    (tmp_path / "killer").mkdir()
    (tmp_path / "killer" / "sitecustomize.py").write_text(KILLER)
    files = {f"{number}.jpg": photo_bytes(0) for number in range(9)}
    tar = write_tar(tmp_path / "shard.tar", {**files, "killer.jpg": b"KILL"})
    flags = ("--max_errors", "0.2", "--actors", "1")
    said = ended(start(tar, tmp_path / "out", *flags, before=(tmp_path / "killer",)))
    rows = results(tmp_path / "out")
    assert [row["error_kind"] for row in rows] == [None] * 9 + ["killed"]
    assert rows[9]["uri"] == f"{tar}/killer.jpg" and "killer.jpg: decoding it kills" in said


def test_a_run_in_which_all_photos_fail_ends(tmp_path: Path, start: Start) -> None:
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(b"junk")
    process = start(tmp_path, tmp_path / "out")
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 2 and "all of the first 3 photos have errors" in err
    assert list((tmp_path / "out" / "masks").iterdir()) == []
    process = start(tmp_path, tmp_path / "out", "--model", str(tmp_path / "none.onnx"))
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 2 and "none.onnx" in err and "Traceback" not in err


def test_no_cluster_at_the_address(tmp_path: Path, start: Start) -> None:
    process = start(
        write_photos(tmp_path / "photos", 1), tmp_path / "out", "--address", "nowhere:1"
    )
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 2 and "--address nowhere:1" in err and "Traceback" not in err


def test_ray_that_does_not_start_is_an_error_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray raises a plain ``Exception`` where a machine is too busy to start it within 30 s."""

    def too_busy(**_options: object) -> None:
        raise Exception("The current node timed out during startup.")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", too_busy)
    message = "Ray does not start on this machine.*timed out during startup"
    with pytest.raises(InputError, match=message), cluster_of(FleetOptions(("photos",))):
        pass
