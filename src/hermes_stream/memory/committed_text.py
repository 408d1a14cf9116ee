"""Text that becomes part of a memory: what was said about a stream, and the turns around it.

Shape letters: N rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from hermes_stream.errors import InvariantError, LimitError
from hermes_stream.memory.append import NewRows, PendingAppend
from hermes_stream.memory.token_table import TokenKind, TokenTable
from hermes_stream.memory.upload import upload
from hermes_stream.memory.version import MemoryVersion


@dataclass(frozen=True, slots=True, eq=False)
class TextRows:
    """Text tokens that follow what is held, on one position of all axes each.

    turn_N: int64, round and part of each. first_seconds, last_seconds: of the frames that the text is about; it goes
    where they are forgotten, and is not there before the last of them was shown.
    """

    turn_N: torch.Tensor
    first_seconds: float
    last_seconds: float


def begin_text(base: MemoryVersion, text: TextRows) -> PendingAppend:
    """Start the commit of text; it belongs to the newest grid and counts no vision token.

    Raises LimitError before anything is written if the positions do not fit.
    """
    if base.number == 0:
        raise InvariantError("text came before the prefix")
    n, device, shape = text.turn_N.numel(), base.shape.device, base.shape
    if (end := base.next_position + n) > shape.max_positions:
        raise LimitError(f"text that ends at position {end} does not fit the model's {shape.max_positions}")
    place_N = torch.arange(n, device=device)
    span_2 = torch.tensor([text.first_seconds, text.last_seconds], dtype=torch.float64)
    table = TokenTable.build(
        kind=TokenKind.TEXT,
        identity_N=base.next_identity + place_N,
        position_RN=(base.next_position + place_N).expand(shape.n_axes, -1),
        frame_N=torch.full_like(place_N, base.grids_seen - 1),
        seconds_N=span_2[1].expand(n),
        span_2N=upload(span_2[:, None].expand(-1, n), device),
        count_N=torch.zeros_like(place_N),
        turn_N=upload(text.turn_N, device),
    )
    rows = NewRows(
        table,
        next_position=end,
        grid_end=end,
        newest_time=end - 1,
        time_start=base.time_start,
        frames_seen=base.frames_seen,
        grids_seen=base.grids_seen,
        time_seconds=base.time_seconds,
        next_identity=base.next_identity + n,
        n_seen=base.n_seen,
        n_text=base.n_text + n,
        features=base.features,
    )
    return PendingAppend(base, rows)
