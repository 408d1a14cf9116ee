"""Encoded tokens that wait outside the text model, for policies that run them through it later: at a question, or when
newer ones take their place.

Shape letters: N tokens, E model width, R position axes, U distinct times.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from hermes_stream.errors import InvariantError
from hermes_stream.memory.layout import frame_after_frame
from hermes_stream.memory.positions import spread_times
from hermes_stream.memory.shape import MemoryShape
from hermes_stream.memory.token_table import TokenKind, TokenTable
from hermes_stream.types import VisualTokens


@dataclass(frozen=True, slots=True, eq=False)
class FeatureBank:
    """Tokens as the text model would read them; immutable, so that versions and forks share it.

    embeddings_NE: its inputs. table: what each row is, one head, oldest frame first; positions count from where the
        frame begins, in families with absolute time from where the stream's first moment stands.
    taps: what DeepStack adds after early layers, `[N, E]` each, zeros for text; () in families without.
    n_entered: tokens that came in. n_passed_on: those of them that went on into the text model.
    n_dropped: tokens that no row stands for any more, int64 `[]`.
    """

    embeddings_NE: torch.Tensor
    table: TokenTable
    taps: tuple[torch.Tensor, ...]
    n_entered: int
    n_passed_on: int
    n_dropped: torch.Tensor

    @staticmethod
    def empty(shape: MemoryShape) -> FeatureBank:
        """The width of its rows is that of the first tokens to come."""
        table = TokenTable.empty(shape.n_axes, shape.device)
        return FeatureBank(table.times_SHN.new_empty(0, 0), table, (), 0, 0, table.data_CHN.new_zeros(()))

    @property
    def n_rows(self) -> int:
        return self.table.n_tokens

    @property
    def n_bytes(self) -> int:
        """Of the embeddings and taps, which is all that is large."""
        return sum(tensor.numel() * tensor.element_size() for tensor in (self.embeddings_NE, *self.taps))

    def append(self, tokens: VisualTokens, shape: MemoryShape, *, first_frame: int, first_identity: int) -> FeatureBank:
        """These rows, then the tokens of newly encoded frames; embeddings are copied, not shared."""
        n, device = tokens.frame_N.numel(), shape.device
        new = TokenTable.build(
            kind=token_kinds(tokens).to(device),
            identity_N=first_identity + torch.arange(n, device=device),
            position_RN=_from_frame_start(tokens, shape).to(device),
            frame_N=first_frame + tokens.frame_N.to(device),
            row_N=tokens.row_N.to(device),
            column_N=tokens.column_N.to(device),
            seconds_N=tokens.times_seconds_N.to(device),
            span_2N=tokens.span_2N.to(device),
        )
        older = (self.embeddings_NE, *self.taps) if self.n_entered else (None,) * (1 + len(tokens.deepstack))
        newer = (tokens.embeddings_NE, *_aligned_taps(tokens))
        joined = tuple(
            more.clone() if held is None else torch.cat((held, more)) for held, more in zip(older, newer, strict=True)
        )
        return replace(
            self,
            embeddings_NE=joined[0],
            table=self.table.concat(new),
            taps=joined[1:],
            n_entered=self.n_entered + n,
        )

    def append_text(
        self,
        embeddings_NE: torch.Tensor,
        shape: MemoryShape,
        *,
        frame: int,
        seconds_2: torch.Tensor,
        first_identity: int,
    ) -> FeatureBank:
        """These rows, then words that belong to their newest frame, behind its own.

        seconds_2: of the first and of the last frame that they are about.
        """
        n, device = embeddings_NE.shape[0], shape.device
        of_frame_RN = self.table.position_RHN[:, 0, self.table.frame_HN[0] == frame]
        start = int(of_frame_RN.max()) + 1 if of_frame_RN.numel() else 0
        place_N = torch.arange(n, device=device)
        new = TokenTable.build(
            kind=TokenKind.TEXT,
            identity_N=first_identity + place_N,
            position_RN=(start + place_N).expand(shape.n_axes, -1),
            frame_N=torch.full_like(place_N, frame),
            seconds_N=seconds_2[1].expand(n),
            span_2N=seconds_2[:, None].expand(-1, n).to(device),
        )
        return replace(
            self,
            embeddings_NE=torch.cat((self.embeddings_NE, embeddings_NE)) if self.n_entered else embeddings_NE,
            table=self.table.concat(new),
            taps=tuple(torch.cat((tap_NE, tap_NE.new_zeros(n, tap_NE.shape[1]))) for tap_NE in self.taps),
            n_entered=self.n_entered + n,
        )

    def select(self, rows_N: torch.Tensor) -> FeatureBank:
        """Some rows, for a question or a forward; a bank of its own, that says nothing of the others."""
        return FeatureBank(
            self.embeddings_NE.index_select(0, rows_N),
            self.table.select(rows_N),
            tuple(tap_NE.index_select(0, rows_N) for tap_NE in self.taps),
            self.n_entered,
            self.n_passed_on,
            self.n_dropped,
        )

    def pass_on(self, n_newest: int) -> tuple[FeatureBank, int, FeatureBank]:
        """Part with all but the newest frames.

        Returns the rows that leave, how many tokens they stand for, and the bank without them. Reads the device once.
        """
        frames, counts = torch.cat((self.table.frame_HN, self.table.count_HN)).tolist()
        held = sorted(set(frames))
        staying = held[max(len(held) - n_newest, 0) :]
        first = frames.index(staying[0]) if staying else len(frames)
        row_N = torch.arange(self.n_rows, device=self.table.data_CHN.device)
        n_tokens = sum(counts[:first])
        rest = replace(self.select(row_N[first:]), n_passed_on=self.n_passed_on + n_tokens)
        return self.select(row_N[:first]), n_tokens, rest

    def laid_out(self, shape: MemoryShape) -> VisualTokens:
        """The rows as if they had just been encoded as one span; sampled frames count 0, they were counted before.

        In one dimension positions are contiguous; with three axes each frame keeps its inner offsets and begins past
        the last one's largest position; with absolute time they stay. Reads the device once; its tensors but for
        embeddings and taps are on the host, as an adapter's are.
        """
        table = TokenTable(self.table.data_CHN.cpu(), self.table.times_SHN.cpu())
        _, frame_N = table.frame_HN[0].unique_consecutive(return_inverse=True)
        n_frames = int(frame_N[-1]) + 1 if frame_N.numel() else 0
        position_RN = table.position_RHN[:, 0]
        if shape.n_axes == 1:
            position_RN = torch.arange(self.n_rows)[None]
        elif not shape.has_absolute_time:
            position_RN = frame_after_frame(table, shape)
        is_text_N = table.kind_HN[0] == TokenKind.TEXT
        visual_N = (~is_text_N).nonzero()[:, 0].to(self.embeddings_NE.device)
        return VisualTokens(
            embeddings_NE=self.embeddings_NE,
            positions_RN=position_RN,
            n_positions=int(position_RN.max()) + 1 if self.n_rows else 0,
            frame_N=frame_N,
            row_N=table.row_HN[0],
            column_N=table.column_HN[0],
            times_seconds_N=table.seconds_HN[0],
            n_frames=0,
            n_grids=n_frames,
            is_text_N=is_text_N,
            deepstack=tuple(tap_NE.index_select(0, visual_N) for tap_NE in self.taps),
        )


def place_fresh(tokens: VisualTokens, start: int, shape: MemoryShape, n_positions: int) -> torch.Tensor:
    """Positions int64 `[R, N]` of `FeatureBank.laid_out` tokens that begin a sequence of their own at `start`.

    With absolute time the first frame stands at `start` and the others as much later as they were shown; only if that
    would take more than `n_positions`, long gaps shrink to a common cap, as at a compaction.
    """
    position_RN = tokens.positions_RN.clone()
    if not shape.has_absolute_time or not position_RN.numel():
        return position_RN + start
    axes = list(shape.time_axes)
    time_N = position_RN[axes[0]]
    old_U, index_N = time_N.unique(return_inverse=True)
    old = old_U.tolist()
    new = [time - old[0] for time in old]
    if new[-1] >= n_positions:
        new = spread_times(old, 0, min(shape.longest_span, n_positions - 1))
    position_RN[axes] += torch.tensor(new)[index_N] - time_N
    return position_RN + start


def token_kinds(tokens: VisualTokens) -> torch.Tensor:
    """Vision, but for a family's separators between frames; int64 `[N]`."""
    kind_N = torch.full_like(tokens.frame_N, TokenKind.VISION)
    return kind_N if tokens.is_text_N is None else kind_N.masked_fill(tokens.is_text_N, TokenKind.TEXT)


