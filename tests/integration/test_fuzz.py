"""Damaged files of every kind: an answer or one clear error, and nothing else, within 2 GiB.

``pytest tests/integration/test_fuzz.py --cases 20000 --seed 7`` is a long run.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from fuzz_readers import READERS, Reader
from surviving_worker import Outcome, run_cases

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does"),
]

KEPT = Path(tempfile.gettempdir()) / "human_edge_detection_fuzz"
"""Where the bytes of failures are kept."""


def write_cases(
    reader: Reader, files: dict[str, bytes], folder: Path, count: int, seed: int
) -> Iterator[Path]:
    """Damaged copies of a reader's files in turn, each in a folder of its own, then removed."""
    names = list(files)
    for number in range(count):
        source = random.Random(f"{seed} {reader.read.__name__} {number}")
        case = folder / f"{number:06d}"
        case.mkdir()
        path = case / names[number % len(names)]
        path.write_bytes(reader.damaged(path.name, files[path.name], source))
        yield path
        if number >= 4:  # the last few are looked at if a worker dies
            shutil.rmtree(folder / f"{number - 4:06d}", ignore_errors=True)


def keep(outcome: Outcome, folder: Path) -> str:
    """Copy a failed case and those before it; the line that names them."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in (outcome.path, *outcome.before):
        shutil.copytree(path.parent, folder / path.parent.name, dirs_exist_ok=True)
    last = outcome.text.strip().splitlines()[-1] if outcome.text.strip() else ""
    (folder / f"{outcome.path.parent.name}.txt").write_text(outcome.text)
    return f"{folder / outcome.path.parent.name / outcome.path.name}: {outcome.kind}: {last:.300}"


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.read.__name__)
def test_damaged_files(reader: Reader, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    seed = request.config.getoption("--seed")
    count = max(4, round(reader.share * request.config.getoption("--cases")))
    name = reader.read.__name__
    files = reader.files()
    (tmp_path / "sound").mkdir()
    sound = tmp_path / "sound" / next(iter(files))
    sound.write_bytes(files[sound.name])
    kinds: Counter[str] = Counter()
    faults = []
    cases = write_cases(reader, files, tmp_path, count, seed)
    for outcome in run_cases(f"fuzz_readers:{name}", sound, cases):
        kinds[outcome.kind] += 1
        if outcome.is_fault:
            faults.append(keep(outcome, KEPT / f"{name}-{seed}"))
    print(f"{name}: {dict(kinds)}")
    assert not faults, f"{len(faults)} of {count} cases, kept:\n" + "\n".join(faults[:20])
    assert kinds["clear"] > count / 100 or count < 100, "hardly any case is damaged"


def test_every_sound_file_is_read(tmp_path: Path) -> None:
    for reader in READERS:
        for name, data in reader.files().items():
            folder = tmp_path / reader.read.__name__ / name.replace(".", "_")
            folder.mkdir(parents=True)
            (folder / name).write_bytes(data)
            reader.read(folder / name)


def test_the_worker_survives_and_names_each_fault(tmp_path: Path) -> None:
    paths = []
    kinds = ["ok", "clear", "trace", "long", "crash", "memory", "hang", "outside", "ok"]
    for number, kind in enumerate(kinds):
        (tmp_path / str(number)).mkdir()
        paths.append(tmp_path / str(number) / f"{kind}.bin")
    found = list(run_cases("surviving_worker:sound_or_not", paths[0], paths, seconds=3))
    expected = ["trace" if kind == "memory" else kind for kind in kinds]
    assert [outcome.kind for outcome in found] == expected
    assert [outcome.is_fault for outcome in found] == [k not in ("ok", "clear") for k in expected]
    assert "KeyError" in found[2].text and "MemoryError" in found[5].text
    assert found[4].before == tuple(paths[1:4])
