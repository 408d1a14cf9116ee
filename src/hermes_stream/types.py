"""The frozen nouns that every other module shares.

Shape letters: N tokens, E model width, R position axes (1, or 3 for time, height, width), Y X C image height, width,
channel.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from string import ascii_uppercase
from typing import TYPE_CHECKING, Literal

from hermes_stream.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

_LONE_LETTER = re.compile(r"\(?([A-Z])[).]?")


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture and the moment at which it is shown.

    pts_seconds: presentation time, in seconds since the first frame of the source.
    image_YXC: uint8 RGB, `[height, width, 3]`, rotation already applied.
    """

    pts_seconds: float
    image_YXC: NDArray[np.uint8]

    def __post_init__(self) -> None:
        """Raise UsageError for a picture or a time that no model could make sense of."""
        image = self.image_YXC
        if getattr(image, "dtype", None) != "uint8" or image.ndim != 3 or image.shape[-1] != 3 or 0 in image.shape:
            shape = getattr(image, "shape", None)
            found = f"{getattr(image, 'dtype', type(image).__name__)} {list(shape) if shape is not None else ''}"
            raise UsageError(f"a frame's image is {found}; expected uint8 RGB [height, width, 3]")
        if not math.isfinite(self.pts_seconds):
            raise UsageError(f"a frame's time is {self.pts_seconds}; expected seconds since the stream began")


@dataclass(frozen=True, slots=True)
class Gap:
    """Nothing was seen in `[start_seconds, end_seconds)`, and why: a camera was away, a server was down."""

    start_seconds: float
    end_seconds: float
    reason: str

    def __post_init__(self) -> None:
        """Raise UsageError for times that do not follow each other, or are none."""
        start, end = self.start_seconds, self.end_seconds
        if not (math.isfinite(start) and math.isfinite(end) and start < end):
            raise UsageError(f"a gap from {start} s to {end} s; expected seconds since the stream began, the end later")


@dataclass(frozen=True, slots=True)
class AsOf:
    """How well a stream's past is known, of which nothing that was shown after `time_seconds` is left.

    newest_seconds: of the newest frame of which something is left; None if there is none.
    is_exact: the memory then was this one: nothing but frames came since.
    n_missing_tokens: of frames up to then that no row stands for any more, held or archived; they may have been gone
        then, too. At least so many, where moments are so long ago that they are known for runs of frames only.
    """

    time_seconds: float
    newest_seconds: float | None
    is_exact: bool
    n_missing_tokens: int


