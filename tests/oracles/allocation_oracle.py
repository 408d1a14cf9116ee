"""What objects really occupy: every storage behind a tensor that can be reached from them, once."""

from __future__ import annotations

from typing import Any

import torch

_PLAIN = (str, bytes, int, float, bool, type(None), type)


def allocated_bytes(*roots: Any) -> int:
    """Follows tuples, lists, dicts and the attributes of this package's objects; models and policies have no part."""
    seen: set[int] = set()
    storages: dict[int, int] = {}
    waiting = list(roots)
    while waiting:
        value = waiting.pop()
        if isinstance(value, _PLAIN) or id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, torch.Tensor):
            storage = value.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
        elif isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, tuple | list | set | frozenset):
            waiting.extend(value)
        elif type(value).__module__.startswith("hermes_stream"):
            slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
            waiting.extend(getattr(value, name) for name in slots if hasattr(value, name))
            waiting.extend(getattr(value, "__dict__", {}).values())
    return sum(storages.values())
