"""One question on its way to an answer: the engine's half and the asker's half.

Shape letters: T tokens, E model width, R position axes, V vocabulary.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from queue import SimpleQueue

import torch

from hermes_stream.engine.batch import DeepStack, TailSegment
from hermes_stream.engine.decode import Sampler, TextStream
from hermes_stream.engine.opening import reserved_positions
from hermes_stream.engine.recall import Chooser, Settled, most_seen
from hermes_stream.engine.stream import Stream
from hermes_stream.engine.tail import Tail
from hermes_stream.engine.token_segment import TokenSegment
from hermes_stream.errors import LimitError, SessionClosed
from hermes_stream.memory.features import place_fresh
from hermes_stream.memory.recall import Recalled
from hermes_stream.memory.upload import upload
from hermes_stream.memory.version import MemoryVersion
from hermes_stream.memory.view import LayerView
from hermes_stream.policies.base import ViewSpec
from hermes_stream.policies.recall import Asked
from hermes_stream.types import Answer, Query, TokenEvent, VisualTokens


class AnswerStream(Iterator[TokenEvent]):
    """The asker's half: iterate over tokens as they come, or wait for `result()`.

    Dropping the object, `close()` or leaving it as a context manager cancels what is not finished.
    """

    def __init__(self, query: Query) -> None:
        self.query = query
        self._asked_at = time.perf_counter()
        self._queue: SimpleQueue[TokenEvent | Answer | BaseException] = SimpleQueue()
        self._cancelled = threading.Event()
        self._outcome: Answer | BaseException | None = None

    def __next__(self) -> TokenEvent:
        """The next token. Raises what went wrong in the engine; StopIteration after the last token."""
        if self._outcome is None:
            item = self._queue.get()
            if isinstance(item, TokenEvent):
                return item
            self._outcome = item
            # For other threads that iterate over the same answer.
            self._queue.put(item)
        if isinstance(self._outcome, BaseException) and not self._cancelled.is_set():
            raise self._outcome
        raise StopIteration

    def result(self) -> Answer:
        """Wait for the whole answer. Raises SessionClosed if it was cancelled."""
        for _ in self:
            pass
        if isinstance(self._outcome, Answer):
            return self._outcome
        raise self._outcome or SessionClosed("the answer ended without a result")

    def cancel(self) -> None:
        """Stop decoding soon. Tokens that were already decoded can still be read."""
        self._cancelled.set()

    close = cancel

    def __enter__(self) -> AnswerStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()

    def __del__(self) -> None:
        self.cancel()


class AnswerTask:
    """The engine's half: a tail on a pinned version, one segment per forward.

    n_question_tokens: of the question's text with its template, at the end of the first segment. time_seconds: of the
    newest frame that it sees.
    """

    def __init__(self, stream: Stream, query: Query, channel: AnswerChannel) -> None:
        """Pins what the stream has seen by now. Raises LimitError if the question does not fit the positions left."""
        adapter, version, view = stream.adapter, stream.memory.current, stream.view_for(query.text)
        self.query = query
        self.channel = channel
        self._adapter = adapter
        self._version = version
        self._policy, self._state, self._state_bytes = stream.policy, stream.state, stream.state_bytes
        self._view, self._waiting = view, stream.encode_waiting()
        self._choice: Chooser | None = None
        self._settled: Settled | None = None
        self._sampler = Sampler(query, adapter.facts.device)
        self._text = TextStream(adapter.tokenizer)
        self._token_ids: list[int] = []
        self._ttft_seconds = 0.0
        self._n_fresh = 0
        self.n_question_tokens = 0
        self._frames_seen = version.frames_seen + len(stream.waiting)
        self.time_seconds = stream.waiting[-1].pts_seconds if stream.waiting else version.time_seconds
        if view.recalls and view.asks_first and view.first_frame is None:
            self._next = self._asking_segment()
        else:
            self._begin_answer([self._recall_all(index) for index in range(adapter.facts.n_layers)])

    def segment(self) -> TailSegment:
        """What the next forward must contain for this answer."""
        return self._next

    @property
    def text(self) -> str:
        """The answer so far."""
        return self._text.text.strip()

    @property
    def is_asking(self) -> bool:
        """Whether the next forward is the question's own pass, which decodes nothing."""
        return self._choice is not None

    @property
    def has_begun(self) -> bool:
        """Whether a token has been decoded."""
        return bool(self._token_ids)

    def choose(self, logits_V: torch.Tensor, largest: torch.Tensor) -> torch.Tensor:
        """The next token, a scalar on the device. largest: which of these logits is the largest, also such a scalar."""
        return largest if self.is_asking or self._sampler.takes_largest else self._sampler.choose(logits_V)

    def accept(self, token_id: int) -> Answer | None:
        """Take the token that was chosen and send it; returns the answer if it is finished.

        After the question's own pass there is none to take, and the answer begins.
        """
        if self.is_asking:
            self.end_asking()
            return None
        self._tail.n_rows += self._next.n_rows
        seconds = self.channel.seconds_since_ask()
        if not self._token_ids:
            self._ttft_seconds = seconds
        self._token_ids.append(token_id)
        is_stop = token_id in self._adapter.stop_token_ids
        is_last = is_stop or len(self._token_ids) >= self.query.max_new_tokens or self._room() < 1
        piece = "" if is_stop else self._text.push(token_id)
        if is_last:
            piece += self._text.finish()
        if piece or not is_stop:
            self.channel.put(TokenEvent(token_id, piece, seconds))
        if is_last:
            return self._answer()
        self._next = TokenSegment(self._adapter, token_id, self._tail.next_position, self._tail)
        self._tail.next_position += 1
        return None

    def end_asking(self) -> None:
        """The question's own pass is over: its rows go, what it recalled stays."""
        assert self._choice is not None
        recalled, self._choice = self._choice.settle(), None
        self._begin_answer(recalled)

    def _answer(self) -> Answer:
        version = self._version
        held = self._tail.base.held_tokens if self._settled is None else self._settled.n_rows
        return Answer(
            text=self.text,
            token_ids=tuple(self._token_ids),
            time_seconds=self.time_seconds,
            ttft_seconds=self._ttft_seconds,
            total_seconds=self.channel.seconds_since_ask(),
            frames_seen=self._frames_seen,
            held_tokens=tuple(n + self._n_fresh for n in held),
            memory_bytes=version.n_bytes + self._state_bytes,
            archive_bytes=version.archive_bytes() + version.archive_bytes(disk=True),
        )

    def _recall_all(self, layer_index: int) -> Recalled:
        """What a policy shows that does not look at questions, layer by layer."""
        if not self._view.is_chosen:
            return Recalled()
        layer = self._version.layers[layer_index]
        if self._view.first_frame is not None:
            return Recalled(held_rows=layer.rows_since(self._view.first_frame, self._version.n_prefix))
        nothing = torch.empty(self._adapter.facts.n_kv_heads, 0, self._adapter.facts.head_dim)
        held = LayerView.of(layer, self._version.n_prefix, self._adapter.rope, {})
        asked = Asked(nothing, nothing, layer.archive, held, self._view.sees_held)
        return self._policy.recall(layer_index, asked, self._state)

    def _asking_segment(self) -> TailSegment:
        """The bare question on what it recalls, layer by layer: nothing remains of it but the choice."""
        text_TE = self._adapter.guidance(self.query.text)
        end = self._version.text_position if self._view.positions == "stored" else most_seen(self._version)
        self._choice = Chooser(self._policy, self._state, self._version, self._adapter.rope, self._view, end)
        self._tail = Tail(self._version, self._choice)
        self._tail.next_position = end
        text_TE = text_TE[: self._room()]
        return self._segment(text_TE, self._text_positions(text_TE.shape[0]), text_TE.shape[0])

    def _begin_answer(self, recalled: list[Recalled]) -> None:
        """The answer's own tail, on what the view says and what was recalled."""
        view = self._view
        if view.is_chosen:
            self._settled = Settled(self._version, recalled, self._adapter.rope, view)
            self._tail = Tail(self._version, self._settled)
            self._tail.next_position = self._settled.end
        else:
            self._tail = Tail(self._version if view.sees_held else self._version.prefix_only())
        self._next = self._first_segment(view, self._waiting)

    def _first_segment(self, view: ViewSpec, waiting: VisualTokens | None) -> TailSegment:
        """Frames that this question alone sees (fresh ones, one without a partner), then its text."""
        text_TE = self._adapter.question(self.query.prompt, after_video=self._frames_seen > 0)
        if self.query.answer_start:
            text_TE = torch.cat((text_TE, self._adapter.guidance(self.query.answer_start)))
        self.n_question_tokens = n_text = text_TE.shape[0]
        shape, room, start = self._version.shape, self._room(), self._tail.next_position
        fresh = fresh_tokens(self._version, view, waiting)
        position_RN = torch.empty(shape.n_axes, 0, dtype=torch.int64)
        end = start
        if fresh is not None:
            if view.sees_held and view.positions == "stored":
                position_RN = self._version.place_before(
                    fresh, shape.max_positions - reserved_positions(shape.max_positions)
                )
            else:
                position_RN = place_fresh(fresh, start, shape, room - n_text - reserved_positions(shape.max_positions))
            self._n_fresh = fresh.frame_N.numel()
            start, end = max(start, shape.text_after(position_RN)), int(position_RN.max()) + 1
        if (n_positions := max(start + n_text, end) - self._tail.next_position) > room:
            raise LimitError(
                f"the question takes {n_positions} positions, but only {room} of the model's "
                f"{self._adapter.facts.max_positions} are left; ask a shorter one"
            )
        device = self._adapter.facts.device
        self._tail.next_position = start
        position_RT = torch.cat((upload(position_RN, device), self._text_positions(n_text)), dim=-1)
        if fresh is None:
            return self._segment(text_TE, position_RT, n_text)
        segment = self._segment(torch.cat((fresh.embeddings_NE, text_TE)), position_RT, n_text)
        segment.deepstack = DeepStack.of([fresh], n_text)
        if not view.fresh_sees_held:
            segment.n_apart = self._n_fresh
            segment.apart_distance = int(position_RN[shape.time_axes[0]].min()) - self._version.n_prefix
        return segment

    def _segment(self, embeddings_TE: torch.Tensor, position_RT: torch.Tensor, n_text: int) -> TailSegment:
        self._tail.next_position += n_text
        return TailSegment(embeddings_TE, position_RT, self._tail)

    def _text_positions(self, n: int) -> torch.Tensor:
        facts = self._adapter.facts
        return (self._tail.next_position + torch.arange(n, device=facts.device)).expand(facts.n_axes, -1)

    def _room(self) -> int:
        return self._adapter.facts.max_positions - self._tail.next_position


def fresh_tokens(version: MemoryVersion, view: ViewSpec, waiting: VisualTokens | None) -> VisualTokens | None:
    """What a question alone runs through the text model before its text: rows of the bank, then what has no partner."""
    shape, rows_N = version.shape, view.fresh_rows
    if rows_N is None:
        rows_N = torch.empty(0, dtype=torch.int64, device=shape.device)
    bank = version.features.select(rows_N)
    if waiting is not None:
        bank = bank.append(waiting, shape, first_frame=version.grids_seen, first_identity=version.next_identity)
    return bank.laid_out(shape) if bank.n_rows else None


class AnswerChannel:
    """From the engine to an `AnswerStream`, without keeping the asker's object alive: a dropped one cancels itself."""

    def __init__(self, stream: AnswerStream) -> None:
        self._queue = stream._queue
        self._cancelled = stream._cancelled
        self._asked_at = stream._asked_at

    @property
    def is_cancelled(self) -> bool:
        return self._cancelled.is_set()

    def seconds_since_ask(self) -> float:
        return time.perf_counter() - self._asked_at

    def put(self, item: TokenEvent | Answer | BaseException) -> None:
        self._queue.put(item)
