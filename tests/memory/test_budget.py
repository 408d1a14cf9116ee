"""Budgets as text."""

from __future__ import annotations

import pytest

from hermes_stream.errors import ConfigError
from hermes_stream.memory.budget import Budget, parse_budget


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        (256, Budget(256, "tokens")),
        ("256", Budget(256, "tokens")),
        (" 4096 ", Budget(4096, "tokens")),
        ("16MiB", Budget(16 * 1024**2, "bytes")),
        ("16 mb", Budget(16 * 1000**2, "bytes")),
        ("1.5GiB", Budget(3 * 1024**3 // 2, "bytes")),
        ("512B", Budget(512, "bytes")),
        ("0.1kB", Budget(100, "bytes")),
    ],
)
def test_good_budgets(text: str | int, budget: Budget) -> None:
    assert parse_budget(text) == budget


@pytest.mark.parametrize(
    "text", ["", "many", "-1", "0", 0, -4, "1.5", "0.1B", "1e3", "4K", "3 apples", "16MiB/s", True]
)
def test_bad_budgets(text: str | int) -> None:
    with pytest.raises(
        ConfigError, match=r"^budget is .*expected tokens per layer such as 256, or bytes such as 16MiB$"
    ):
        parse_budget(text)


def test_bytes_become_tokens_that_fit() -> None:
    assert Budget(57_344 * 10 + 57_343, "bytes").tokens(57_344) == 10
    assert Budget(10, "tokens").tokens(57_344) == 10


def test_bytes_for_less_than_one_token_are_refused() -> None:
    with pytest.raises(ConfigError, match="does not hold one token of this model, which takes 57344"):
        Budget(57_343, "bytes").tokens(57_344)
