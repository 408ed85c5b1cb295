"""The log of what ``predict`` has finished, from which a second run continues the first."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from human_edge_detection.core.errors import InputError, one_line
from human_edge_detection.core.files import check_regular, plain_name, remove_partials, replacing
from human_edge_detection.inference.sources import Source
from human_edge_detection.runtime.model_files import ModelFiles
from human_edge_detection.runtime.onnx_graph import read_model, short_hash

LOG_NAME = ".predict.jsonl"
LOCK_NAME = ".predict.lock"


@contextmanager
def reserved(folder: Path) -> Iterator[None]:
    """An output folder, made if missing, that no second run may use meanwhile.

    A killed run leaves its lock file, which holds nobody up, and perhaps half-written files, which
    the next run removes.

    Raises:
        InputError: another run uses the folder, or it cannot be written.
    """
    path = folder / LOCK_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        was_killed = os.path.lexists(path)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    except (OSError, ValueError) as error:
        raise InputError(_unwritable(folder, error)) from error
    try:
        if not _locked(handle) or not os.path.lexists(path):  # or removed by a run that just ended
            raise InputError(
                f"output {folder} is in use by another run: wait until it ends, or name "
                "another output"
            )
        try:
            if was_killed:
                remove_partials(folder)
            yield
        finally:
            with contextlib.suppress(OSError):
                path.unlink()
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    """Whether this process now holds the lock on an open file, until it closes it or ends."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _unwritable(folder: Path, error: Exception) -> str:
    if isinstance(error, FileExistsError):
        return f"output {folder} is a file: name a folder, or remove it"
    return f"output {folder} cannot be written: {getattr(error, 'strerror', None) or error}"


