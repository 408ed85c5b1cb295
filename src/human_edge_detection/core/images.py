"""Photos: read from every usual format as upright RGB, written, and prepared for networks."""

from __future__ import annotations

import contextlib
import io
import struct
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

from human_edge_detection.core import MAX_PIXELS, MAX_SIDE
from human_edge_detection.core.errors import InputError, TooManyPixels
from human_edge_detection.core.files import check_regular, write_atomically
from human_edge_detection.core.geometry import PAD_VALUE, AxisTransform, letterbox
from human_edge_detection.core.structures import Detections, FloatArray, ImageArray

_FORMATS = (
    "JPEG", "PNG", "WEBP", "TIFF", "BMP", "DIB", "GIF", "AVIF", "JPEG2000", "PPM",
)  # fmt: skip
"""The decoders that are used. Pillow has 33 more; one of them runs Ghostscript."""

_DECODE_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, ArithmeticError,
    AttributeError, AssertionError, NotImplementedError, RuntimeError, MemoryError, struct.error,
    zlib.error, Image.DecompressionBombError,
)  # fmt: skip
"""Exceptions of Pillow's decoders on damaged files."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip
_WRITTEN = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_LONGEST = {"JPEG": MAX_SIDE, "WEBP": 16_383}
"""Longest side in pixels that each format can hold; PNG's limit is beyond any memory."""

_pillow_limit = threading.Lock()


class ImageFile(Protocol):
    """A picture's file, wherever it is: in a folder or inside an archive."""

    def source(self) -> Path | io.BytesIO:
        """What Pillow opens: a path, which it reads as it needs, or the bytes themselves."""


AnyFile = Path | str | bytes | bytearray | memoryview | ImageFile
"""A path, the bytes of a file, or a file in an archive."""


def read_image(file: AnyFile, *, max_pixels: int = MAX_PIXELS) -> ImageArray:
    """The photo as uint8 [H, W, 3] RGB, turned upright by its EXIF orientation.

    JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, JPEG 2000 and PPM are read, recognised by content, not
    by name. Grey, palette, CMYK and 16-bit photos are converted (16-bit keeps the high
    byte), of an animation the first frame is taken, transparency is laid over the grey of the
    letterbox.

    Args:
        file: a path, a file in an archive, or the bytes of a file.
        max_pixels: a photo of more pixels is refused before anything is decoded.

    Raises:
        InputError: if the file is missing, is not a regular file, is no image of these kinds, has
            too many pixels or a side of more than 65,500 (``TooManyPixels``), or ends too early.
    """
    with _opened(file, max_pixels) as image:
        image.load()
        orientation = _orientation(image)
        rgb = _to_rgb(image, _name(file))
        if orientation in _UPRIGHT:
            rgb = rgb.transpose(_UPRIGHT[orientation])
        return np.array(rgb, np.uint8, order="C")  # Pillow's own buffer is read-only


def read_size(file: AnyFile) -> tuple[int, int]:
    """Height and width of the upright photo, from the file's header alone where it allows.

    Files and errors are those of :func:`read_image`.
    """
    with _opened(file, MAX_PIXELS) as image:
        width, height = _stored_size(image)
        turned = _orientation(image) in (5, 6, 7, 8)
    return (width, height) if turned else (height, width)


@contextlib.contextmanager
def _opened(file: AnyFile, max_pixels: int) -> Iterator[Image.Image]:
    """The picture with its header read and its size checked.

    Whatever Pillow raises, here or in the block, becomes an ``InputError`` that names the file.
    """
    if isinstance(file, bytearray | memoryview):
        file = bytes(file)
    if not isinstance(file, Path | str | bytes) and not hasattr(file, "source"):
        kind = type(file).__name__
        raise InputError(f"file must be a path or the bytes of a picture's file, but got {kind}")
    try:
        with _header(file, max_pixels) as image:
            width, height = image.size
            facts = f"{_name(file)} has {width}x{height} pixels, more than"
            if width * height > max_pixels:
                raise TooManyPixels(
                    f"{facts} max_pixels {max_pixels}: scale it down, or raise the limit if you "
                    "trust it"
                )
            if max(width, height) > MAX_SIDE:
                raise TooManyPixels(f"{facts} {MAX_SIDE} on a side: scale it down, or cut it")
            yield image
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise TooManyPixels(_unreadable(file, error)) from error
    except _DECODE_ERRORS as error:
        raise InputError(_unreadable(file, error)) from error


