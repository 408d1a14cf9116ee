"""Gaps: times in which nothing was seen. However long they are, streams of all families go on behind them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream import Engine, Frame, Gap, KeepAll, Session, SlidingWindow, UsageError
from hermes_stream.engine.gaps import MOST_GAPS, n_before_gap, seconds_inside, with_gap
from hermes_stream.engine.snapshot import take_snapshot
from hermes_stream.engine.stream import Stream
from hermes_stream.memory.snapshot import Snapshot
from hermes_stream.models.adapter import Adapter
from hermes_stream.models.load import load_adapter
from hermes_stream.policies.spec import parse_memory
from tests.engine.held_up import held_up
from tests.tiny import make_frames, save_checkpoint

from .direct import assert_same_streams, open_direct, question_logits, restore_direct, watch_direct
from .test_live import wait_until_idle

HOUR, DAY, WEEK = 3_600.0, 86_400.0, 604_800.0
QUESTION = "What is left?"
# Rows that stay, compactions of each kind, frames that wait as features, archived and recalled rows, summaries.
MEMORIES = [
    "hermes",
    "hermes(reindex=eager)",
    "hermes:released",
    "sliding-window",
    "streaming-vlm(seconds=1e9)",
    "uniform",
    "dscache",
    "infinipot-v + fresh(frames=1)",
    "recent-frames",
    "rekv",
    "tiered",
    "v-rex",
]


@pytest.fixture(scope="module", params=["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def adapter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    folder: Path = tmp_path_factory.mktemp(request.param)
    return load_adapter(str(save_checkpoint(request.param, folder / request.param, num_hidden_layers=3)))


@pytest.fixture(scope="module")
def qwen2_5(tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    folder = save_checkpoint("qwen2_5_vl", tmp_path_factory.mktemp("late") / "qwen2_5_vl", num_hidden_layers=3)
    return load_adapter(str(folder))


def shown(n: int, start_seconds: float, *, seed: int = 0) -> list[Frame]:
    """Frames, one a second, from a time on."""
    return [Frame(start_seconds + frame.pts_seconds, frame.image_YXC) for frame in make_frames(n, seed=seed)]


def pass_gap(stream: Stream, seconds: float, *, marks: bool = True) -> float:
    """The stream's source is away for so long; returns when it comes back."""
    newest = stream.newest_seconds or 0.0
    if marks:
        stream.mark_gap(Gap(newest, newest + seconds, "the camera was away"), None)
    return newest + seconds


def assert_in_order(stream: Stream) -> None:
    """Laws hold, nothing passes the model's limit, and a question gets an answer."""
    stream.memory.check_invariants()
    version, limit = stream.memory.current, stream.memory.shape.max_positions
    assert version.next_position <= limit
    for layer in version.layers:
        position_RHN = layer.table.position_RHN
        assert 0 <= int(position_RHN.min()) <= int(position_RHN.max()) < version.next_position
    assert bool(torch.isfinite(question_logits(stream, QUESTION)).all())


def start(adapter: Adapter, memory: str) -> Stream:
    return open_direct(adapter, parse_memory(memory).with_budget(4 * adapter.facts.tokens_per_frame), chunk_frames=4)


@pytest.mark.parametrize("memory", MEMORIES)
def test_a_stream_goes_on_after_an_hour_a_day_and_a_week(memory: str, adapter: Adapter) -> None:
    """Marked or not, with an odd number of frames and an even one before it, within an interval and after one."""
    stream, at = start(adapter, memory), 0.0
    for round_, seconds in enumerate((HOUR, DAY, WEEK)):
        n_frames = 5 + round_
        watch_direct(stream, shown(n_frames, at, seed=round_), 3)
        assert_in_order(stream)
        at = pass_gap(stream, seconds, marks=round_ != 1)
        watch_direct(stream, shown(1, at, seed=round_), 1)
        assert_in_order(stream)
        at += 1


