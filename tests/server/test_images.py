"""Pictures of strangers: decoded, or refused in one line, before they can do harm."""

from __future__ import annotations

import base64
import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from hermes_stream.server.push.images import PictureError, PictureFormat, from_base64

FORM = PictureFormat(max_bytes=2**20, max_pixels=2**20)


def painted(width: int = 40, height: int = 24) -> NDArray[np.uint8]:
    """Four fields of different colours."""
    image_YXC = np.zeros((height, width, 3), np.uint8)
    image_YXC[: height // 2, : width // 2] = (220, 30, 30)
    image_YXC[: height // 2, width // 2 :] = (30, 200, 40)
    image_YXC[height // 2 :, : width // 2] = (40, 60, 210)
    image_YXC[height // 2 :, width // 2 :] = (240, 230, 20)
    return image_YXC


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_of_size(width: int, height: int) -> bytes:
    """A PNG file whose header says this size, and whose few bytes of pixels never end."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def decoded_or_none(data: bytes) -> NDArray[np.uint8] | None:
    """A picture, or nothing where it was refused; any other error is one."""
    try:
        return FORM.decode(data)
    except PictureError:
        return None


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("JPEG", {"quality": 95}),
        ("WEBP", {"quality": 95}),
        ("PNG", {"dpi": (9, 9)}),
    ],
)
def test_files_come_out_as_what_was_drawn(kind: str, options: dict[str, object]) -> None:
    image_YXC = FORM.decode(encoded(Image.fromarray(painted()), kind, **options))
    assert image_YXC.dtype == np.uint8
    assert image_YXC.flags.writeable
    is_exact = kind == "PNG" or "lossless" in options
    assert np.abs(image_YXC.astype(int) - painted()).mean() < (0.01 if is_exact else 12)


def test_grey_becomes_three_equal_colours() -> None:
    image_YXC = FORM.decode(encoded(Image.fromarray(painted()).convert("L"), "PNG"))
    assert (image_YXC == image_YXC[..., :1]).all()
    assert np.abs(image_YXC[0, 0, 0].astype(int) - 87) <= 2


def test_a_palette_becomes_its_colours() -> None:
    palette = Image.fromarray(painted()).quantize(8)
    assert np.abs(FORM.decode(encoded(palette, "PNG")).astype(int) - painted()).max() < 12


def test_printing_colours_become_screen_colours() -> None:
    image_YXC = FORM.decode(encoded(Image.fromarray(painted()).convert("CMYK"), "JPEG", quality=95))
    assert np.abs(image_YXC.astype(int) - painted()).mean() < 12


def test_sixteen_bits_of_grey_become_eight() -> None:
    grey_YX = np.linspace(0, 65_535, 40 * 24).astype(np.uint16).reshape(24, 40)
    image_YXC = FORM.decode(encoded(Image.fromarray(grey_YX), "PNG"))
    assert (image_YXC == (grey_YX >> 8)[..., None]).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_black(mode: str) -> None:
    image = Image.fromarray(np.full((8, 8, 4), (250, 250, 250, 255), np.uint8)).convert(mode)
    if mode == "P":
        data = encoded(image, "PNG", transparency=image.getpixel((0, 0)))
    else:
        image.putalpha(0)
        data = encoded(image, "PNG")
    assert (FORM.decode(data) == 0).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_come_out_upright(orientation: int) -> None:
    """Turned by what Pillow's own tool takes the tag to mean; the first pixel alone says which of the eight it was."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    from PIL import ImageOps

    image = Image.fromarray(painted())
    data = encoded(image, "PNG", exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert expected is not None
    assert (FORM.decode(data) == np.asarray(expected)).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_larger_than_models_look_at_is_made_smaller_and_keeps_its_shape(kind: str) -> None:
    image_YXC = PictureFormat(2**24, 2**24).decode(encoded(Image.fromarray(painted(4000, 3000)), kind, quality=90))
    height, width = image_YXC.shape[:2]
    assert 0.95 * 1920 * 1080 < height * width <= 1920 * 1080
    assert width / height == pytest.approx(4 / 3, rel=0.01)
    for y, x in ((0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75)):
        drawn = painted()[int(y * 24), int(x * 40)].astype(int)
        assert np.abs(image_YXC[int(y * height), int(x * width)] - drawn).max() < 12


@pytest.mark.filterwarnings("ignore:::PIL.TiffImagePlugin")
def test_exif_data_that_is_damaged_does_not_cost_the_picture() -> None:
    data = encoded(
        Image.fromarray(painted()), "JPEG", exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff" + b"\x01" * 20
    )
    assert FORM.decode(data).shape == (24, 40, 3)


def test_raw_pixels_are_taken_as_they_are() -> None:
    form = PictureFormat(2**20, 2**20, "raw", width=40, height=24)
    assert (form.decode(painted().tobytes()) == painted()).all()


def test_raw_pixels_must_be_as_many_as_agreed() -> None:
    form = PictureFormat(2**20, 2**20, "raw", width=41, height=24)
    with pytest.raises(PictureError, match="has 2880 bytes; 41x24 pixels of RGB are 2952"):
        form.decode(painted().tobytes())


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "no JPEG, PNG or WebP"),
        (b"not an image at all", "no JPEG, PNG or WebP"),
        (b"GIF89a" + bytes(100), "no JPEG, PNG or WebP"),
        (b"\xff\xd8\xff", "cannot be decoded"),
        (b"RIFF\x00\x00\x00\x00WEBP", "ends in its header"),
        (b"RIFF\x00\x00\x00\x00WEBPNOPE" + bytes(40), "does not begin with a picture"),
        (png_of_size(60_000, 60_000), "60000x60000 pixels; up to 1048576"),
        (png_of_size(0, 5), "cannot be decoded"),
        (png_of_size(5000, 2), "too narrow"),
        (
            b"RIFF\x00\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00" + b"\xff\xff\x00" * 2 + bytes(40),
            "65536x65536",
        ),
        (b"RIFF\x00\x00\x00\x00WEBPVP8L\x0a\x00\x00\x00\x2f\xff\xff\xff\x0f" + bytes(40), "16384x16384"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 \x0a\x00\x00\x00" + bytes(6) + b"\xff\x3f\xff\x3f" + bytes(40), "16383x16383"),
        (b"\xff\xd8\xff" + b"\xff\xda" * 100, "scans"),
        (bytes(2**20 + 1), "has 1048577 bytes"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(data: bytes, told: str) -> None:
    with pytest.raises(PictureError, match=told) as refused:
        FORM.decode(data)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 200


def test_a_header_that_promises_too_much_costs_nothing() -> None:
    data = png_of_size(60_000, 60_000)
    tracemalloc.start()
    with pytest.raises(PictureError):
        FORM.decode(data)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 2**20


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_file_that_was_cut_off_is_refused(kind: str, share: float) -> None:
    noise_YXC = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise_YXC), kind)
    with pytest.raises(PictureError):
        FORM.decode(data[: int(len(data) * share)])


@given(data=st.data(), kind=st.sampled_from(["JPEG", "PNG", "WEBP"]))
@settings(max_examples=200, deadline=None)
def test_damaged_files_are_pictures_or_refused(data: st.DataObject, kind: str) -> None:
    whole = bytearray(encoded(Image.fromarray(painted()), kind))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    image_YXC = decoded_or_none(bytes(whole))
    if image_YXC is not None:
        assert image_YXC.shape[2] == 3
        assert image_YXC.shape[0] * image_YXC.shape[1] <= FORM.max_pixels


@given(
    data=st.binary(max_size=300),
    start=st.sampled_from([b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"RIFF1234WEBPVP8 "]),
)
def test_bytes_behind_the_mark_of_a_format_are_refused(data: bytes, start: bytes) -> None:
    assert decoded_or_none(start + data) is None


def test_base64_may_be_broken_into_lines_and_be_an_address() -> None:
    data = painted().tobytes()
    text = base64.encodebytes(data).decode()
    assert from_base64(text) == from_base64(f"data:image/jpeg;base64,{text}") == data


@pytest.mark.parametrize("text", ["not base64!", "AAA", "data:image/jpeg,AAAA", "data:image/jpeg;base64", "é" * 8])
def test_what_is_no_base64_is_refused(text: str) -> None:
    with pytest.raises(PictureError, match="base64"):
        from_base64(text)
