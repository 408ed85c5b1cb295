"""Reads photos of every usual kind as upright RGB, and writes files that are whole or not there."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.geometry import PAD_VALUE
from human_edge_detection.core.structures import ImageArray
from human_edge_detection.data.photos import PhotoFile

_DECODE_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error,
    Image.DecompressionBombError,
)  # fmt: skip
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


def read_image(file: Path | str | PhotoFile) -> ImageArray:
    """The photo as uint8 [H, W, 3] RGB, turned upright by its EXIF orientation.

    Grey, palette, CMYK and 16-bit photos are converted (16-bit keeps the high byte), of an
    animation the first frame is taken, transparency is laid over the grey of the letterbox.

    Raises:
        InputError: if the file is missing, is no image, or ends too early.
    """
    source = _source(file)
    try:
        with Image.open(source) as image:
            image.load()
            orientation = _orientation(image)
            rgb = np.asarray(_to_rgb(image))
    except _DECODE_ERRORS as error:
        raise InputError(_unreadable(file, error)) from error
    if orientation in _UPRIGHT:
        rgb = np.asarray(Image.fromarray(rgb).transpose(_UPRIGHT[orientation]))
    return np.array(rgb, np.uint8, order="C")  # Pillow's own buffer is read-only


def read_size(file: Path | str | PhotoFile) -> tuple[int, int]:
    """Height and width of the upright photo, from the file's header alone where it allows.

    Raises:
        InputError: if the file is missing or is no image.
    """
    source = _source(file)
    try:
        with Image.open(source) as image:
            width, height = image.size
            turned = _orientation(image) >= 5
    except _DECODE_ERRORS as error:
        raise InputError(_unreadable(file, error)) from error
    return (width, height) if turned else (height, width)


def _source(file: Path | str | PhotoFile) -> Path | str | io.BytesIO:
    """What Pillow opens: a path, which it reads as it needs, or the bytes out of an archive."""
    if not isinstance(file, PhotoFile):
        return file
    return file.path if isinstance(file.place, Path) else io.BytesIO(file.read())


def _unreadable(path: Path | str | PhotoFile, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{path}: no such image file"
    if isinstance(error, IsADirectoryError):
        return f"{path} is a folder, not an image file"
    if isinstance(error, Image.DecompressionBombError):
        return f"{path}: {error}; scale the photo down"
    if isinstance(error, UnidentifiedImageError):
        return f"{path} is not an image that can be read (JPEG, PNG, WebP, TIFF, BMP or GIF)"
    return f"{path} cannot be decoded ({error}): the file is damaged or truncated, replace it"


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _DECODE_ERRORS:  # broken metadata around a sound picture
        return 1
    return value if isinstance(value, int) else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("pixels are 32-bit floats of unknown range, save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        return _from_wide_grey(image).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        clear = Image.new("RGBA", image.size, (PAD_VALUE, PAD_VALUE, PAD_VALUE, 255))
        return Image.alpha_composite(clear, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _from_wide_grey(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    if values.size and (values.min() < 0 or values.max() > 0xFFFF):
        raise ValueError("pixels have more than 16 bits, save it with 8 or 16 bits")
    return Image.fromarray((values.astype(np.uint16) >> 8).astype(np.uint8))


def write_atomically(path: Path | str, data: bytes) -> None:
    """Write a file so that a reader sees the old one or the whole new one, never a part.

    Missing folders are made.

    Raises:
        InputError: if it cannot be written; the old file, if any, is still there.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        if os.path.exists(partial):
            partial.unlink()


def encode_image(array: NDArray[np.generic], suffix: str) -> bytes:
    """The bytes of an image file of the kind that ``suffix`` (``.png``, ``.jpg``, …) names.

    Args:
        array: uint8 [H, W], [H, W, 3] RGB or [H, W, 4] RGBA, or uint16 [H, W] (PNG alone).
        suffix: ending of the file's name, with its dot.

    Raises:
        InputError: if the kind of file is unknown or cannot hold the array.
    """
    kind = _FORMATS.get(suffix.lower())
    if kind is None:
        raise InputError(f"'{suffix}' is not a picture's ending: use one of {', '.join(_FORMATS)}")
    if kind == "JPEG" and array.ndim == 3 and array.shape[2] == 4:
        raise InputError(f"'{suffix}' files hold no transparency: use .png")
    if array.dtype == np.uint16 and kind != "PNG":
        raise InputError(f"'{suffix}' files hold no 16-bit values: use .png")
    settings = {"quality": 95} if kind != "PNG" else {}
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(buffer, kind, **settings)
    return buffer.getvalue()


def save_image(path: Path | str, array: NDArray[np.generic]) -> None:
    """Write an array (see :func:`encode_image`) as the picture that the path's ending names."""
    write_atomically(path, encode_image(array, Path(path).suffix))
