"""A chunk as it is trained is what its definition says, and what the engine's adapters make of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.errors import ConfigError, ModelError
from hermes_stream.models import qwen2_5_vl
from hermes_stream.models.commentary import stand_at
from hermes_stream.models.load import load_adapter
from hermes_stream.train.commentary.inputs import RoundFrames, frame_inputs
from hermes_stream.train.commentary.layout import NO_LABEL, ChunkLayout, TextLimits
from hermes_stream.train.commentary.records import AskedMidway, Record
from hermes_stream.types import Frame, TimedWord
from hermes_stream.video.excerpt import read_frames_at
from tests.oracles.commentary_chunks import FRAMES, lay_out, pieces_of
from tests.train.commentary.conftest import FPS, RECORDS, VIDEO, Workplace

PROMPTS = qwen2_5_vl.COMMENTARY


def _letters(text: str) -> tuple[int, ...]:
    return tuple(ord(letter) for letter in text)


_WORD = st.sampled_from(["goal", "he", "shoots"])
_ENDS = st.lists(st.integers(1, 12).map(lambda n: 30 + n / 4), max_size=8).map(sorted)
_CELLS = ((0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1))


@given(_ENDS, st.lists(_WORD, max_size=5), st.sets(st.sampled_from([31.0, 31.5, 33.0])), st.sampled_from(["", "Go."]))
@settings(max_examples=120, deadline=None)
def test_ids_labels_and_positions_are_those_of_the_definition(
    ends: list[float], previous: list[str], asked: set[float], query: str
) -> None:
    record = Record(
        VIDEO,
        30.0,
        33.0,
        tuple(TimedWord(end - 0.1, end, f"w{index}") for index, end in enumerate(ends)),
        query=query,
        previous=" ".join(previous),
        asked=tuple(AskedMidway("n", time, "Who?", "me") for time in sorted(asked)),
    )
    layout = ChunkLayout(PROMPTS, _letters, TextLimits(), 3)  # type: ignore[arg-type]
    frames = RoundFrames((7,) * 4, torch.tensor(_CELLS).T)
    chunk = layout(record, [frames] * 3)
    ids, labels, positions = lay_out(pieces_of(record, PROMPTS), _letters, [((7,) * 4, _CELLS)] * 3, 3)
    assert chunk.ids_T.tolist() == ids
    assert chunk.label_T.tolist() == labels
    assert list(zip(*chunk.position_RT.tolist(), strict=True)) == positions


def test_words_silence_and_the_end_of_the_turn_are_learnt_and_nothing_else() -> None:
    layout = ChunkLayout(PROMPTS, _letters, TextLimits(), 1)  # type: ignore[arg-type]
    chunk = layout(RECORDS[0], [RoundFrames((7,), torch.zeros(1, 1, dtype=torch.int64))] * 3)
    learnt = "".join(chr(label) for label in chunk.label_T.tolist() if label != NO_LABEL)
    assert learnt == " red ...<|im_end|>red\n circle ...<|im_end|> ...<|im_end|>"
    is_learnt_T = chunk.label_T != NO_LABEL
    assert torch.equal(chunk.label_T[is_learnt_T], chunk.ids_T[is_learnt_T])


@pytest.mark.parametrize(
    ("head", "tail", "kept"), [(9, 9, "abcdefgh"), (2, 3, "abfgh"), (0, 3, "fgh"), (2, 0, "ab"), (0, 0, "")]
)
def test_the_middle_of_the_previous_text_goes(head: int, tail: int, kept: str) -> None:
    assert "".join(map(chr, TextLimits(head, tail).shorten(_letters("abcdefgh")))) == kept


def test_limits_below_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match="previous text"):
        TextLimits(-1, 3)


def test_other_families_are_refused() -> None:
    config = type("Config", (), {"model_type": "gemma4"})()
    with pytest.raises(ModelError, match="gemma4"):
        frame_inputs(config, {}, _letters)


@torch.no_grad()
def test_the_training_forward_is_the_engine_s_prefill(workplace: Workplace) -> None:
    """The same logits wherever something is learnt: ids, features, positions and mask agree, padding does no harm."""
    setup = workplace.setup()
    samples = [setup.dataset[0], setup.dataset[1]]
    batch = setup.trainer.data_collator(samples)
    labels_BT = batch.pop("labels")
    model = setup.model.eval()
    logits_BTV = model(**setup.frames.model_inputs(model, batch), use_cache=False).logits
    adapter = load_adapter(str(workplace.model), dtype="float32")
    for row, record in enumerate(RECORDS):
        embedded_TE, position_RT, taps = _prefill(adapter, record, workplace.videos)
        hidden_TE, _ = adapter.run_stock(embedded_TE, position_RT, taps, want_attentions=False)  # type: ignore[attr-defined]
        n = embedded_TE.shape[0]
        learnt_T = (labels_BT[row, 1:n] != NO_LABEL).nonzero()[:, 0]
        assert learnt_T.numel() > 4
        torch.testing.assert_close(logits_BTV[row, learnt_T], adapter.logits(hidden_TE)[learnt_T], atol=2e-4, rtol=1e-4)
        assert torch.equal(samples[row].chunk.position_RT, position_RT)


def _prefill(adapter: object, record: Record, videos: Path) -> tuple[torch.Tensor, torch.Tensor, object]:
    """Embeddings, positions and DeepStack of a chunk as the engine's adapter makes them, piece by piece."""
    parts, positions, taps, is_visual = [], [], [], []
    token_ids: Callable[[str], Sequence[int]] = adapter.token_ids  # type: ignore[attr-defined]
    start, second = 0, record.start_seconds
    n_axes = adapter.facts.n_axes  # type: ignore[attr-defined]
    for piece in pieces_of(record, _prompts(adapter)):
        if piece.text == FRAMES:
            frames = _frames(videos, second)
            tokens = adapter.embed(frames, since_seconds=0.0)  # type: ignore[attr-defined]
            parts.append(tokens.embeddings_NE)
            positions.append(stand_at(tokens.positions_RN, start))
            taps.append(tokens.deepstack)
            is_visual.append(~tokens.is_text_N if tokens.is_text_N is not None else torch.ones(len(parts[-1])).bool())
            second += 1
        elif piece.text:
            parts.append(adapter.tokens(torch.tensor(token_ids(piece.text))))  # type: ignore[attr-defined]
            positions.append(torch.arange(start, start + len(parts[-1])).expand(n_axes, -1))
            is_visual.append(torch.zeros(len(parts[-1]), dtype=torch.bool))
        start = max((int(position_RN.max()) + 1 for position_RN in positions[-1:]), default=0)
    joined = [torch.cat(tap) for tap in zip(*taps, strict=True)]
    deepstack = (torch.cat(is_visual), joined) if joined else None
    return torch.cat(parts), torch.cat(positions, dim=1), deepstack


def _prompts(adapter: object) -> object:
    from hermes_stream.models import llava_onevision, qwen3_vl

    families = {"qwen2.5-vl": qwen2_5_vl, "qwen3-vl": qwen3_vl, "llava-onevision": llava_onevision}
    return families[adapter.facts.family].COMMENTARY  # type: ignore[attr-defined]


def _frames(videos: Path, second: float) -> list[Frame]:
    n = int(FPS)
    return read_frames_at(videos / VIDEO, [second + index / n for index in range(n)])