@dataclass(frozen=True, slots=True, eq=False)
class VisualTokens:
    """Encoded frames, ready to enter a memory.

    embeddings_NE: language-model inputs `[n_tokens, hidden]`.
    positions_RN: int64 `[axes, n_tokens]`, relative to the position at which the span starts; in families with absolute
        time, to where the stream's first moment stands.
    n_positions: how far the next position moves when these tokens are committed (families without absolute time).
    frame_N: int64, index of the grid within this batch: of the frame, or of the pair of frames that share tokens.
    row_N, column_N: int64, grid cell of the token within its frame.
    times_seconds_N: float64, presentation time of the token's frame.
    grid_seconds_G2: float64, times of each grid's first and last frame; None where these are the same.
    n_frames: sampled frames encoded here. n_grids: grids that they became.
    n_skipped: positions of long gaps in time that were left out before the last of these grids; later ones follow it
        as many earlier than their times say (families with absolute time).
    is_text_N: bool, separators between grids; None where a family has none.
    turn_N: int64, round and part of a stream with commentary, whose text comes along (`memory/turns.py`); None outside.
    deepstack: per tap, what is added to the visual (not text) rows after an early layer, `[n_visual, hidden]`.
    saliency_N: float32, mean attention that the vision encoder pays to the token's patches; None unless asked for.
    """

    embeddings_NE: torch.Tensor
    positions_RN: torch.Tensor
    n_positions: int
    frame_N: torch.Tensor
    row_N: torch.Tensor
    column_N: torch.Tensor
    times_seconds_N: torch.Tensor
    n_frames: int
    n_grids: int
    is_text_N: torch.Tensor | None = None
    deepstack: tuple[torch.Tensor, ...] = ()
    saliency_N: torch.Tensor | None = None
    n_skipped: int = 0
    grid_seconds_G2: torch.Tensor | None = None
    turn_N: torch.Tensor | None = None

    @property
    def count_N(self) -> torch.Tensor:
        """How many vision tokens each row stands for: 1, but 0 for the text of a stream with commentary; int64."""
        if self.turn_N is None or self.is_text_N is None:
            return self.frame_N.new_ones(self.frame_N.shape)
        return (~self.is_text_N).long()

    @property
    def span_2N(self) -> torch.Tensor:
        """Times of the first and of the last frame of each token's grid, float64 `[2, n_tokens]`."""
        if self.grid_seconds_G2 is None:
            return self.times_seconds_N.expand(2, -1)
        return self.grid_seconds_G2[self.frame_N].T

    @property
    def n_rows(self) -> int:
        return self.frame_N.numel()

    def rows_of_grids(self) -> list[int]:
        """Tokens of each grid."""
        n_rows: list[int] = self.frame_N.bincount(minlength=self.n_grids).tolist()
        return n_rows

    def counts_of_grids(self) -> list[int]:
        """Vision tokens of each grid, as the memory counts them."""
        n_tokens: list[int] = self.frame_N[self.count_N > 0].bincount(minlength=self.n_grids).tolist()
        return n_tokens

    def seconds_of_grids(self) -> list[tuple[float, float]]:
        """Times of the first and the last frame of each grid."""
        first_rows = list(accumulate(self.rows_of_grids(), initial=0))[:-1]
        return [(first, last) for first, last in self.span_2N[:, first_rows].T.tolist()]

    def ends_of_grids(self) -> list[int]:
        """Where what follows each grid stands, relative to where the span starts (families without absolute time)."""
        return [self._grid_start(end) for end in accumulate(self.rows_of_grids())]

    def grids(self, start: int, stop: int) -> VisualTokens:
        """Grids `[start, stop)`, as if they alone had been encoded; tensors share storage."""
        if start == 0 and stop == self.n_grids:
            return self
        n_rows = self.rows_of_grids()
        first, last = sum(n_rows[:start]), sum(n_rows[:stop])
        rows = slice(first, last)
        n_text = [0, 0] if self.is_text_N is None else [int(self.is_text_N[:end].sum()) for end in (first, last)]
        taps = slice(first - n_text[0], last - n_text[1])
        begin, end = self._grid_start(first), self._grid_start(last)
        return VisualTokens(
            embeddings_NE=self.embeddings_NE[rows],
            positions_RN=self.positions_RN[:, rows] - begin,
            n_positions=end - begin,
            frame_N=self.frame_N[rows] - start,
            row_N=self.row_N[rows],
            column_N=self.column_N[rows],
            times_seconds_N=self.times_seconds_N[rows],
            n_frames=self.n_frames // self.n_grids * (stop - start),
            n_grids=stop - start,
            is_text_N=None if self.is_text_N is None else self.is_text_N[rows],
            deepstack=tuple(tap_NE[taps] for tap_NE in self.deepstack),
            saliency_N=None if self.saliency_N is None else self.saliency_N[rows],
            grid_seconds_G2=None if self.grid_seconds_G2 is None else self.grid_seconds_G2[start:stop],
            turn_N=None if self.turn_N is None else self.turn_N[rows],
        )

    def at_times(self, time_N: torch.Tensor, time_axes: Sequence[int]) -> VisualTokens:
        """The same frames at other positions in time, int64 `[n_tokens]`; the last one says what is skipped."""
        positions_RN = self.positions_RN.clone()
        positions_RN[list(time_axes)] = time_N
        n_skipped = int(self.positions_RN[time_axes[0], -1] - time_N[-1])
        return replace(self, positions_RN=positions_RN, n_skipped=n_skipped)

    def _grid_start(self, first_row: int) -> int:
        """Where the grid that begins with this row stands; 0 in families with absolute time."""
        if self.n_positions == 0:
            return 0
        return self.n_positions if first_row == self.frame_N.numel() else int(self.positions_RN[:, first_row].min())


