"""All numbers that a static forward reads, in one buffer on the device that one copy fills.

Shape letters: L layers, N segments (padding's among them), T rows, R position axes, A answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, TypeVar

import numpy as np
import torch

from hermes_stream.engine.graphs.bucket import Bucket
from hermes_stream.engine.graphs.place import Place
from hermes_stream.models.adapter import ModelFacts

_Array = TypeVar("_Array", np.ndarray[Any, Any], torch.Tensor)


@dataclass(frozen=True, slots=True)
class Offsets:
    """What the attention kernel takes, int32 on the device: cu_q `[N + 1]`, starts `[L, N + 1]`, lengths `[L, N]`."""

    cu_q: torch.Tensor
    held_start: torch.Tensor
    held_len: torch.Tensor
    tail_start: torch.Tensor
    tail_len: torch.Tensor


class StaticInputs:
    """The buffer, and a view for each kind of number, int64 on the device.

    write `[L, T]`: the arena's row that each key and value goes to. position `[R, T]`. last `[A]`: rows whose logits
    are wanted. token `[T]`: ids, where rows are known by them.
    """

    def __init__(self, bucket: Bucket, facts: ModelFacts) -> None:
        # A question's padding is one more segment; a decode step's has one for each row that is not used.
        n_segments = bucket.n_segments if bucket.is_decode else bucket.n_segments + 1
        n_layers, n_rows = facts.n_layers, bucket.n_rows
        self._offset_shapes = {
            "cu_q": (n_segments + 1,),
            "held_start": (n_layers, n_segments + 1),
            "held_len": (n_layers, n_segments),
            "tail_start": (n_layers, n_segments + 1),
            "tail_len": (n_layers, n_segments),
        }
        shapes = self._offset_shapes | {
            "write": (n_layers, n_rows),
            "position": (facts.n_axes, n_rows),
            "last": (bucket.n_segments,),
            "token": (n_rows,),
        }
        is_cuda = facts.device.type == "cuda"
        staged = torch.zeros(sum(map(prod, shapes.values())), dtype=torch.int64, pin_memory=is_cuda)
        self._staged, self._sent = staged, torch.cuda.Event() if is_cuda else None
        self._flat = staged.to(facts.device, copy=True)
        self._host, device = _views(staged.numpy(), shapes), _views(self._flat, shapes)
        self.write_LT, self.position_RT = device["write"], device["position"]
        self.last_A, self.token_T = device["last"], device["token"]

    def offsets(self) -> Offsets:
        """As the kernel wants them; a part of the forward, so that it follows the buffer."""
        n = sum(map(prod, self._offset_shapes.values()))
        return Offsets(**_views(self._flat[:n].to(torch.int32), self._offset_shapes))

    def fill(self, places: Sequence[Place], tokens: Sequence[int] = (), positions: Sequence[int] = ()) -> None:
        """Say what the next run is about; the device gets it without anybody waiting.

        places: of all segments, together as many new rows as the bucket has. tokens, positions: of the first rows.
        """
        if self._sent is not None:
            self._sent.synchronize()
        host, n_answers = self._host, len(self._host["last"])
        n_new_N = np.array([place.n_new for place in places])
        n_before_N = np.array([place.n_before for place in places])
        host["cu_q"][1:] = n_new_N.cumsum()
        for name in ("held_start", "held_len", "tail_start"):
            host[name][:, : len(places)] = np.stack([getattr(place, f"{name}_L") for place in places], axis=1)
        host["tail_len"][:] = n_before_N + n_new_N
        segment_T = np.repeat(np.arange(len(places)), n_new_N)
        offset_T = n_before_N[segment_T] + np.arange(len(segment_T)) - host["cu_q"][segment_T]
        host["write"][:] = host["tail_start"][:, segment_T] + offset_T
        host["last"][:] = host["cu_q"][1 : n_answers + 1] - 1
        host["token"][: len(tokens)] = tokens
        host["position"][:, : len(positions)] = positions
        self._flat.copy_(self._staged, non_blocking=True)
        if self._sent is not None:
            self._sent.record()


def _views(flat: _Array, shapes: dict[str, tuple[int, ...]]) -> dict[str, _Array]:
    """The parts of a flat array, one after the other."""
    views, start = {}, 0
    for name, shape in shapes.items():
        views[name] = flat[start : start + prod(shape)].reshape(shape)
        start += prod(shape)
    return views
