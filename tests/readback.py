"""Detectors of values that travel from the device to the host."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_READS = frozenset(
    {
        torch.ops.aten._local_scalar_dense.default,
        torch.ops.aten.nonzero.default,
        torch.ops.aten._unique2.default,
        torch.ops.aten.unique_dim.default,
        torch.ops.aten.masked_select.default,
        torch.ops.aten.equal.default,
    }
)


class NothingComesBack(TorchDispatchMode):
    """Fails where a tensor's values decide on the host what happens next.

    `tolist` of a CPU tensor passes unseen; on the device "meta", whose tensors have no values, it cannot.
    """

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert function not in _READS, f"{function} reads values back to the host"
        out = function(*args, **(kwargs or {}))
        is_copy = function is torch.ops.aten._to_copy.default
        assert not is_copy or args[0].device.type == "cpu" or out.device.type != "cpu", "a copy to the host"
        return out
