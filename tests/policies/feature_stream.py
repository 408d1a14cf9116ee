"""A stream of features without a model: frames that drift, jump and stand still, with or without words before them.

Shape letters: N tokens, E model width.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from hermes_stream.memory.token_table import TokenKind
from hermes_stream.memory.view import FeatureView, MemoryView
from hermes_stream.policies.base import Policy, StreamFacts
from hermes_stream.types import VisualTokens

from ..oracles.feature_oracle import Token
from .harness import append_prefix, empty_memory

ROWS, COLUMNS = 2, 3


def features(embeddings_NE: torch.Tensor, first_frame: int, n_words: int = 0) -> VisualTokens:
    """Frames of 2 x 3 cells, the words of each before it; the embeddings of words are zeros."""
    n_frames = len(embeddings_NE) // (ROWS * COLUMNS)
    cell_N2 = torch.cartesian_prod(torch.arange(ROWS), torch.arange(COLUMNS))
    words_N2 = torch.full((n_words, 2), -1)
    cell_N2 = torch.cat((words_N2, cell_N2)).repeat(n_frames, 1)
    n_tokens = ROWS * COLUMNS + n_words
    is_text_N = cell_N2[:, 0] < 0
    whole_NE = embeddings_NE.new_zeros(n_frames * n_tokens, embeddings_NE.shape[1])
    whole_NE[~is_text_N] = embeddings_NE
    frame_N = torch.arange(n_frames).repeat_interleave(n_tokens)
    return VisualTokens(
        embeddings_NE=whole_NE,
        positions_RN=torch.arange(n_frames * n_tokens)[None],
        n_positions=n_frames * n_tokens,
        frame_N=frame_N,
        row_N=cell_N2[:, 0],
        column_N=cell_N2[:, 1],
        times_seconds_N=(first_frame + frame_N).double() / 2,
        n_frames=n_frames,
        n_grids=n_frames,
        is_text_N=is_text_N if n_words else None,
    )


def moving_pictures(n_frames: int, width: int, generator: torch.Generator) -> torch.Tensor:
    """Embeddings of frames one after the other `[N, E]`: most resemble the last one in most cells, some in none."""
    n_cells = ROWS * COLUMNS
    frames = [torch.randn(n_cells, width, generator=generator)]
    for _ in range(n_frames - 1):
        changes_N1 = torch.rand(n_cells, 1, generator=generator) < (0.2 if len(frames) % 5 else 0.9)
        fresh_NE = torch.randn(n_cells, width, generator=generator)
        jitter_NE = 0.1 * torch.randn(n_cells, width, generator=generator)
        frames.append(torch.where(changes_N1, fresh_NE, frames[-1] + jitter_NE))
    return torch.cat(frames)


@dataclass
class FeatureStream:
    """A real memory and a real policy; `watch` is one interval."""

    policy: Policy
    n_words: int = 0
    state: Any = None
    seen: list[list[Token]] = field(default_factory=list)

    def __post_init__(self) -> None:
        tokens_per_frame = ROWS * COLUMNS + self.n_words
        self.facts = StreamFacts(n_layers=1, tokens_per_frame=tokens_per_frame, family="llava-onevision")
        self.state = self.policy.start(self.facts)
        self.memory = empty_memory(1, self.policy.layer_budgets(1))
        append_prefix(self.memory, 2)

    @property
    def view(self) -> MemoryView:
        version = self.memory.current
        bank = FeatureView(version.features.embeddings_NE, version.features.table)
        tokens_per_frame, budget = self.facts.tokens_per_frame, self.policy.budget_tokens
        return MemoryView((), budget, version.frames_seen, version.time_seconds, 0, tokens_per_frame, features=bank)

    def watch(self, embeddings_NE: torch.Tensor) -> None:
        tokens = features(embeddings_NE, len(self.seen), self.n_words)
        self._note(embeddings_NE)
        self.memory.commit_features(tokens, float(tokens.times_seconds_N[-1]))
        plan, self.state = self.policy.after_chunk(self.view, self.state)
        self.memory.apply(plan)
        self.memory.check_invariants()

    def _note(self, embeddings_NE: torch.Tensor) -> None:
        """The frames as an oracle takes them."""
        for frame_NE in embeddings_NE.split(ROWS * COLUMNS):
            frame = len(self.seen)
            self.seen.append(
                [
                    Token(frame * ROWS * COLUMNS + index, frame, divmod(index, COLUMNS), frame / 2, tuple(vector))
                    for index, vector in enumerate(frame_NE.tolist())
                ]
            )

    @property
    def held(self) -> list[Token]:
        """What the bank holds beside words, in its order; numbers are 0."""
        bank = self.view.features
        rows = zip(
            bank.kind_N.tolist(), bank.frame_N.tolist(), bank.table.row_HN[0].tolist(),
            bank.table.column_HN[0].tolist(), bank.seconds_N.tolist(), bank.embeddings_NE.tolist(),
            bank.count_N.tolist(), strict=True,
        )  # fmt: skip
        return [
            Token(0, frame, (row, column), seconds, tuple(vector), count, kind == TokenKind.SUMMARY)
            for kind, frame, row, column, seconds, vector, count in rows
            if kind != TokenKind.TEXT
        ]


def watch_all(stream: FeatureStream, embeddings_NE: torch.Tensor, chunk: int) -> list[list[list[Token]]]:
    """Frames in intervals of `chunk`; returns them as an oracle takes them."""
    intervals = []
    for part_NE in embeddings_NE.split(chunk * ROWS * COLUMNS):
        first = len(stream.seen)
        stream.watch(part_NE)
        intervals.append(stream.seen[first:])
    return intervals


def assert_holds(stream: FeatureStream, expected: list[Token], *, ignoring_places: bool = False) -> None:
    """The same tokens in the same order; ignoring_places: of merged ones the frame only."""

    def what(token: Token) -> tuple[object, ...]:
        is_anywhere = ignoring_places and token.is_merged
        place = () if is_anywhere else (token.cell, token.seconds)
        return (token.frame, token.count, token.is_merged, *place)

    held = stream.held
    assert [what(token) for token in held] == [what(token) for token in expected]
    vectors = [torch.tensor([token.vector for token in tokens]) for tokens in (held, expected)]
    torch.testing.assert_close(vectors[0], vectors[1], rtol=1e-5, atol=1e-5)
    frames = {token.frame for token in held}
    n_words = int((stream.view.features.kind_N == TokenKind.TEXT).sum())
    assert n_words == stream.n_words * len(frames), "words stay with their frame"
