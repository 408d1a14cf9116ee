"""Never evict: the reference for correctness, and the row that every budget is compared with."""

from __future__ import annotations

from typing import Any, ClassVar

from hermes_stream.memory.plan import Plan
from hermes_stream.memory.view import MemoryView
from hermes_stream.policies.base import Policy


class KeepAll(Policy):
    """Hold every token until the model's positions run out; then watching fails with LimitError.

    Needs: nothing. Budget: none.
    """

    name: ClassVar[str] = "keep-all"
    is_bounded: ClassVar[bool] = False
    is_per_frame: ClassVar[bool] = True

    def after_chunk(self, view: MemoryView, state: Any) -> tuple[Plan, Any]:  # noqa: ARG002
        return Plan.keep_all(), state
