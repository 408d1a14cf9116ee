"""HERMES' released shortcut for a guidance prompt, kept to reproduce it: no forward, no mask.

Source: released code of HERMES (arXiv 2601.14724); the paper describes a true forward. Each layer makes queries and
keys of the prompt's raw embeddings, as if no layer stood before it, and every prompt token sees the whole memory and
the whole prompt. The softmax is in float32 (the release rounds to half precision).

Shape letters: H query heads, K key/value heads, T prompt tokens, N held tokens, D head dimension, R axes, E width.
"""

from __future__ import annotations

import torch

from hermes_stream.engine.probe_text import probe_embeddings
from hermes_stream.memory.attention import mass_without_mask
from hermes_stream.memory.rope import rotate
from hermes_stream.memory.version import MemoryVersion
from hermes_stream.models.adapter import Adapter
from hermes_stream.policies.base import Probe


def embedding_mass(adapter: Adapter, version: MemoryVersion, probe: Probe) -> dict[int, torch.Tensor]:
    """Mean attention `[K, N]` of the prompt's tokens to each held token, prefix included, for the probe's layers."""
    facts = adapter.facts
    text_TE = probe_embeddings(adapter, probe)[: facts.max_positions - version.text_position]
    position_T = version.text_position + torch.arange(text_TE.shape[0], device=facts.device)
    tables = adapter.rope.tables(position_T.expand(facts.n_axes, -1), facts.dtype)
    mass = {}
    for index in probe.layers:
        query_HTD, key_KTD, scaling = adapter.project(index, text_TE)
        held_key_KND = version.layers[index].keys
        mass[index] = mass_without_mask(rotate(query_HTD, *tables), held_key_KND, rotate(key_KTD, *tables), scaling)
    return mass
