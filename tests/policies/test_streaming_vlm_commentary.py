"""StreamingVLM's regions with commentary: the release on its worked example, and what is repaired."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.memory.turns import segments_of
from hermes_stream.policies.streaming_vlm import StreamingVLM

from ..oracles.streaming_vlm_oracle import ReleasedLoop, Windows
from .narrated import NarratedTables

RELEASED = StreamingVLM.presets["released"]


def released(text: int, vision: int, sink: int, sliding: int) -> StreamingVLM:
    """The source's four numbers; of the last words it keeps one less than it is given."""
    return StreamingVLM(
        **{**RELEASED, "text_tail": max(sliding - 1, 0)}, text_seconds=text, seconds=vision, text_head=sink
    )


# Section 5 of the specification: R_t = R_v = 2, sink 2, window 3, a grid of 2 x 2, ten tokens of time, two words.
def segments_at_the_end(second: int) -> list[tuple[str, int, tuple[int, int], tuple[int, int]]]:
    """Part, ids, and the range of positions on the time axis and on the height axis, after one of the four seconds."""
    tables = NarratedTables(released(2, 2, 2, 3), previous=["p0", "p1"], query=["q0", "q1"])
    for index in range(second + 1):
        tables.second([f"w{index}a", f"w{index}b"], n_time=10)
    table = tables.memory.current.layers[0].table
    found = []
    for segment in segments_of(table):
        position_RN = table.position_RHN[:, 0, segment.start : segment.start + segment.length]
        time, height = ((int(axis_N.min()), int(axis_N.max())) for axis_N in position_RN[:2])
        found.append((f"{segment.part.name} {segment.round_index}", segment.length, time, height))
    return found


def test_the_worked_example_token_for_token_and_position_for_position() -> None:
    tables = NarratedTables(released(2, 2, 2, 3), previous=["p0", "p1"], query=["q0", "q1"])
    totals = []
    for index in range(4):
        tables.second([f"w{index}a", f"w{index}b"], n_time=10)
        totals.append((len(tables.held), tables.memory.current.next_position))
    assert totals == [(49, 47), (78, 74), (78, 74), (78, 74)]
    assert tables.held[15:19] == ["p0", "p1", "w1a", "w1b"]
    frames = [place for name, place in zip(tables.held, tables.positions, strict=True) if name.startswith("V2.")]
    assert frames == [(35, 35, 35), (35, 35, 36), (35, 36, 35), (35, 36, 36)]


def test_the_worked_example_as_a_table_of_segments() -> None:
    """The end of second 2: w0a and w0b stand in the block, round 1 is at 21 to 39, the query is gone."""
    assert segments_at_the_end(2) == [
        ("PREVIOUS_OPEN 0", 4, (11, 14), (11, 14)),
        ("PREVIOUS_WORD 0", 2, (15, 16), (15, 16)),
        ("WORD 0", 2, (17, 18), (17, 18)),
        ("PREVIOUS_CLOSE 0", 2, (19, 20), (19, 20)),
        ("USER_OPEN 1", 3, (21, 23), (21, 23)),
        ("TIME 1", 10, (24, 33), (24, 33)),
        ("FRAMES 1", 6, (34, 37), (34, 37)),
        ("USER_CLOSE 1", 2, (38, 39), (38, 39)),
        ("REPLY_OPEN 1", 3, (40, 42), (40, 42)),
        ("WORD 1", 2, (43, 44), (43, 44)),
        ("SILENCE 1", 1, (45, 45), (45, 45)),
        ("REPLY_CLOSE 1", 2, (46, 47), (46, 47)),
        ("USER_OPEN 2", 3, (48, 50), (48, 50)),
        ("TIME 2", 10, (51, 60), (51, 60)),
        ("FRAMES 2", 6, (61, 64), (61, 64)),
        ("USER_CLOSE 2", 2, (65, 66), (65, 66)),
        ("REPLY_OPEN 2", 3, (67, 69), (67, 69)),
        ("WORD 2", 2, (70, 71), (70, 71)),
        ("SILENCE 2", 1, (72, 72), (72, 72)),
        ("REPLY_CLOSE 2", 1, (73, 73), (73, 73)),
    ]


