"""Photos out of zip files and tar shards are those of the folder, and faults are named."""

from __future__ import annotations

import io
import multiprocessing
import pickle
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from archive_files import write_tar, write_zip
from human_edge_detection.core.errors import InputError
from human_edge_detection.core.images import encode_image, read_image, read_size
from human_edge_detection.data import archives
from human_edge_detection.data.photos import PhotoFile, PhotoStore, open_photos

FILES = {f"{name}.png": name.encode() * (50 + 7 * i) for i, name in enumerate("abcdefgh")}


def below(folder: str, files: dict[str, bytes] = FILES) -> dict[str, bytes]:
    return {f"{folder}/{name}": data for name, data in files.items()}


def shards(folder: Path) -> Path:
    items = list(FILES.items())
    for number in range(3):
        write_tar(folder / f"{number:04d}.tar", dict(items[number::3]))
    (folder / "index.json").write_text("{}")
    return folder


LONG = "very/" * 40 + "deep"


@pytest.fixture(params=["stored", "deflated", "tar", "gnu tar", "old tar", "shards", "pattern"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> PhotoStore:
    kind = str(request.param)
    if kind in ("stored", "deflated"):
        path = write_zip(tmp_path / "p.zip", FILES, 0 if kind == "stored" else 8)
    elif kind == "shards":
        path = shards(tmp_path / "shards")
    elif kind == "pattern":
        path = shards(tmp_path / "shards") / "*.tar"
    else:
        forms = {"tar": 2, "gnu tar": tarfile.GNU_FORMAT, "old tar": tarfile.USTAR_FORMAT}
        path = write_tar(tmp_path / "p.tar", FILES, forms[kind])
    found = open_photos([path], "--img_dir")
    assert isinstance(found, PhotoStore)
    return found


def everything(store: PhotoStore) -> dict[str, bytes]:
    return {name: store.read(name) for name in FILES}


def test_every_member_is_read_as_it_was_written(store: PhotoStore) -> None:
    assert everything(store) == FILES
    assert all(store.size(name) == len(data) for name, data in FILES.items())
    assert store.read("./a.png") == FILES["a.png"]
    assert sorted(store.names()) == sorted(FILES)


def test_only_names_that_are_there_are_known(store: PhotoStore) -> None:
    assert "a.png" in store
    for name in ("z.png", "", ".", "a", "folder/a.png", "../a.png"):
        assert name not in store
    with pytest.raises(InputError, match=r"no photo z\.png in .*(zip|tar)"):
        store.read("z.png")


def test_a_path_names_the_archive_and_the_member(store: PhotoStore) -> None:
    path = store.path_of("b.png")
    assert path.name == "b.png" and path.parent.is_file()
    assert str(PhotoFile(store, "b.png")) == str(path)
    assert store.path_of("z.png").name == "z.png"


def test_another_process_is_sent_the_list_but_no_open_file(store: PhotoStore) -> None:
    assert store.read("a.png")
    copy = pickle.loads(pickle.dumps(store))
    assert everything(copy) == FILES


def _reads_right(store: PhotoStore) -> bool:
    return all(everything(store) == FILES for _ in range(30))


def test_forked_processes_do_not_disturb_each_other(store: PhotoStore) -> None:
    assert store.read("a.png")  # open before the fork
    with multiprocessing.get_context("fork").Pool(3, _hold, (store,)) as pool:
        assert all(pool.map(_reads_right_again, range(6)))
        assert _reads_right(store)


def _hold(store: PhotoStore) -> None:
    _HELD.append(store)


def _reads_right_again(_: int) -> bool:
    return _reads_right(_HELD[0])


_HELD: list[PhotoStore] = []


def test_threads_take_turns(store: PhotoStore) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(_reads_right, [store] * 4))


def test_no_more_archives_are_open_than_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "_MOST_OPEN", 2)
    store = PhotoStore(sorted(shards(tmp_path / "shards").glob("*.tar")))
    for _ in range(3):
        assert everything(store) == FILES
    assert len(store._opened._files) == 2


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_leading_folders_may_be_left_out(tmp_path: Path, write: object) -> None:
    assert callable(write)
    path = tmp_path / f"p.{write.__name__[-3:]}"
    extra = {"__MACOSX/._a.png": b"x", "data/train2017/._b.png": b"x"}
    write(path, below("data/train2017") | extra)
    store = PhotoStore([path])
    for folder in ("", "train2017/", "data/train2017/", "./data/train2017/"):
        assert store.read(f"{folder}c.png") == FILES["c.png"]
    assert "2017/c.png" not in store
    write(path, below("one") | below("two", {"a.png": b"other"}))
    store = PhotoStore([path])
    assert "a.png" not in store  # of two there is no telling
    assert store.read("two/a.png") == b"other"


def test_a_tar_of_a_whole_folder_is_like_the_folder(tmp_path: Path) -> None:
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    (tmp_path / "photos" / "sub" / "a.png").write_bytes(b"a")
    (tmp_path / "photos" / "link.png").symlink_to("sub/a.png")
    with tarfile.open(tmp_path / "p.tar", "w") as archive:
        archive.add(tmp_path / "photos", ".")
    store = PhotoStore([tmp_path / "p.tar"])
    assert store.read("sub/a.png") == b"a"
    assert "link.png" not in store and "sub" not in store


