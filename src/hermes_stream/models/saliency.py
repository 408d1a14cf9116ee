"""What a vision encoder looks at: the attention that each patch receives.

Shape letters: F frames, P patches of one frame, H heads, D head dimension, E width of the encoder.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def siglip_layers(tower: nn.Module) -> Any:
    """The encoder layers of a SigLIP tower."""
    return next(
        module.layers for module in tower.modules() if isinstance(getattr(module, "layers", None), nn.ModuleList)
    )


def attention_received(layer: Any, hidden_FPE: torch.Tensor) -> torch.Tensor:
    """Mean attention over heads and over the patches that look, float32 `[F, P]`.

    hidden_FPE: the layer's input. Its own modules make queries and keys, so that the forward that gave the input stays
    as it is; a frame at a time, for the weights of one take heads x patches x patches.
    """
    attention, received = layer.self_attn, []
    for hidden_PE in hidden_FPE.to(layer.layer_norm1.weight.device):
        normed_PE = layer.layer_norm1(hidden_PE)
        query_HPD, key_HPD = (
            project(normed_PE).unflatten(-1, (attention.num_heads, -1)).transpose(0, 1).float()
            for project in (attention.q_proj, attention.k_proj)
        )
        weights_HPP = (attention.scale * query_HPD @ key_HPD.transpose(1, 2)).softmax(dim=-1)
        received.append(weights_HPP.mean(dim=(0, 1)))
    return torch.stack(received)
