"""A question on its way to the forward in which its answer begins.

Shape letters: T tokens, E model width, R position axes, V vocabulary.
"""

from __future__ import annotations

from typing import Protocol

import torch

from hermes_stream.engine.batch import DeepStack, TailSegment
from hermes_stream.engine.commentary.script import Script, embed_ids
from hermes_stream.engine.opening import reserved_positions
from hermes_stream.engine.recall import Chooser, Settled, most_seen
from hermes_stream.engine.stream import Stream
from hermes_stream.engine.tail import Tail
from hermes_stream.errors import ContextError
from hermes_stream.memory.features import FeatureBank, place_fresh
from hermes_stream.memory.recall import Recalled
from hermes_stream.memory.token_table import TokenTable
from hermes_stream.memory.upload import upload
from hermes_stream.memory.version import MemoryVersion
from hermes_stream.memory.view import LayerView
from hermes_stream.policies.base import ViewSpec
from hermes_stream.policies.recall import Asked
from hermes_stream.types import Answer, Query, Scores, VisualTokens


class Question:
    """A question to a pinned version, its tail, and what the next forward must contain for it.

    Where the question recalls, its own pass comes first (`is_asking`); then `segment` ends where the answer begins.
    n_tokens: of the text with its template, at the end of that segment. fresh: frames before it that this question
    alone sees. answer_position: where the answer's first token stands. time_seconds: of the newest frame that it sees.
    frames_seen: of all.
    """

    tail: Tail
    segment: TailSegment
    answer_position: int

    def __init__(self, stream: Stream, query: Query) -> None:
        """Pins what the stream has seen by now. Raises LimitError if the question does not fit the positions left."""
        self.query = query
        self.adapter = stream.adapter
        self.version = stream.memory.current
        self.frames_seen = self.version.frames_seen + len(stream.waiting)
        self.time_seconds = stream.waiting[-1].pts_seconds if stream.waiting else self.version.time_seconds
        self._commentary = stream.commentary
        self._policy, self._state, self._state_bytes = stream.policy, stream.state, stream.state_bytes
        self._view = stream.view_for(query.text)
        self.fresh = fresh_bank(self.version, self._view, stream.encode_waiting())
        self._text_TE = self._text()
        self._choice: Chooser | None = None
        self._settled: Settled | None = None
        if self._view.recalls and self._view.asks_first and self._view.first_frame is None:
            self.segment = self._asking_segment()
        else:
            self._begin_answer([self._recall_all(index) for index in range(self.adapter.facts.n_layers)])

    @property
    def is_asking(self) -> bool:
        """Whether the next forward is the question's own pass, which decodes nothing."""
        return self._choice is not None

    def end_asking(self) -> None:
        """The question's own pass is over: its rows go, what it recalled stays."""
        assert self._choice is not None
        recalled, self._choice = self._choice.settle(), None
        self._begin_answer(recalled)

    @property
    def n_tokens(self) -> int:
        return self._text_TE.shape[0]

    @property
    def n_rows(self) -> int:
        """Of its tail where the answer begins."""
        return self.fresh.n_rows + self.n_tokens

    @property
    def room(self) -> int:
        """Positions that are left behind the tail."""
        return self.adapter.facts.max_positions - self.tail.next_position

    def table(self, layer_index: int) -> TokenTable:
        """What the rows are that a layer sees besides the tail: prefix, what is recalled, what is held."""
        if self._settled is not None:
            return self._settled.table(layer_index)
        return self.tail.base.layers[layer_index].table

    @property
    def held_tokens(self) -> tuple[int, ...]:
        """Rows that each layer sees of the stream, prefix apart."""
        held = self.tail.base.held_tokens if self._settled is None else self._settled.n_rows
        return tuple(n + self.fresh.n_rows for n in held)

    @property
    def memory_bytes(self) -> int:
        """Of the pinned version, and of tensors that the policy keeps."""
        return self.version.n_bytes + self._state_bytes

    @property
    def archive_bytes(self) -> int:
        return self.version.archive_bytes() + self.version.archive_bytes(disk=True)

    def _text(self) -> torch.Tensor:
        """Embeddings `[T, E]` of the question in its template, up to the answer's first token."""
        query, after_video = self.query, self.frames_seen > 0
        if self._commentary is not None:
            return embed_ids(self.adapter, Script(self.adapter).asking(self._commentary, query))
        text_TE = self.adapter.question(query.prompt, after_video=after_video, turns=query.turns)
        if self.query.answer_start:
            text_TE = torch.cat((text_TE, self.adapter.guidance(self.query.answer_start)))
        return text_TE

    def _recall_all(self, layer_index: int) -> Recalled:
        """What a policy shows that does not look at questions, layer by layer."""
        if not self._view.is_chosen:
            return Recalled()
        layer, facts = self.version.layers[layer_index], self.adapter.facts
        if self._view.first_frame is not None:
            return Recalled(held_rows=layer.rows_since(self._view.first_frame, self.version.n_prefix))
        nothing = torch.empty(facts.n_kv_heads, 0, facts.head_dim)
        held = LayerView.of(layer, self.version.n_prefix, self.adapter.rope, {})
        asked = Asked(nothing, nothing, layer.archive, held, self._view.sees_held)
        return self._policy.recall(layer_index, asked, self._state)

    def _asking_segment(self) -> TailSegment:
        """The bare question on what it recalls, layer by layer: nothing remains of it but the choice."""
        text_TE = self.adapter.guidance(self.query.text)
        end = self.version.text_position if self._view.positions == "stored" else most_seen(self.version)
        self._choice = Chooser(self._policy, self._state, self.version, self.adapter.rope, self._view, end)
        self.tail = Tail(self.version, self._choice)
        self.tail.next_position = end
        text_TE = text_TE[: self.room]
        return self._segment(text_TE, self._text_positions(text_TE.shape[0]), text_TE.shape[0])

    def _begin_answer(self, recalled: list[Recalled]) -> None:
        """The answer's own tail, on what the view says and what was recalled."""
        view = self._view
        if view.is_chosen:
            self._settled = Settled(self.version, recalled, self.adapter.rope, view)
            self.tail = Tail(self.version, self._settled)
            self.tail.next_position = self._settled.end
        else:
            self.tail = Tail(self.version if view.sees_held else self.version.prefix_only())
        self.segment = self._first_segment(view)
        self.answer_position = self.tail.next_position

    def _first_segment(self, view: ViewSpec) -> TailSegment:
        """Frames that this question alone sees (fresh ones, one without a partner), then its text."""
        text_TE, n_text = self._text_TE, self.n_tokens
        shape, room, start = self.version.shape, self.room, self.tail.next_position
        fresh = self.fresh.laid_out(shape) if self.fresh.n_rows else None
        position_RN = torch.empty(shape.n_axes, 0, dtype=torch.int64)
        end = start
        if fresh is not None:
            if view.sees_held and view.positions == "stored":
                reserve = reserved_positions(shape.max_positions)
                position_RN = self.version.place_before(fresh, shape.max_positions - reserve)
            else:
                position_RN = place_fresh(fresh, start, shape, room - n_text - reserved_positions(shape.max_positions))
            start, end = max(start, shape.text_after(position_RN)), int(position_RN.max()) + 1
        if (n_positions := max(start + n_text, end) - self.tail.next_position) > room:
            fewer = ", or with fewer turns before it" if self.query.turns else ""
            raise ContextError(
                f"the question takes {n_positions} positions, but only {room} of the model's "
                f"{self.adapter.facts.max_positions} are left; ask a shorter one{fewer}"
            )
        self.tail.next_position = start
        position_RT = torch.cat((upload(position_RN, self.adapter.facts.device), self._text_positions(n_text)), dim=-1)
        if fresh is None:
            return self._segment(text_TE, position_RT, n_text)
        segment = self._segment(torch.cat((fresh.embeddings_NE, text_TE)), position_RT, n_text)
        segment.deepstack = DeepStack.of([fresh], n_text)
        if not view.fresh_sees_held:
            segment.n_apart = self.fresh.n_rows
            segment.apart_distance = int(position_RN[shape.time_axes[0]].min()) - self.version.n_prefix
        return segment

    def _segment(self, embeddings_TE: torch.Tensor, position_RT: torch.Tensor, n_text: int) -> TailSegment:
        self.tail.next_position += n_text
        return TailSegment(embeddings_TE, position_RT, self.tail)

    def _text_positions(self, n: int) -> torch.Tensor:
        facts = self.adapter.facts
        return (self.tail.next_position + torch.arange(n, device=facts.device)).expand(facts.n_axes, -1)


