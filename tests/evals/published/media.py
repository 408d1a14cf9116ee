"""A video as other files: GIF, WebM, a folder of pictures. Each is made once and copied from then on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import av

PutVideo = Callable[[Path], None]
_SIZE = {"width": 96, "height": 54}
_RATE = 4
"""Pictures a second, as what is put has."""


def put_webm(path: Path, put_video: PutVideo) -> None:
    _put(path, _encoded(put_video, "webm", "libvpx", "yuv420p"))


def put_gif(path: Path, put_video: PutVideo) -> None:
    _put(path, _encoded(put_video, "gif", "gif", "rgb8"))


def put_pictures(folder: Path, put_video: PutVideo, n_pictures: int) -> None:
    """00001.jpg and on."""
    for number, picture in enumerate(_pictures(put_video, n_pictures)):
        _put(folder / f"{number + 1:05}.jpg", picture)


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _frames(put_video: PutVideo) -> Iterator[av.VideoFrame]:
    with TemporaryDirectory() as folder:
        put_video(Path(folder) / "whole.mp4")
        with av.open(str(Path(folder) / "whole.mp4")) as whole:
            yield from whole.decode(video=0)


@cache
def _pictures(put_video: PutVideo, n_pictures: int) -> tuple[bytes, ...]:
    made = []
    for _, frame in zip(range(n_pictures), _frames(put_video), strict=False):
        frame.to_image(**_SIZE).save(picture := BytesIO(), "JPEG")
        made.append(picture.getvalue())
    return tuple(made)


@cache
def _encoded(put_video: PutVideo, container: str, codec: str, pixels: str) -> bytes:
    fast = {"deadline": "realtime", "cpu-used": "8"} if codec == "libvpx" else {}
    with av.open(content := BytesIO(), "w", container) as file:
        stream = file.add_stream(codec, rate=_RATE, options=fast)
        stream.width, stream.height, stream.pix_fmt = _SIZE["width"], _SIZE["height"], pixels
        for index, frame in enumerate(_frames(put_video)):
            small = frame.reformat(**_SIZE, format=pixels)
            small.pts, small.time_base = index, Fraction(1, _RATE)
            file.mux(stream.encode(small))
        file.mux(stream.encode())
    return content.getvalue()
