"""What each held token is: the rows beside the keys and values.

Shape letters: C columns, S times, H heads with rows of their own (1 when all heads hold the same tokens), N tokens, R
axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import torch


class TokenKind(IntEnum):
    """What a row stands for. Prefix rows are never evicted and never moved."""

    PREFIX = 0
    VISION = 1
    TEXT = 2
    SUMMARY = 3


# `turn` of a row outside commentary.
NO_TURN = -1
_KIND, _FRAME, _ROW, _COLUMN, _COUNT, _IDENTITY, _TURN, _POSITION = range(8)
_SECONDS, _FIRST, _LAST = range(3)


@dataclass(frozen=True, slots=True, eq=False)
class TokenTable:
    """Immutable columns of the tokens of one layer, in time order (but for words that a plan has moved).

    data_CHN: int64 `[7 + axes, heads, n_tokens]`: kind, frame, row, column, count, identity, turn, positions.
    times_SHN: float64 `[3, heads, n_tokens]`: presentation time (of a summary: the mean over what it stands for), and
        those of the oldest and of the newest frame that the row was made of.
    """

    data_CHN: torch.Tensor
    times_SHN: torch.Tensor

    @staticmethod
    def empty(n_axes: int, device: torch.device) -> TokenTable:
        """No rows, one head."""
        return TokenTable(
            torch.zeros(_POSITION + n_axes, 1, 0, dtype=torch.int64, device=device),
            torch.zeros(3, 1, 0, dtype=torch.float64, device=device),
        )

    @staticmethod
    def build(
        *,
        kind: TokenKind | torch.Tensor,
        identity_N: torch.Tensor,
        position_RN: torch.Tensor,
        frame_N: torch.Tensor | None = None,
        row_N: torch.Tensor | None = None,
        column_N: torch.Tensor | None = None,
        seconds_N: torch.Tensor | None = None,
        span_2N: torch.Tensor | None = None,
        count_N: torch.Tensor | None = None,
        turn_N: torch.Tensor | None = None,
    ) -> TokenTable:
        """Rows of one kind (or of a kind each, `[n]`), the same for all heads; what is not given is -1, but count 1
        and seconds 0. span_2N: times of the oldest and the newest frame that a row was made of, if not of one.
        """
        missing_N = torch.full_like(identity_N, -1)
        columns = (
            kind if isinstance(kind, torch.Tensor) else torch.full_like(identity_N, int(kind)),
            missing_N if frame_N is None else frame_N,
            missing_N if row_N is None else row_N,
            missing_N if column_N is None else column_N,
            torch.ones_like(identity_N) if count_N is None else count_N,
            identity_N,
            missing_N if turn_N is None else turn_N,
            *position_RN,
        )
        seconds_N = torch.zeros_like(identity_N) if seconds_N is None else seconds_N.to(identity_N.device)
        span_2N = seconds_N.expand(2, -1) if span_2N is None else span_2N.to(identity_N.device)
        times_SN = torch.cat((seconds_N[None].double(), span_2N.double()))
        return TokenTable(torch.stack(columns)[:, None], times_SN[:, None])

    @property
    def n_tokens(self) -> int:
        return self.data_CHN.shape[-1]

    @property
    def n_heads(self) -> int:
        return self.data_CHN.shape[1]

    @property
    def kind_HN(self) -> torch.Tensor:
        return self.data_CHN[_KIND]

    @property
    def frame_HN(self) -> torch.Tensor:
        return self.data_CHN[_FRAME]

    @property
    def row_HN(self) -> torch.Tensor:
        return self.data_CHN[_ROW]

    @property
    def column_HN(self) -> torch.Tensor:
        return self.data_CHN[_COLUMN]

    @property
    def count_HN(self) -> torch.Tensor:
        """How many vision tokens each row stands for: 1, more for a summary, 0 for a prototype or committed text."""
        return self.data_CHN[_COUNT]

    @property
    def identity_HN(self) -> torch.Tensor:
        """A number that a token keeps for life, the same in every layer."""
        return self.data_CHN[_IDENTITY]

    @property
    def turn_HN(self) -> torch.Tensor:
        """Round and part of a stream with commentary, see `turns`; -1 outside."""
        return self.data_CHN[_TURN]

    @property
    def is_commentary_text_HN(self) -> torch.Tensor:
        """Which rows are text of a stream with commentary, which stands for no vision token; bool."""
        return (self.kind_HN == TokenKind.TEXT) & (self.turn_HN != NO_TURN)

    @property
    def seconds_HN(self) -> torch.Tensor:
        return self.times_SHN[_SECONDS]

    @property
    def span_2HN(self) -> torch.Tensor:
        """Times of the oldest and of the newest frame that each row was made of."""
        return self.times_SHN[_FIRST:]

    @property
    def position_RHN(self) -> torch.Tensor:
        return self.data_CHN[_POSITION:]

    def slice(self, start: int, stop: int | None = None) -> TokenTable:
        """Rows `[start, stop)`, sharing storage."""
        return TokenTable(self.data_CHN[..., start:stop], self.times_SHN[..., start:stop])

    def select(self, rows: torch.Tensor) -> TokenTable:
        """The given rows: `[n]` for all heads alike, or `[heads, n]` for each head its own."""
        if rows.dim() == 1:
            return TokenTable(self.data_CHN.index_select(-1, rows), self.times_SHN.index_select(-1, rows))
        table = self.expand_heads(rows.shape[0])
        data, times = (x.gather(-1, rows.expand(x.shape[0], -1, -1)) for x in (table.data_CHN, table.times_SHN))
        return TokenTable(data, times)

    def concat(self, newer: TokenTable) -> TokenTable:
        """These rows, then the newer ones."""
        n_heads = max(self.n_heads, newer.n_heads)
        a, b = self.expand_heads(n_heads), newer.expand_heads(n_heads)
        return TokenTable(torch.cat((a.data_CHN, b.data_CHN), dim=-1), torch.cat((a.times_SHN, b.times_SHN), dim=-1))

    def expand_heads(self, n_heads: int) -> TokenTable:
        if self.n_heads == n_heads:
            return self
        return TokenTable(self.data_CHN.expand(-1, n_heads, -1), self.times_SHN.expand(-1, n_heads, -1))

    def with_positions(self, position_RHN: torch.Tensor) -> TokenTable:
        return TokenTable(torch.cat((self.data_CHN[:_POSITION], position_RHN)), self.times_SHN)

    def span_of_all(self) -> torch.Tensor:
        """Times of the oldest and of the newest frame that any row of the first head was made of, float64 `[2, 1]`."""
        first_N, last_N = self.span_2HN[:, 0]
        return torch.stack((first_N.amin(), last_N.amax()))[:, None]
