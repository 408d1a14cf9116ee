"""Bytes of strangers to pictures: a few formats, sizes checked before anything is decoded, always RGB.

Shape letters: Y X C image height, width, channel.
"""

from __future__ import annotations

import base64
import binascii
import io
import math
import os
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from hermes_stream.errors import UsageError
from hermes_stream.types import Frame

# A larger picture is made smaller at once: models look at less, and many frames may wait for one.
_MOST_KEPT_PIXELS = 1920 * 1080
# What models can be shown; beyond it nothing would be left of the shorter side.
_WIDEST_ASPECT_RATIO = 200
# Of a progressive JPEG: cameras and libraries write about ten, and each costs a pass over the whole picture.
_MOST_SCANS = 64
_START_OF_SCAN = b"\xff\xda"
_ORIENTATION_TAG = 0x0112
# What shows a picture as it was meant, by its EXIF orientation.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class PictureError(UsageError):
    """Bytes that are no picture, or none that is taken."""


@dataclass(frozen=True, slots=True)
class PictureFormat:
    """How the pictures of a client are written: a file of a known kind, or raw RGB of a size that was agreed.

    max_bytes, max_pixels: of one picture.
    """

    max_bytes: int
    max_pixels: int
    kind: Literal["file", "raw"] = "file"
    width: int = 0
    height: int = 0

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """uint8 RGB `[Y, X, C]`, the right way up, of at most 1920 x 1080 pixels in all.

        Raises PictureError, in one line, for whatever is no picture.
        """
        self.check_bytes(len(data))
        return self._raw(data) if self.kind == "raw" else _file(data, self.max_pixels)

    def to_frame(self, data: bytes | str, seconds: float) -> Frame:
        """The picture as a frame. data: as text, it is base64. Raises PictureError."""
        return Frame(seconds, self.decode(from_base64(data) if isinstance(data, str) else data))

    def check_bytes(self, n_bytes: int) -> None:
        """Raises PictureError for more than is taken."""
        if n_bytes > self.max_bytes:
            raise PictureError(f"the picture has {n_bytes} bytes; up to {self.max_bytes} are taken, send a smaller one")

    def _raw(self, data: bytes) -> NDArray[np.uint8]:
        _check_size(self.width, self.height, self.max_pixels)
        n_expected = self.width * self.height * 3
        if len(data) != n_expected:
            raise PictureError(
                f"the raw picture has {len(data)} bytes; {self.width}x{self.height} pixels of RGB are {n_expected}"
            )
        return np.frombuffer(data, dtype=np.uint8).reshape(self.height, self.width, 3).copy()


def picture_threads() -> Executor:
    """Threads to decode on: pictures of clients must not take all cores from the model."""
    return ThreadPoolExecutor(max(1, (os.cpu_count() or 1) // 2), "hermes-picture")


def from_base64(text: str) -> bytes:
    """The bytes that a text stands for, with or without `data:image/jpeg;base64,` before it. Raises PictureError."""
    if text.startswith("data:"):
        head, comma, text = text.partition(",")
        if not comma or not head.endswith(";base64"):
            raise PictureError("the picture is a data address without ';base64,'; send base64")
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise PictureError("the picture is not base64; encode the bytes of a JPEG or PNG file") from error


def _file(data: bytes, max_pixels: int) -> NDArray[np.uint8]:
    """The first picture of a JPEG, PNG or WebP file."""
    file_class = _class_of(data)
    # Decoders of damaged bytes fail in a hundred ways, and all of them are the same news.
    try:
        if file_class is WebPImageFile:
            # Its decoder makes room for the whole picture before it says how large that is.
            _check_size(*_webp_size(data), max_pixels)
        with file_class(io.BytesIO(data)) as image:
            _check_size(*image.size, max_pixels)
            # A JPEG can be decoded at half its size, a quarter or an eighth, which costs less.
            image.draft(None, _kept_size(*image.size))
            image.load()
            return np.array(_shrunk(_as_rgb(_upright(image))))
    except PictureError:
        raise
    except Exception as error:
        raise PictureError(
            f"the picture cannot be decoded ({' '.join(str(error).split())[:100]}); send it whole"
        ) from error


def _class_of(data: bytes) -> type[JpegImageFile | PngImageFile | WebPImageFile]:
    """The reader for what the first bytes say, and no other: a name or a header could say anything."""
    if data.startswith(b"\xff\xd8\xff"):
        if data.count(_START_OF_SCAN) > _MOST_SCANS:
            raise PictureError(f"the JPEG has more than {_MOST_SCANS} scans; save it as a baseline JPEG")
        return JpegImageFile
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return PngImageFile
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WebPImageFile
    raise PictureError(f"these {len(data)} bytes are no JPEG, PNG or WebP file")


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height from the first chunk of a WebP file (RFC 9649, sections 2.5 to 2.7)."""
    kind, body = data[12:16], data[20:30]
    if len(body) < 10:
        raise PictureError("the WebP file ends in its header; send it whole")
    if kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    raise PictureError("the WebP file does not begin with a picture")


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise PictureError(f"the picture is {width}x{height} pixels; send one with something on it")
    if width * height > max_pixels:
        raise PictureError(
            f"the picture is {width}x{height} pixels; up to {max_pixels} in all are taken, make it smaller"
        )
    if max(width, height) > _WIDEST_ASPECT_RATIO * min(width, height):
        raise PictureError(f"the picture is {width}x{height} pixels, too narrow; the ratio may be up to 200")


def _kept_size(width: int, height: int) -> tuple[int, int]:
    """The same shape with no more pixels than are kept."""
    scale = min(math.sqrt(_MOST_KEPT_PIXELS / (width * height)), 1.0)
    return max(int(width * scale), 1), max(int(height * scale), 1)


def _shrunk(image: Image.Image) -> Image.Image:
    size = _kept_size(*image.size)
    return image if size == image.size else image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF data says; of data that cannot be read, nothing is believed."""
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG)
    except Exception:
        return image
    turn = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _as_rgb(image: Image.Image) -> Image.Image:
    """Eight bits of red, green and blue; what is transparent shows black, as browsers have it in a JPEG."""
    if image.mode.startswith("I"):
        # Sixteen bits of grey, which Pillow's own conversion would cut off at 255.
        grey_YX = np.asarray(image).astype(np.int64) >> 8
        return Image.fromarray(np.clip(grey_YX, 0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        whole = image.convert("RGBA")
        black = Image.new("RGBA", whole.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, whole).convert("RGB")
    return image.convert("RGB")
