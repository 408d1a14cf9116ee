"""Does this engine compute what the stock model computes, here, with these weights? For `hermes-stream doctor`.

Each check compares with the stock attention of the very same weights, or with a second way to the same numbers.
Shape letters: T tokens, E model width, V vocabulary, N held tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from hermes_stream.engine.answer import AnswerStream, AnswerTask
from hermes_stream.engine.batch import DeepStack, PackedBatch
from hermes_stream.engine.forward import run_forward
from hermes_stream.engine.graphs.bucket import buckets_up_to
from hermes_stream.engine.graphs.static_forwards import static_forwards
from hermes_stream.engine.ingest import Piece
from hermes_stream.engine.opening import commit_prefix, open_stream
from hermes_stream.engine.pending import Channel
from hermes_stream.engine.question import Question
from hermes_stream.engine.stream import Stream
from hermes_stream.memory.plan import Plan, Positions
from hermes_stream.memory.view import MemoryView
from hermes_stream.models.adapter import Adapter
from hermes_stream.policies.base import Policy, Probe
from hermes_stream.policies.spec import parse_memory
from hermes_stream.types import Frame, Query, VisualTokens

QUESTION = "What is on the screen?"
_N_PLACEMENTS = 1000
# Largest difference of two ways to the same logits, relative to their spread, that rounding explains.
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison. difference: largest, relative to the spread of what it is compared with."""

    name: str
    difference: float
    tolerance: float

    @property
    def is_good(self) -> bool:
        return self.difference <= self.tolerance


class _Listener(Policy):
    """Keeps everything and puts the attention of its probe into `views`."""

    name: ClassVar[str] = "listener"
    is_bounded: ClassVar[bool] = False
    views: list[Any]

    def probes(self, n_rows: Any, history: Any, stream: Any) -> tuple[Probe, ...]:  # noqa: ARG002
        return (Probe("question", QUESTION, range(stream.n_layers)),)

    def after_chunk(self, view: MemoryView, state: Any) -> tuple[Plan, Any]:
        self.views.append(view)
        return Plan.keep_all(), state


def run_checks(adapter: Adapter, frames: Sequence[Frame]) -> list[Check]:
    """All checks on one adapter that no engine uses; frames: an even number, at least 4."""
    tolerance = TOLERANCES[adapter.facts.dtype]
    checks: list[tuple[str, Callable[[Adapter, Sequence[Frame]], float]]] = [
        ("chunked equals the stock model's whole forward", _chunked_equals_stock),
        ("packed with another stream equals alone", _packed_equals_alone),
        ("probe equals the stock model's eager attention", _probe_equals_eager),
        (f"keys placed {_N_PLACEMENTS} times equal keys placed once", _placed_often_equals_once),
    ]
    if static_forwards(adapter) is not None:
        checks.append(("captured forwards equal others", _captured_equals_eager))
    with torch.inference_mode():
        return [Check(name, check(adapter, frames), tolerance) for name, check in checks]


def _chunked_equals_stock(adapter: Adapter, frames: Sequence[Frame]) -> float:
    stream = _open(adapter, parse_memory("keep-all"), len(frames))
    _watch(stream, frames, adapter.facts.frames_per_grid)
    expected_V = _stock_logits(adapter, stream, frames)
    return _difference(_question_logits([stream])[0], expected_V)


def _packed_equals_alone(adapter: Adapter, frames: Sequence[Frame]) -> float:
    streams = []
    for clip in (frames, list(frames)[::-1]):
        stream = _open(adapter, parse_memory("keep-all"), len(frames))
        retimed = [Frame(frame.pts_seconds, other.image_YXC) for frame, other in zip(frames, clip, strict=True)]
        _watch(stream, retimed, len(frames))
        streams.append(stream)
    packed_LV = _question_logits(streams)
    alone_LV = torch.stack([_question_logits([stream])[0] for stream in streams])
    return _difference(packed_LV, alone_LV)


def _probe_equals_eager(adapter: Adapter, frames: Sequence[Frame]) -> float:
    listener = _Listener(views=[])
    stream = _open(adapter, listener, len(frames))
    _watch(stream, frames, len(frames))
    tokens = adapter.embed(frames, since_seconds=frames[0].pts_seconds)
    prompt_TE = adapter.guidance(QUESTION)
    *_, attentions = _stock_run(adapter, tokens, prompt_TE, want_attentions=True)
    n_prefix, n_prompt = adapter.facts.prefix_tokens, prompt_TE.shape[0]
    differences = [
        _difference(layer.mass["question"].mean(dim=0), weights[0, :, -n_prompt:, n_prefix:-n_prompt].mean(dim=(0, 1)))
        for layer, weights in zip(listener.views[-1].layers, attentions, strict=True)
    ]
    return max(differences)


