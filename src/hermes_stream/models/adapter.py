"""What the engine asks of a model family. Nothing above this room knows a family by name.

Shape letters: T new tokens, E model width, V vocabulary, L rows whose logits are wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import torch

from hermes_stream.memory.backends.base import Backend
from hermes_stream.memory.rope import Rope
from hermes_stream.models.commentary import CommentaryPrompts
from hermes_stream.models.flops import TextSizes
from hermes_stream.types import Frame, Turn, VisualTokens

if TYPE_CHECKING:
    from hermes_stream.models.stock import StockModel


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Sizes that decide what a memory looks like.

    n_axes, time_axes, has_absolute_time, text_overlaps_times: positions, see `MemoryShape`.
    device: of what enters the text model. layer_devices: of its layers, see `MemoryShape`.
    weight_bytes: of all weights as they are stored. dtype: in which they compute and rows are held. quantization: the
        method, where weights are not stored as numbers of the dtype.
    tokens_per_frame: of one grid, at most. frames_per_grid: sampled frames that become one grid of tokens.
    has_saliency: whether `Adapter.embed` can give it. n_taps: early layers to which DeepStack adds vision features.
    n_ranks: processes that share the model, each with its part of every layer's heads, on a device of its own.
    """

    name: str
    family: str
    n_layers: int
    n_kv_heads: int
    head_dim: int
    hidden_size: int
    n_axes: int
    max_positions: int
    tokens_per_frame: int
    frames_per_grid: int
    prefix_tokens: int
    time_axes: tuple[int, ...]
    has_absolute_time: bool
    text_overlaps_times: bool
    layer_devices: tuple[torch.device, ...]
    n_parameters: int
    weight_bytes: int
    dtype: torch.dtype
    device: torch.device
    has_saliency: bool = False
    n_taps: int = 0
    quantization: str | None = None
    n_ranks: int = 1


@dataclass(frozen=True, slots=True)
class StreamDefaults:
    """Settings that suit a checkpoint: sampled frames per second, frames per compression interval, tokens per layer.

    measured_layers: first middle and first deep layer as `hermes-stream inspect` found them; None if nobody looked.
    """

    fps: float
    chunk_frames: int
    budget_tokens: int
    measured_layers: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Clip:
    """Frames of one stream to be encoded, a multiple of `frames_per_grid`.

    since_seconds: presentation time of the stream's first frame.
    n_repeated: how many of them stand in for partners that have not come: each is the frame before it.
    """

    frames: Sequence[Frame]
    since_seconds: float
    n_repeated: int = 0

    @property
    def n_frames(self) -> int:
        """Without those that are shown again."""
        return len(self.frames) - self.n_repeated

    def count(self, tokens: VisualTokens) -> VisualTokens:
        """What was made of the clip, in which a frame that is shown again counts once."""
        return replace(tokens, n_frames=self.n_frames) if self.n_repeated else tokens


class Batch(Protocol):
    """A packed forward: its embeddings `[T, E]`, rows for DeepStack, and the attention that the seam calls.

    deepstack: which rows are visual, bool `[T]`, and per tap what is added to them, `[n_visual, E]`; None without.
    """

    embeddings_TE: torch.Tensor

    @property
    def deepstack(self) -> tuple[torch.Tensor, list[torch.Tensor]] | None: ...

    def attend(
        self,
        layer_index: int,
        query_HTD: torch.Tensor,
        key_KTD: torch.Tensor,
        value_KTD: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor: ...


class Adapter(Protocol):
    """One loaded checkpoint. Methods run on the engine's threads, without gradients, and keep no state."""

    @property
    def facts(self) -> ModelFacts: ...

    @property
    def defaults(self) -> StreamDefaults: ...

    @property
    def rope(self) -> Rope: ...

    @property
    def backend(self) -> Backend:
        """Where the rows of all its memories live, and how they are attended to."""
        ...

    @property
    def commentary(self) -> CommentaryPrompts: ...

    @property
    def tokenizer(self) -> Any: ...

    @property
    def stop_token_ids(self) -> frozenset[int]: ...

    @property
    def text_sizes(self) -> TextSizes: ...

    def token_ids(self, text: str) -> Sequence[int]:
        """Of raw text, without special tokens around it."""
        ...

    def prefix(self) -> torch.Tensor:
        """Embeddings `[T, E]` of what stands before the first frame."""
        ...

    def embed(self, frames: Sequence[Frame], *, since_seconds: float, wants_saliency: bool = False) -> VisualTokens:
        """`embed_clips` for one clip."""
        ...

    def embed_clips(self, clips: Sequence[Clip], *, wants_saliency: bool = False) -> list[VisualTokens]:
        """Encode clips of several streams in one call of the vision tower; no result depends on how they are grouped.

        wants_saliency: fill `saliency_N`, which the facts say whether this family can; otherwise nothing is computed
        for it. May run on another thread than everything else, at the same time.
        """
        ...

    def encoding_flops(self, frames: Sequence[Frame]) -> int:
        """Floating-point operations of the matrix products of `embed` on these frames."""
        ...

    def question(self, text: str, *, after_video: bool, turns: Sequence[Turn] = ()) -> torch.Tensor:
        """Embeddings `[T, E]` of a question up to where the answer starts, end of the visual span included.

        turns: what was asked and answered between the video and the question.
        """
        ...

    def guidance(self, text: str) -> torch.Tensor:
        """Embeddings `[T, E]` of raw text, without a chat template."""
        ...

    def token(self, token_id: int) -> torch.Tensor:
        """Embedding `[1, E]` of one answer token."""
        ...

    def tokens(self, id_T: torch.Tensor) -> torch.Tensor:
        """Embeddings `[T, E]` of token ids that are on the device already; reads nothing back."""
        ...

    def run(self, batch: Batch) -> torch.Tensor:
        """One packed forward of the text model; hidden states `[T, E]`."""
        ...

    def project(self, layer_index: int, embeddings_TE: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, float]:
        """What one layer would make of these embeddings if they were its input.

        Un-rotated queries `[H, T, D]` and keys `[K, T, D]`, and the factor of their products.
        """
        ...

    def run_stock(
        self,
        embeddings_TE: torch.Tensor,
        position_RT: torch.Tensor,
        deepstack: tuple[torch.Tensor, list[torch.Tensor]] | None,
        *,
        want_attentions: bool,
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """The same weights through transformers' own attention, whole and at true positions; for self-checks only.

        Returns hidden states `[T, E]` and eager attention weights per layer `[1, H, T, T]`, if wanted.
        """
        ...

    def stock_model(self) -> StockModel:
        """A model object of its own with the same weights, for comparisons with transformers alone."""
        ...

    def logits(self, hidden_LE: torch.Tensor) -> torch.Tensor:
        """`[L, V]` for chosen rows."""
        ...

    @property
    def why_ended(self) -> str | None:
        """In a line, where other processes have taken the model with them."""
        ...

    def close(self) -> None:
        """Nobody will use it any more; other processes that it has end."""
        ...
