"""The text that says how a checkpoint was made and how well it does."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from hermes_stream.train.families import Family

_LINE = 120
_HEAD = """---
license: apache-2.0
pipeline_tag: video-text-to-text
---

# {name}

{introduction}

{made}

* Training data: rendered episodes of training seeds (below 900,000), through H.264 at several sizes and qualities.
* Trained to live with a thinned memory: position offsets and gaps, dropped frames, tokens hidden for groups of layers.

## Results

Through the engine, episodes of 64 seconds at {fps:g} frames a second, greedy, exact match, evaluation seeds (from
900,000). In brackets the most tokens that each layer held besides the prompt's prefix.

"""


_INTRODUCTION = """An ordinary `{architecture}` of {n_millions:.1f} million parameters ({description}; positions up to
{position_limit:,}), trained on ShapeStream, the synthetic video world of hermes-stream. It knows that world and nothing
else: six shapes, six colours, eight rooms, a display with digits, and the questions of `hermes_stream.shapestream`. It
exists so that the whole engine can be seen working on any machine."""


def make_model_card(family: Family, facts: Mapping[str, Any]) -> str:
    """Markdown out of the facts of a training run and its evaluation."""
    text = _HEAD.format(
        name=family.name,
        introduction=_fill(
            _INTRODUCTION.format(
                architecture=facts["architecture"],
                n_millions=facts["n_parameters"] / 1e6,
                description=family.description,
                position_limit=family.position_limit,
            )
        ),
        made=_fill(facts["made"]),
        fps=family.stream_defaults["fps"],
    )
    text += _table(facts["evaluation"])
    vision = ", ".join(f"{name} {value:.1%}" for name, value in facts["vision"].items())
    vision = _fill(f"Vision tower alone, linear heads on the newest frame of held-out grids: {vision}.")
    return f"{text}\n{vision}\n"


def _fill(text: str) -> str:
    return textwrap.fill(text, _LINE, break_on_hyphens=False, break_long_words=False)


def _table(evaluation: Mapping[str, Mapping[str, Any]]) -> str:
    """One column for each memory."""
    heads = [f"{memory} ({table['held_tokens_max']})" for memory, table in evaluation.items()]
    lines = [f"| regime or task | {' | '.join(heads)} | questions |", "|---" * (len(heads) + 2) + "|"]
    for kind in ("regimes", "tasks"):
        tables = [table[kind] for table in evaluation.values()]
        for name, row in tables[0].items():
            shares = " | ".join(f"{table[name]['accuracy']:.1%}" for table in tables)
            lines.append(f"| {name} | {shares} | {row['n']} |")
    return "\n".join(lines) + "\n"
