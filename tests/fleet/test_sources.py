"""SOURCE in all its forms, and the manifest that keeps it."""

from __future__ import annotations

from pathlib import Path

import pytest

pa = pytest.importorskip("pyarrow", reason="needs the extra fleet")
from pyarrow import parquet  # noqa: E402

from archive_files import write_tar, write_zip  # noqa: E402
from human_edge_detection.core.errors import InputError  # noqa: E402
from human_edge_detection.fleet.fetch import Fetcher, RowFailure  # noqa: E402
from human_edge_detection.fleet.manifest import (  # noqa: E402
    BLOCKS_A_FILE,
    PhotosWithBoxes,
    photo_of,
    read_block,
    write_manifest,
)
from human_edge_detection.fleet.sources import Photo, find_photos  # noqa: E402
from human_edge_detection.inference.box_files import open_boxes  # noqa: E402

pytestmark = pytest.mark.fleet
FILES = {"0001.jpg": b"one", "0001.json": b"{}", "sub/0002.png": b"two", "__MACOSX/x.jpg": b""}


def kept(folder: Path, photos: list[Photo], block: int = 256) -> list[Photo]:
    """The photos as the manifest gives them back."""
    assert write_manifest(str(folder), photos, block) == len(photos)
    rows = read_block(str(folder), 0).to_pylist()
    assert [row["id"] for row in rows] == list(range(len(photos)))
    return [photo_of(row) for row in rows]


def names_and_bytes(photos: list[Photo]) -> list[tuple[str, bytes]]:
    return [(photo.name, Fetcher()(photo)) for photo in photos]


def test_a_folder_with_all_that_may_be_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    write_tar(folder / "a.tar", FILES)
    write_zip(folder / "b.zip", FILES)
    (folder / "c.jpg").write_bytes(b"three")
    (folder / "notes.txt").write_text("no list, as nobody named it")
    (folder / "film.mp4").write_bytes(b"")
    (folder / ".d.jpg").write_bytes(b"hidden")
    (folder / "deep").mkdir()
    (folder / "deep" / "e.jpg").write_bytes(b"four")
    (folder / "deep" / "loop").symlink_to(folder)
    found = list(find_photos([str(folder)]))
    photos = kept(tmp_path / "manifest", found)
    inside = [("0001.jpg", b"one"), ("sub/0002.png", b"two")]
    assert names_and_bytes(photos) == [*inside, *inside, ("c.jpg", b"three")]
    assert photos[1].uri == f"{folder}/a.tar/sub/0002.png" and photos[4].uri == f"{folder}/c.jpg"
    assert photos == found
    deep = list(find_photos([str(folder)], recursive=True))
    assert [photo.name for photo in deep][-1] == "deep/e.jpg"


def test_a_damaged_archive_is_one_photo_with_a_fault(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "a.tar", FILES).read_bytes()
    (tmp_path / "b.tar").write_bytes(whole[:1500])
    (tmp_path / "c.zip").write_bytes(b"PK no zip")
    photos = kept(tmp_path / "manifest", list(find_photos([str(tmp_path)])))
    faults = [photo.fault for photo in photos if photo.fault]
    assert len(faults) == 2 and "b.tar ends too early" in faults[0] and "c.zip" in faults[1]
    with pytest.raises(RowFailure, match=r"read.*c\.zip"):
        Fetcher()(photos[-1])
    with pytest.raises(InputError, match=r"b\.tar ends too early"):
        list(find_photos([str(tmp_path / "b.tar")]))


def test_lists_of_names(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"one")
    tar = write_tar(tmp_path / "b.tar", {"c.jpg": b"two"})
    text = tmp_path / "list.txt"
    text.write_text(f"{tmp_path}/a.jpg\n\n{tar}\ns3://bucket/no_ending\n", "utf-8-sig")
    photos = list(find_photos([str(text)]))
    assert [photo.uri for photo in photos] == [
        f"{tmp_path}/a.jpg", f"{tar}/c.jpg", "s3://bucket/no_ending"
    ]  # fmt: skip
    assert names_and_bytes(photos[:2]) == [("a.jpg", b"one"), ("c.jpg", b"two")]
    table = tmp_path / "list.csv"
    table.write_text(f"id, url\n7, {tmp_path}/a.jpg\n8,\n")
    assert [photo.uri for photo in find_photos([str(table)])] == [f"{tmp_path}/a.jpg"]
    table.write_text("name\na.jpg\n")
    with pytest.raises(InputError, match="must name a column of photos .uri, file, path"):
        list(find_photos([str(table)]))
    table.write_text("file,x1,y1,x2,y2\na.jpg,1,2,3,4\n")
    with pytest.raises(InputError, match="has boxes: name it as --boxes"):
        list(find_photos([str(table)]))
    text.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"list\.txt is no text in UTF-8"):
        list(find_photos([str(text)]))


