"""Layers that hold the same tokens share one table: what is computed of it is computed once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from hermes_stream.memory.token_table import TokenTable

_T = TypeVar("_T")


def once_per_object(function: Callable[[TokenTable, Any], _T]) -> Callable[[TokenTable, Any], _T]:
    """Layers that hold the same tokens share one table: compute it once, not once per layer."""
    # With what they were made of, so that no identity is given to another object meanwhile.
    results: dict[tuple[int, int], tuple[_T, TokenTable, Any]] = {}

    def once(table: TokenTable, argument: Any) -> _T:
        key = id(table), id(argument)
        if key not in results:
            results[key] = function(table, argument), table, argument
        return results[key][0]

    return once