@settings(max_examples=12, deadline=None)
@given(
    memory=st.sampled_from(MEMORIES),
    steps=st.lists(
        st.tuples(st.integers(1, 6), st.floats(0.1, 2e6), st.booleans(), st.integers(1, 4)), min_size=1, max_size=7
    ),
    middle=st.integers(0, 7),
)
def test_random_gaps_keep_all_laws_and_snapshots_go_on_alike(
    qwen2_5: Adapter, memory: str, steps: list[tuple[int, float, bool, int]], middle: int
) -> None:
    """Absolute times are where clocks jump; jumps fall between pieces and within them."""
    streams, at = [start(qwen2_5, memory)], 0.0
    for index, (n_frames, seconds, marks, piece_frames) in enumerate(steps):
        frames = shown(n_frames, at, seed=index)
        if not marks:
            # Within one piece.
            frames += shown(2, at + n_frames + seconds, seed=index + 1)
        for stream in streams:
            watch_direct(stream, frames, piece_frames)
            assert_in_order(stream)
            at = pass_gap(stream, seconds, marks=marks)
        if index == middle:
            streams.append(restore_direct(qwen2_5, take_snapshot(streams[0])))
    for stream in streams[1:]:
        assert_same_streams(streams[0], stream)


def test_a_gap_may_lie_within_a_piece(qwen2_5: Adapter) -> None:
    """As far as it must it shrinks, and frames after it keep their distances; so do those that come later."""
    stream = open_direct(qwen2_5, KeepAll(), chunk_frames=64)
    watch_direct(stream, [*shown(6, 0.0), *shown(6, DAY)], 12)
    watch_direct(stream, shown(2, DAY + 6), 2)
    version = stream.memory.current
    gaps = version.layers[0].table.position_RHN[0, 0, version.n_prefix :].unique().diff().tolist()
    assert gaps == [4, 4, gaps[2], 4, 4, 4]
    # The first pair behind it is what did not fit, and ends the span.
    assert gaps[2] == version.shape.longest_span - 8
    assert_in_order(stream)


def test_what_is_close_in_time_keeps_its_scale_and_long_gaps_get_one_length(qwen2_5: Adapter) -> None:
    stream = open_direct(qwen2_5, KeepAll(), chunk_frames=64)
    for start_seconds in (0.0, HOUR, DAY, WEEK):
        watch_direct(stream, shown(4, start_seconds), 4)
    version = stream.memory.current
    gaps = version.layers[0].table.position_RHN[0, 0, version.n_prefix :].unique().diff().tolist()
    assert gaps[::2] == [4] * 4
    # The last one came when the others had been drawn together already.
    assert len(set(gaps[1::2])) == 1
    assert gaps[1] > 50
    # Up to the pair for which they were drawn together.
    assert sum(gaps[:-1]) <= version.shape.longest_span


def test_a_grid_does_not_reach_over_a_gap(adapter: Adapter) -> None:
    """A frame that waits for a partner is committed with itself, as a question saw it all along."""
    if adapter.facts.frames_per_grid == 1:
        return
    stream = open_direct(adapter, KeepAll(), chunk_frames=4)
    watch_direct(stream, shown(3, 0.0), 3)
    before = question_logits(stream, QUESTION)
    at = pass_gap(stream, 20.0)
    assert stream.waiting != ()
    assert torch.equal(question_logits(stream, QUESTION), before)
    watch_direct(stream, shown(1, at), 1)
    version = stream.memory.current
    assert (version.frames_seen, version.grids_seen, len(stream.waiting)) == (3, 2, 1)
    assert version.layers[0].table.seconds_HN[0, version.n_prefix :].unique().tolist() == [0.5, 2.0]
    watch_direct(stream, shown(1, at + 1), 1)
    assert stream.memory.current.layers[0].table.seconds_HN[0].max() == at + 0.5
    assert_in_order(stream)


def test_intervals_go_on_over_a_gap(adapter: Adapter) -> None:
    """A frame without a partner takes a grid's place in its interval: no interval has more grids than others."""
    stream = start(adapter, "sliding-window")
    for at in range(0, 120, 20):
        watch_direct(stream, shown(3, float(at)), 3)
        pass_gap(stream, 1.0)
    most = 4 * adapter.facts.tokens_per_frame + adapter.facts.tokens_per_frame * 4 // adapter.facts.frames_per_grid
    assert stream.memory.peak_tokens <= most
    assert stream.n_compressions > 0


def test_text_over_the_frames_times_goes_on_behind_a_gap(tmp_path: Path) -> None:
    """Qwen2.5-VL with transformers 5's place of text: its clock for limits is that of the frames."""
    folder = save_checkpoint("qwen2_5_vl", tmp_path / "qwen2_5_vl", num_hidden_layers=3)
    stream = start(load_adapter(str(folder), text_positions="overlap"), "hermes")
    for round_ in range(3):
        watch_direct(stream, shown(7, round_ * WEEK, seed=round_), 3)
        assert_in_order(stream)


