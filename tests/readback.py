"""A detector of values that travel from the device to the host."""

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
    """Fails where a tensor's values decide on the host what happens next, for all tensors wherever they are.

    `tolist` passes unseen; on the device "meta", whose tensors have no values, it cannot.
    """

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert function not in _READS, f"{function} reads values back to the host"
        # In inference mode operators that are made of others arrive whole.
        with self:
            out = function.decompose(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {})) if out is NotImplemented else out
