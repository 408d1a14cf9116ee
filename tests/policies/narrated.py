"""Streams with commentary on token tables alone: turns and words by name, real memory, real policy.

Shape letters: N tokens, R axes, K key/value heads, T new tokens, D head dimension.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from hermes_stream.memory.committed_text import TextRows
from hermes_stream.memory.kv_memory import KVMemory
from hermes_stream.memory.shape import MemoryShape
from hermes_stream.memory.turns import Part, turn_of
from hermes_stream.memory.view import LayerView, MemoryView
from hermes_stream.policies.base import Policy
from hermes_stream.types import VisualTokens

from .harness import HEAD_DIM, QuarterTurnRope, append, append_prefix

Named = Sequence[tuple[str, Part]]


def parts(names: Sequence[str], part: Part) -> Named:
    return [(name, part) for name in names]


def numbered(stem: str, n: int, part: Part) -> Named:
    return parts([f"{stem}.{index}" for index in range(n)], part)


class NarratedTables:
    """One stream, round by round; `held` names its rows in the order in which they stand.

    n_time: tokens of a round's time. query: of the instruction, where it is asked in the first round.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        previous: Sequence[str] = (),
        query: Sequence[str] = (),
        n_axes: int = 3,
        n_layers: int = 1,
        step_seconds: float = 1.0,
        tokens_per_frame: int = 1,
    ) -> None:
        self.policy, self._query, self._step_seconds = policy, query, step_seconds
        self._tokens_per_frame = tokens_per_frame
        shape = MemoryShape(
            n_layers=n_layers,
            n_kv_heads=1,
            head_dim=HEAD_DIM,
            n_axes=n_axes,
            max_positions=2**31,
            dtype=torch.float32,
            device=torch.device("cpu"),
            time_axes=tuple(range(n_axes)),
        )
        budgets_L = None if policy.budget is None else [policy.budget] * n_layers
        self.memory = KVMemory(shape, QuarterTurnRope(), budgets_L=budgets_L)
        append_prefix(self.memory, 11)
        self._names = [f"system.{index}" for index in range(11)]
        self._last_reply: Named = []
        self._said(
            0,
            [
                *numbered("previous.open", 4, Part.PREVIOUS_OPEN),
                *parts(previous, Part.PREVIOUS_WORD),
                *numbered("previous.close", 2, Part.PREVIOUS_CLOSE),
            ],
        )
        self.second_index = 0

    def second(
        self, words: Sequence[str], *, n_time: int, cells: tuple[int, int] = (2, 2), is_cut: bool = False
    ) -> None:
        """The newline behind the last reply, what the policy takes away, the user's turn, then the reply."""
        number = self.second_index
        if number > 0:
            self._said(number - 1, [(f"A{number - 1}.newline", Part.REPLY_CLOSE)])
            self.plan()
        self._turn(number, n_time, cells)
        self._said(
            number,
            [
                *numbered(f"A{number}.open", 3, Part.REPLY_OPEN),
                *parts(words, Part.WORD),
                *([] if is_cut else [(f"A{number}.silence", Part.SILENCE)]),
                (f"A{number}.close", Part.REPLY_CLOSE),
            ],
        )
        self.second_index += 1

    def plan(self) -> None:
        """Let the policy decide and execute it."""
        version = self.memory.current
        layers = tuple(LayerView.of(layer, version.n_prefix, self.memory.rope, {}) for layer in version.layers)
        view = MemoryView(
            layers,
            self.policy.budget,
            version.frames_seen,
            version.time_seconds,
            version.next_position,
            self._tokens_per_frame,
            step_seconds=self._step_seconds,
        )
        plan, _ = self.policy.after_chunk(view, None)
        self.memory.apply(plan)
        self.memory.check_invariants()

    @property
    def held(self) -> list[str]:
        return [self._names[identity] for identity in self.memory.current.layers[0].table.identity_HN[0].tolist()]

    @property
    def positions(self) -> list[tuple[int, ...]]:
        return list(zip(*self.memory.current.layers[0].table.position_RHN[:, 0].tolist(), strict=True))

    def _turn(self, number: int, n_time: int, cells: tuple[int, int]) -> None:
        """The user's turn, in one commit."""
        pads = [f"V{number}.{row}.{column}" for row in range(cells[0]) for column in range(cells[1])]
        before = [
            *numbered(f"U{number}.open", 3, Part.USER_OPEN),
            *numbered(f"U{number}.time", n_time, Part.TIME),
            (f"U{number}.start", Part.FRAMES),
        ]
        after = [
            (f"U{number}.end", Part.FRAMES),
            *parts(self._query if number == 0 else [], Part.USER_CLOSE),
            *numbered(f"U{number}.close", 2, Part.USER_CLOSE),
        ]
        named = [*before, *parts(pads, Part.FRAMES), *after]
        turn_N = torch.tensor([turn_of(number, part) for _, part in named])
        self._see(named, turn_N, len(before), cells)

    def _see(self, named: Named, turn_N: torch.Tensor, n_before: int, cells: tuple[int, int]) -> None:
        n, n_pads, n_axes = len(named), cells[0] * cells[1], self.memory.shape.n_axes
        place_N = torch.arange(n)
        is_pad_N = (place_N >= n_before) & (place_N < n_before + n_pads)
        row_N = torch.where(is_pad_N, (place_N - n_before) // cells[1], -1)
        column_N = torch.where(is_pad_N, (place_N - n_before) % cells[1], -1)
        span = max(cells) if n_axes > 1 else n_pads
        inside_RN = torch.stack((torch.zeros_like(row_N), row_N, column_N))
        after_N = torch.where(place_N < n_before, place_N, place_N - n_pads + span)
        position_RN = torch.where(is_pad_N, n_before + inside_RN, after_N) if n_axes > 1 else place_N[None]
        seconds = self.second_index * self._step_seconds
        tokens = VisualTokens(
            embeddings_NE=torch.zeros(n, 3),
            positions_RN=position_RN,
            n_positions=n - n_pads + span,
            frame_N=torch.zeros(n, dtype=torch.int64),
            row_N=row_N,
            column_N=column_N,
            times_seconds_N=torch.full((n,), seconds, dtype=torch.float64),
            n_frames=1,
            n_grids=1,
            is_text_N=~is_pad_N,
            turn_N=turn_N,
        )
        self._names += [name for name, _ in named]
        pending = self.memory.begin_vision(tokens, seconds)
        self._append(pending, n)

    def _said(self, number: int, named: Named) -> None:
        self._names += [name for name, _ in named]
        turn_N = torch.tensor([turn_of(number, part) for _, part in named])
        seconds = self.memory.current.time_seconds
        self._append(self.memory.begin_text(TextRows(turn_N, seconds, seconds)), len(named))

    def _append(self, pending: object, n: int) -> None:
        # The value of a row is its name's number, wherever the row comes to stand.
        first = len(self._names) - n
        value_KTD = torch.arange(first, first + n, dtype=torch.float32)[None, :, None].expand(1, n, HEAD_DIM)
        append(self.memory, pending, value_KTD + 1, value_KTD)  # type: ignore[arg-type]