def _header(file: Path | str | bytes | ImageFile, max_pixels: int) -> Image.Image:
    if isinstance(file, bytes):
        source: Path | io.BytesIO = io.BytesIO(file)
    else:
        source = Path(file) if isinstance(file, Path | str) else file.source()
    if isinstance(source, Path):
        check_regular(source, "image")
    if max_pixels <= (Image.MAX_IMAGE_PIXELS or max_pixels):
        return Image.open(source, formats=_FORMATS)
    with _pillow_limit:  # Pillow's own limit is global: raised while a header is read
        usual, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max_pixels
        try:
            return Image.open(source, formats=_FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = usual


def _stored_size(image: Image.Image) -> tuple[int, int]:
    """Width and height as stored; Pillow turns those of TIFF files, in some versions, itself."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return int(image.tag_v2[256]), int(image.tag_v2[257])
    return image.size


def _name(file: AnyFile) -> str:
    if isinstance(file, bytes | bytearray | memoryview):
        return f"a photo of {memoryview(file).nbytes} bytes"
    return str(file)


def _unreadable(file: AnyFile, error: BaseException) -> str:
    name = _name(file)
    if isinstance(error, PermissionError):
        return f"{name} may not be read: {error.strerror}"
    if isinstance(error, Image.DecompressionBombError):
        return f"{name}: {error}; scale the photo down"
    if isinstance(error, MemoryError):
        return f"{name} does not fit into memory: scale it down"
    if isinstance(error, UnidentifiedImageError):
        return (
            f"{name} is not an image that can be read "
            "(JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, JPEG 2000 or PPM)"
        )
    reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    return f"{name} cannot be decoded ({reason}): the file is damaged or truncated, replace it"


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _DECODE_ERRORS:  # broken metadata around a sound picture
        return 1
    return value if isinstance(value, int) else 1


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode == "F":
        raise InputError(f"{name} has 32-bit floats of unknown range: convert it to 8 or 16 bits")
    if image.mode.startswith("I"):
        return _from_wide_grey(image, name).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        clear = Image.new("RGBA", image.size, (PAD_VALUE, PAD_VALUE, PAD_VALUE, 255))
        return Image.alpha_composite(clear, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _from_wide_grey(image: Image.Image, name: str) -> Image.Image:
    values = np.asarray(image)
    if values.size and (values.min() < 0 or values.max() > 0xFFFF):
        raise InputError(f"{name} has values of more than 16 bits: convert it to 8 or 16 bits")
    return Image.fromarray((values.astype(np.uint16) >> 8).astype(np.uint8))


def encode_image(array: NDArray[np.generic], suffix: str) -> bytes:
    """The bytes of an image file of the kind that ``suffix`` (``.png``, ``.jpg``, …) names.

    Args:
        array: uint8 [H, W], [H, W, 3] RGB or [H, W, 4] RGBA, or uint16 [H, W] (PNG alone).
        suffix: ending of the file's name, with its dot.

    Raises:
        InputError: if the kind of file is unknown or cannot hold the array.
    """
    kind = _WRITTEN.get(suffix.lower())
    if kind is None:
        raise InputError(f"'{suffix}' is not a picture's ending: use one of {', '.join(_WRITTEN)}")
    if kind == "JPEG" and array.ndim == 3 and array.shape[2] == 4:
        raise InputError(f"'{suffix}' files hold no transparency: use .png")
    if array.dtype == np.uint16 and kind != "PNG":
        raise InputError(f"'{suffix}' files hold no 16-bit values: use .png")
    if max(array.shape[:2]) > (most := _LONGEST.get(kind, 1 << 31)):
        height, width = array.shape[:2]
        raise InputError(
            f"'{suffix}' files hold {most} pixels a side, not {width}x{height}: use .png"
        )
    settings = {"quality": 95} if kind != "PNG" else {}
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(buffer, kind, **settings)
    return buffer.getvalue()


def save_image(path: Path | str, array: NDArray[np.generic]) -> None:
    """Write an array (see :func:`encode_image`) as the picture that the path's ending names."""
    write_atomically(path, encode_image(array, Path(path).suffix))


@dataclass(frozen=True)
class PreparedImage:
    """One photo, letterboxed for a network.

    Attributes:
        tensor: float32 [1, 3, H, W], in the network's own colour order and range.
        transform: from source pixels to the network's input pixels.
        size_hw: height and width of the photo.
        others: the same photo at half the size, and for the further networks of an ensemble.
    """

    tensor: FloatArray
    transform: AxisTransform
    size_hw: tuple[int, int]
    others: tuple[PreparedImage, ...] = ()


@dataclass(frozen=True)
class EncodedImage:
    """One photo as a head reads it. Plain data: may be kept, and used by any thread.

    Attributes:
        features: the head's inputs besides the ROIs, batch of 1.
        prepared: the photo as it entered the network.
        people: the boxes that the same pass found, where the network has a detector.
        others: the photo at half the size, and as the further networks of an ensemble read it.
    """

    features: list[FloatArray] = field(repr=False)
    prepared: PreparedImage = field(repr=False)
    people: Detections | None = None
    others: tuple[EncodedImage, ...] = field(default=(), repr=False)


def check_image(image: object) -> ImageArray:
    """The image itself, if it is uint8 [H, W, 3] with at least one pixel."""
    if not isinstance(image, np.ndarray):
        kind = type(image).__name__
        raise InputError(f"image must be a NumPy array uint8 [H, W, 3] RGB, but got {kind}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise InputError(
            f"image must be uint8 [H, W, 3] RGB, but got {image.dtype} {list(image.shape)}"
        )
    return image


def prepare_image(
    image: ImageArray, input_size_hw: tuple[int, int], *, raw_bgr: bool = False
) -> PreparedImage:
    """The photo letterboxed to ``input_size_hw``.

    Args:
        image: uint8 [H, W, 3] RGB.
        input_size_hw: height and width of the network's input.
        raw_bgr: the network takes BGR in 0…255; otherwise RGB in 0…1.
    """
    check_image(image)
    boxed, transform = letterbox(image, input_size_hw)
    planes = np.ascontiguousarray(boxed[..., ::-1] if raw_bgr else boxed).transpose(2, 0, 1)
    tensor = np.ascontiguousarray(planes[None], np.float32)
    if not raw_bgr:
        tensor /= np.float32(255)
    return PreparedImage(tensor, transform, (image.shape[0], image.shape[1]))


def as_network_input(images: ImageArray) -> FloatArray:
    """float32 [B, 3, H, W] in 0…1 from uint8 [B, H, W, 3]."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32) / np.float32(255)