@pytest.mark.parametrize(
    ("text", "vision", "totals"),
    [(2, 1, [49, 72, 72, 72]), (1, 2, [49, 62, 60, 60]), (1, 1, [49, 49, 49, 49]), (2, 2, [49, 78, 78, 78])],
)
def test_windows_of_different_lengths(text: int, vision: int, totals: list[int]) -> None:
    tables = NarratedTables(released(text, vision, 2, 3), previous=["p0", "p1"], query=["q0", "q1"])
    found = []
    for index in range(4):
        tables.second([f"w{index}a", f"w{index}b"], n_time=10)
        found.append(len(tables.held))
    assert found == totals


@pytest.mark.parametrize(
    ("cells", "sizes"),
    [
        ((20, 36), [(827, 143), (12_152, 1_208), (12_152, 1_208), (12_656, 1_712), (13_119, 2_175)]),
        ((13, 23), [(406, 130), (5_416, 1_000), (5_416, 1_000), (5_920, 1_504), (6_383, 1_967)]),
    ],
    ids=["720p", "360p"],
)
def test_sizes_of_the_release(cells: tuple[int, int], sizes: list[tuple[int, int]]) -> None:
    """Section 4: ids and next position, with six words a second, 50 previous words and a query of 6."""
    tables = NarratedTables(
        released(16, 16, 512, 512), previous=[f"p{index}" for index in range(50)], query=[f"q{i}" for i in range(6)]
    )
    expected = dict(zip((0, 15, 16, 100, 200), sizes, strict=True))
    found, block = {}, {}
    for index in range(201):
        tables.second([f"w{index}.{word}" for word in range(6)], n_time=16, cells=cells)
        if index in expected:
            found[index] = (len(tables.held), tables.memory.current.next_position)
            frames = {name.partition(".")[0] for name in tables.held if name.startswith("V")}
            assert len(frames) == min(index + 1, 16)
            assert ("q0" in tables.held) == (index < 16)
            block[index] = tables.held.index("previous.close.1") + 1 - 11
    assert found == expected
    assert block == {0: 56, 15: 56, 16: 62, 100: 566, 200: 1029}


seconds_of_words = st.lists(
    st.tuples(st.integers(0, 4), st.booleans(), st.sampled_from([(1, 1), (2, 2), (1, 3)])), min_size=1, max_size=12
)


@settings(max_examples=60, deadline=None)
@given(
    said=seconds_of_words,
    text=st.integers(1, 4),
    vision=st.integers(1, 4),
    sink=st.integers(0, 5),
    sliding=st.integers(1, 6),
    n_previous=st.integers(0, 3),
    n_axes=st.sampled_from([1, 3]),
)
def test_any_stream_equals_the_released_loop(
    said: list[tuple[int, bool, tuple[int, int]]],
    text: int,
    vision: int,
    sink: int,
    sliding: int,
    n_previous: int,
    n_axes: int,
) -> None:
    """Ids, and on three axes positions, with replies that were cut and grids of changing size."""
    previous = [f"p{index}" for index in range(n_previous)]
    tables = NarratedTables(released(text, vision, sink, sliding), previous=previous, query=["q0"], n_axes=n_axes)
    loop = ReleasedLoop(Windows(text, vision, sink, sliding), previous, ["q0"])
    for index, (n_words, is_cut, cells) in enumerate(said):
        words = [f"w{index}.{word}" for word in range(n_words)]
        # A reply that was cut has a token at least.
        is_cut = is_cut and n_words > 0
        for each in (tables, loop):
            each.second(words, n_time=3, cells=cells, is_cut=is_cut)
        assert tables.held == loop.ids
        expected = loop.positions() if n_axes == 3 else [(place,) for place in range(len(loop.ids))]
        assert tables.positions == expected
        values_ND = tables.memory.current.layers[0].values[0]
        assert values_ND[11:, 0].tolist() == tables.memory.current.layers[0].table.identity_HN[0, 11:].tolist()


def vision_blocks(tables: NarratedTables) -> int:
    return len({name.partition(".")[0] for name in tables.held if name.startswith("V")})


@pytest.mark.parametrize(("policy", "n_blocks"), [(StreamingVLM(), 8), (StreamingVLM(**RELEASED), 16)])
def test_a_window_is_seconds_whatever_a_round_is(policy: StreamingVLM, n_blocks: int) -> None:
    """Rounds of two seconds, a window of sixteen: eight blocks; the release counts rounds and holds 32 s."""
    tables = NarratedTables(policy.with_budget(100_000), step_seconds=2.0)
    for index in range(20):
        tables.second([f"w{index}"], n_time=2)
    assert vision_blocks(tables) == n_blocks


