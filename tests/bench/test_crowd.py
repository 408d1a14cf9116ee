"""Crowds are full memories that go their own ways."""

from __future__ import annotations

from pathlib import Path

from hermes_stream.bench.crowd import crowds
from hermes_stream.models.load import load_adapter


def test_streams_start_full_at_different_places_of_their_interval_and_keep_apart(llava_folder: Path) -> None:
    with crowds(load_adapter(str(llava_folder)), "sliding-window", budget="18", chunk=3, fps=2.0) as made:
        with made.of(4) as streams:
            assert [stream.session.stream.interval_frames for stream in streams] == [0, 1, 2, 0]
            assert all(min(stream.session.stats.held_tokens) >= 18 for stream in streams)
            seen = [stream.session.stats.frames_seen for stream in streams]
            frames = streams[0].next_frames(3)
            streams[0].session.watch(frames)
            assert [frame.pts_seconds - frames[0].pts_seconds for frame in frames] == [0, 0.5, 1]
            assert [stream.session.stats.frames_seen - n for stream, n in zip(streams, seen, strict=True)] == [
                3,
                0,
                0,
                0,
            ]
            for stream in streams:
                stream.session.check_invariants()
        assert all(stream.session.is_closed for stream in streams)
        with made.of(1) as (stream,):
            assert stream.session.stats.frames_seen == seen[0]
