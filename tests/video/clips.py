"""Videos made in-process, whose pictures say which number they have.

Shape letters: Y X C image height, width, channel.
"""

from __future__ import annotations

import random
import wave
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 64, 48
_N_BITS = 8


def numbered_image(number: int, width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    """A picture with `number` (0 to 255) as eight black or white columns, which survive any codec."""
    bits_B = np.array([number >> bit & 1 for bit in range(_N_BITS)], dtype=np.uint8)
    row_X = np.repeat(bits_B * np.uint8(255), width // _N_BITS)
    row_X = np.pad(row_X, (0, width - len(row_X)), mode="edge")
    return np.ascontiguousarray(np.broadcast_to(row_X[None, :, None], (height, width, 3)))


def number_of(image_YXC: NDArray[np.uint8]) -> int:
    """The number that `numbered_image` drew."""
    height, width = image_YXC.shape[:2]
    step = width // _N_BITS
    return sum(int(image_YXC[height // 2, bit * step + step // 2].mean() > 127) << bit for bit in range(_N_BITS))


def numbered_images(n_frames: int) -> Iterator[NDArray[np.uint8]]:
    """Pictures 0, 1, 2, ... (modulo 256)."""
    return (numbered_image(index % 256) for index in range(n_frames))


def noisy_images(n_frames: int) -> Iterator[NDArray[np.uint8]]:
    """Pictures that cost bytes, so that damage in the middle hits many packets."""
    rng = np.random.default_rng(0)
    for index in range(n_frames):
        image_YXC = numbered_image(index % 256, 160, 120)
        image_YXC[:30] = rng.integers(0, 256, (30, 160, 3), dtype=np.uint8)
        yield image_YXC


def write_raw(
    path: Path,
    codec: str,
    n_frames: int,
    *,
    fps: int = 25,
    format_name: str | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    rotation_degrees: float | None = None,
    display_matrix: tuple[int, ...] | None = None,
    first_pts: int = 0,
    images: Iterable[NDArray[np.uint8]] | None = None,
    is_noisy: bool = False,
) -> Path:
    """Encode with PyAV directly, for what `write_video` has no option for."""
    images = images or (noisy_images(n_frames) if is_noisy else numbered_images(n_frames))
    with av.open(str(path), "w", format=format_name, options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=fps, options=options or {})
        stream.codec_context.time_base = Fraction(1, fps)
        if rotation_degrees is not None:
            stream.set_display_rotation(rotation_degrees)
        if display_matrix is not None:
            # 16.16 fixed point, but 2.30 in the last column.
            stream.set_display_matrix([v << (30 if i % 3 == 2 else 16) for i, v in enumerate(display_matrix)])
        for index, image_YXC in enumerate(images):
            if index == 0:
                stream.height, stream.width = image_YXC.shape[:2]
                stream.pix_fmt = "yuv420p"
            frame = av.VideoFrame.from_ndarray(image_YXC, format="rgb24")
            frame.pts, frame.time_base = first_pts + index, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_sound(path: Path) -> Path:
    """A tenth of a second of silence."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(1600))
    return path


def damage_bytes(data: bytes, start_share: float, end_share: float) -> bytes:
    """The same bytes with a stretch of noise in the middle."""
    start, end = int(len(data) * start_share), int(len(data) * end_share)
    return data[:start] + random.Random(0).randbytes(end - start) + data[end:]


def flip_bits(data: bytes, n_flips: int, seed: int, margin: int = 2000) -> bytes:
    """The same bytes with single bits turned over, away from both ends."""
    rng, damaged = random.Random(seed), bytearray(data)
    for _ in range(n_flips):
        damaged[rng.randrange(margin, len(damaged) - margin)] ^= 1 << rng.randrange(8)
    return bytes(damaged)
