"""What stores, front-ends and wrappers have in common: they are frozen values with a name, options and a text."""

from __future__ import annotations

import inspect
import re
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo

_BARE = re.compile(r"[\w.-]+")


class Part(BaseModel):
    """One part of a memory as the grammar of `spec` writes it; its options are fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: ClassVar[str]
    # Named sets of options, as in `hermes:released`.
    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    # Fields that hold other parts: the grammar writes these beside the part, not between its parentheses.
    holds: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def describe(cls) -> str:
        """One line for people: the first of the docstring."""
        return (inspect.getdoc(cls) or "").partition("\n")[0]

    @classmethod
    def options(cls) -> dict[str, FieldInfo]:
        """What may stand between the parentheses, by name."""
        return {name: field for name, field in cls.model_fields.items() if name not in cls.holds}

    def own_text(self, **more: Any) -> str:
        """`name(option=value, ...)` with the options that are not as by default. more: options to write besides."""
        values = {name: getattr(self, name) for name in self.options()} | more
        changed = {
            name: value
            for name, value in values.items()
            if value != self.options()[name].get_default(call_default_factory=True)
        }
        if not changed:
            return self.name
        return f"{self.name}({', '.join(f'{name}={_written(value)}' for name, value in changed.items())})"

    def __str__(self) -> str:
        return self.own_text()


def as_number(value: Any) -> Any:
    """A choice of numbers takes no text by itself."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _written(value: Any) -> str:
    """An option's value as `spec` reads it."""
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | Path):
        value = str(value)
        return value if _BARE.fullmatch(value) else repr(value)
    return repr(value)
