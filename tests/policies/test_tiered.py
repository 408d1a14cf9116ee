"""Tiered: which rows it holds in which tier, in how many bytes, and what it equals where nothing is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.engine.stream import Stream
from hermes_stream.memory.packed_rows import packed_bytes
from hermes_stream.models.load import load_adapter
from hermes_stream.policies.keep_all import KeepAll
from hermes_stream.policies.spec import parse_memory
from hermes_stream.policies.tiered import Tiered, place_in_order
from tests.engine.direct import open_direct, question_logits, watch_direct
from tests.oracles.tiered_oracle import place, tiers
from tests.tiny import make_frames, save_checkpoint

from .harness import HEAD_DIM, HEADS, FakeStream

N_PREFIX = FakeStream.prefix_tokens
EXACT_BYTES = 3 * HEADS * HEAD_DIM * 4


def compressed_bytes(bits: Any) -> int:
    return 2 * packed_bytes(HEADS, 1, HEAD_DIM, bits, torch.float32, "row")


def watched(policy: Tiered, sizes: list[int]) -> FakeStream:
    stream = FakeStream(policy, n_layers=2)
    for n_frames in sizes:
        stream.advance(n_frames)
    return stream


def held(stream: FakeStream) -> tuple[list[int], list[int]]:
    """Numbers of the compressed and of the exact tokens, counted from the stream's first, of the last layer."""
    layer = stream.memory.current.layers[-1]
    exact = layer.table.identity_HN[0, N_PREFIX:] - N_PREFIX
    archived = [] if not layer.archive.n_rows else (layer.archive.table.identity_HN[0] - N_PREFIX).tolist()
    return archived, exact.tolist()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=8),
    st.integers(3, 40),
    st.integers(0, 5),
    st.sampled_from([0.0, 0.25, 1.0]),
    st.sampled_from([16, 8, 4]),
)
def test_it_holds_what_the_definition_says(sizes: list[int], budget: int, recent: int, near: float, bits: Any) -> None:
    stream = watched(Tiered(budget=budget, recent=recent, near=near, bits=bits), sizes)
    n, cells = sum(sizes), FakeStream.tokens_per_frame
    expected = tiers(
        [(frame, 0, column) for frame in range(n) for column in range(cells)],
        budget,
        n_exact=recent * cells,
        exact_bytes=EXACT_BYTES,
        compressed_bytes=compressed_bytes(bits),
        near=near,
    )
    assert held(stream) == expected


def test_an_example_by_hand() -> None:
    """Twelve frames of one cell in the room of four: one is exact, three take as much as 3 * 48 // 20 = 7 in 4 bits.

    The newest quarter of these is frame 10. The ten older frames have the places .0 .618 .236 .854 .472 .090 .708 .326
    .944 .562, of which the six lowest stay.
    """
    stream = FakeStream(Tiered(budget=4), n_layers=1, tokens_per_frame=1)
    for _ in range(12):
        stream.advance(1)
    assert (EXACT_BYTES, compressed_bytes(4)) == (48, 20)
    assert held(stream) == ([0, 2, 4, 5, 7, 9, 10], [11])


@pytest.mark.parametrize("bits", [16, 8, 4])
@pytest.mark.parametrize("recent", [0, 1, 4])
def test_both_tiers_together_take_the_bytes_of_the_budget_and_no_more(bits: Any, recent: int) -> None:
    stream = FakeStream(Tiered(budget=24, bits=bits, recent=recent), n_layers=2)
    used = []
    for _ in range(40):
        stream.advance(2)
        version = stream.memory.current
        prefix = N_PREFIX * EXACT_BYTES * stream.n_layers
        used.append(version.n_bytes - prefix + version.archive_bytes())
    limit = stream.n_layers * 24 * EXACT_BYTES
    assert max(used) <= limit
    assert limit - used[-1] < stream.n_layers * compressed_bytes(bits)


def test_places_are_those_of_the_definition_and_lie_evenly() -> None:
    """Of 600 frames of 2 x 3 cells, however few stay: no gap in time much longer than others, no cell forgotten."""
    stream = FakeStream(KeepAll(), n_layers=1, tokens_per_frame=6)
    stream.advance(600)
    table = stream.memory.current.layers[0].table.slice(N_PREFIX)
    places = place_in_order(table).tolist()
    for frame in range(0, 600, 37):
        for column in range(6):
            assert places[6 * frame + column] == pytest.approx(place(frame, 0, column), abs=1e-9)
    for n_kept in (60, 200, 1200):
        kept = sorted(sorted(range(3600), key=lambda number: places[number])[:n_kept])
        per_cell = [sum(number % 6 == cell for number in kept) for cell in range(6)]
        gaps = [b - a for a, b in zip([0, *kept], [*kept, 3599], strict=True)]
        assert max(per_cell) <= 1.1 * n_kept / 6 + 2
        assert max(gaps) <= 5 * 3600 / n_kept


@pytest.fixture(scope="module", params=["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def adapter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp(request.param)
    return load_adapter(str(save_checkpoint(request.param, folder / request.param)))


def watched_by(adapter: Any, policy: Any) -> Stream:
    stream = open_direct(adapter, policy, chunk_frames=4)
    watch_direct(stream, make_frames(24), 2)
    return stream


def test_while_all_rows_fit_it_answers_as_if_everything_was_kept(adapter: Any) -> None:
    """Frames see compressed rows as they come, so in 16 bits the tiers are keep-all in two places."""
    whole = watched_by(adapter, KeepAll())
    n_rows, question = whole.memory.current.held_tokens[0], "What is left?"
    expected = question_logits(whole, question)
    never_full, *full = (
        watched_by(adapter, Tiered(budget=budget, bits=bits, near=0))
        for budget, bits in ((n_rows, 4), (n_rows - 1, 16), (n_rows // 2, 8), (n_rows // 2, 4))
    )
    assert [stream.memory.current.archived_tokens[0] > n_rows // 2 for stream in (never_full, *full)] == [
        False,
        *[True] * 3,
    ]
    torch.testing.assert_close(question_logits(never_full, question), expected, rtol=1e-4, atol=1e-5)
    errors = [(question_logits(stream, question) - expected).abs().max() for stream in full]
    assert errors[0] < 1e-4 < errors[1] < errors[2] < expected.std()


def test_bits_can_be_written() -> None:
    assert parse_memory("tiered(bits=8, budget=64)") == Tiered(bits=8, budget=64)
