"""How many bytes a stream, an answer and a forward take at most, counted before they take them.

A stream keeps slabs (keys, un-rotated keys, values), token tables, features, what its policy remembers, and its
archive; a plan fills new slabs while the old ones are still there. What has no bound (keep-all, archives, states that
grow) is counted as it is, with the rows that are about to come.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch

from hermes_stream.engine.seen import LOG_BYTES
from hermes_stream.engine.stream import Stream
from hermes_stream.memory.arena import LARGEST_BLOCK
from hermes_stream.memory.sizes import tensor_bytes
from hermes_stream.memory.slab import Slab, most_capacity
from hermes_stream.memory.token_table import TokenTable
from hermes_stream.memory.version import MemoryVersion
from hermes_stream.models.adapter import Adapter

_BYTES_OF_TABLE_ENTRY = 8
# Of a question of usual length with its answer.
_QUESTION_ROWS = 256


@dataclass(frozen=True, slots=True)
class Footprint:
    """held_bytes: what a stream keeps between two forwards. slab_bytes: its slabs alone, of which there may be two.

    tail_bytes: what an answer takes beside the slabs of its version: its own rows, and what it recalled or unpacked.
    block_bytes: the most by which an arena grows beyond what it must; 0 for slabs with tensors of their own.
    """

    held_bytes: int
    slab_bytes: int
    tail_bytes: int
    block_bytes: int


def footprint(stream: Stream, n_new_rows: int, *, n_tail_rows: int | None = None) -> Footprint:
    """The most that a stream takes once so many rows more have come.

    Where the policy has a budget that is its bound; a slab that is larger than it should be counts as large as it is.
    n_tail_rows: of the question with its answer; by default one of usual length, with all frames that wait.
    """
    version, waiting = stream.memory.current, _most_waiting(stream, n_new_rows)
    rows_L = _most_rows(stream, n_new_rows)
    slab_bytes = sum(_slab_bytes(layer.slab, n) for n, layer in zip(rows_L, version.layers, strict=True))
    tables = sum(rows_L) * version.shape.n_kv_heads * _table_entry_bytes(version)
    n_features = waiting + (interval_rows(stream) if stream.policy.needs_features else 0)
    beside = (
        LOG_BYTES + tables + n_features * _feature_row_bytes(stream) + stream.state_bytes + tensor_bytes(stream.texts)
    )
    if n_tail_rows is None:
        n_tail_rows = _QUESTION_ROWS + waiting + stream.facts.tokens_per_frame
    # Keys and values: a tail is not moved.
    tail_bytes = (n_tail_rows + _most_recalled(stream, rows_L)) * version.shape.bytes_per_token(keep_raw=False)
    tail_bytes += _unpacked_bytes(stream, rows_L)
    in_arena = [layer.slab for layer in version.layers if layer.slab.arena is not None]
    block_bytes = LARGEST_BLOCK * sum(slab.bytes_per_row for slab in in_arena)
    return Footprint(slab_bytes + beside + _archive_bytes(stream, rows_L), slab_bytes, tail_bytes, block_bytes)


def forward_bytes(adapter: Adapter, n_rows: int) -> int:
    """Activations of one layer in a forward of so many rows: the residual stream and its normed copy, in and out;
    queries, keys and values, rotated and not; gate, up and their product. Not the vision tower's.
    """
    sizes, facts = adapter.text_sizes, adapter.facts
    heads = 2 * (sizes.n_heads + 2 * sizes.n_kv_heads) * sizes.head_dim
    element = torch.empty(0, dtype=facts.dtype).element_size()
    return n_rows * (4 * sizes.width + heads + 3 * sizes.inner) * element


def interval_rows(stream: Stream) -> int:
    """The most that the frames of one interval bring."""
    n_grids = -(-stream.chunk_frames // stream.adapter.facts.frames_per_grid)
    return n_grids * stream.facts.tokens_per_frame


def _slab_bytes(slab: Slab, n_rows: int) -> int:
    """Of a slab that has had to hold so many rows, and what it has beside its rows."""
    beside = slab.allocated_bytes - slab.capacity * slab.bytes_per_row
    return max(most_capacity(n_rows), slab.capacity) * slab.bytes_per_row + beside


def _most_rows(stream: Stream, n_new_rows: int) -> list[int]:
    """Rows of each layer, prefix included, before the next plan."""
    version, n_prefix = stream.memory.current, stream.facts.prefix_tokens
    coming = [n_prefix + n + n_new_rows for n in version.held_tokens]
    if stream.policy.ingests == "features":
        return [n_prefix] * len(coming)
    budgets_L = stream.policy.layer_budgets(stream.facts.n_layers)
    if budgets_L is None:
        return coming
    return [max(n_prefix + budget + interval_rows(stream), n) for budget, n in zip(budgets_L, coming, strict=True)]


def _most_waiting(stream: Stream, n_new_rows: int) -> int:
    """Rows of the feature bank before the next plan."""
    held = stream.memory.current.features.n_rows + n_new_rows
    if stream.policy.ingests == "tokens":
        n_held_back = stream.held_back
        return max(n_held_back * stream.facts.tokens_per_frame + interval_rows(stream), held) if n_held_back else 0
    budgets_L = stream.policy.layer_budgets(stream.facts.n_layers)
    return held if budgets_L is None else max(max(budgets_L) + interval_rows(stream), held)


def _most_recalled(stream: Stream, rows_L: list[int]) -> int:
    """Rows that a question's forwards unpack beside the memory, where there is an archive, in the layer with most."""
    if stream.memory.store is None:
        return 0
    most = stream.policy.seen_rows(stream.facts)
    archived = max(stream.memory.current.archived_tokens) + max(rows_L)
    return max(rows_L) + (archived if most is None else min(archived, most))


