"""Train one of the bundled checkpoints: clips, vision tower, questions, and the graded folder.

    torchrun --nproc-per-node 2 -m hermes_stream.train.run tiny-qwen2.5-vl --out DIR --minutes 64

or `python -m hermes_stream.train.run ...` in a single process.
"""

from __future__ import annotations

import argparse
import logging
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from hermes_stream.shapestream.script import EVALUATION_SEEDS, Dice
from hermes_stream.train.checkpoint import save_checkpoint, write_facts
from hermes_stream.train.collate import Collator
from hermes_stream.train.evaluate import evaluate_checkpoint
from hermes_stream.train.families import Family
from hermes_stream.train.loop import Progress, Trainer
from hermes_stream.train.model_card import make_model_card
from hermes_stream.train.parallel import n_processes, process_rank, start_processes, wait_for_all
from hermes_stream.train.pixels import Clip, make_clip
from hermes_stream.train.tiny_llava import TinyLlava
from hermes_stream.train.tiny_qwen2_5_vl import TinyQwen2_5VL
from hermes_stream.train.tiny_qwen3_vl import TinyQwen3VL
from hermes_stream.train.vision import WarmupResult, encode_clip, warm_up

_LOG = logging.getLogger(__name__)

FAMILIES: dict[str, Family] = {family.name: family for family in (TinyLlava(), TinyQwen2_5VL(), TinyQwen3VL())}

_PACES = (1.0, 1.0, 1.0, 0.8, 1.3)
# Sampled this rarely, scripts must not be too fast for their questions.
_SLOWEST_RATE = 0.5
_N_HELD_OUT = 60


@dataclass(frozen=True, slots=True)
class Recipe:
    """How much of everything. The bundled checkpoints were made by hand from these parts; see docs/training.md.

    minutes: of question training; from_share: where in the curriculum it begins. seed: of weights, order and clips;
    clips use training seeds from `1000 * seed` on.
    """

    minutes: float = 64.0
    from_share: float = 0.0
    seed: int = 0
    n_vision_clips: int = 800
    n_vision_frames: int = 64
    n_vision_steps: int = 1000
    n_clips: int = 2000
    n_grids: int = 96
    learning_rate: float = 1e-3
    n_evaluation_seeds: int = 30


_DEFAULT = Recipe()


def train(family: Family, recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Everything from tokenizer to graded checkpoint; returns what is written beside it as `training_curve.json`.

    Several processes share the clips and the steps; the first one writes the folder.
    """
    began = time.monotonic()
    tokenizer = family.make_tokenizer()
    model = family.make_model(tokenizer, recipe.seed)
    warmup = warm_up(family, model, _vision_clips(family, recipe), n_steps=recipe.n_vision_steps, on_step=_log_vision)
    _LOG.info("vision tower: %s", warmup.accuracy)
    model = model.bfloat16()
    clips = [encode_clip(family, model, clip) for clip in _question_clips(family, recipe)]
    held_out, clips = clips[:_N_HELD_OUT], clips[_N_HELD_OUT:]
    collator = Collator(family, tokenizer)
    trainer = Trainer(model, collator, clips, held_out, seed=recipe.seed, learning_rate=recipe.learning_rate)
    curve: list[Progress] = []

    def on_progress(progress: Progress) -> None:
        _LOG.info("%s", progress)
        curve.append(progress)

    trainer.run(60 * recipe.minutes, on_progress, from_share=recipe.from_share)
    facts = _facts(family, recipe, warmup, curve, trainer, time.monotonic() - began)
    if process_rank() == 0:
        save_checkpoint(family, model, tokenizer, folder, model_card="Not graded yet.\n", curve=facts)
        grade(family, folder, facts, recipe.n_evaluation_seeds)
    wait_for_all()
    return facts


def grade(family: Family, folder: Path, facts: dict[str, Any], n_seeds: int) -> None:
    """Evaluate a checkpoint folder on evaluation seeds, add the result to the facts, and write them and the card."""
    facts["evaluation"] = evaluate_checkpoint(folder, EVALUATION_SEEDS[:n_seeds])
    write_facts(folder, facts, make_model_card(family, facts))


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description="Train a bundled checkpoint from the beginning.")
    parser.add_argument("model", choices=sorted(FAMILIES))
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder")
    parser.add_argument("--minutes", type=float, default=_DEFAULT.minutes, help="time for question training")
    parser.add_argument("--from-share", type=float, default=_DEFAULT.from_share, help="where the curriculum begins")
    parser.add_argument("--seed", type=int, default=_DEFAULT.seed)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    start_processes()
    recipe = Recipe(minutes=options.minutes, from_share=options.from_share, seed=options.seed)
    train(FAMILIES[options.model], recipe, options.out)


def _vision_clips(family: Family, recipe: Recipe) -> list[Clip]:
    first = 1000 * recipe.seed
    seeds = range(first + process_rank(), first + recipe.n_vision_clips, n_processes())
    teacher = family.make_teacher()
    return [make_clip(family, seed, recipe.n_vision_frames, family.warmup_rate, teacher=teacher) for seed in seeds]


def _question_clips(family: Family, recipe: Recipe) -> Iterator[Clip]:
    first = 100_000 + 1000 * recipe.seed
    n_frames = recipe.n_grids * family.frames_per_grid
    for seed in range(first + process_rank(), first + recipe.n_clips, n_processes()):
        dice = Dice(seed + 7_000_000)
        fps, pace = dice.choice(family.rates), dice.choice(_PACES)
        yield make_clip(family, seed, n_frames, fps, pace=max(pace, 1.0) if fps == _SLOWEST_RATE else pace)


def _facts(
    family: Family, recipe: Recipe, warmup: WarmupResult, curve: Sequence[Progress], trainer: Trainer, seconds: float
) -> dict[str, Any]:
    return {
        "recipe": asdict(recipe),
        "made": _how(family, recipe, trainer.step, seconds),
        "seconds": round(seconds),
        "architecture": type(trainer.model).__name__,
        "n_parameters": trainer.model.num_parameters(),
        "n_steps": trainer.step,
        "vision": {name: round(value, 4) for name, value in warmup.accuracy.items()},
        "curve": [_rounded(progress) for progress in curve],
    }


def _how(family: Family, recipe: Recipe, n_steps: int, seconds: float) -> str:
    options = f"--minutes {recipe.minutes:g} --from-share {recipe.from_share:g} --seed {recipe.seed}"
    command = f"`hermes_stream.train.run {family.name} {options}`"
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
