"""The bundled model that comments, from beginning to end: a world, its chunks, and one stage of training."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from hermes_stream.train.commentary.cut import Cut
from hermes_stream.train.commentary.cutting import cut_file
from hermes_stream.train.commentary.layout import TextLimits
from hermes_stream.train.commentary.tiny import make_start
from hermes_stream.train.commentary.training import Stage, learning_curve, run_stage
from hermes_stream.train.commentary.world import World, write_world

# The tiny model has seen 2,048 positions; its recent text is as long as a minute's commentary.
TINY_LIMITS = TextLimits(64, 64)
CURVE_FILE = "training_curve.json"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How much of everything; the defaults are those of the bundled checkpoint. overlap_seconds: of its 24 s chunks."""

    n_videos: int = 240
    video_seconds: float = 600.0
    overlap_seconds: int = 12
    steps: int = 200
    batch: int = 8
    learning_rate: float = 6e-4
    seed: int = 42


def tiny_stage(model: Path, records: Path, videos: Path, out: Path, recipe: Recipe) -> Stage:
    """The stage that a recipe's checkpoint is trained in."""
    return Stage(
        model=str(model),
        records=(records,),
        videos=videos,
        out=out,
        limits=TINY_LIMITS,
        max_steps=recipe.steps,
        batch=recipe.batch,
        accumulation=1,
        learning_rate=recipe.learning_rate,
        weight_decay=0.02,
        checkpoints_gradients=False,
        save_steps=25,
        seed=recipe.seed,
        more={
            "warmup_steps": 15,
            "lr_scheduler_type": "warmup_stable_decay",
            "lr_scheduler_kwargs": {"num_decay_steps": recipe.steps // 4},
        },
    )


def train_shapestream(
    recipe: Recipe,
    out: Path,
    *,
    resumes: bool = False,
    on_video: Callable[[int], None] | None = None,
    on_log: Callable[[Mapping[str, float]], None] | None = None,
) -> list[dict[str, float]]:
    """Write a checkpoint folder, what it was made of in `out/work`, and its learning curve, which is returned.

    Videos that are there already are not rendered again. Raises ConfigError if there is nothing to resume from.
    """
    work = out / "work"
    start = make_start(work / "start")
    world = World(recipe.n_videos, recipe.video_seconds)
    transcripts = write_world(world, work / "videos", on_video)
    records = work / "chunks"
    # Most seconds of this world are silent, so that no chunk may be left out for having few words.
    cut_file(transcripts, work / "videos", records, Cut(overlap_seconds=recipe.overlap_seconds, least_words=0))
    stage = replace(tiny_stage(start, records, work / "videos", out, recipe), resumes=resumes)
    curve = learning_curve(run_stage(stage, on_log))
    (out / CURVE_FILE).write_text(json.dumps({"curve": curve}, indent=2) + "\n", encoding="utf-8")
    return curve
