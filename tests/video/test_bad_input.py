"""Every bad input is one clear line in our own words, with FFmpeg's error as its cause."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import pytest

from hermes_stream.errors import SourceError
from hermes_stream.video import open_video, write_video

from .clips import numbered_images, write_raw, write_sound


def make_text(path: Path) -> None:
    path.write_text("Dear diary, today I did not film anything.\n" * 30, encoding="utf-8")


def make_subtitles(path: Path) -> None:
    path.write_text("1\n00:00:00,000 --> 00:00:01,000\nhello\n\n", encoding="utf-8")


def make_without_index(path: Path) -> None:
    write_raw(path, "libx264", 60, is_noisy=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def make_without_pictures(path: Path) -> None:
    write_raw(path, "libx264", 60, is_noisy=True)
    data = path.read_bytes()
    start = data.index(b"mdat") + 4
    path.write_bytes(data[:start] + bytes(data.index(b"moov") - 4 - start) + data[data.index(b"moov") - 4 :])


def make_cover_picture(path: Path) -> None:
    """A song with a cover, which FFmpeg shows as a video stream."""
    write_video(path.with_suffix(".png"), numbered_images(1), fps=1, codec="png", format="image2")
    with av.open(str(path), "w", format="mp4") as container:
        cover = container.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.VideoFrame.from_ndarray(next(numbered_images(1)), format="rgb24")
        frame.pts = 0
        container.mux([*cover.encode(frame), *cover.encode(None)])


BAD_FILES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "missing": ("a.mp4", lambda path: None, "no such file"),
    "folder": ("a.mp4", Path.mkdir, "is a folder"),
    "empty": ("a.mp4", Path.touch, "is empty"),
    "text": ("a.mp4", make_text, "is a text file"),
    "plain text": ("a.txt", make_text, "is a text file"),
    "subtitles": ("a.mp4", make_subtitles, r"no video stream \(it holds subtitle\)"),
    "noise": ("a.mp4", lambda path: path.write_bytes(bytes(range(256)) * 40), "is not a video"),
    "sound": ("a.wav", write_sound, r"no video stream \(it holds audio\)"),
    "cover": ("a.mp4", make_cover_picture, r"no video stream \(it holds a cover picture\)"),
    "no index": ("a.mp4", make_without_index, r"index \(moov\) cannot be read"),
    "no pictures": ("a.mp4", make_without_pictures, "no picture could be decoded"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_files_are_named_when_opened(tmp_path: Path, kind: str) -> None:
    name, make, message = BAD_FILES[kind]
    make(tmp_path / name)
    with pytest.raises(SourceError, match=message) as caught:
        open_video(tmp_path / name, fps=1)
    line = str(caught.value)
    assert "\n" not in line
    assert str(tmp_path / name) in line
    assert ";" in line, "the message should end with what to do"


def test_pictures_beyond_all_reason_are_refused_before_they_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_raw(tmp_path / "a.mp4", "libx264", 2)
    monkeypatch.setattr("hermes_stream.video.pyav_source._MOST_PIXELS", 64 * 48)
    with open_video(tmp_path / "a.mp4", fps=None) as video:
        assert len(list(video)) == 2
    monkeypatch.setattr("hermes_stream.video.pyav_source._MOST_PIXELS", 64 * 48 - 1)
    with pytest.raises(SourceError, match="pictures of 64 x 48 pixels; up to 3071 in all"):
        open_video(tmp_path / "a.mp4", fps=None)


def test_the_cause_is_kept(tmp_path: Path) -> None:
    make_text(tmp_path / "a.mp4")
    with pytest.raises(SourceError) as caught:
        open_video(tmp_path / "a.mp4", fps=1)
    assert isinstance(caught.value.__cause__, av.FFmpegError)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("gopher-video://somewhere/x", "Protocol not found; use a file, or an address"),
        ("http://127.0.0.1:1/a.mp4", "Connection refused; check the address"),
        ("rtsp://127.0.0.1:1/a", "Connection refused; check the address"),
        ("/dev/video97", "cannot open the device /dev/video97"),
        ("lavfi:no_such_filter", "cannot open the device"),
    ],
)
def test_bad_addresses_are_named(address: str, message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        open_video(address, fps=1)
    assert "\n" not in str(caught.value)


def test_passwords_are_in_no_message_and_no_cause() -> None:
    with pytest.raises(SourceError) as caught:
        open_video("rtsp://admin:hunter2@127.0.0.1:1/cam?token=abc123&channel=2", fps=1)
    told = repr(caught.value) + str(caught.value.__cause__) + repr(caught.value.__cause__)
    assert "hunter2" not in told
    assert "abc123" not in told
    assert "rtsp://***@127.0.0.1:1/cam?token=***&channel=2" in str(caught.value)
