"""The text that says how a checkpoint was made and how well it does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_HEAD = """---
license: apache-2.0
pipeline_tag: video-text-to-text
---

# tiny-llava-onevision

A `LlavaOnevisionForConditionalGeneration` of {n_millions:.1f} million parameters (SigLIP tower, Qwen2 text model of 10
layers, 4 tokens a frame), trained from nothing on ShapeStream, the synthetic video world of hermes-stream. It knows
that world and nothing else: six shapes, six colours, eight rooms, a display with digits, and the questions of
`hermes_stream.shapestream`. It exists so that the whole engine can be seen working on any machine.

* Input: 48×48 frames, one a second; positions up to 2,048.
* {made}
* Training data: rendered episodes of training seeds (below 900,000), through H.264 at several sizes and qualities.
* Trained to live with a thinned memory: position offsets and gaps, dropped frames, tokens hidden for groups of layers.

## Results

Stock forward over whole clips of 64 frames at 1 frame a second, greedy, exact match, evaluation seeds (from 900,000).

| regime or task | accuracy | questions |
|---|---|---|
"""


def make_model_card(facts: Mapping[str, Any]) -> str:
    """Markdown out of the facts of a training run and its evaluation."""
    evaluation = facts["evaluation"]
    text = _HEAD.format(
        n_millions=facts["n_parameters"] / 1e6,
        made=facts["made"],
    )
    rows = [*evaluation["regimes"].items(), *evaluation["tasks"].items()]
    text += "".join(f"| {name} | {row['accuracy']:.1%} | {row['n']} |\n" for name, row in rows)
    vision = ", ".join(f"{name} {value:.1%}" for name, value in facts["vision"].items())
    return f"{text}\nVision tower alone, linear heads on held-out frames: {vision}.\n"
