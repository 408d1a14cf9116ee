"""How fast this machine copies and multiplies: the best of several runs, since a floor is what can be reached.

Shape letters: T tokens, E width of the input, O width of the output.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.functional import linear

from hermes_stream.bench.floor import Rates
from hermes_stream.bench.timing import timed
from hermes_stream.models.adapter import ModelFacts
from hermes_stream.models.flops import TextSizes

# Many times what caches hold.
_COPY_BYTES = {"cpu": 2**28, "cuda": 2**31}
_N_RUNS = 8


def measure_rates(facts: ModelFacts, sizes: TextSizes, n_tokens: Sequence[int]) -> Rates:
    """Large copies, and matrix products of the text model's shapes in its precision for so many tokens at once."""
    shapes = _shapes(sizes)
    flops = max(_matrix_rate(facts, n, n_in, n_out) for n in n_tokens for n_in, n_out in shapes)
    return Rates(copy_rate(facts.device, _COPY_BYTES.get(facts.device.type, 2**28)), flops)


def copy_rate(device: torch.device, n_bytes: int) -> float:
    """Bytes per second, read and written."""
    source = torch.ones(n_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * n_bytes / min(timed(lambda: target.copy_(source), device)[1] for _ in range(_N_RUNS))


def _matrix_rate(facts: ModelFacts, n_tokens: int, n_in: int, n_out: int) -> float:
    x_TE = torch.randn(n_tokens, n_in, device=facts.device).to(facts.dtype)
    weight_OE = torch.randn(n_out, n_in, device=facts.device).to(facts.dtype)
    seconds = min(timed(lambda: linear(x_TE, weight_OE), facts.device)[1] for _ in range(_N_RUNS))
    return 2 * n_tokens * n_in * n_out / seconds


def _shapes(sizes: TextSizes) -> set[tuple[int, int]]:
    """Inputs and outputs of a layer's linear maps: queries, keys and values together, outputs, and the MLP's."""
    heads = sizes.n_heads * sizes.head_dim
    return {
        (sizes.width, heads + 2 * sizes.n_kv_heads * sizes.head_dim),
        (heads, sizes.width),
        (sizes.width, sizes.inner),
        (sizes.inner, sizes.width),
    }
