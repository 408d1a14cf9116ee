"""Ids for records that have none."""

from __future__ import annotations

import hashlib
import json

_N_DIGITS = 12


def short_id(name: str, *content: object) -> str:
    """A name and a hash of what makes a record this one: the same for the same content, wherever it stands."""
    text = json.dumps(content, ensure_ascii=False)
    return f"{name}/{hashlib.sha256(text.encode()).hexdigest()[:_N_DIGITS]}"
