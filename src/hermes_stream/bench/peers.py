"""The same question to the same frames, answered as people do it today and by this engine.

Shape letters: T tokens, E model width.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import torch

from hermes_stream.bench.encoding import BenchAdapter, endless, question_of
from hermes_stream.bench.latency import QUESTION_TOKENS
from hermes_stream.bench.machine import device_peak_bytes
from hermes_stream.bench.pictures import pictures
from hermes_stream.bench.timing import AskTimes, percentile_ms, time_question, timed, wait_for
from hermes_stream.defaults import DEFAULT_MEMORY
from hermes_stream.engine.engine import Engine
from hermes_stream.engine.opening import reserved_positions
from hermes_stream.engine.session import Session
from hermes_stream.errors import ConfigError
from hermes_stream.models.adapter import Adapter
from hermes_stream.models.stock import StockAnswer
from hermes_stream.types import Query

GENERATE, GROWING = "transformers.generate, window re-prefilled", "transformers, growing cache"
_N_PICTURES, _PICTURES_EVERY_SECONDS = 2, 8
# Who takes long is not asked again: one run of minutes says enough.
_PATIENCE_SECONDS = 60.0
# Of ReKV's own window when frames are encoded; what a question sees is not less for it.
_WINDOW_SHARE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class PeersSettings:
    """frames: of the stream, and of the window that is re-prefilled. answer_tokens: of every answer, exactly."""

    frames: int
    budget: str | int | None = None
    n_questions: int = 8
    answer_tokens: int = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRow:
    """One way to answer. Times in milliseconds, medians; ttft from asking to the first token.

    ttft_against_ours: its ttft over this engine's. seen_tokens: rows that a question attends to, in the layer with
    most, besides its own. peak_bytes: of keys, values and all else that is kept for the stream and while it answers;
    device_peak_bytes: of everything on the accelerator while it answered, None on a CPU.
    encoding_ms_per_frame: what the vision tower takes beside ttft for each frame of the window, where frames are kept
    as pictures; the figures take them as encoded, which no user of plain generate gets.
    """

    name: str
    ttft_ms_p50: float
    tpot_ms: float | None
    peak_bytes: int
    ttft_against_ours: float
    seen_tokens: int
    device_peak_bytes: int | None
    questions: int
    encoding_ms_per_frame: float | None = None

    def as_row(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Peer:
    """ask: the question once more. seen_tokens and n_bytes: as the row's, once it was asked."""

    name: str
    ask: Callable[[], AskTimes]
    seen_tokens: int
    n_bytes: Callable[[], int]
    asked: list[AskTimes] = field(default_factory=list)
    device_peak: int | None = None
    encoding_ms_per_frame: float | None = None

    @property
    def takes_long(self) -> bool:
        return sum(times.ttft_seconds for times in self.asked) > _PATIENCE_SECONDS


def measure_peers(adapter: Adapter, settings: PeersSettings, say: Callable[[str], None]) -> list[PeerRow]:
    """A row for each peer; this engine's comes last. All are warmed up and asked in turn.

    Raises ConfigError for a family whose prompts transformers does not take as embeddings, and for a window that does
    not fit the model's positions.
    """
    _check(adapter, settings)
    with _peers(adapter, settings, say) as peers:
        _ask_in_turn(peers, settings.n_questions, adapter.facts.device)
        ours = percentile_ms([times.ttft_seconds for times in peers[-1].asked], 50)
        return [_row(peer, ours) for peer in peers]


def _check(adapter: Adapter, settings: PeersSettings) -> None:
    facts = adapter.facts
    if facts.n_axes > 1 or facts.frames_per_grid > 1:
        raise ConfigError(
            f"{facts.name}: peers take prompts as embeddings, which {facts.family} cannot place; use a LLaVA-OneVision"
        )
    most = (
        facts.max_positions - facts.prefix_tokens - reserved_positions(facts.max_positions)
    ) // facts.tokens_per_frame
    if settings.frames > most:
        raise ConfigError(
            f"--frames is {settings.frames}, but {most} fit the {facts.max_positions} positions of the model"
        )