def _unpacked_bytes(stream: Stream, rows_L: list[int]) -> int:
    """Of the layer with most rows while it is read, where they are held in 8 bits: keys twice, values and one sum."""
    shape = stream.memory.shape
    if stream.policy.memory_bits == 16:
        return 0
    return 2 * max(rows_L) * shape.bytes_per_token(keep_raw=False) // shape.n_layers


def _feature_row_bytes(stream: Stream) -> int:
    """Of one row of a feature bank: embedding, taps and table."""
    facts, version = stream.adapter.facts, stream.memory.current
    return (1 + facts.n_taps) * facts.hidden_size * _element_bytes(version) + _table_entry_bytes(version)


def _archive_bytes(stream: Stream, rows_L: list[int]) -> int:
    """What is archived, and on a CPU all that the next plan may add: every row of a layer, exact, with its table.

    Host memory beside an accelerator has a limit of its own, the archive's.
    """
    store, version = stream.memory.store, stream.memory.current
    if store is None or (version.shape.device.type != "cpu" and not store.settings.resident):
        return 0
    per_row = 2 * version.shape.n_kv_heads * version.shape.head_dim * _element_bytes(version)
    archived = sum(layer.archive.n_rows for layer in version.layers) * _table_entry_bytes(version)
    return version.archive_bytes() + archived + sum(rows_L) * (per_row + _table_entry_bytes(version))


def _element_bytes(version: MemoryVersion) -> int:
    return torch.empty(0, dtype=version.shape.dtype).element_size()


def _table_entry_bytes(version: MemoryVersion) -> int:
    """Of one row for one head in a token table."""
    return _table_columns(version.shape.n_axes) * _BYTES_OF_TABLE_ENTRY


@cache
def _table_columns(n_axes: int) -> int:
    """Of a token table, times included."""
    table = TokenTable.empty(n_axes, torch.device("cpu"))
    return table.data_CHN.shape[0] + table.times_SHN.shape[0]
