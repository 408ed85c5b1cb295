import os
from pathlib import Path

import pytest

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.files import (
    plain_name,
    remove_partials,
    replacing,
    write_atomically,
)


def test_writing_makes_folders_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.bin"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(path.parent) == ["file.bin"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.bin"
    write_atomically(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"file\.bin.*No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file.bin"]


def test_replacing_leaves_the_old_file_or_the_whole_new_one(tmp_path):
    path = tmp_path / "video" / "a.txt"
    with replacing(path) as partial:
        partial.write_text("new")
        assert not path.exists() and partial.suffix == ".txt"
    with pytest.raises(KeyError), replacing(path) as partial:
        partial.write_text("half")
        raise KeyError
    with pytest.raises(InputError, match="No space"), replacing(path):
        raise OSError(28, "No space left on device")
    assert path.read_text() == "new" and list(path.parent.iterdir()) == [path]


def test_an_interrupted_write_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with pytest.raises(KeyboardInterrupt), replacing(path) as partial:
        partial.write_bytes(b"half")
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []


def test_names_as_long_as_a_file_system_takes(tmp_path: Path) -> None:
    for name in ("a" * 246 + ".png", "a." + "b" * 248):
        write_atomically(tmp_path / name, b"data")
        assert (tmp_path / name).read_bytes() == b"data"
    with pytest.raises(InputError, match="cannot be written"):
        write_atomically(tmp_path / ("a" * 300), b"data")
    assert len(os.listdir(tmp_path)) == 2


def test_temporary_names_are_new_and_follow_no_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = tmp_path / "a.txt", tmp_path / "other"
    with replacing(path) as first, replacing(path) as second:
        assert first != second
    other.write_text("untouched")
    monkeypatch.setattr("secrets.token_hex", lambda _: "guessed")
    (tmp_path / ".guessed.part.txt").symlink_to(other)
    with pytest.raises(InputError, match="cannot be written"):
        write_atomically(path, b"data")
    assert other.read_text() == "untouched"
    assert (tmp_path / ".guessed.part.txt").is_symlink()


def test_what_killed_processes_left_is_deleted_and_nothing_else(tmp_path: Path) -> None:
    inner = tmp_path / "panels"
    inner.mkdir()
    left = [tmp_path / f".{'0f' * 8}.part.onnx", inner / f".{'a1' * 8}.part"]
    kept = [tmp_path / "best.part.onnx", inner / ".part.onnx", tmp_path / ".0f.part.onnx"]
    for path in left + kept:
        path.touch()
    remove_partials(tmp_path)
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in kept)
    remove_partials(tmp_path / "missing")


def test_a_file_gets_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_atomically(tmp_path / "written", b"")
    assert (tmp_path / "written").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("a.jpg", "a.jpg"),
        ("a/b c/é😀.jpg", "a/b c/é😀.jpg"),
        ("./a//b/.", "a/b"),
        ("../../a/../../b.jpg", "b.jpg"),
        ("/etc/passwd", "etc/passwd"),
        ("//host/share", "host/share"),
        ("C:/x", "x"),
        ("C:D:x", "x"),
        ("/C:/../D:/x", "x"),
        ("a/12:30.jpg", "a/12:30.jpg"),
        ("a\0b", "a_b"),
        ("a\nb\x1b[0m\u2028", "a_b_[0m_"),
        ("caf\udce9.jpg", "caf\udce9.jpg"),
        ("..a/...", "..a/..."),
    ],
)
def test_names_are_made_plain(name: str, plain: str) -> None:
    assert plain_name(name) == plain
    assert plain_name(plain) == plain


@pytest.mark.parametrize("name", ["", ".", "..", "/", "../..", "C:", "C:/", "//", "/../C:"])
def test_names_of_nothing_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="is no name of a file"):
        plain_name(name)