class ResumeLog:
    """One JSON line per finished file in ``OUTPUT/.predict.jsonl``; the first holds the settings.

    A line is written after all of its file's results are. A damaged line does not count, nor does
    a log whose settings are damaged. Methods may be called from several threads.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], overwrite: bool = False) -> None:
        """Open or begin the log of an output folder.

        Args:
            folder: the output; made if missing.
            settings: what the results depend on.
            overwrite: begin anew, whatever was finished.

        Raises:
            InputError: the folder cannot be written, or holds results of other settings.
        """
        self._path = folder / LOG_NAME
        self._lock = threading.Lock()
        self._done: dict[str, dict[str, Any]] = {}
        self._names: dict[str, str] = {}
        self._ids: dict[int, str] = {}
        self._places: dict[str, int] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            known = [] if overwrite else self._read_lines()
            if len(known) > 1:  # settings alone, of a command that failed, bind nobody
                check_settings(folder, known[0], settings, "name another output, or overwrite it")
            self._begin([settings, *known[1:]])
        except OSError as error:
            raise InputError(_unwritable(folder, error)) from error

    def _read_lines(self) -> list[dict[str, Any]]:
        """The settings and the records that are whole."""
        if not os.path.lexists(self._path):
            return []
        check_regular(self._path, "log")
        lines = list(map(_decoded, self._path.read_bytes().splitlines()))
        if not lines or not isinstance(lines[0], dict):
            return []
        return [lines[0], *filter(_is_record, lines[1:])]

    def _begin(self, lines: list[dict[str, Any]]) -> None:
        with replacing(self._path) as partial, open(partial, "wb") as file:
            for line in lines:
                if "path" in line:
                    self._remember(line, file.tell())
                file.write(json.dumps(line).encode() + b"\n")

    def _remember(self, record: dict[str, Any], place: int) -> None:
        slim = {key: value for key, value in record.items() if key != "results"}
        self._done[record["path"]] = slim
        self._places[record["path"]] = place
        self._names[record["name"]] = record["path"]
        if record.get("image_id") is not None:
            self._ids[record["image_id"]] = record["path"]

    def finished(self, source: Source, stamp: list[int] | None) -> dict[str, Any] | None:
        """The record of a file that was finished with the same ``stamp``, or None."""
        record = self._done.get(source.key)
        return record if record and record["stamp"] == (stamp or ()) else None

    def claim(self, source: Source, wanted_id: int | None) -> tuple[str, int | None]:
        """The name of a file's results, and an image id that no other file has.

        Args:
            source: the file; a second call for it returns the same.
            wanted_id: the id to use if it is free, or None for no id.

        Raises:
            InputError: no name below the output can be made of the file's.
        """
        path = source.key
        with self._lock:
            name = self._free_name(plain_name(source.name), path)
            self._names[name] = path
            if wanted_id is None:
                return name, None
            if self._ids.setdefault(wanted_id, path) != path:
                wanted_id = max(self._ids) + 1
                self._ids[wanted_id] = path
            return name, wanted_id

    def _free_name(self, name: str, path: str) -> str:
        pure, full = PurePosixPath(name), name.replace(".", "_")
        numbered = (f"{full}_{number}" for number in itertools.count(2))
        choices = itertools.chain([str(pure.with_suffix("")), full], numbered)
        return next(choice for choice in choices if self._names.get(choice, path) == path)

    def add(self, source: Source, name: str, stamp: list[int] | None, **facts: Any) -> None:
        """Record that a file's results are all written.

        Args:
            source: the file.
            name: the name of its results.
            stamp: what changes with it, from before it was read; None if it was gone.
            **facts: what the record shall hold besides.
        """
        path = source.key
        record = {"path": path, "name": name, "stamp": stamp, **facts}
        with self._lock:
            try:
                with open(self._path, "ab") as file:
                    place = file.tell()
                    file.write(json.dumps(record).encode() + b"\n")
            except OSError as error:
                raise InputError(f"{self._path} cannot be written: {error.strerror}") from error
            self._remember(record, place)

    def results(self) -> Iterator[dict[str, Any]]:
        """The COCO results of all finished photos, in the order of their image ids."""
        photos = [(record.get("image_id"), path) for path, record in self._done.items()]
        with open(self._path, "rb") as file:
            for _, path in sorted((number, path) for number, path in photos if number is not None):
                file.seek(self._places[path])
                yield from json.loads(file.readline()).get("results", ())

    def write_predictions(self) -> Path:
        """Write ``predictions.json``, a list of COCO results, one a line."""
        path = self._path.with_name("predictions.json")
        with replacing(path) as partial, open(partial, "w", encoding="utf-8") as file:
            file.write("[")
            for number, result in enumerate(self.results()):
                file.write((",\n" if number else "\n") + json.dumps(result))
            file.write("\n]\n")
        return path


def check_settings(output: object, old: dict[str, Any], new: dict[str, Any], remedy: str) -> None:
    """Refuse to mix results of different settings.

    Args:
        output: where the results are, for the message.
        old: the settings of the results there.
        new: the settings of this run.
        remedy: what to do about it.

    Raises:
        InputError: naming the first setting that differs.
    """
    differing = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    if differing:
        key = differing[0]
        was, now = (one_line(str(values.get(key)), 80) for values in (old, new))
        raise InputError(
            f"output {output} holds results of other settings ({one_line(key, 80)}: {was}, now "
            f"{now}): {remedy}"
        )


def file_settings(files: ModelFiles, boxes: Path | None = None) -> dict[str, str | None]:
    """The files that results depend on, by flag, each as its name and a short hash."""
    settings: dict[str, str | None] = {}
    for flag, paths in (("--model", files.heads), ("--extractor", files.extractors)):
        names = [_fingerprint(path) for path in paths]
        settings[flag] = ", ".join(name or "none" for name in names) if any(names) else None
    for flag, path in (("--detector", files.detector), ("--boxes", boxes)):
        settings[flag] = _fingerprint(path)
    return settings


def _fingerprint(path: Path | None) -> str | None:
    if path is None:
        return None
    return f"{path.name} {'' if os.path.isdir(path) else short_hash(read_model(path))}".strip()


def _decoded(line: bytes) -> Any:
    """The value of a line of JSON, or None."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):  # cut off when a run was killed, or damaged
        return None


def _is_record(line: Any) -> bool:
    kinds = {"path": str, "name": str, "stamp": list, "results": list, "faults": list}
    return (
        isinstance(line, dict)
        and {"path", "name", "stamp"} <= line.keys()
        and all(isinstance(line[key], kind) for key, kind in kinds.items() if key in line)
        and isinstance(line.get("image_id"), int | None)
        and all(isinstance(fault, str) for fault in line.get("faults", ()))
    )
