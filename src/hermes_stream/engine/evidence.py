"""Which frames an answer looked at most.

Once its last token is out, the rows that chose the tokens go through the text model once more, all together: the
question's last one, then the answer's. They stand in the tail already, so nothing remains of it. How good such evidence
is, and of which rows and layers: docs/inspect.md.

Shape letters: H query heads, G heads of a token table (1, or one per key/value head), N rows, F frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from hermes_stream.engine.batch import TailSegment
from hermes_stream.engine.question import Question
from hermes_stream.memory.token_table import TokenKind, TokenTable
from hermes_stream.memory.upload import upload
from hermes_stream.types import Evidence


def evidence_layers(n_layers: int) -> range:
    """The middle third: docs/inspect.md says what the others give."""
    return range(round(n_layers / 3), max(round(2 * n_layers / 3), round(n_layers / 3) + 1))


def choosing_segment(question: Question, token_ids: Sequence[int], layers: range) -> TailSegment:
    """The rows that chose these tokens, whose attention in these layers is wanted; the tail is cut back to them.

    token_ids: of the answer, without the one that ended it.
    """
    facts, tail = question.adapter.facts, question.tail
    ids_T = upload(torch.tensor(token_ids[:-1], dtype=torch.int64), facts.device)
    embeddings_TE = torch.cat((question.segment.embeddings_TE[-1:], question.adapter.tokens(ids_T)))
    tail.n_rows = question.n_rows - 1
    position_T = question.answer_position - 1 + torch.arange(embeddings_TE.shape[0], device=facts.device)
    segment = TailSegment(embeddings_TE, position_T.expand(facts.n_axes, -1), tail)
    segment.n_read, segment.read_layers = segment.n_rows, layers
    return segment


def find_evidence(question: Question, segment: TailSegment, n: int) -> tuple[Evidence, ...]:
    """The frames with most attention, at most n, the most first; of equals the oldest. After the segment's forward."""
    tables = [question.table(layer_index).concat(question.fresh.table) for layer_index in segment.attention]
    weights = [
        weight_HN[:, : table.n_tokens] for table, weight_HN in zip(tables, segment.attention.values(), strict=True)
    ]
    share_F, seconds_F = frame_shares(weights, tables, question.version.grids_seen + 1)
    shares, seconds = share_F.tolist(), seconds_F.tolist()
    frames = sorted((frame for frame, share in enumerate(shares) if share > 0), key=lambda frame: -shares[frame])
    return tuple(Evidence(seconds[frame], frame, shares[frame]) for frame in frames[:n])


def frame_shares(
    weights: Sequence[torch.Tensor], tables: Sequence[TokenTable], n_frames: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the attention to all frames and summaries, the share of each frame; and when it was shown: float64 `[F]`.

    weights: `[H, N]` of each layer, rows as in its table; means over heads and layers count. What summaries got belongs
    to no frame. Frames without a row have no share.
    """
    mass_F = torch.zeros(n_frames, dtype=torch.float64, device=tables[0].data_CHN.device)
    seconds_F, total = torch.zeros_like(mass_F), mass_F.new_zeros(())
    for weight_HN, table in zip(weights, tables, strict=True):
        mass_GN = weight_HN.to(mass_F).reshape(table.n_heads, -1, table.n_tokens).mean(dim=1) / table.n_heads
        is_vision_GN = table.kind_HN == TokenKind.VISION
        frames = table.frame_HN[is_vision_GN]
        mass_F.index_add_(0, frames, mass_GN[is_vision_GN])
        seconds_F.index_copy_(0, frames, table.seconds_HN[is_vision_GN])
        total += mass_GN[is_vision_GN | (table.kind_HN == TokenKind.SUMMARY)].sum()
    return mass_F / total.clamp(min=torch.finfo(torch.float64).tiny), seconds_F
