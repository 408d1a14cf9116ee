"""Layers that hold the same tokens share one table: what is computed of it is computed once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hermes_stream.memory.token_table import TokenTable


def once_per_object(function: Callable[[TokenTable, Any], TokenTable]) -> Callable[[TokenTable, Any], TokenTable]:
    """Layers that hold the same tokens share one table: compute it once, not once per layer."""
    # With what they were made of, so that no identity is given to another object meanwhile.
    results: dict[tuple[int, int], tuple[TokenTable, TokenTable, Any]] = {}

    def once(table: TokenTable, argument: Any) -> TokenTable:
        key = id(table), id(argument)
        if key not in results:
            results[key] = function(table, argument), table, argument
        return results[key][0]

    return once
