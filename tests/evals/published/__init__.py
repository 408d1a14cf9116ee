"""Tiny data folders in the exact published formats, one module for each registered benchmark, named as it is.

A module has `write(folder, put_video)`, which fills a folder with invented records and real videos, and
`DAMAGE`, which says where a required field may be taken from a record and which list holds that record. It may have
`perfect(item, ask)`, the reply of somebody who knows, where that is not simply the gold.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from hermes_stream.evals.item import Ask, Item

PutVideo = Callable[[Path], None]


@dataclass(frozen=True)
class Damage:
    """A JSON file below the folder, the keys that lead to a list of records in it, a place there, a required field.

    index: how a problem names the record; by default its place. n_lost: items that the record makes.
    """

    file: str
    field: str
    at: int = 1
    keys: tuple[Any, ...] = ()
    index: str | None = None
    n_lost: int = 1

    def remove_field(self, folder: Path) -> None:
        self._change(folder, lambda records: records[self.at].pop(self.field))

    def repeat(self, folder: Path) -> None:
        self._change(folder, lambda records: records.append(records[self.at]))

    def _change(self, folder: Path, change: Callable[[list[Any]], Any]) -> None:
        path = folder / self.file
        content = json.loads(path.read_text())
        inner = content
        for key in self.keys:
            inner = inner[key]
        change(inner)
        path.write_text(json.dumps(content))


def published(name: str) -> ModuleType:
    """The module of a benchmark; that there is one is what registration asks for."""
    return importlib.import_module(f"tests.evals.published.{name}")


def perfect(module: ModuleType, item: Item, ask: Ask) -> str:
    """What somebody answers who knows."""
    return module.perfect(item, ask) if hasattr(module, "perfect") else item.truth