def test_a_parquet_list_with_boxes(tmp_path: Path) -> None:
    path = tmp_path / "list.parquet"
    boxes = [[[1, 2, 3, 4], [5, 6, 4, 9]], [], None]
    columns = {
        "path": ["/a.jpg", "/b.jpg", "/c.jpg"], "boxes": boxes,
        "scores": [[0.5, 0.6], [], None], "box_ids": [[7, 8], [], None],
    }  # fmt: skip
    parquet.write_table(pa.table(columns), path)
    first, second, third = kept(tmp_path / "manifest", list(find_photos([str(path)])))
    assert first.uri == "/a.jpg" and first.boxes is not None
    assert first.boxes.boxes_xyxy.tolist() == [[1, 2, 3, 4]]
    assert first.boxes.scores.tolist() == [0.5] and first.boxes.annotation_ids == (7,)
    assert "box 1: box [5.0, 6.0, 4.0, 9.0] is reversed" in first.boxes.faults[0]
    assert second.boxes is not None and len(second.boxes.boxes_xyxy) == 0 and third.boxes is None
    columns["path"][1] = None
    parquet.write_table(pa.table(columns), path)
    faults = [photo.fault for photo in find_photos([str(path)])]
    assert faults == [None, f"{path}, row 1: there is no name of a photo", None]
    columns["scores"] = [[0.5], [], None]
    parquet.write_table(pa.table(columns), path)
    with pytest.raises(InputError, match=r"row 0: boxes must be lists x1, y1, x2, y2"):
        list(find_photos([str(path)]))
    parquet.write_table(pa.table({"text": ["a"]}), path)
    with pytest.raises(InputError, match="has neither photos .image, bytes.*but columns text"):
        list(find_photos([str(path)]))
    path.write_bytes(b"no parquet")
    with pytest.raises(InputError, match="is no parquet file that can be read"):
        list(find_photos([str(path)]))


@pytest.mark.parametrize("nested", [False, True])
def test_photos_inside_a_parquet_file(tmp_path: Path, nested: bool) -> None:
    path = tmp_path / "photos.parquet"
    data = [b"a", b"b", None, b"d", b"e"]
    if nested:
        values = [{"bytes": item, "path": f"{number}.jpg"} for number, item in enumerate(data)]
        table = pa.table({"image": values, "label": range(5)})
    else:
        table = pa.table({"bytes": pa.array(data, pa.large_binary())})
    parquet.write_table(table, path, row_group_size=2)
    photos = kept(tmp_path / "manifest", list(find_photos([str(path)])))
    ending = ".jpg" if nested else ""
    assert [photo.name for photo in photos] == [f"{number}{ending}" for number in range(5)]
    fetch = Fetcher()
    assert [fetch(photos[number]) for number in (4, 0, 1, 3)] == [b"e", b"a", b"b", b"d"]
    with pytest.raises(RowFailure, match="row 2: there are no bytes"):
        fetch(photos[2])


def test_boxes_of_a_box_file(tmp_path: Path) -> None:
    path = tmp_path / "boxes.csv"
    path.write_text("file,x1,y1,x2,y2,score\nb.jpg,1,2,3,4,0.5\nb.jpg,9,9,9,9,1\n")
    photos = [Photo("/p/a.jpg", "a.jpg"), Photo("/p/b.jpg", "b.jpg")]
    boxed = PhotosWithBoxes(photos, open_boxes(path))
    found = kept(tmp_path / "manifest", list(boxed))
    assert boxed.left_out == 1 and [photo.name for photo in found] == ["b.jpg"]
    assert found[0].boxes is not None and found[0].boxes.file_name == "b.jpg"
    assert found[0].boxes.boxes_xyxy.tolist() == [[1, 2, 3, 4]] and len(found[0].boxes.faults) == 1


def test_blocks_over_several_files(tmp_path: Path) -> None:
    count = 2 * BLOCKS_A_FILE + 5
    photos = [Photo(f"/p/{number}.jpg", f"{number}.jpg") for number in range(count)]
    assert write_manifest(str(tmp_path), iter(photos), 2) == count
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000.parquet", "00001.parquet"]
    for block in (0, 1, BLOCKS_A_FILE - 1, BLOCKS_A_FILE, count // 2):
        rows = read_block(str(tmp_path), block).to_pylist()
        wanted = list(range(2 * block, min(2 * block + 2, count)))
        assert [row["id"] for row in rows] == wanted
        assert [row["uri"] for row in rows] == [f"/p/{number}.jpg" for number in wanted]
    with pytest.raises(InputError, match=r"00001\.parquet is damaged or not whole"):
        read_block(str(tmp_path), BLOCKS_A_FILE + 7)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none", "none does not exist: check the name"),
        ("film.mp4", r"film\.mp4 is no photo, archive .* videos are for predict"),
        ("empty", r"empty: no photo there \(--recursive looks deeper\)"),
    ],
)
def test_sources_without_photos_are_named(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "film.mp4").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=message):
        list(find_photos([str(tmp_path / name)]))
