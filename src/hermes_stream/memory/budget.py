"""How much a memory may hold: tokens per layer, or bytes over all layers. Converted and written here only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from hermes_stream.errors import ConfigError

_BYTES_PER_UNIT = {
    "b": 1,
    **{f"{letter}b": 1000**power for power, letter in enumerate("kmgt", start=1)},
    **{f"{letter}ib": 1024**power for power, letter in enumerate("kmgt", start=1)},
}
_EXPECTED = "expected tokens per layer such as 256, or bytes such as 16MiB"


@dataclass(frozen=True, slots=True)
class Budget:
    """A positive amount of memory, prefix apart.

    unit: "tokens" that each layer may hold, or "bytes" of all layers together (keys, un-rotated keys, values).
    """

    amount: int
    unit: Literal["tokens", "bytes"]

    def tokens(self, bytes_per_token: int) -> int:
        """Tokens per layer. bytes_per_token: of one token over all layers. Raises ConfigError if not one token fits."""
        if self.unit == "tokens":
            return self.amount
        n_tokens = self.amount // bytes_per_token
        if n_tokens == 0:
            raise ConfigError(
                f"a budget of {self.amount} bytes does not hold one token of this model, which takes {bytes_per_token}"
            )
        return n_tokens


def parse_budget(text: str | int) -> Budget:
    """`256` is tokens per layer; `16MiB`, `1.5 GB`, `65536B` are bytes. Raises ConfigError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]*)", str(text).strip())
    if match is None or isinstance(text, bool):
        raise ConfigError(f"budget is {text!r}; {_EXPECTED}")
    number, unit = Fraction(match[1]), match[2].lower()
    if not unit:
        return _positive(text, number, "tokens")
    if unit not in _BYTES_PER_UNIT:
        raise ConfigError(f"budget is {text!r} with the unknown unit {match[2]!r}; {_EXPECTED}")
    return _positive(text, Fraction(int(number * _BYTES_PER_UNIT[unit])), "bytes")


def parse_bytes(text: str | int, name: str) -> int:
    """`12GiB`, or a number of bytes. Raises ConfigError, which says `name`, for anything else."""
    if isinstance(text, int) and not isinstance(text, bool) and text > 0:
        return text
    try:
        budget = parse_budget(text)
    except ConfigError:
        budget = None
    if budget is None or budget.unit != "bytes":
        raise ConfigError(f"{name} is {text!r}; expected bytes such as 12GiB")
    return budget.amount


def human_bytes(n: int) -> str:
    """1536 as "1.5 KiB"."""
    size = float(n)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def _positive(text: str | int, amount: Fraction, unit: Literal["tokens", "bytes"]) -> Budget:
    if amount < 1 or amount.denominator != 1:
        raise ConfigError(f"budget is {text!r}; {_EXPECTED}")
    return Budget(int(amount), unit)
