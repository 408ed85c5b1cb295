"""Files, folders, globs and lists become one list of sources, each once."""

from __future__ import annotations

from pathlib import Path

import pytest

from archive_files import write_tar, write_zip
from human_edge_detection.core.errors import InputError
from human_edge_detection.inference.sources import find_sources


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    seen = ("b.jpg", "a.PNG", "notes.txt", "sub/c.webp", "sub/film.mp4")
    for name in (*seen, ".hidden.jpg", ".hidden/d.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def names(*arguments: object, **settings: object) -> list[str]:
    return [item.name for item in find_sources([str(a) for a in arguments], **settings)]


def test_folders(photos):
    assert names(photos) == ["a.PNG", "b.jpg"]
    assert names(photos, recursive=True) == ["a.PNG", "b.jpg", "sub/c.webp", "sub/film.mp4"]


def test_globs_keep_the_folders_below_their_fixed_part(photos):
    assert names(photos / "*.jpg") == ["b.jpg"]
    assert names(photos / "s*" / "*") == ["sub/c.webp", "sub/film.mp4"]
    assert names(photos / "**" / "*.webp") == ["sub/c.webp"]


def test_a_file_named_twice_is_done_once_and_any_ending_is_taken_at_its_word(photos):
    assert names(photos / "b.jpg", photos, photos / "notes.txt") == ["b.jpg", "a.PNG", "notes.txt"]


def test_archives_are_looked_into(photos):
    write_zip(photos / "p.zip", {"top/a.jpg": b"1", "top/notes.txt": b"2", "b.png": b"3"})
    write_tar(photos / "p.tar", {"c.jpg": b"4"})
    assert names(photos / "p.zip") == ["b.png", "top/a.jpg"]
    found = find_sources([str(photos / "p.*")])
    assert [item.name for item in found] == ["c.jpg", "b.png", "top/a.jpg"]
    assert found[2].path == photos / "p.zip" / "top" / "a.jpg"
    assert found[2].file.read() == b"1"
    assert found[2].stamp() == found[1].stamp() != found[0].stamp()
    with pytest.raises(InputError, match="no photo or video there"):
        find_sources([str(write_tar(photos / "none.tar", {"notes.txt": b"2"}))])


def test_a_real_file_with_brackets_is_no_glob(photos):
    (photos / "x[1].jpg").touch()
    assert names(photos / "x[1].jpg") == ["x[1].jpg"]


def test_lists_from_standard_input(photos):
    lines = [f"{photos / 'b.jpg'}\n", "\n", "gone.jpg\n", f"{photos / 'sub'}\n"]
    assert names("-", listed=lines) == ["b.jpg", "gone.jpg", "c.webp", "film.mp4"]


def test_the_output_folder_is_never_a_source(photos):
    out = photos / "sub"
    assert names(photos, recursive=True, output=out) == ["a.PNG", "b.jpg"]


def test_videos_are_told_by_their_ending(photos):
    found = find_sources([str(photos / "sub")])
    assert [item.is_video for item in found] == [False, True]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("missing.jpg", "does not exist"),
        ("*.jpg", "no photo or video there"),
        ("empty", "--recursive looks deeper"),
        ("-", "lists no file"),
    ],
)
def test_nothing_to_do_is_an_error(tmp_path, monkeypatch, argument, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=message):
        find_sources([argument])


@pytest.mark.parametrize("name", ["a.tar.gz", "a.TGZ", "a.tar.xz"])
def test_an_archive_that_is_compressed_as_a_whole_is_named(photos, name):
    (photos / name).write_bytes(b"\x1f\x8b packed")
    with pytest.raises(InputError, match=rf"{name} is compressed as a whole.* plain \.tar"):
        find_sources([str(photos / name)])
