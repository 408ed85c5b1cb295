"""The log of what ``predict`` has finished, from which a second run continues the first."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.files import replacing
from human_edge_detection.inference.sources import Source

LOG_NAME = ".predict.jsonl"


class ResumeLog:
    """One JSON line per finished file in ``OUTPUT/.predict.jsonl``; the first holds the settings.

    A line is written after all of its file's results are. A line cut off by a crash does not
    count. Methods may be called from several threads.
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
            if known:
                self._check_settings(known[0], settings)
            self._begin([settings, *known[1:]])
        except OSError as error:
            raise InputError(
                f"--output {folder} cannot be written: {error.strerror or error}"
            ) from error

    def _read_lines(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        lines = []
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError:  # the last run was killed while it wrote this line
                continue
        return lines

    def _check_settings(self, old: dict[str, Any], new: dict[str, Any]) -> None:
        differing = [key for key in {**old, **new} if old.get(key) != new.get(key)]
        if differing:
            key = differing[0]
            raise InputError(
                f"--output {self._path.parent} holds results of other settings ({key}: "
                f"{old.get(key)}, now {new.get(key)}): name another --output, or --overwrite"
            )

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

    def finished(self, source: Source) -> dict[str, Any] | None:
        """The record of a file that is done and has not changed since, or None."""
        record = self._done.get(str(source.path.resolve()))
        return record if record and record["stamp"] == source.stamp() else None

    def claim(self, source: Source, wanted_id: int | None) -> tuple[str, int | None]:
        """The name of a file's results, and an image id that no other file has.

        Args:
            source: the file; a second call for it returns the same.
            wanted_id: the id to use if it is free, or None for no id.
        """
        path = str(source.path.resolve())
        with self._lock:
            name = self._free_name(source.name, path)
            self._names[name] = path
            if wanted_id is None:
                return name, None
            if self._ids.setdefault(wanted_id, path) != path:
                wanted_id = max(self._ids) + 1
                self._ids[wanted_id] = path
            return name, wanted_id

    def _free_name(self, name: str, path: str) -> str:
        pure = PurePosixPath(name)
        choices = [str(pure.with_suffix("")), name.replace(".", "_")]
        choices += [f"{choices[1]}_{number}" for number in range(2, len(self._names) + 3)]
        return next(choice for choice in choices if self._names.get(choice, path) == path)

    def add(self, source: Source, name: str, **facts: Any) -> None:
        """Record that a file's results are all written."""
        path = str(source.path.resolve())
        record = {"path": path, "name": name, "stamp": source.stamp(), **facts}
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
