"""What PyAV and FFmpeg do that odd lines of `video/` rely on: a failure after an upgrade says which line to look at."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest
from av.codec.context import Flags

from .clips import damage_bytes, write_raw


def decoded_stamps(path: Path, *, is_low_delay: bool = False, options: dict[str, str] | None = None) -> list[int]:
    with av.open(str(path), options=options or {}) as container:
        stream = container.streams.video[0]
        stream.thread_type = "SLICE"
        if is_low_delay:
            stream.codec_context.flags |= Flags.low_delay
        return [frame.pts for frame in container.decode(stream) if frame.pts is not None]


def test_low_delay_gives_reordered_pictures_in_decoding_order(tmp_path: Path) -> None:
    """Why the flag is set only where the decoder reorders nothing."""
    path = write_raw(tmp_path / "a.ts", "mpeg2video", 30, options={"bf": "2"})
    stamps = decoded_stamps(path, is_low_delay=True)
    assert any(before > after for before, after in pairwise(stamps))
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.has_b_frames


def test_nobuffer_loses_what_was_read_while_probing(tmp_path: Path) -> None:
    """Why live streams are opened without it."""
    path = write_raw(tmp_path / "a.flv", "libx264", 100, is_noisy=True)
    assert len(decoded_stamps(path)) == 100
    assert len(decoded_stamps(path, options={"fflags": "nobuffer"})) < 100


def test_options_of_open_do_not_reach_the_decoder(tmp_path: Path) -> None:
    """Why flags are set on the codec context."""
    path = write_raw(tmp_path / "a.mp4", "libx264", 3)
    with av.open(str(path), options={"flags": "low_delay"}) as container:
        assert not container.streams.video[0].codec_context.flags & Flags.low_delay


def test_the_last_packet_is_an_empty_one_without_a_stamp(tmp_path: Path) -> None:
    """How the end of a stream is told from a packet."""
    path = write_raw(tmp_path / "a.mp4", "libx264", 3)
    with av.open(str(path)) as container:
        packets = list(container.demux(video=0))
    assert [(packet.size > 0, packet.dts is None) for packet in packets] == [(True, False)] * 3 + [(False, True)]


def test_a_flushed_decoder_refuses_more(tmp_path: Path) -> None:
    """Why it is flushed once, by us, and never sees an empty packet."""
    path = write_raw(tmp_path / "a.mp4", "libx264", 3)
    with av.open(str(path)) as container:
        list(container.decode(video=0))
        with pytest.raises(av.error.EOFError):
            container.streams.video[0].codec_context.decode(None)


def test_damage_raises_within_the_tree_that_is_caught(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "a.mp4", "libx264", 60, is_noisy=True)
    path.write_bytes(damage_bytes(path.read_bytes(), 0.4, 0.6))
    n_errors = 0
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            try:
                packet.decode()
            except av.FFmpegError:
                n_errors += 1
    assert n_errors > 0


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (av.error.InvalidDataError, ValueError),
        (av.error.FileNotFoundError, OSError),
        (av.error.ConnectionResetError, OSError),
        (av.error.ExitError, Exception),
    ],
)
def test_errors_are_of_two_trees(error: type[Exception], builtin: type[Exception]) -> None:
    """Why broken connections can be told from damaged data."""
    assert issubclass(error, av.FFmpegError)
    assert issubclass(error, builtin)
    assert not issubclass(error, OSError) or builtin is OSError


def test_errors_repeat_the_address_and_can_be_masked() -> None:
    with pytest.raises(av.FFmpegError) as caught:
        av.open("rtsp://user:secret@127.0.0.1:1/a")
    assert "secret" in str(caught.value)
    caught.value.args = (*caught.value.args[:2], "masked")
    assert "secret" not in str(caught.value) + repr(caught.value)


def test_rates_and_time_bases_convert_to_fractions(tmp_path: Path) -> None:
    """They are announced to become a class of PyAV's own."""
    path = write_raw(tmp_path / "a.mp4", "libx264", 3)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert Fraction(stream.average_rate) == 25
        assert next(container.decode(stream)).pts * Fraction(stream.time_base) == 0


def test_a_decoder_refuses_pictures_beyond_its_limit(tmp_path: Path) -> None:
    """Whatever the header says of their size."""
    path = write_raw(tmp_path / "a.mp4", "libx264", 3)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.options = {"max_pixels": str(64 * 48 - 1)}
        with pytest.raises(av.FFmpegError):
            list(container.decode(stream))
