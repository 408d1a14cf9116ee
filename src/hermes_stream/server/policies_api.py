"""What a session's memory can be made of."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from hermes_stream.defaults import DEFAULT_MEMORY
from hermes_stream.policies.catalogue import KINDS, part_json

router = APIRouter(prefix="/v1/policies", tags=["sessions"])


@router.get("")
async def list_policies() -> dict[str, Any]:
    """Stores, front-ends that stand before them and wrappers around them, each with one line that says what it does."""
    rows = [part_json(kind, name, part) for kind, parts in KINDS.items() for name, part in sorted(parts.items())]
    return {"object": "list", "default": DEFAULT_MEMORY, "data": rows}
