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

    @property
    def n_weights(self) -> int:
        """Weights of the linear layers that each token passes, embeddings and vocabulary apart."""
        heads = self.n_heads * self.head_dim
        return self.n_layers * (self._n_projections + heads * self.width + 3 * self.width * self.inner)

    @property
    def _n_projections(self) -> int:
        """Weights of one layer's queries, keys and values."""
        return self.width * (self.n_heads + 2 * self.n_kv_heads) * self.head_dim

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
