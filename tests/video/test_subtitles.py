"""Subtitles: whole after every cue, and read by FFmpeg as they were meant."""

from __future__ import annotations

from pathlib import Path

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.errors import ConfigError
from hermes_stream.video.subtitles import Form, SubtitleFile, clock

CUES = [(0.0, 1.0, "a red ring enters"), (1.0, 2.5, "it <b>leaves</b> & comes\n\nback --> here"), (3600.25, 3601, "ü")]


def written(path: Path, form: Form) -> Path:
    with SubtitleFile(path, form) as file:
        for cue in CUES:
            file.add(*cue)
    return path


def test_subrip(tmp_path: Path) -> None:
    assert written(tmp_path / "a.srt", Form.SRT).read_text("utf-8") == (
        "1\n00:00:00,000 --> 00:00:01,000\na red ring enters\n\n"
        "2\n00:00:01,000 --> 00:00:02,500\nit <b>leaves</b> & comes back -> here\n\n"
        "3\n01:00:00,250 --> 01:00:01,000\nü\n\n"
    )


def test_webvtt(tmp_path: Path) -> None:
    assert written(tmp_path / "a.vtt", Form.VTT).read_text("utf-8") == (
        "WEBVTT\n\n"
        "00:00:00.000 --> 00:00:01.000\na red ring enters\n\n"
        "00:00:01.000 --> 00:00:02.500\nit &lt;b&gt;leaves&lt;/b&gt; &amp; comes back -&gt; here\n\n"
        "01:00:00.250 --> 01:00:01.000\nü\n\n"
    )


@pytest.mark.parametrize("form", Form)
def test_ffmpeg_reads_the_cues_at_their_times(tmp_path: Path, form: Form) -> None:
    path = written(tmp_path / f"a.{form}", form)
    with av.open(str(path)) as container:
        (stream,) = container.streams.subtitles
        packets = [packet for packet in container.demux(stream) if packet.size]
        times = [
            (float(packet.pts * packet.time_base), float((packet.pts + packet.duration) * packet.time_base))
            for packet in packets
        ]
        first = bytes(packets[0]).decode("utf-8")
    assert times == [(start, end) for start, end, _ in CUES]
    assert "a red ring enters" in first


@pytest.mark.parametrize("form", Form)
def test_the_file_is_whole_after_each_cue(tmp_path: Path, form: Form) -> None:
    path = tmp_path / "a"
    file = SubtitleFile(path, form)
    for n, cue in enumerate(CUES, start=1):
        file.add(*cue)
        text = path.read_text("utf-8")
        assert text.endswith("\n\n")
        assert text.count(" --> ") == n
    file.close()


def test_nothing_is_no_cue(tmp_path: Path) -> None:
    with SubtitleFile(tmp_path / "a.srt", Form.SRT) as file:
        file.add(0.0, 1.0, " \n ")
    assert (tmp_path / "a.srt").read_text("utf-8") == ""


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="subtitles cannot be written to"):
        SubtitleFile(tmp_path / "missing" / "a.srt", Form.SRT)


@settings(max_examples=200, deadline=None)
@given(milliseconds=st.integers(0, 10**10), form=st.sampled_from(Form))
def test_a_moment_is_written_to_the_millisecond(milliseconds: int, form: Form) -> None:
    hours, minutes, seconds = clock(milliseconds / 1000, form).split(":")
    whole, part = seconds.split("," if form is Form.SRT else ".")
    assert len(part) == 3
    assert int(minutes) < 60
    assert int(whole) < 60
    assert ((int(hours) * 60 + int(minutes)) * 60 + int(whole)) * 1000 + int(part) == milliseconds
