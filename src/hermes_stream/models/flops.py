"""Floating-point operations of a model's matrix products, from its sizes.

A multiplication and the addition of its result are two operations, as PyTorch's own counter has it; biases, norms,
activations and softmax are not counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TextSizes:
    """A decoder whose layers are all alike: attention with grouped heads and a gated MLP (Qwen2, Qwen2.5, Qwen3)."""

    width: int
    inner: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    vocabulary: int

    @property
    def n_weights(self) -> int:
        """Weights of the linear layers that each token passes, embeddings and vocabulary apart."""
        heads = self.n_heads * self.head_dim
        return self.n_layers * (self._n_projections + heads * self.width + 3 * self.width * self.inner)

    @property
    def _n_projections(self) -> int:
        """Weights of one layer's queries, keys and values."""
        return self.width * (self.n_heads + 2 * self.n_kv_heads) * self.head_dim

    @property
    def n_head_weights(self) -> int:
        """Weights between the last hidden state and the vocabulary; as many embed its tokens."""
        return self.width * self.vocabulary

    def linear(self, n_tokens: int) -> int:
        """All linear layers, for tokens that pass the whole decoder."""
        return 2 * n_tokens * self.n_weights

    def projections(self, n_tokens: int) -> int:
        """Queries, keys and values of one layer."""
        return 2 * n_tokens * self._n_projections

    def scores(self, n_pairs: int) -> int:
        """Products of queries and keys in one layer; n_pairs: queries times keys."""
        return 2 * self.n_heads * self.head_dim * n_pairs

    def attention(self, n_pairs: int) -> int:
        """Scores and weighted values in one layer; masked pairs count, because they are computed."""
        return 2 * self.scores(n_pairs)


def text_sizes(text_config: Any, head_dim: int) -> TextSizes:
    """From a transformers configuration."""
    return TextSizes(
        width=text_config.hidden_size,
        inner=text_config.intermediate_size,
        n_layers=text_config.num_hidden_layers,
        n_heads=text_config.num_attention_heads,
        n_kv_heads=text_config.num_key_value_heads,
        head_dim=head_dim,
        vocabulary=text_config.vocab_size,
    )


def siglip_flops(vision_config: Any, out_width: int) -> int:
    """One frame through a SigLIP tower, its pooling head included if it has one, and LLaVA's projector."""
    width: int = vision_config.hidden_size
    inner: int = vision_config.intermediate_size
    n: int = (vision_config.image_size // vision_config.patch_size) ** 2
    patches: int = 2 * n * width * vision_config.num_channels * vision_config.patch_size**2
    layer = 2 * n * (4 * width**2 + 2 * width * inner) + 4 * n**2 * width
    head = 2 * (2 * n + 2) * width**2 + 4 * n * width + 4 * width * inner
    projector = 2 * n * out_width * (width + out_width)
    n_layers, n_heads = int(vision_config.num_hidden_layers), int(getattr(vision_config, "vision_use_head", True))
    return patches + n_layers * layer + n_heads * head + projector


def qwen2_5_vision_flops(vision_config: Any, n_rows: int, n_columns: int) -> int:
    """One grid of patches through the tower of Qwen2.5-VL: attention in windows but for a few layers."""
    window = vision_config.window_size // vision_config.spatial_merge_size // vision_config.patch_size
    in_windows = _sum_of_squares(n_rows, window * vision_config.spatial_merge_size)
    in_windows *= _sum_of_squares(n_columns, window * vision_config.spatial_merge_size)
    n_whole = sum(index < vision_config.depth for index in vision_config.fullatt_block_indexes)
    n_pairs = n_whole * (n_rows * n_columns) ** 2 + (vision_config.depth - n_whole) * in_windows
    return _qwen_vision_flops(vision_config, n_rows * n_columns, n_pairs, n_mlp_matrices=3, n_mergers=1)


def qwen3_vision_flops(vision_config: Any, n_rows: int, n_columns: int) -> int:
    """One grid of patches through the tower of Qwen3-VL, the mergers of its DeepStack taps included."""
    n_pairs = vision_config.depth * (n_rows * n_columns) ** 2
    n_mergers = 1 + len(vision_config.deepstack_visual_indexes)
    return _qwen_vision_flops(vision_config, n_rows * n_columns, n_pairs, n_mlp_matrices=2, n_mergers=n_mergers)


def _qwen_vision_flops(vision_config: Any, n: int, n_pairs: int, *, n_mlp_matrices: int, n_mergers: int) -> int:
    """n: patches. n_pairs: queries times keys over all layers."""
    width: int = vision_config.hidden_size
    channels = vision_config.in_channels * vision_config.temporal_patch_size * vision_config.patch_size**2
    layer = 2 * n * (4 * width**2 + n_mlp_matrices * width * vision_config.intermediate_size)
    n_merged, merged_width = n // vision_config.spatial_merge_size**2, width * vision_config.spatial_merge_size**2
    merger = 2 * n_merged * merged_width * (merged_width + vision_config.out_hidden_size)
    total: int = 2 * n * width * channels + vision_config.depth * layer + 4 * width * n_pairs + n_mergers * merger
    return total


def _sum_of_squares(length: int, window: int) -> int:
    """Of the lengths of windows that cut a side, the last of which may be shorter."""
    return length // window * window**2 + (length % window) ** 2
