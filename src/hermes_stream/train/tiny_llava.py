"""Train the bundled tiny LLaVA-OneVision from nothing.

    torchrun --nproc-per-node 2 -m hermes_stream.train.tiny_llava --out DIR --minutes 64

or `python -m hermes_stream.train.tiny_llava ...` in a single process. Two CPU cores need about 85 minutes: a few for
rendering, nine for the vision tower, the rest for questions.
"""

from __future__ import annotations

import argparse
import logging
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from hermes_stream.shapestream.script import EVALUATION_SEEDS, Dice
from hermes_stream.train.architecture import make_model
from hermes_stream.train.checkpoint import save_checkpoint, write_facts
from hermes_stream.train.collate import Collator
from hermes_stream.train.evaluate import evaluate_checkpoint
from hermes_stream.train.loop import Progress, Trainer, cache_features
from hermes_stream.train.model_card import make_model_card
from hermes_stream.train.parallel import n_processes, process_rank, start_processes, wait_for_all
from hermes_stream.train.pixels import Clip, make_clip
from hermes_stream.train.tokenizer import make_tokenizer
from hermes_stream.train.vision import WarmupResult, warm_up

_LOG = logging.getLogger(__name__)

# A rate of one frame a second is what the checkpoint is made for; the others keep it from counting on it.
_RATES = (1.0, 1.0, 1.0, 1.0, 0.5, 2.0, 2.0, 3.0, 1.5)
_PACES = (1.0, 1.0, 1.0, 0.8, 1.3)
_SLOWEST_RATE = 0.5
# One frame in three seconds: hardly two frames alike.
_WARMUP_FPS = 0.3
_N_HELD_OUT = 60


@dataclass(frozen=True, slots=True)
class Recipe:
    """How much of everything. The bundled checkpoint was made by hand from these parts; see docs/training.md.

    minutes: of question training. seed: of weights, order and clips; clips use training seeds from `1000 * seed` on.
    """

    minutes: float = 64.0
    seed: int = 0
    n_vision_clips: int = 800
    n_vision_frames: int = 64
    n_vision_steps: int = 1000
    n_clips: int = 2000
    n_frames: int = 96
    learning_rate: float = 1e-3
    n_evaluation_seeds: int = 30


_DEFAULT = Recipe()


def train(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Everything from tokenizer to graded checkpoint; returns what is written beside it as `training_curve.json`.

    Several processes share the clips and the steps; the first one writes the folder.
    """
    began = time.monotonic()
    tokenizer = make_tokenizer()
    model = make_model(tokenizer, recipe.seed)
    warmup = warm_up(model, _vision_clips(recipe), n_steps=recipe.n_vision_steps, on_step=_log_vision)
    _LOG.info("vision tower: %s", warmup.accuracy)
    clips = cache_features(model.bfloat16(), _question_clips(recipe))
    held_out, clips = clips[:_N_HELD_OUT], clips[_N_HELD_OUT:]
    trainer = Trainer(model, Collator(tokenizer), clips, held_out, seed=recipe.seed, learning_rate=recipe.learning_rate)
    curve: list[Progress] = []

    def on_progress(progress: Progress) -> None:
        _LOG.info("%s", progress)
        curve.append(progress)

    trainer.run(60 * recipe.minutes, on_progress)
    facts = _facts(recipe, warmup, curve, trainer, time.monotonic() - began)
    if process_rank() == 0:
        save_checkpoint(model, tokenizer, folder, model_card="Not graded yet.\n", curve=facts)
        grade(folder, facts, recipe.n_evaluation_seeds)
    wait_for_all()
    return facts


def grade(folder: Path, facts: dict[str, Any], n_seeds: int) -> None:
    """Evaluate a checkpoint folder on evaluation seeds, add the result to the facts, and write them and the card."""
    facts["evaluation"] = evaluate_checkpoint(folder, EVALUATION_SEEDS[:n_seeds])
    write_facts(folder, facts, make_model_card(facts))


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description="Train the bundled tiny LLaVA-OneVision from nothing.")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder")
    parser.add_argument("--minutes", type=float, default=_DEFAULT.minutes, help="time for question training")
    parser.add_argument("--seed", type=int, default=_DEFAULT.seed)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    start_processes()
    train(Recipe(minutes=options.minutes, seed=options.seed), options.out)


def _vision_clips(recipe: Recipe) -> list[Clip]:
    first = 1000 * recipe.seed
    seeds = range(first + process_rank(), first + recipe.n_vision_clips, n_processes())
    return [make_clip(seed, recipe.n_vision_frames, _WARMUP_FPS) for seed in seeds]


def _question_clips(recipe: Recipe) -> list[Clip]:
    first = 100_000 + 1000 * recipe.seed
    clips = []
    for seed in range(first + process_rank(), first + recipe.n_clips, n_processes()):
        dice = Dice(seed + 7_000_000)
        fps, pace = dice.choice(_RATES), dice.choice(_PACES)
        clips.append(make_clip(seed, recipe.n_frames, fps, pace=max(pace, 1.0) if fps == _SLOWEST_RATE else pace))
    return clips


def _facts(
    recipe: Recipe, warmup: WarmupResult, curve: Sequence[Progress], trainer: Trainer, seconds: float
) -> dict[str, Any]:
    return {
        "recipe": asdict(recipe),
        "made": _how(recipe, trainer.step, seconds),
        "seconds": round(seconds),
        "n_parameters": trainer.model.num_parameters(),
        "n_steps": trainer.step,
        "vision": {name: round(value, 4) for name, value in warmup.accuracy.items()},
        "curve": [_rounded(progress) for progress in curve],
    }


def _how(recipe: Recipe, n_steps: int, seconds: float) -> str:
    command = f"`hermes_stream.train.tiny_llava --minutes {recipe.minutes:g} --seed {recipe.seed}`"
    steps = f"{recipe.n_vision_steps} steps of supervised vision warm-up, {n_steps} steps of question answering"
    processes = f"{n_processes()} processes with {torch.get_num_threads()} threads each"
    machine = f"{platform.machine()} CPU, {processes}, torch {torch.__version__}"
    return f"Made by {command}: {steps}, {seconds / 60:.0f} minutes in all ({machine})."


def _rounded(progress: Progress) -> dict[str, Any]:
    accuracy = {task: round(value, 3) for task, value in progress.accuracy.items()}
    return {"seconds": round(progress.seconds), "step": progress.step, "loss": round(progress.loss, 3), **accuracy}


def _log_vision(step: int, loss: float) -> None:
    every_steps = 100
    if step % every_steps == 0:
        _LOG.info("vision step %d, loss %.3f", step, loss)


if __name__ == "__main__":
    main()