def test_long_and_foreign_names(tmp_path: Path) -> None:
    files = {f"{LONG}/{'x' * 150}.png": b"1", f"{LONG}/日本 é.png": b"2"}
    for path in (write_zip(tmp_path / "p.zip", files), write_tar(tmp_path / "p.tar", files)):
        store = PhotoStore([path])
        assert {name: store.read(name) for name in files} == files


def test_of_one_name_twice_in_an_archive_the_last_counts(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "p.tar", FILES)
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo("a.png")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"new"))
    assert PhotoStore([path]).read("a.png") == b"new"


def test_one_name_in_two_shards_is_refused_when_asked_for(tmp_path: Path) -> None:
    folder = shards(tmp_path / "shards")
    write_tar(folder / "0009.tar", {"a.png": b"other", "z.png": b"z"})
    store = open_photos([folder], "--img_dir")
    assert isinstance(store, PhotoStore)
    assert store.read("z.png") == b"z"
    with pytest.raises(InputError, match=r"a\.png is in .*0000\.tar and in .*0009\.tar"):
        store.read("a.png")


def test_folders_and_archives_are_looked_through_in_turn(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "own.png").write_bytes(name.encode())
    places = [tmp_path / "one", write_zip(tmp_path / "p.zip", FILES), tmp_path / "two"]
    store = open_photos(places, "--img_dir")
    assert isinstance(store, PhotoStore)
    assert (store.read("own.png"), store.size("own.png")) == (b"one", 3)
    assert everything(store) == FILES
    assert store.path_of("own.png") == tmp_path / "one" / "own.png"


def test_one_plain_folder_stays_one(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    write_tar(tmp_path / "stray.tar", FILES)
    assert open_photos([tmp_path], "--img_dir") == tmp_path
    (tmp_path / "empty").mkdir()
    assert open_photos([tmp_path / "empty"], "--img_dir") == tmp_path / "empty"


def test_photos_are_decoded_out_of_archives(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (6, 9, 3), np.uint8)
    files = {"a.png": encode_image(pixels, ".png"), "b.png": b"nothing"}
    store = PhotoStore([write_zip(tmp_path / "p.zip", files)])
    np.testing.assert_array_equal(read_image(PhotoFile(store, "a.png")), pixels)
    assert read_size(PhotoFile(store, "a.png")) == (6, 9)
    with pytest.raises(InputError, match=r"p\.zip/b\.png is not an image"):
        read_image(PhotoFile(store, "b.png"))
    with pytest.raises(InputError, match=r"no photo c\.png in .*p\.zip"):
        read_image(PhotoFile(store, "c.png"))


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    for name, data in {
        "p.zip": b"text",
        "p.tar": b"text" * 300,
        "p.rar": b"Rar!",
        "e.tar": b"",
    }.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=rf"{name[0]}\.{name[2:]} is n.*archive"):
            PhotoStore([tmp_path / name])
    with tarfile.open(tmp_path / "p.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a.png"))
    with pytest.raises(InputError, match="unpack it to a plain .tar"):
        PhotoStore([tmp_path / "p.tar.gz"])


def test_truncated_archives_are_refused(tmp_path: Path) -> None:
    for write in (write_zip, write_tar):
        path = write(tmp_path / f"p.{write.__name__[-3:]}", FILES)
        whole = path.read_bytes()
        used = len(whole) if write is write_zip else 512 * 2 * len(FILES)
        for end in range(1, used, 97):
            path.write_bytes(whole[:end])
            with pytest.raises(InputError, match=r"p\.(zip|tar) (ends too early|is n)"):
                PhotoStore([path])


def test_damage_in_the_middle_is_told_with_the_member(tmp_path: Path) -> None:
    for method in (0, 8):
        path = write_zip(tmp_path / "p.zip", FILES, method)
        store = PhotoStore([path])
        data = bytearray(path.read_bytes())
        place = data.find(b"b.png") + 6
        data[place] ^= 0xFF
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"p\.zip, member b\.png"):
            store.read("b.png")
    path = write_tar(tmp_path / "p.tar", FILES)
    data = bytearray(path.read_bytes())
    data[1024] ^= 0xFF  # the second header
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"p\.tar ends too early or is damaged"):
        PhotoStore([path])


def test_an_archive_that_changes_under_way_is_told(tmp_path: Path) -> None:
    for write in (write_zip, write_tar):
        path = write(tmp_path / f"p.{write.__name__[-3:]}", FILES)
        store = PhotoStore([path])
        path.write_bytes(b"")
        with pytest.raises(InputError, match=r"p\.(zip|tar), member h\.png"):
            store.read("h.png")
        path.unlink()
        with pytest.raises(InputError, match="cannot be read: No such file"):
            pickle.loads(pickle.dumps(store)).read("a.png")


def test_encrypted_and_oddly_packed_zips_are_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "p.zip", FILES, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    central = data.find(b"PK\x01\x02")
    data[central + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"p\.zip is encrypted \(a\.png\).*without a password"):
        PhotoStore([path])
    write_zip(path, FILES, zipfile.ZIP_BZIP2)
    with pytest.raises(InputError, match=r"packs a\.png by method 12.*zip -0"):
        PhotoStore([path])


def test_paths_that_mean_nothing_name_the_flag(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--val_img_dir .*none does not exist"):
        open_photos([tmp_path / "none"], "--val_img_dir")
    with pytest.raises(InputError, match=r"--val_img_dir .*\*\.tar fits no file"):
        open_photos([tmp_path / "*.tar"], "--val_img_dir")
