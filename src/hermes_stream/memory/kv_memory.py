"""The memory of one stream: its current version, and the two ways to the next one, append and plan.

Shape letters: L layers, H heads with rows of their own, N held tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from hermes_stream.errors import ConfigError, InvariantError, LimitError
from hermes_stream.memory.append import NewRows, PendingAppend
from hermes_stream.memory.apply import apply_plan
from hermes_stream.memory.archive_store import ArchiveSettings, ArchiveStore
from hermes_stream.memory.backends.base import Backend
from hermes_stream.memory.backends.reference import ReferenceBackend
from hermes_stream.memory.committed_text import TextRows, begin_text
from hermes_stream.memory.features import FeatureBank, token_kinds
from hermes_stream.memory.laws import check_plan, check_version
from hermes_stream.memory.place import draw_together
from hermes_stream.memory.plan import Plan, Positions
from hermes_stream.memory.quantised_slab import QuantisedSlab
from hermes_stream.memory.removal import IsGone, Removal, remove
from hermes_stream.memory.rope import Rope
from hermes_stream.memory.shape import MemoryBits, MemoryShape
from hermes_stream.memory.slab import FIRST_ROWS, Slab
from hermes_stream.memory.token_table import TokenKind, TokenTable
from hermes_stream.memory.upload import upload
from hermes_stream.memory.version import LayerMemory, MemoryVersion
from hermes_stream.types import VisualTokens


class KVMemory:
    """The current version of one stream's memory, and the only writer of it.

    budgets_L: rows after the prefix that each layer may hold once a plan was applied, those of the feature bank with
        them; None is unlimited.
    compaction: how positions are closed up when they run out.
    keep_raw: keep un-rotated keys beside the working copy, so that any number of placements stays exact; without
    them a third of the bytes is saved and each placement adds a rounding.
    memory_bits: 8 stores keys and values in 8 bits, see `QuantisedSlab`; keep_raw must be left as it is then.
    archive: precision and limits for plans that archive rows; without it they are refused.
    backend: where rows live and how they are attended to; the reference if not given.
    """

    def __init__(
        self,
        shape: MemoryShape,
        rope: Rope,
        *,
        budgets_L: Sequence[int] | None = None,
        compaction: Positions = Positions.COMPACT,
        keep_raw: bool = True,
        memory_bits: MemoryBits = 16,
        archive: ArchiveSettings | None = None,
        backend: Backend | None = None,
    ) -> None:
        self.shape = shape
        self.backend = backend or ReferenceBackend()
        self.rope = rope
        self.budgets_L = budgets_L
        self.compaction = compaction
        self.store = None if archive is None else ArchiveStore(archive, pin=shape.device.type == "cuda")
        self.peak_tokens = 0
        self._peak_bytes = 0
        empty = TokenTable.empty(shape.n_axes, shape.device)
        layers = tuple(
            LayerMemory(
                _empty_slab(shape, rope, index, self.backend, keep_raw=keep_raw, memory_bits=memory_bits),
                empty,
                torch.zeros(1, dtype=torch.int64, device=shape.device),
            )
            for index in range(shape.n_layers)
        )
        self.current = MemoryVersion(
            shape,
            layers,
            n_prefix=0,
            next_position=0,
            grid_end=0,
            time_start=0,
            newest_time=0,
            next_identity=0,
            n_seen=0,
            frames_seen=0,
            grids_seen=0,
            time_seconds=0.0,
            number=0,
            features=FeatureBank.empty(shape),
        )

    def fork(self) -> KVMemory:
        """A memory that shares every row with this one and then goes its own way (copy on write)."""
        twin = object.__new__(KVMemory)
        twin.__dict__.update(self.__dict__)
        return twin

    def room(self) -> int:
        """Positions left before the model's limit."""
        return self.shape.max_positions - self.current.next_position

    def has_room(self, tokens: VisualTokens, reserve: int = 0) -> bool:
        """Whether these tokens and a reserve fit as positions are."""
        return self.current.end_after(tokens) + reserve <= self.shape.max_positions

    def waiting_with(self, tokens: VisualTokens) -> VisualTokens:
        """All frames that wait as features, with these behind them, as a question places them behind the rows."""
        return self.current.with_features(tokens, self.current.time_seconds).features.laid_out(self.shape)

    def make_room(self, tokens: VisualTokens, reserve: int = 0) -> VisualTokens:
        """Compact if these tokens and a reserve would pass the model's limit; LimitError if that is not enough.

        Returns them as they are to be committed: nearer where a gap in time is longer than positions reach.
        """
        limit = self.shape.max_positions
        if self.has_room(tokens, reserve):
            return tokens
        # Mid-interval, when layers may rightly hold more than the budget.
        version = apply_plan(self.current, Plan(positions=self.compaction), self.shape, self.rope)
        if self.shape.has_absolute_time and version.end_after(tokens) + reserve > limit:
            version, tokens = draw_together(version, tokens, self.rope)
        self.current = version
        if (end := version.end_after(tokens)) + reserve > limit:
            raise LimitError(
                f"{end - self.current.next_position} more positions do not fit: {self.current.next_position} of the "
                f"model's {limit} are taken by tokens that the policy keeps, {reserve} are reserved for questions; "
                "use a smaller budget"
            )
        return tokens

    def make_text_room(self, n_tokens: int, reserve: int = 0) -> None:
        """Compact if so much text and a reserve would pass the model's limit; `begin_text` says if it is not enough."""
        if self.current.next_position + n_tokens + reserve > self.shape.max_positions:
            self.current = apply_plan(self.current, Plan(positions=self.compaction), self.shape, self.rope)

    def begin_prefix(self, n_tokens: int) -> PendingAppend:
        """Start the commit of the prefix; only on an empty memory."""
        if self.current.number != 0:
            raise InvariantError("the prefix must be the first thing in a memory")
        positions_T = torch.arange(n_tokens, device=self.shape.device)
        table = TokenTable.build(
            kind=TokenKind.PREFIX,
            identity_N=positions_T,
            position_RN=positions_T.expand(self.shape.n_axes, -1),
        )
        rows = NewRows(table, n_tokens, n_tokens, n_tokens, n_tokens, 0, 0, 0.0, n_tokens, 0, 0, self.current.features)
        return PendingAppend(self.current, rows)

    def begin_vision(self, tokens: VisualTokens, time_seconds: float) -> PendingAppend:
        """Start the commit of encoded frames, the newest of which is shown at `time_seconds`.

        Raises LimitError before anything is written if the positions do not fit; see `make_room`.
        """
        base = self.current
        if base.number == 0:
            raise InvariantError("frames came before the prefix")
        n, device = tokens.frame_N.numel(), self.shape.device
        table = TokenTable.build(
            kind=upload(token_kinds(tokens), device),
            identity_N=base.next_identity + torch.arange(n, device=device),
            position_RN=upload(base.place(tokens), device),
            frame_N=base.grids_seen + upload(tokens.frame_N, device),
            row_N=upload(tokens.row_N, device),
            column_N=upload(tokens.column_N, device),
            seconds_N=upload(tokens.times_seconds_N, device),
            span_2N=upload(tokens.span_2N, device),
            count_N=upload(tokens.count_N, device),
            turn_N=None if tokens.turn_N is None else upload(tokens.turn_N, device),
        )
        n_vision = int(tokens.count_N.sum())
        after = replace(
            base,
            next_identity=base.next_identity + n,
            n_seen=base.n_seen + n_vision,
            n_text=base.n_text + n - n_vision,
            frames_seen=base.frames_seen + tokens.n_frames,
            grids_seen=base.grids_seen + tokens.n_grids,
            time_seconds=time_seconds,
        )
        return self._begin(table, tokens, after)

    def begin_text(self, text: TextRows) -> PendingAppend:
        """Start the commit of text. Raises LimitError before anything is written if the positions do not fit."""
        return begin_text(self.current, text)

    def begin_leaving(
        self, tokens: VisualTokens, time_seconds: float, n_newest: int, placed: VisualTokens
    ) -> tuple[VisualTokens, PendingAppend] | None:
        """Start the commit of the frames that newly encoded ones push out of the `n_newest` that wait as features.

        placed: `waiting_with` these, as `make_room` gave it back.
        Returns what leaves as the text model reads it; None if nothing does, and the new ones may be committed as
        features.
        """
        after = self.current.with_features(tokens, time_seconds)
        leaving, n_tokens, staying = after.features.pass_on(n_newest)
        if leaving.n_rows == 0:
            return None
        encoded = leaving.laid_out(self.shape)
        if placed.n_skipped:
            time_axes = self.shape.time_axes
            encoded = encoded.at_times(placed.positions_RN[time_axes[0], : leaving.n_rows], time_axes)
        position_RN = upload(self.current.place(encoded), self.shape.device)
        after = replace(after, n_seen=after.n_seen + n_tokens, features=staying)
        return encoded, self._begin(leaving.table.with_positions(position_RN[:, None]), encoded, after)

    def _begin(self, table: TokenTable, tokens: VisualTokens, after: MemoryVersion) -> PendingAppend:
        """after: a version that says what was seen and what waits once the rows are in."""
        base = self.current
        if (end := base.end_after(tokens)) > self.shape.max_positions:
            raise LimitError(f"a chunk that ends at position {end} does not fit the model's {self.shape.max_positions}")
        position_RN = base.place(tokens)
        rows = NewRows(
            table,
            next_position=end,
            grid_end=max(base.grid_end, self.shape.grid_end(position_RN)),
            newest_time=int(position_RN[0].max()),
            time_start=base.time_start - tokens.n_skipped,
            frames_seen=after.frames_seen,
            grids_seen=after.grids_seen,
            time_seconds=after.time_seconds,
            next_identity=after.next_identity,
            n_seen=after.n_seen,
            n_text=after.n_text,
            features=after.features,
        )
        return PendingAppend(base, rows)

    def commit(self, pending: PendingAppend) -> MemoryVersion:
        """Make the rows of a finished append part of the memory."""
        base, rows = pending.base, pending.rows
        if base is not self.current:
            raise InvariantError("the memory has changed since this append began")
        is_prefix = base.number == 0
        n_new = rows.table.n_tokens
        self.current = replace(
            base,
            layers=pending.finished_layers(),
            n_prefix=n_new if is_prefix else base.n_prefix,
            next_position=rows.next_position,
            grid_end=rows.grid_end,
            time_start=rows.time_start,
            newest_time=rows.newest_time,
            next_identity=rows.next_identity,
            n_seen=rows.n_seen,
            n_text=rows.n_text,
            features=rows.features,
            frames_seen=rows.frames_seen,
            grids_seen=rows.grids_seen,
            time_seconds=rows.time_seconds,
            number=base.number + 1,
        )
        self.peak_tokens = max(self.peak_tokens, *self.current.held_tokens)
        self._peak_bytes = self.peak_bytes
        return self.current

    @property
    def peak_bytes(self) -> int:
        """Most bytes of rows, room to grow included, and of features since the stream began or was restored."""
        return max(self._peak_bytes, self.current.allocated_bytes + self.current.features.n_bytes)

    def commit_features(self, tokens: VisualTokens, time_seconds: float) -> MemoryVersion:
        """Hold encoded frames beside the memory, without running them through the text model."""
        self.current = self.current.with_features(tokens, time_seconds)
        self._peak_bytes = self.peak_bytes
        return self.current

    def commit_text_features(self, embeddings_NE: torch.Tensor, text: TextRows) -> MemoryVersion:
        """Hold words beside the memory, `[N, E]`, with the newest frame that waits there; they count as its own."""
        self.current = self.current.with_text_features(embeddings_NE, text.first_seconds, text.last_seconds)
        self._peak_bytes = self.peak_bytes
        return self.current

    def apply(self, plan: Plan) -> MemoryVersion:
        """Execute a plan; readers of earlier versions are not disturbed.

        Raises PlanError, with the memory unchanged, if the plan is malformed or leaves a layer over the budget; what
        depends on a tensor's values is checked as `checks.require` says.
        """
        plan.validate(self.current.held_tokens, self.current.features.n_rows, self.current.archived_tokens)
        check_plan(plan, self.current, self.budgets_L, has_archive=self.store is not None)
        self.current = apply_plan(
            self.current, plan, self.shape, self.rope, compaction=self.compaction, store=self.store
        )
        return self.current

    def remove(self, is_gone: IsGone, *, forgets: bool) -> Removal:
        """Take rows out wherever they are: held, waiting as features, archived; see `removal.remove`.

        forgets: what they left in the file of an archive is overwritten once nobody holds it any more.
        """
        self.current, removal = remove(self.current, is_gone, self.store, forgets=forgets)
        return removal

    def check_invariants(self) -> None:
        """Raise InvariantError if a law of the memory does not hold (architecture, laws 1 and 6).

        Law 2, the budget, is checked by `apply`: between plans a layer may hold one interval more.
        """
        check_version(self.current)


def _empty_slab(
    shape: MemoryShape, rope: Rope, layer_index: int, backend: Backend, *, keep_raw: bool, memory_bits: MemoryBits
) -> Slab:
    if memory_bits == 16:
        return backend.empty_slab(shape, layer_index, FIRST_ROWS, keep_raw=keep_raw)
    if not keep_raw:
        raise ConfigError("memory_bits=8 stores un-rotated keys only; leave keep_raw as it is")
    device = shape.device_of(layer_index)
    return QuantisedSlab.empty_of(
        shape.n_kv_heads, shape.head_dim, FIRST_ROWS, dtype=shape.dtype, device=device, rope=rope
    )
