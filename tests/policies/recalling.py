"""A stream without a model that is asked: what its policy recalls, in numbers of frames and tokens.

Shape letters: H query heads, T tokens of a question, N rows, D head dimension.
"""

from __future__ import annotations

import torch

from hermes_stream.memory.recall import Recalled
from hermes_stream.policies.recall import Asked

from .harness import FakeStream


def asked_in(stream: FakeStream, layer: int, query_HTD: torch.Tensor) -> Asked:
    """A question with these un-rotated queries as it passes a layer."""
    return Asked(query_HTD, query_HTD, stream.memory.current.layers[layer].archive, stream.view().layers[layer])


def recalled_tokens(stream: FakeStream, layer: int, recalled: Recalled) -> list[int]:
    """The places in the stream of the tokens recalled: those of the archive, then the held ones."""
    of_layer = stream.memory.current.layers[layer]
    held = of_layer.table.slice(stream.memory.current.n_prefix)
    found: list[int] = []
    for rows_N, source in ((recalled.archive_rows, of_layer.archive), (recalled.held_rows, None)):
        if rows_N is not None and rows_N.numel():
            table = held if source is None else source.table
            found += (table.identity_HN[0, rows_N] - stream.prefix_tokens).tolist()
    return found


def recalled_frames(stream: FakeStream, layer: int, recalled: Recalled) -> list[int]:
    """Whole frames recalled, in the order of their rows."""
    tokens, per_frame = recalled_tokens(stream, layer, recalled), stream.tokens_per_frame
    frames = tokens[::per_frame]
    assert tokens == [frame + token for frame in frames for token in range(per_frame)], "a frame is not whole"
    assert all(token % per_frame == 0 for token in frames)
    return [token // per_frame for token in frames]