def fresh_bank(version: MemoryVersion, view: ViewSpec, waiting: VisualTokens | None) -> FeatureBank:
    """What a question alone runs through the text model before its text: rows of the bank, then what has no partner."""
    rows_N = view.fresh_rows
    if rows_N is None:
        rows_N = torch.empty(0, dtype=torch.int64, device=version.shape.device)
    bank = version.features.select(rows_N)
    if waiting is None:
        return bank
    return bank.append(waiting, version.shape, first_frame=version.grids_seen, first_identity=version.next_identity)


class Task(Protocol):
    """The engine's half of what was asked: one segment per forward, until there is a result.

    n_rows_at_most: that its tail may come to have.
    """

    question: Question

    @property
    def n_rows_at_most(self) -> int: ...

    @property
    def has_begun(self) -> bool:
        """Whether a token has been decoded."""
        ...

    def segment(self) -> TailSegment:
        """What the next forward must contain for it."""
        ...

    def choose(self, logits_V: torch.Tensor, largest: torch.Tensor) -> torch.Tensor:
        """The next token, a scalar on the device. largest: which of these logits is the largest, also such a scalar."""
        ...

    def accept(self, token_id: int) -> Answer | Scores | None:
        """Take the token that was chosen; returns the result if there is one."""
        ...
