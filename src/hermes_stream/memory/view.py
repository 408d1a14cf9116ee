"""What a policy sees when it decides: read-only tables and the signals that it asked for.

Shape letters: K key/value heads, N rows after the prefix (or of the feature bank), D head dimension, E model width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch

from hermes_stream.errors import PlanError
from hermes_stream.memory.archive import EMPTY_ARCHIVE, LayerArchive
from hermes_stream.memory.rope import Rope
from hermes_stream.memory.token_table import TokenTable
from hermes_stream.memory.version import LayerMemory


@dataclass(frozen=True, slots=True, eq=False)
class HeldTensors:
    """Keys and values of a layer's rows after the prefix, `[K, N, D]`, on the device of its table; not to be written.

    They are the memory's own where they can be: who writes to them changes the past, and who wants them when the layer
    is gone keeps a copy.
    rows: only these, `[n]`, or `[K, n]` for each head its own; None is all.
    """

    layer: LayerMemory
    n_prefix: int
    rope: Rope
    rows: torch.Tensor | None = None

    @property
    def raw_keys_KND(self) -> torch.Tensor:
        return self._rows(self.layer.raw_keys(self.rope))

    @property
    def rotated_keys_KND(self) -> torch.Tensor:
        return self._rows(self.layer.keys)

    @property
    def values_KND(self) -> torch.Tensor:
        return self._rows(self.layer.values)

    @property
    def bytes_per_row(self) -> int:
        """Bytes of one row: rotated key, value, and un-rotated key where it is kept."""
        return self.layer.slab.bytes_per_row

    def _rows(self, x_KND: torch.Tensor) -> torch.Tensor:
        x_KND = x_KND[:, self.n_prefix :].to(self.layer.table.data_CHN.device)
        return x_KND if self.rows is None else take_rows(x_KND, self.rows)


def take_rows(x_KN: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Chosen rows of `[K, N, ...]`: `[n]` for all heads alike, or `[K, n]` for each head its own."""
    if rows.dim() == 1:
        return x_KN.index_select(1, rows)
    return x_KN.gather(1, rows.view(*rows.shape, *[1] * (x_KN.dim() - 2)).expand(-1, -1, *x_KN.shape[2:]))


@dataclass(frozen=True, slots=True, eq=False)
class LayerView:
    """The rows of one layer after its prefix, in time order.

    mass: by probe name, `[K, N]`, float32 at least: attention that its tokens pay to each row, mean over the tokens
    and over the query heads of each key/value head. Softmax runs over prefix, rows and probe.
    query: by name of a probe that wants it, its mean un-rotated query, `[H, D]`, H query heads.
    held_tensors: what `tensors` gives; a view made by hand may lack it.
    """

    table: TokenTable
    mass: Mapping[str, torch.Tensor] = field(default_factory=dict)
    held_tensors: HeldTensors | None = None
    query: Mapping[str, torch.Tensor] = field(default_factory=dict)
    archive: LayerArchive = EMPTY_ARCHIVE

    @staticmethod
    def of(
        layer: LayerMemory,
        n_prefix: int,
        rope: Rope,
        mass: Mapping[str, torch.Tensor],
        query: Mapping[str, torch.Tensor] | None = None,
    ) -> LayerView:
        """The view of a layer; mass: `[K, N]` of its rows after the prefix."""
        held = HeldTensors(layer, n_prefix, rope)
        return LayerView(layer.table.slice(n_prefix), mass, held, query or {}, layer.archive)

    def select(self, rows: torch.Tensor) -> LayerView:
        """The view of some rows only, sorted: `[n]`, or `[K, n]` for each head its own."""
        held = self.held_tensors
        if held is not None and held.rows is not None:
            raise PlanError("a view of some rows cannot be narrowed again")
        mass = {name: take_rows(mass_KN, rows) for name, mass_KN in self.mass.items()}
        held = None if held is None else replace(held, rows=rows)
        return replace(self, table=self.table.select(rows), mass=mass, held_tensors=held)

    @property
    def tensors(self) -> HeldTensors:
        """Keys and values, for policies that look at them; nothing is computed or copied before they are asked for."""
        if self.held_tensors is None:
            raise PlanError("this view has no keys and values; make it with LayerView.of")
        return self.held_tensors

    @property
    def n_rows(self) -> int:
        return self.table.n_tokens

    @property
    def frame_N(self) -> torch.Tensor:
        return self._shared(self.table.frame_HN)

    @property
    def identity_N(self) -> torch.Tensor:
        return self._shared(self.table.identity_HN)

    @property
    def seconds_N(self) -> torch.Tensor:
        return self._shared(self.table.seconds_HN)

    @property
    def kind_N(self) -> torch.Tensor:
        return self._shared(self.table.kind_HN)

    def _shared(self, column_HN: torch.Tensor) -> torch.Tensor:
        if column_HN.shape[0] != 1:
            raise PlanError("this layer's heads hold different tokens; read the table's [heads, rows] columns")
        return column_HN[0]


@dataclass(frozen=True, slots=True, eq=False)
class FeatureView:
    """Tokens that wait outside the text model, oldest frame first; not to be written.

    embeddings_NE: as the text model would read them. table: what each row is, one head; positions count from where the
    frame begins. Rows of kind TEXT announce the frame that they belong to and stay as long as any of its other rows.
    """

    embeddings_NE: torch.Tensor
    table: TokenTable

    @staticmethod
    def none() -> FeatureView:
        return FeatureView(torch.zeros(0, 0), TokenTable.empty(1, torch.device("cpu")))

    @property
    def n_rows(self) -> int:
        return self.table.n_tokens

    @property
    def frame_N(self) -> torch.Tensor:
        return self.table.frame_HN[0]

    @property
    def kind_N(self) -> torch.Tensor:
        return self.table.kind_HN[0]

    @property
    def count_N(self) -> torch.Tensor:
        return self.table.count_HN[0]

    @property
    def seconds_N(self) -> torch.Tensor:
        return self.table.seconds_HN[0]


@dataclass(frozen=True, slots=True, eq=False)
class MemoryView:
    """A memory at a compression interval's end.

    budget_tokens: rows that each layer may hold after the plan; None is unlimited.
    frames_seen: frames as the token table numbers them; a family that pairs frames counts pairs.
    tokens_per_frame: what the model makes of a frame.
    texts: embeddings `[T, E]` of each of the policy's own `texts`.
    step_seconds: how long a round of a stream with commentary is.
    features: tokens that have not gone through the text model (policies that hold features).
    encoded: the interval's frames as the text model got them (policies with `needs_features`).
    """

    layers: tuple[LayerView, ...]
    budget_tokens: int | None
    frames_seen: int
    time_seconds: float
    next_position: int
    tokens_per_frame: int
    features: FeatureView = field(default_factory=FeatureView.none)
    encoded: FeatureView = field(default_factory=FeatureView.none)
    texts: tuple[torch.Tensor, ...] = ()
    step_seconds: float = 1.0

    @property
    def n_layers(self) -> int:
        return len(self.layers)

    @property
    def is_over_budget(self) -> bool:
        return self.budget_tokens is not None and any(layer.n_rows > self.budget_tokens for layer in self.layers)