@contextmanager
def _peers(adapter: Adapter, settings: PeersSettings, say: Callable[[str], None]) -> Iterator[list[Peer]]:
    """All of them, filled and warm."""
    shown = pictures(_N_PICTURES, every_seconds=_PICTURES_EVERY_SECONDS)
    bench = cast(Adapter, BenchAdapter(adapter, shown))
    frames = list(endless(shown, 0, settings.frames))
    room = reserved_positions(adapter.facts.max_positions) - settings.answer_tokens
    query = Query(question_of(adapter, min(QUESTION_TOKENS, room)), max_new_tokens=settings.answer_tokens)
    per_frame = adapter.facts.tokens_per_frame
    n_held = settings.frames * per_frame
    with torch.inference_mode():
        window_TE = torch.cat((adapter.prefix(), bench.embed(frames, since_seconds=0.0).embeddings_NE))
        _, encoding_seconds = timed(lambda: adapter.embed(frames[:1], since_seconds=0.0), adapter.facts.device)
        question_TE = adapter.question(query.prompt, after_video=True)
    stock = _stock_peers(adapter, window_TE, question_TE, settings.answer_tokens, say)
    stock[0].encoding_ms_per_frame = round(1000 * encoding_seconds, 3)
    window = max(n_held // _WINDOW_SHARE, per_frame)
    with Engine(bench) as engine:
        rekv = engine.open(f"rekv(frames={settings.frames})", budget=window)
        ours = engine.open(DEFAULT_MEMORY, budget=settings.budget)
        names = f"rekv, {settings.frames} frames recalled", f"this engine, {DEFAULT_MEMORY}"
        sessions = []
        for name, session in zip(names, (rekv, ours), strict=True):
            session.watch(frames)
            say(f"{name}: {settings.frames} frames are in")
            sessions.append(_session_peer(name, session, query))
        engine.warm_up(questions=QUESTION_TOKENS)
        for session in (rekv, ours):
            time_question(session, query)
        yield [*stock, *sessions]


def _stock_peers(
    adapter: Adapter, window_TE: torch.Tensor, question_TE: torch.Tensor, n_tokens: int, say: Callable[[str], None]
) -> list[Peer]:
    """Re-prefilling, and a cache that holds the window already: the one that the first prefill leaves."""
    model = adapter.stock_model()
    prompt_TE = torch.cat((window_TE, question_TE))
    # Warm, on the beginning alone: a whole window takes minutes on a CPU.
    model.generate(prompt_TE[: question_TE.shape[0] * 2], n_tokens)
    wait_for(adapter.facts.device)
    first, cache = model.generate(prompt_TE, n_tokens)
    cache.crop(window_TE.shape[0])
    cache.ask(question_TE, n_tokens)
    say(f"{GENERATE}: first token after {first.seconds[0]:.3g} s for {prompt_TE.shape[0]} tokens")
    row_bytes = cache.n_bytes // cache.n_rows
    peak_bytes = (prompt_TE.shape[0] + n_tokens) * row_bytes
    # Who re-prefills keeps frames, encoded here, between questions.
    kept_bytes = window_TE.nbytes
    n_seen = cache.n_rows
    again = Peer(
        GENERATE, lambda: _times(model.generate(prompt_TE, n_tokens)[0]), n_seen, lambda: peak_bytes + kept_bytes
    )
    if first.seconds[0] > _PATIENCE_SECONDS:
        again.asked.append(_times(first))
    growing = Peer(GROWING, lambda: _times(cache.ask(question_TE, n_tokens)), n_seen, lambda: peak_bytes)
    return [again, growing]


def _session_peer(name: str, session: Session, query: Query) -> Peer:
    def n_bytes() -> int:
        stats = session.stats
        rows = session.stream.memory.peak_bytes + session.stream.state_bytes
        return rows + stats.archive_bytes + stats.disk_bytes

    seen = max(session.ask(query).result().held_tokens) + session.memory.n_prefix
    return Peer(name, lambda: time_question(session, query), seen, n_bytes)


def _ask_in_turn(peers: Sequence[Peer], n_questions: int, device: torch.device) -> None:
    order = list(peers)
    shuffler = random.Random(0)
    for _ in range(n_questions):
        shuffler.shuffle(order)
        for peer in order:
            if not peer.takes_long:
                if device.type == "cuda":
                    torch.cuda.reset_peak_memory_stats(device)
                peer.asked.append(peer.ask())
                peer.device_peak = device_peak_bytes(device)


def _times(answer: StockAnswer) -> AskTimes:
    n_more = len(answer.seconds) - 1
    return AskTimes(answer.seconds[0], (answer.seconds[-1] - answer.seconds[0]) / n_more if n_more else None)


def _row(peer: Peer, ours_ms: float) -> PeerRow:
    ttft_ms = percentile_ms([times.ttft_seconds for times in peer.asked], 50)
    tpot = [times.tpot_seconds for times in peer.asked if times.tpot_seconds is not None]
    return PeerRow(
        name=peer.name,
        ttft_ms_p50=ttft_ms,
        tpot_ms=percentile_ms(tpot, 50) if tpot else None,
        peak_bytes=peer.n_bytes(),
        ttft_against_ours=round(ttft_ms / ours_ms, 3),
        seen_tokens=peer.seen_tokens,
        device_peak_bytes=peer.device_peak,
        questions=len(peer.asked),
        encoding_ms_per_frame=peer.encoding_ms_per_frame,
    )
