"""Times of sessions alone: encoding is part of them, and nobody else's work is."""

from __future__ import annotations

from pathlib import Path

from hermes_stream import Engine, Query
from hermes_stream.evals.alone import measure_alone
from hermes_stream.evals.shared_encoding import share_encoding
from hermes_stream.evals.side_by_side import SideBySide
from hermes_stream.models.load import load_adapter
from tests.evals.test_side_by_side import Counting
from tests.tiny import make_frames


def test_every_session_encodes_its_own_intervals_and_time_goes_on(llava_folder: Path) -> None:
    counting = Counting(load_adapter(str(llava_folder)))
    with Engine(share_encoding(counting)) as engine:
        sessions = {memory: engine.open(memory) for memory in ("hermes", "sliding-window")}
        frames = make_frames(9)
        for session in sessions.values():
            session.watch(frames)
        counting.encoded.clear()
        pictures = [frame.image_YXC for frame in frames[:2]]
        times = measure_alone(
            SideBySide(sessions), Query("What is it?", max_new_tokens=1), pictures, seconds_per_frame=0.5
        )
        # Three intervals of 4 frames each; each begins inside one of the memory's own, which cuts it: 3 frames and 1.
        assert sum(map(len, counting.encoded)) == 2 * 3 * 4
        for memory, session in sessions.items():
            assert session.stats.frames_seen == 9 + 12
            assert session.stats.time_seconds == 8 + 12 * 0.5
            assert times[memory].ttft_seconds > 0
            assert times[memory].ingest_seconds_per_frame > 0