@pytest.fixture
def session(engine: Engine) -> Session:
    session = engine.open(SlidingWindow(budget=30), chunk=4)
    session.watch(make_frames(3))
    return session


def test_gaps_are_told_forked_and_saved(session: Session, engine: Engine, tmp_path: Path) -> None:
    session.mark_gap(2.0, 60.0, "the camera was away")
    session.watch(shown(2, 60.0))
    session.mark_gap(61.0, 70.0, "the server was down")
    expected = (Gap(2.0, 60.0, "the camera was away"), Gap(61.0, 70.0, "the server was down"))
    session.snapshot().save(tmp_path / "past")
    for each in (session, session.fork(), engine.restore(Snapshot.load(tmp_path / "past"))):
        assert each.stats.gaps == expected
        with pytest.raises(UsageError, match=r"a frame at 69\.000 s, but nothing was seen from 61\.000 s to 70\.000 s"):
            each.watch(shown(1, 69.0))
        each.watch(shown(1, 70.0))
        each.check_invariants()


def test_a_gap_begins_after_all_frames_that_were_given(session: Session) -> None:
    session.mark_gap(3.0, 10.0, "away")
    for start_seconds, end_seconds, message in (
        (1.5, 20.0, r"a gap from 1\.500 s on, but a frame of 2\.000 s was given; begin it there"),
        (9.0, 20.0, r"the one before lasts until 10\.000 s; begin it there"),
        (12.0, 12.0, r"a gap from 12\.0 s to 12\.0 s; expected seconds"),
        (12.0, float("inf"), r"expected seconds"),
    ):
        with pytest.raises(UsageError, match=message):
            session.mark_gap(start_seconds, end_seconds, "away")
    assert session.stats.gaps == (Gap(3.0, 10.0, "away"),)


def test_frames_that_are_offered_know_gaps(session: Session) -> None:
    """Those that were offered before it come in; later ones are refused as they are given; the lag is of frames."""
    with held_up(session):
        session.offer(shown(2, 3.0))
        assert session.stats.lag_seconds == 2
    wait_until_idle(session)
    session.mark_gap(4.0, 1000.0, "away")
    for give in (session.offer, session.watch):
        with pytest.raises(UsageError, match="nothing was seen from"):
            give(shown(1, 5.0))
    with held_up(session):
        assert session.offer(shown(2, 1000.0)) == 2
        assert session.stats.lag_seconds == 1
    wait_until_idle(session)
    assert session.stats.frames_seen == 7
    assert session.stats.lag_seconds == 0


def test_a_gap_is_not_marked_over_frames_on_their_way(session: Session) -> None:
    with held_up(session):
        session.offer(shown(2, 3.0))
    with pytest.raises(UsageError, match=r"but a frame of 4\.000 s was given"):
        session.mark_gap(3.5, 10.0, "away")


def test_the_oldest_gaps_become_one() -> None:
    gaps: tuple[Gap, ...] = ()
    for number in range(MOST_GAPS + 5):
        gaps = with_gap(gaps, Gap(number, number + 0.5, "away"))
    assert len(gaps) == MOST_GAPS
    assert gaps[0] == Gap(0, 5.5, "the oldest gaps, taken together")
    assert gaps[1] == Gap(6, 6.5, "away")


times = st.integers(0, 40).map(float)


@given(edges=st.lists(times, unique=True, max_size=8).map(sorted), frames=st.lists(times, max_size=8).map(sorted))
def test_what_gaps_say_of_times(edges: list[float], frames: list[float]) -> None:
    """From the definition: a gap lies between two frames, and takes the part of the time that is in it."""
    gaps = [Gap(a, b, "away") for a, b in zip(edges[::2], edges[1::2], strict=False)]
    pictures = [Frame(at, make_frames(1)[0].image_YXC) for at in frames]
    after = [
        index
        for index in range(1, len(frames))
        if any(frames[index - 1] <= gap.start_seconds and gap.end_seconds <= frames[index] for gap in gaps)
    ]
    assert n_before_gap(gaps, pictures) == min([*after, len(frames)])
    for start_seconds, end_seconds in ((0.0, 40.0), (10.0, 25.0)):
        seconds = [second for second in range(40) if start_seconds <= second < end_seconds]
        inside = [second for second in seconds if any(g.start_seconds <= second < g.end_seconds for g in gaps)]
        assert seconds_inside(gaps, start_seconds, end_seconds) == len(inside)
