"""A damaged middle: what can be decoded is used, in order, and the damage is counted and told."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import av
import pytest

from hermes_stream.errors import SourceError
from hermes_stream.video import Damage, open_source, open_video

from .clips import damage_bytes, flip_bits, numbered_images, write_raw

N_FRAMES = 100
N_SEEDS = 4
X264 = {"g": "20"}
FASTSTART = {"movflags": "faststart"}


def assert_strictly_increasing(times_seconds: list[float]) -> None:
    assert all(before < after for before, after in pairwise(times_seconds))


def read_damaged(path: Path, data: bytes) -> tuple[list[float], Damage]:
    path.write_bytes(data)
    with open_source(path) as source:
        times_seconds = [frame.pts_seconds for frame in source.lazy_frames()]
        return times_seconds, source.damage


@pytest.mark.parametrize("name", ["a.mp4", "a.ts", "a.mkv"])
def test_pictures_after_a_damaged_middle_are_found_again(tmp_path: Path, name: str) -> None:
    path = write_raw(tmp_path / name, "libx264", N_FRAMES, options=X264, is_noisy=True)
    times_seconds, damage = read_damaged(path, damage_bytes(path.read_bytes(), 0.4, 0.6))
    assert N_FRAMES // 2 < len(times_seconds) < N_FRAMES
    assert times_seconds[-1] == pytest.approx((N_FRAMES - 1) / 25, abs=1e-3)
    assert_strictly_increasing(times_seconds)
    assert damage.is_damaged
    assert damage.n_decode_errors + damage.n_frames_corrupt > 0
    assert "\n" not in damage.summary
    assert not damage.ended_early


@pytest.mark.parametrize("name", ["a.mp4", "a.ts", "a.mkv", "a.avi", "a.flv"])
def test_single_flipped_bits_never_raise_and_times_only_move_forward(tmp_path: Path, name: str) -> None:
    codec = {"a.avi": "mpeg4"}.get(name, "libx264")
    path = write_raw(tmp_path / name, codec, N_FRAMES, options=X264, is_noisy=True)
    data = path.read_bytes()
    n_read = 0
    for seed in range(N_SEEDS):
        times_seconds, _ = read_damaged(path, flip_bits(data, 30, seed))
        assert_strictly_increasing(times_seconds)
        n_read += len(times_seconds)
    assert n_read > N_SEEDS * N_FRAMES * 0.6


def test_a_video_that_stops_early_says_where(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "a.mp4", "libx264", N_FRAMES, options=X264, container_options=FASTSTART, is_noisy=True)
    times_seconds, damage = read_damaged(path, path.read_bytes()[: path.stat().st_size // 2])
    assert 10 < len(times_seconds) < N_FRAMES
    assert damage.ended_early
    assert damage.summary.endswith(f"ended at {times_seconds[-1] + 1 / 25:.1f} s of 4.0 s")


@pytest.mark.parametrize("name", ["a.webm", "a.mkv"])
def test_a_truncated_matroska_says_so_too(tmp_path: Path, name: str) -> None:
    codec = "libvpx-vp9" if name == "a.webm" else "libx264"
    options = {"deadline": "realtime", "cpu-used": "8"} if name == "a.webm" else X264
    path = write_raw(tmp_path / name, codec, N_FRAMES, options=options, is_noisy=True)
    times_seconds, damage = read_damaged(path, path.read_bytes()[: path.stat().st_size // 2])
    assert 10 < len(times_seconds) < N_FRAMES
    assert damage.ended_early


def test_a_whole_video_has_no_damage(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "a.mp4", "libx264", N_FRAMES, options=X264, is_noisy=True)
    times_seconds, damage = read_damaged(path, path.read_bytes())
    assert len(times_seconds) == N_FRAMES
    assert damage == Damage()
    assert damage.summary == "no damage found"


def test_a_last_picture_that_stays_long_is_no_early_end(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        frames = [av.VideoFrame.from_ndarray(image_YXC, format="rgb24") for image_YXC in numbered_images(20)]
        packets = [packet for frame in [*frames, None] for packet in stream.encode(frame)]
        max(packets, key=lambda packet: packet.pts).duration = 250
        container.mux(packets)
    with open_source(path) as source:
        assert len(list(source)) == 20
        assert source.info.duration_seconds == pytest.approx(10.76, abs=0.01)
        assert source.damage == Damage()


def test_damage_is_told_through_the_thread(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "a.mp4", "libx264", N_FRAMES, options=X264, is_noisy=True)
    path.write_bytes(damage_bytes(path.read_bytes(), 0.4, 0.6))
    with open_video(path, fps=5) as video:
        assert len(list(video)) > 10
        assert video.damage.is_damaged


def test_a_broken_header_is_an_error_not_a_traceback(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "a.mkv", "libx264", 20)
    path.write_bytes(bytes(200) + path.read_bytes()[200:])
    with pytest.raises(SourceError):
        open_source(path)


@pytest.mark.parametrize(
    ("damage", "summary"),
    [
        (Damage(n_decode_errors=1), "1 packet that could not be decoded"),
        (
            Damage(n_decode_errors=22, n_packets_skipped=1, n_frames_corrupt=2, n_frames_dropped=1, n_time_resets=1),
            "22 packets that could not be decoded, 1 unreadable place skipped, 2 damaged pictures used, "
            "1 picture out of order dropped, 1 restart of the stream's clock",
        ),
        (Damage(ended_early=True, end_reason="nothing arrived for 30 s"), "nothing arrived for 30 s"),
    ],
)
def test_the_summary_is_one_line(damage: Damage, summary: str) -> None:
    assert damage.summary == summary
    assert damage.is_damaged