def _placed_often_equals_once(adapter: Adapter, frames: Sequence[Frame]) -> float:
    generator = torch.Generator().manual_seed(0)
    moved, fresh = (_open(adapter, parse_memory("keep-all"), len(frames)) for _ in range(2))
    for stream in (moved, fresh):
        _watch(stream, frames, len(frames))
    memory, facts = moved.memory, adapter.facts
    original = tuple(layer.table.position_RHN[:, 0, facts.prefix_tokens :].clone() for layer in memory.current.layers)
    for _ in range(_N_PLACEMENTS):
        most = facts.max_positions - memory.current.next_position - 1
        step = int(torch.randint(0, max(most, 1), (), generator=generator))
        memory.apply(Plan(positions=tuple(position_RN + step for position_RN in original)))
        memory.apply(Plan(positions=original))
    memory.apply(Plan(positions=Positions.COMPACT))
    fresh.memory.apply(Plan(positions=Positions.COMPACT))
    return _difference(_question_logits([moved])[0], _question_logits([fresh])[0])


def _captured_equals_eager(adapter: Adapter, frames: Sequence[Frame]) -> float:
    """A question and a token of its answer, both ways; infinite where a capture fails, which is logged."""
    stream = _open(adapter, parse_memory("keep-all"), len(frames))
    _watch(stream, frames, len(frames))
    static, arena = static_forwards(adapter), stream.memory.current.layers[0].slab.arena
    assert static is not None
    assert arena is not None
    query = Query(QUESTION)
    captured, eager = (AnswerTask(stream, query, Channel(AnswerStream(query))) for _ in range(2))
    static.warm_up(arena, buckets_up_to(captured.question.n_tokens, 1))
    differences = []
    for _ in range(2):
        found, expected = static.run([captured.segment()]), run_forward(adapter, [eager.segment()])
        if found is None:
            return float("inf")
        differences.append(_difference(found.logits_AV, expected.logits_AV))
        for task in (captured, eager):
            task.accept(int(expected.largest_A[0]))
    return max(differences)


def _open(adapter: Adapter, policy: Policy, chunk_frames: int) -> Stream:
    stream = open_stream(adapter, policy, chunk_frames=chunk_frames, keep_raw=True, seed=0)
    commit_prefix(stream)
    return stream


def _watch(stream: Stream, frames: Sequence[Frame], piece_frames: int) -> None:
    left = list(frames)
    while left:
        piece = Piece(stream, left[:piece_frames])
        stream.adapter.run(PackedBatch(piece.segments(), stream.adapter.rope))
        piece.finish()
        left = left[piece.n_frames :]


def _question_logits(streams: Sequence[Stream]) -> torch.Tensor:
    """`[n_streams, V]`: the first token's logits of one question to each, in one forward."""
    query, adapter = Query(QUESTION), streams[0].adapter
    batch = PackedBatch([Question(stream, query).segment for stream in streams], adapter.rope)
    return adapter.logits(adapter.run(batch)[batch.last_rows])


def _stock_logits(adapter: Adapter, stream: Stream, frames: Sequence[Frame]) -> torch.Tensor:
    tokens = adapter.embed(frames, since_seconds=frames[0].pts_seconds)
    hidden_TE, _ = _stock_run(adapter, tokens, adapter.question(QUESTION, after_video=True), want_attentions=False)
    assert stream.memory.current.frames_seen == len(frames)
    return adapter.logits(hidden_TE[-1:])[0]


def _stock_run(
    adapter: Adapter, tokens: VisualTokens, text_TE: torch.Tensor, *, want_attentions: bool
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """Prefix, frames and text through the stock attention, at the positions that they would have in a stream."""
    facts = adapter.facts
    version = _open(adapter, parse_memory("keep-all"), 1).memory.current
    start = version.text_after(tokens)
    text_RT = (start + torch.arange(text_TE.shape[0])).expand(facts.n_axes, -1)
    prefix_RT = torch.arange(facts.prefix_tokens).expand(facts.n_axes, -1)
    position_RT = torch.cat((prefix_RT, version.place(tokens), text_RT), dim=-1).to(facts.device)
    embeddings_TE = torch.cat((adapter.prefix(), tokens.embeddings_NE, text_TE))
    stack = DeepStack.of([tokens], text_TE.shape[0])
    deepstack = None
    if stack is not None:
        prefix_mask = torch.zeros(facts.prefix_tokens, dtype=torch.bool)
        deepstack = torch.cat((prefix_mask, stack.is_visual_T)).to(facts.device), list(stack.taps)
    return adapter.run_stock(embeddings_TE, position_RT, deepstack, want_attentions=want_attentions)


def _difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    found, expected = found.double().cpu(), expected.double().cpu()
    spread = float(expected.abs().max())
    return float((found - expected).abs().max()) / max(spread, 1e-30)