def check_bank(bank: FeatureBank) -> None:
    """Raise InvariantError if rows and tensors disagree, or tokens are unaccounted for (architecture, law 1)."""
    n_stand_for, n_dropped = int(bank.table.count_HN.sum()), int(bank.n_dropped)
    if n_stand_for + n_dropped + bank.n_passed_on != bank.n_entered:
        raise InvariantError(
            f"features: rows stand for {n_stand_for} tokens, {n_dropped} were dropped, {bank.n_passed_on} went on, "
            f"{bank.n_entered} came"
        )
    n_rows = {tensor.shape[0] for tensor in (bank.embeddings_NE, *bank.taps)}
    if n_rows != {bank.n_rows}:
        raise InvariantError(f"features: {bank.n_rows} rows, but tensors of {sorted(n_rows)}")
    if bank.table.identity_HN.unique().numel() != bank.n_rows:
        raise InvariantError("features: an identity is held twice")


def _from_frame_start(tokens: VisualTokens, shape: MemoryShape) -> torch.Tensor:
    """Positions `[R, N]` from where each frame begins; those of families with absolute time as they are."""
    if shape.has_absolute_time:
        return tokens.positions_RN
    low_N = tokens.positions_RN.amin(dim=0)
    start_F = low_N.new_zeros(tokens.n_grids).scatter_reduce_(0, tokens.frame_N, low_N, "amin", include_self=False)
    return tokens.positions_RN - start_F[tokens.frame_N]


def _aligned_taps(tokens: VisualTokens) -> tuple[torch.Tensor, ...]:
    """A row per token, zeros for text; the adapter's have rows for visual tokens only."""
    if tokens.is_text_N is None or not tokens.deepstack:
        return tokens.deepstack
    n = tokens.frame_N.numel()
    visual_N = (~tokens.is_text_N).nonzero()[:, 0]
    return tuple(
        tap_NE.new_zeros(n, tap_NE.shape[1]).index_copy_(0, visual_N.to(tap_NE.device), tap_NE)
        for tap_NE in tokens.deepstack
    )
