"""Photos that strangers upload: only ten decoders, a limit before decoding, one kind of error."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from human_edge_detection.core.errors import InputError, TooManyPixels
from human_edge_detection.core.images import encode_image, read_image, read_size

EPS = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\n"
    b"/Times findfont 12 scalefont setfont\nshowpage\n"
)
READERS = (read_image, read_size)


def saved(
    kind: str, size: tuple[int, int] = (8, 6), mode: str = "RGB", **settings: object
) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, 7).save(buffer, kind, **settings)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "DIB", "GIF", "PPM"])
def test_bytes_of_every_listed_kind_are_read_whatever_their_name(kind: str, tmp_path: Path) -> None:
    data = saved(kind)
    assert read_image(data).shape == (6, 8, 3) and read_size(data) == (6, 8)
    path = tmp_path / "photo.gif"
    path.write_bytes(data)
    np.testing.assert_array_equal(read_image(path), read_image(data))


@pytest.mark.parametrize("read", READERS)
def test_postscript_named_photo_starts_no_interpreter(
    read: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools, proof = tmp_path / "bin", tmp_path / "started"
    tools.mkdir()
    (tools / "gs").write_text(f"#!/bin/sh\ntouch {proof}\n")
    (tools / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(EPS)
    with pytest.raises(InputError, match=r"photo\.jpg is not an image that can be read"):
        read(photo)  # type: ignore[operator]
    assert not proof.exists()


@pytest.mark.parametrize("kind", ["DDS", "ICO", "PCX", "TGA", "SGI", "ICNS", "MSP"])
def test_other_kinds_are_no_photos(kind: str) -> None:
    mode, size = ("1", (8, 6)) if kind == "MSP" else ("RGBA", (16, 16))
    data = saved(kind, size, mode if kind not in ("PCX", "SGI") else "RGB")
    with pytest.raises(InputError, match="not an image"):
        read_image(data)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("read", READERS)
def test_a_bomb_is_refused_before_it_is_decoded(read: object, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(saved("PNG", (13_000, 13_000), "1"))
    start = time.process_time()
    with pytest.raises(InputError, match=r"bomb\.png (has 13000x13000 pixels|: )"):
        read(bomb)  # type: ignore[operator]
    assert time.process_time() - start < 0.5


def test_the_limit_is_the_callers() -> None:
    data = saved("PNG", (20, 10))
    assert read_image(data, max_pixels=200).shape == (10, 20, 3)
    with pytest.raises(InputError, match="20x10 pixels, more than max_pixels 199"):
        read_image(data, max_pixels=199)


@pytest.mark.parametrize("read", READERS)
def test_a_side_is_bounded_too(read: object) -> None:
    assert read(saved("PNG", (65_500, 1))) is not None  # type: ignore[operator]
    for size in ((65_501, 1), (1, 65_501)):
        with pytest.raises(TooManyPixels, match=f"{size[0]}x{size[1]} pixels, more than 65500 on"):
            read(saved("PNG", size))  # type: ignore[operator]


def test_a_raised_limit_is_above_pillows_own(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved("PNG", (50, 50))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert read_image(data, max_pixels=2500).shape == (50, 50, 3)
    assert Image.MAX_IMAGE_PIXELS == 100


@pytest.mark.parametrize("read", READERS)
def test_what_is_no_regular_file_is_said_at_once(read: object, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    loop = tmp_path / "loop.jpg"
    loop.symlink_to(loop)
    for path, words in (
        (pipe, "no regular file"), (tmp_path, "is a folder"), (loop, "no usable path"),
        (tmp_path / ("l" * 300), "no usable path"), (Path("a\0b.jpg"), "no usable path"),
        (tmp_path / "none.jpg", "no such image file"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words):
            read(path)  # type: ignore[operator]


@pytest.mark.parametrize("orientation", [*range(10), 59_904])
@pytest.mark.parametrize("kind", ["TIFF", "PNG", "JPEG", "WEBP"])
def test_the_header_says_the_size_that_the_pixels_have(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(kind, (8, 6), exif=exif)
    assert read_size(data) == read_image(data).shape[:2]


def test_a_picture_too_long_for_its_format_is_refused() -> None:
    wide = np.zeros((1, 65_501), np.uint8)
    for suffix in (".jpg", ".webp"):
        with pytest.raises(InputError, match=r"pixels a side, not 65501x1: use \.png"):
            encode_image(wide, suffix)
    assert len(encode_image(wide, ".png")) > 0
    assert read_size(encode_image(wide[:, :65_500], ".jpg")) == (1, 65_500)


def test_each_cut_of_a_photo_is_an_error_or_a_picture() -> None:
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "PPM"):
        data = saved(kind, (40, 30))
        for length in range(0, len(data), max(1, len(data) // 23)):
            for read in READERS:
                try:
                    read(data[:length])
                except InputError as error:
                    assert "photo of" in str(error) and "\n" not in str(error)
