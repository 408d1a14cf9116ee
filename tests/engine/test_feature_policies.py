"""Policies that hold features, on a model of every family: whole streams, merged ones, and words between frames."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hermes_stream.engine.stream import Stream
from hermes_stream.memory.token_table import TokenKind
from hermes_stream.models.adapter import Adapter
from hermes_stream.models.load import load_adapter
from hermes_stream.policies.base import Policy
from hermes_stream.policies.spec import parse_memory
from tests.tiny import make_frames, save_checkpoint

from .direct import open_direct, question_logits, watch_direct

HOLDERS = ["causalmem", "event-forest", "fluxmem"]
FRONT_ENDS = ["", "dtd(drop=0.7) | "]  # frames whole, and ragged
N_FRAMES = 14  # 7 grids where two frames make one


@pytest.fixture(scope="module", params=["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def adapter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    folder: Path = tmp_path_factory.mktemp(request.param)
    return load_adapter(str(save_checkpoint(request.param, folder / request.param)))


def watched(adapter: Adapter, policy: Policy) -> Stream:
    """The last two frames came after the last interval's end."""
    stream = open_direct(adapter, policy, chunk_frames=4)
    watch_direct(stream, make_frames(N_FRAMES), 2)
    return stream


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_a_budget_longer_than_the_stream_answers_as_all_its_frames_do(
    holder: str, front_end: str, adapter: Adapter
) -> None:
    stream = watched(adapter, parse_memory(front_end + holder, N_FRAMES * adapter.facts.tokens_per_frame))
    all_frames = watched(adapter, all_of(front_end))
    for question in ("What is there?", "Where was the circle?"):
        assert torch.equal(question_logits(stream, question), question_logits(all_frames, question))


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_words_stay_with_what_is_left_of_their_frame(holder: str, front_end: str, adapter: Adapter) -> None:
    """Budgets of a few frames; every question can be answered, and the memory obeys its laws."""
    all_words = words_by_frame(watched(adapter, all_of(front_end)))
    for n_frames in (1.0, 1.7, 3.2):
        budget = int(n_frames * adapter.facts.tokens_per_frame)
        stream = watched(adapter, parse_memory(front_end + holder, budget))
        stream.memory.check_invariants()
        bank = stream.memory.current.features
        is_text_N = bank.table.kind_HN[0] == TokenKind.TEXT
        frames = set(bank.table.frame_HN[0, ~is_text_N].tolist())
        assert words_by_frame(stream) == {frame: words for frame, words in all_words.items() if frame in frames}
        assert bool(torch.isfinite(question_logits(stream, "What is left?")).all())


def all_of(front_end: str) -> Policy:
    return parse_memory(f"{front_end}recent-frames(frames={N_FRAMES}, budget=1)")


def words_by_frame(stream: Stream) -> dict[int, int]:
    table = stream.memory.current.features.table
    frames, counts = table.frame_HN[0, table.kind_HN[0] == TokenKind.TEXT].unique(return_counts=True)
    return dict(zip(frames.tolist(), counts.tolist(), strict=True))
