"""SAVEMem from its definition: three lists of frames, one token at a time, and the gate in plain numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, pstdev

from .feature_oracle import Token, Vector, cosine, first_that_fit, n_rows, otsu, window_distance
from .flux_mem_oracle import merge, patches


def standing_score(token: Token, texts: Sequence[Sequence[Vector]]) -> float:
    return max(cosine(token.vector, word) for text in texts for word in text)


def resemblance(frame: Sequence[Token], text: Sequence[Vector]) -> float:
    """Mean over a frame's tokens of the largest cosine with a word."""
    return fmean(max(cosine(token.vector, word) for word in text) for token in frame)


def n_frames_read(scores: Sequence[float], n_top: int, least: float) -> int:
    n, mean = len(scores), fmean(scores)
    if mean <= 0:
        return n
    spread = pstdev(scores) / mean
    if spread <= 0.05:
        wanted = float(n)
    elif spread >= 0.3:
        wanted = float(min(n_top, n))
    else:
        wanted = n - (spread - 0.05) / 0.25 * (n - min(n_top, n))
    return max(round(wanted), math.ceil(least * n))


def quadrants(tokens: Sequence[Token], score: dict[int, float], n_rows: int, n_columns: int) -> list[Token]:
    """The best of each quarter of the grid, four in all at least."""
    share = min(max(0.15 + 0.25 * fmean(score[token.number] for token in tokens), 0.0), 1.0)
    ranked = sorted(tokens, key=lambda token: -score[token.number])
    kept: list[Token] = []
    for is_low in (False, True):
        for is_right in (False, True):
            ours = [t for t in ranked if (2 * t.cell[0] >= n_rows, 2 * t.cell[1] >= n_columns) == (is_low, is_right)]
            kept += ours[: math.ceil(share * len(ours) - 1e-9)]
    for token in ranked:
        if token not in kept and len(kept) < 4:
            kept.append(token)
    return sorted(kept, key=lambda token: token.number)


class Store:
    """What is held after some intervals of frames; nothing moves on before the budget is passed."""

    def __init__(
        self, texts: Sequence[Sequence[Vector]], *, budget: int, n_words: int, n_short: int, n_middle: int,
        grid: tuple[int, int],
    ) -> None:  # fmt: skip
        self.texts, self.budget, self.n_words, self.grid = texts, budget, n_words, grid
        self.n_short, self.n_middle = n_short, n_middle
        self.frames: list[Sequence[Token]] = []
        self.first_short = 0
        self.middle: list[list[Token]] = []
        self.long: list[Token] = []
        self.changes: list[float] = []
        self.usual: float | None = None

    def watch(self, interval: Sequence[Sequence[Token]]) -> None:
        self.frames += interval
        newest = self.frames[-self.n_short :]
        found = fmean(fmean(resemblance(frame, text) for frame in newest) for text in self.texts)
        self.usual = found if self.usual is None else 0.2 * found + 0.8 * self.usual
        if n_rows(self.held, self.n_words) <= self.budget:
            return
        while self.first_short < len(self.frames) - self.n_short:
            self.middle.append(self._thinned(self.first_short))
            self.first_short += 1
        merged: list[list[Token]] = []
        room = math.floor(0.4 * self.budget)
        while len(self.middle) > self.n_middle or n_rows(self._flat(self.middle), self.n_words) > room:
            merged += self._to_long(self.middle.pop(0))
        self._keep_the_best(merged)

    @property
    def held(self) -> list[Token]:
        return [*self.long, *self._flat(self.middle), *self._flat(self.frames[self.first_short :])]

    def _flat(self, frames: Sequence[Sequence[Token]]) -> list[Token]:
        return [token for frame in frames for token in frame]

    def _thinned(self, index: int) -> list[Token]:
        frame, following = self.frames[index], self.frames[index + 1]
        to_next = self._distances(frame, following)
        to_previous = self._distances(frame, self.frames[index - 1]) if index else None
        change = fmean(to_next)
        is_cut = bool(self.changes) and change > 1.5 * fmean(self.changes)
        self.changes.append(change)
        kept = []
        for place, token in enumerate(frame):
            is_changed = to_next[place] >= otsu(to_next, upper=True)
            if to_previous is not None:
                is_changed |= to_previous[place] >= otsu(to_previous, upper=True)
            same = 0.8 + 0.15 * standing_score(token, self.texts)
            if is_changed and (is_cut or 1 - to_next[place] <= same):
                kept.append(token)
        return kept

    def _distances(self, frame: Sequence[Token], other: Sequence[Token]) -> list[float]:
        around = [(token.vector, token.cell) for token in other]
        return [max(window_distance(token.vector, token.cell, around), 0.0) for token in frame]

    def _to_long(self, frame: list[Token]) -> list[list[Token]]:
        """What the frame leaves goes to the long tier; patches that are yet to be merged are returned."""
        tokens_per_frame = self.grid[0] * self.grid[1] + self.n_words
        if not frame:
            return []
        if len(frame) < 20 / 196 * tokens_per_frame:
            found = patches(frame, upper=True)
            self.long += [patch[0] for patch in found if len(patch) == 1]
            return [patch for patch in found if len(patch) > 1]
        score = {token.number: standing_score(token, self.texts) for token in frame}
        self.long += quadrants(frame, score, *self.grid)
        return []

    def _keep_the_best(self, merged: list[list[Token]]) -> None:
        newest = [*self._flat(self.middle), *self._flat(self.frames[self.first_short :])]
        room = self.budget - n_rows(newest, self.n_words)
        scored = [(standing_score(token, self.texts), token) for token in self.long]
        scored += [(fmean(standing_score(t, self.texts) for t in patch), merge(patch)) for patch in merged]
        ranked = [token for _, token in sorted(scored, key=lambda entry: -entry[0])]
        self.long = first_that_fit(ranked, self.n_words, room, newest) if room > 0 else []
        self.long.sort(key=lambda token: token.number)
        if room < 0:
            stays = first_that_fit(newest[::-1], self.n_words, self.budget)
            self.middle = [[token for token in frame if token in stays] for frame in self.middle]
