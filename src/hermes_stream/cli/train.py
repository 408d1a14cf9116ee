"""`hermes-stream train`: commentary on endless video, from transcripts to a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import App, Parameter

from hermes_stream.cli.output import progress_bar, say
from hermes_stream.errors import ConfigError

if TYPE_CHECKING:
    from hermes_stream.train.commentary.cut import Cut, DenseCut
    from hermes_stream.train.commentary.training import Stage

train = App(name="train", help="Teach a model to comment on endless video.")


@train.command
def cut(
    transcripts: Path,
    *,
    videos: Path,
    out: Path,
    chunk_seconds: int = 24,
    overlap_seconds: int = 12,
    least_words: int | None = None,
    dense: bool = False,
) -> None:
    """Cut long videos with word-timed transcripts to chunks, as JSON lines with a seek file.

    Parameters
    ----------
    transcripts
        JSON lines, one video each: {"video", "content": [[start, end, word], ...]}.
    videos
        Folder that the videos' paths count from.
    out
        Stem of the files to be written, STEM_with_seeks.jsonl and STEM_seeks.jsonl.
    chunk_seconds
        Length of a chunk.
    overlap_seconds
        Of a chunk with the next one.
    least_words
        Chunks with fewer are left out; by default two for each second.
    dense
        Instead of overlapping chunks, clips of 16 to 64 s without a longer pause, for a second, annealing stage.
    """
    from hermes_stream.train.commentary.cut import Cut, DenseCut
    from hermes_stream.train.commentary.cutting import cut_file

    how: Cut | DenseCut = DenseCut() if dense else Cut(chunk_seconds, overlap_seconds, least_words)
    report = cut_file(transcripts, videos, out, how)
    for line in report.left_out:
        say(f"left out: {line}")
    say(f"{out}: {report.n_records} records of {report.n_videos} videos, {len(report.left_out)} left out")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class StageOptions:
    """How a stage is trained. Defaults are the source's, but for the batch, which there is 512 chunks.

    Parameters
    ----------
    fps
        Sampled frames a second. Default: the checkpoint's own.
    max_pixels
        Of a frame after resizing.
    previous_head, previous_tail
        Tokens of the previous text that stay: the first, and the newest.
    epochs
        Over all records.
    max_steps
        Instead of whole epochs.
    batch, accumulation
        Chunks in a forward, on each device; forwards in a step.
    learning_rate
        At its highest; it rises over 3 % of the steps and falls as a cosine.
    lora_rank
        Train adapters of this rank (needs peft), merged into the checkpoint at the end; 0 trains the language model.
    train_vision
        Train the vision tower too.
    gradient_checkpointing
        Compute activations again instead of keeping them.
    save_steps
        A checkpoint to resume from every so many steps.
    settings
        A JSON file of further settings of transformers' TrainingArguments, as {"fsdp": true, ...}.
    resume
        Go on from the newest checkpoint in --out.
    """

    fps: float | None = None
    max_pixels: int | None = None
    previous_head: int = 512
    previous_tail: int = 512
    epochs: float = 1.0
    max_steps: int = -1
    batch: int = 1
    accumulation: int = 64
    learning_rate: float = 1e-5
    lora_rank: int = 0
    train_vision: bool = False
    gradient_checkpointing: bool = True
    save_steps: int = 20
    seed: int = 42
    settings: Path | None = None
    resume: bool = False

    def stage(self, model: str, records: list[Path], videos: Path, out: Path) -> Stage:
        """The stage. Raises ConfigError for settings that cannot be read."""
        from hermes_stream.train.commentary.layout import TextLimits
        from hermes_stream.train.commentary.training import Stage

        return Stage(
            model=model,
            records=tuple(records),
            videos=videos,
            out=out,
            fps=self.fps,
            max_pixels=self.max_pixels,
            limits=TextLimits(self.previous_head, self.previous_tail),
            epochs=self.epochs,
            max_steps=self.max_steps,
            batch=self.batch,
            accumulation=self.accumulation,
            learning_rate=self.learning_rate,
            trains_vision=self.train_vision,
            lora_rank=self.lora_rank,
            checkpoints_gradients=self.gradient_checkpointing,
            save_steps=self.save_steps,
            seed=self.seed,
            resumes=self.resume,
            more={} if self.settings is None else _read_settings(self.settings),
        )


@train.command
def commentary(
    records: list[Path], /, *, model: str, videos: Path, out: Path, options: StageOptions | None = None
) -> None:
    """Fine-tune a model on chunks of commentary. Under torchrun or accelerate, on many devices.

    A second, annealing stage is another run: --model is then the first one's --out, and the records are denser.

    Parameters
    ----------
    records
        Files of `train cut`, or in the published format; one that is named twice is seen twice.
    model
        A bundled model, a checkpoint folder, or a hub id to begin with.
    videos
        Folder that the videos' paths count from.
    out
        Folder of the finished checkpoint, and of those to resume from.
    """
    from hermes_stream.train.commentary.training import learning_curve, run_stage

    stage = (options or StageOptions()).stage(model, records, videos, out)
    curve = learning_curve(run_stage(stage, _say_log))
    _say_curve(out, curve)


@train.command
def shapestream(
    *,
    out: Path,
    videos: int = 240,
    seconds: float = 600,
    overlap_seconds: int = 12,
    steps: int = 200,
    seed: int = 42,
    resume: bool = False,
) -> None:
    """Train the bundled tiny model to comment on ShapeStream: render, cut, train.

    Parameters
    ----------
    out
        Folder of the finished checkpoint; videos and chunks go to `work` in it.
    videos
        How many are rendered.
    seconds
        Length of each.
    overlap_seconds
        Of the 24 s chunks; 0 cuts them side by side.
    steps
        Of 8 chunks each.
    seed
        Of the order.
    resume
        Go on from the newest checkpoint in --out.
    """
    from hermes_stream.train.commentary.shapestream import Recipe, train_shapestream

    recipe = Recipe(videos, seconds, overlap_seconds, steps, seed=seed)
    with progress_bar() as progress:
        task = progress.add_task("rendering", total=videos, note="")
        curve = train_shapestream(
            recipe,
            out,
            resumes=resume,
            on_video=lambda done: progress.update(task, completed=done, note=f"{done}/{videos}"),
            on_log=_say_log,
        )
    _say_curve(out, curve)


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"--settings {path} is no JSON ({error}); write an object of TrainingArguments") from error
    if not isinstance(settings, dict):
        raise ConfigError(f"--settings {path} holds {type(settings).__name__}; write an object of TrainingArguments")
    return settings


def _say_log(row: Mapping[str, float]) -> None:
    if "loss" in row:
        say(f"step {row['step']}: loss {float(row['loss']):.3f}")


def _say_curve(out: Path, curve: list[dict[str, float]]) -> None:
    losses = f", loss {curve[0]['loss']:g} at first and {curve[-1]['loss']:g} at last" if curve else ""
    say(f"{out}: trained{losses}")
