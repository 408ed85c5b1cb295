"""Photos of every kind come in as upright RGB; files are written whole or not at all."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.geometry import PAD_VALUE
from human_edge_detection.core.images import encode_image, read_image, read_size, save_image

RED_LEFT = np.array([[[255, 0, 0], [0, 0, 255]], [[255, 0, 0], [0, 0, 255]], [[9, 9, 9]] * 2])
RED_LEFT = RED_LEFT.astype(np.uint8)


def _save(path: Path, image: Image.Image, **settings: object) -> Path:
    image.save(path, **settings)  # type: ignore[arg-type]
    return path


def test_rgb_png_comes_back_exactly(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.png", Image.fromarray(RED_LEFT))
    image = read_image(path)
    assert image.dtype == np.uint8
    assert image.flags.writeable
    np.testing.assert_array_equal(image, RED_LEFT)


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, RED_LEFT),
        (2, RED_LEFT[:, ::-1]),
        (3, RED_LEFT[::-1, ::-1]),
        (4, RED_LEFT[::-1]),
        (5, RED_LEFT.swapaxes(0, 1)),
        (6, np.rot90(RED_LEFT, -1)),
        (7, np.rot90(RED_LEFT, -1)[::-1]),
        (8, np.rot90(RED_LEFT)),
    ],
)
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, upright: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = _save(tmp_path / "a.png", Image.fromarray(RED_LEFT), exif=exif)
    if orientation == 7:  # transverse: mirrored about the other diagonal
        upright = RED_LEFT[::-1, ::-1].swapaxes(0, 1)
    np.testing.assert_array_equal(read_image(path), upright)
    assert read_size(path) == upright.shape[:2]


def test_exif_of_a_jpeg_is_applied_to_its_size(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = _save(tmp_path / "a.jpg", Image.new("RGB", (40, 20)), exif=exif)
    assert read_size(path) == (40, 20)
    assert read_image(path).shape == (40, 20, 3)


def test_broken_exif_does_not_spoil_a_sound_picture(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.jpg", Image.new("RGB", (40, 20)), exif=b"Exif\0\0MM\0*\xff\xff")
    assert read_image(path).shape == (20, 40, 3)


def test_transparency_is_laid_over_the_letterbox_grey(tmp_path: Path) -> None:
    pixels = np.array([[[255, 0, 0, 255], [255, 0, 0, 0]]], np.uint8)
    path = _save(tmp_path / "a.png", Image.fromarray(pixels))
    np.testing.assert_array_equal(read_image(path), [[[255, 0, 0], [PAD_VALUE] * 3]])


def test_sixteen_bits_keep_the_high_byte(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.png", Image.fromarray(np.array([[0, 0x80FF, 0xFFFF]], np.uint16)))
    np.testing.assert_array_equal(read_image(path), [[[0] * 3, [0x80] * 3, [255] * 3]])


def test_grey_palette_one_bit_cmyk_and_animation(tmp_path: Path) -> None:
    grey = Image.fromarray(np.array([[7, 200]], np.uint8))
    np.testing.assert_array_equal(
        read_image(_save(tmp_path / "g.png", grey)), [[[7] * 3, [200] * 3]]
    )
    palette = Image.fromarray(RED_LEFT).convert("P", palette=Image.Palette.ADAPTIVE)
    np.testing.assert_array_equal(read_image(_save(tmp_path / "p.png", palette)), RED_LEFT)
    bits = _save(tmp_path / "b.png", grey.convert("1"))
    assert set(np.unique(read_image(bits))) <= {0, 255}
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    seen = read_image(_save(tmp_path / "c.jpg", cmyk)).mean(axis=(0, 1))
    assert seen[0] > 200 > 60 > seen[1]
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    moving = tmp_path / "m.gif"
    frames[0].save(moving, save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read_image(moving)[0, 0], [255, 0, 0])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_truncated_file_is_named(tmp_path: Path, kind: str) -> None:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save(buffer, kind)
    path = tmp_path / "short.img"
    for part in (0.02, 0.5, 0.9):
        path.write_bytes(buffer.getvalue()[: int(len(buffer.getvalue()) * part)])
        with pytest.raises(InputError, match=r"short\.img"):
            read_image(path)


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such image"):
        read_image(tmp_path / "none.png")
    with pytest.raises(InputError, match="folder"):
        read_image(tmp_path)
    text = tmp_path / "text.jpg"
    text.write_text("not a picture")
    for read in (read_image, read_size):
        with pytest.raises(InputError, match=r"text\.jpg"):
            read(text)


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_values_that_are_too_wide_are_no_damage(tmp_path: Path, kind: type) -> None:
    wide = _save(tmp_path / "w.tiff", Image.fromarray(np.full((2, 2), 70_000, kind)))
    with pytest.raises(InputError, match=r"w\.tiff has .*: convert it to 8 or 16 bit") as error:
        read_image(wide)
    assert "damaged" not in str(error.value)


def test_bytes_of_every_kind_are_read_and_other_types_are_named() -> None:
    data = encode_image(RED_LEFT, ".png")
    for given in (data, bytearray(data), memoryview(data)):
        np.testing.assert_array_equal(read_image(given), RED_LEFT)
        assert read_size(given) == RED_LEFT.shape[:2]
    with pytest.raises(InputError, match="a photo of 20 bytes"):
        read_image(memoryview(data[:20]))
    for wrong, kind in ((None, "NoneType"), (io.BytesIO(data), "BytesIO"), (7, "int")):
        with pytest.raises(InputError, match=f"file must be a path or .* but got {kind}"):
            read_image(wrong)  # type: ignore[arg-type]


def test_pictures_are_saved_by_their_ending(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", RED_LEFT)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), RED_LEFT)
    labels = np.array([[0, 300]], np.uint16)
    save_image(tmp_path / "l.png", labels)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "l.png")), labels)
    with pytest.raises(InputError, match=r"\.xyz"):
        save_image(tmp_path / "a.xyz", RED_LEFT)
    with pytest.raises(InputError, match="transparency"):
        encode_image(np.zeros((2, 2, 4), np.uint8), ".jpg")
    with pytest.raises(InputError, match="16-bit"):
        encode_image(labels, ".jpg")