@dataclass(frozen=True, slots=True)
class Turn:
    """An earlier question and the answer to it.

    time_seconds: of the newest frame that it was asked about; None where nobody knows.
    """

    question: str
    answer: str
    time_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class TimedWord:
    """A word and when it is said, in seconds since the video began."""

    start_seconds: float
    end_seconds: float
    text: str


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of a session.

    options: texts of a multiple choice, shown to the model as (A), (B), ...; its answer then begins with a letter.
    max_new_tokens: upper bound of the answer's length.
    temperature: 0 is greedy; otherwise sampling with `seed`.
    repetition_penalty: over the new tokens only; 1 is off.
    stop: texts before which the answer ends; none of them is part of it.
    evidence: how many frames to name that the answer looked at most; found once its last token is out.
    turns: the conversation so far, which the question follows up; shown to this question alone.
    """

    text: str
    max_new_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    seed: int = 0
    options: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    evidence: int = 0
    turns: tuple[Turn, ...] = ()

    @property
    def letters(self) -> tuple[str, ...]:
        """By which the options are called."""
        return tuple(ascii_uppercase[: len(self.options)])

    @property
    def prompt(self) -> str:
        """The question as the model reads it; wording of HERMES' released code where there are options."""
        if not self.options:
            return self.text
        listed = "\n".join(f"({letter}) {option}" for letter, option in zip(self.letters, self.options, strict=True))
        return f"Question: {self.text}\nOptions:\n{listed}\nOnly give the best option."

    @property
    def answer_start(self) -> str:
        """What stands before the first token of the answer."""
        return "Best option: (" if self.options else ""

    def meant_by(self, answer: str) -> str:
        """The text of the option that an answer names by its letter alone; any other answer as it is."""
        letter = _LONE_LETTER.fullmatch(answer.strip())
        index = ascii_uppercase.index(letter[1]) if letter else len(self.options)
        return self.options[index] if index < len(self.options) else answer

    def __post_init__(self) -> None:
        """Raise UsageError for settings that no sampler could follow."""
        # A command line may hand over bytes that are no text; they become question marks.
        object.__setattr__(self, "text", self.text.encode("utf-8", "replace").decode("utf-8"))
        object.__setattr__(self, "temperature", float(self.temperature))
        for name, is_good, expected in (
            ("text", bool(self.text.strip()), "what you want to know"),
            ("max_new_tokens", self.max_new_tokens >= 1, "at least 1"),
            ("temperature", math.isfinite(self.temperature) and self.temperature >= 0, "0 (greedy) or more"),
            ("top_p", 0 < self.top_p <= 1, "a share above 0 and up to 1"),
            ("top_k", self.top_k >= 0, "0 (all tokens) or more"),
            ("repetition_penalty", self.repetition_penalty > 0, "a factor above 0"),
            ("stop", all(self.stop), "texts of at least one character"),
            ("evidence", self.evidence >= 0, "0 (none) or a number of frames"),
            ("turns", all(isinstance(turn, Turn) for turn in self.turns), "earlier questions and answers, each a Turn"),
            ("options", len(self.options) != 1 and len(self.options) <= len(ascii_uppercase), "none, or 2 to 26 texts"),
        ):
            if not is_good:
                raise UsageError(f"the question's {name} is {getattr(self, name)!r}; expected {expected}")


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """One decoded token.

    text: what became complete with it, may be empty. seconds_since_ask: since the question was submitted.
    """

    token_id: int
    text: str
    seconds_since_ask: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """A frame that an answer looked at.

    time_seconds: when it was shown; where two frames share their tokens, the mean of both. frame: its number among the
    grids of the stream. weight: its share of the attention that what chose the tokens paid to frames and summaries.
    """

    time_seconds: float
    frame: int
    weight: float


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished answer and the memory that it was given from.

    time_seconds: stream time of the newest frame in the pinned memory (0 before the first frame).
    ttft_seconds: question submitted to first token.
    held_tokens: vision and summary tokens held by each layer.
    memory_bytes: bytes of the pinned version, all layers, truth and working copy, and of tensors that the policy keeps.
    archive_bytes: of archived keys and values, in host memory or on disk.
    finish_reason: "stop" where the model ended it or a stop text did, "length" where it had to end.
    n_prompt_tokens: of the question with its template, and of frames that were run again or for the first time with it.
    evidence: frames that it looked at most, the most first, as many as the query asks for; weights sum to 1 at most.
    """

    text: str
    token_ids: tuple[int, ...]
    time_seconds: float
    ttft_seconds: float
    total_seconds: float
    frames_seen: int
    held_tokens: tuple[int, ...]
    memory_bytes: int
    archive_bytes: int = 0
    finish_reason: Literal["stop", "length"] = "stop"
    n_prompt_tokens: int = 0
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class Scores:
    """How probable a model finds each of several answers to a question, by the first token of its answer.

    probabilities: of each choice, given that it is one of them; they sum to 1. share: how much of all probability goes
    to the choices; where it is small, the model would say something else.
    time_seconds: stream time of the newest frame in the pinned memory (0 before the first frame).
    seconds: question submitted to result.
    """

    choices: tuple[str, ...]
    probabilities: tuple[float, ...]
    share: float
    time_seconds: float
    seconds: float

    @property
    def best(self) -> str:
        """The most probable choice, the first of equals."""
        return self.choices[self.probabilities.index(max(self.probabilities))]
