"""All parts that a memory can be made of, by kind, for whoever lists them."""

from __future__ import annotations

from collections.abc import Mapping

from hermes_stream.policies import POLICIES, WRAPPERS
from hermes_stream.policies.front_ends import FRONT_ENDS
from hermes_stream.policies.part import Part

KINDS: dict[str, Mapping[str, type[Part]]] = {"store": POLICIES, "front-end": FRONT_ENDS, "wrapper": WRAPPERS}


def part_json(kind: str, name: str, part: type[Part]) -> dict[str, object]:
    """A part as a JSON object: its name, its kind, one line for people, its options with defaults, its presets."""
    options = {key: field.default for key, field in part.options().items()}
    return {"name": name, "kind": kind, "summary": part.describe(), "options": options, "presets": sorted(part.presets)}