@pytest.mark.parametrize(("policy", "n_words"), [(StreamingVLM(), 20), (StreamingVLM(**RELEASED), 19)])
def test_a_reply_without_a_marker_keeps_its_last_word(policy: StreamingVLM, n_words: int) -> None:
    words = [f"w{index}" for index in range(20)]
    one = policy.model_copy(update={"seconds": 1.0, "text_seconds": 1.0, "budget": 100_000})
    tables = NarratedTables(one)
    tables.second(words, n_time=2, is_cut=True)
    tables.second([], n_time=2)
    assert [name for name in tables.held if name in words] == words[:n_words]


def test_no_words_leave_the_ends_of_the_block() -> None:
    tables = NarratedTables(StreamingVLM(budget=1000, seconds=1, text_head=0, text_tail=0))
    for index in range(4):
        tables.second([f"w{index}a", f"w{index}b"], n_time=2)
    assert tables.held[11:17] == [
        *[f"previous.open.{index}" for index in range(4)],
        *["previous.close.0"],
        "previous.close.1",
    ]


def test_frames_that_wait_are_bounded_in_tokens() -> None:
    """With their markers a block has six rows: three of them fit 20."""
    tables = NarratedTables(StreamingVLM(budget=10_000, seconds=16, text_seconds=16, vision_tokens=20))
    for index in range(12):
        tables.second([f"w{index}"], n_time=2)
    assert vision_blocks(tables) == 3 + 1
    assert sum(name.startswith("w") for name in tables.held) == 12


def test_frames_leave_before_replies_move_and_words_leave_last() -> None:
    """As the budget shrinks: fewer blocks first, then fewer turns, and words of the block at the very end."""
    seen = []
    for budget in (400, 200, 120, 60, 20):
        tables = NarratedTables(StreamingVLM(budget=budget, seconds=8, text_head=4, text_tail=4))
        for index in range(12):
            tables.second([f"w{index}"], n_time=2)
        tables.plan()
        turns = len({name.partition(".")[0] for name in tables.held if name.startswith("A")})
        seen.append((vision_blocks(tables), turns, "w0" in tables.held))
        assert len(tables.held) - 11 <= budget
    blocks, turns, first_words = zip(*seen, strict=True)
    assert list(blocks) == sorted(blocks, reverse=True)
    assert list(turns) == sorted(turns, reverse=True)
    assert (blocks[0], turns[0]) == (7, 7)
    # Replies stay whole as long as there is vision to give up.
    assert all(n == 7 for n, n_blocks in zip(turns, blocks, strict=True) if n_blocks > 0)
    assert first_words[:-1] == (True,) * 4


@settings(max_examples=40, deadline=None)
@given(budget=st.integers(1, 80), head=st.integers(0, 6), tail=st.integers(0, 6), n_words=st.integers(0, 5))
def test_no_budget_is_passed(budget: int, head: int, tail: int, n_words: int) -> None:
    tables = NarratedTables(StreamingVLM(budget=budget, seconds=4, text_head=head, text_tail=tail))
    for index in range(8):
        tables.second([f"w{index}.{word}" for word in range(n_words)], n_time=2)
    tables.plan()
    assert len(tables.held) - 11 <= budget


def test_native_positions_stay_where_they_were() -> None:
    """What is left of a round stands where it was computed; with contiguous positions nothing is ever further on."""
    ends = []
    for positions in ("contiguous", "native"):
        tables = NarratedTables(StreamingVLM(budget=1000, seconds=2, text_head=2, text_tail=2, positions=positions))
        for index in range(20):
            tables.second([f"w{index}"], n_time=2)
        ends.append(tables.memory.current.next_position)
        places = dict(zip(tables.held, tables.positions, strict=True))
        ends.append(places["U19.open.0"][0])
    assert ends[0] < 60 < ends[2]
    assert ends[3] == ends[2] - (ends[0] - ends[1])


def test_two_hundred_rounds_are_as_large_as_fifty() -> None:
    tables = NarratedTables(StreamingVLM(budget=1000, seconds=4, text_head=8, text_tail=8))
    sizes = []
    for index in range(200):
        tables.second([f"w{index}a", f"w{index}b"], n_time=3)
        sizes.append((len(tables.held), tables.memory.current.next_position))
    assert set(sizes[50:]) == {sizes[50]}
