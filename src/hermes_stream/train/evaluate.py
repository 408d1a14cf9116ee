"""How well a checkpoint answers through the stock model's own forward: whole clips, greedy, exact match.

Shape letters: F frames, C Y X channel, image height, width, T tokens, E model width.
"""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, LlavaOnevisionForConditionalGeneration

from hermes_stream.models.preprocess import FixedSizePreprocessor
from hermes_stream.shapestream.episode import write_episode
from hermes_stream.shapestream.grade import is_right
from hermes_stream.shapestream.questions import TASKS, Question, make_questions
from hermes_stream.shapestream.script import Script, make_script
from hermes_stream.train.prompts import PREFIX, QUESTION
from hermes_stream.types import Frame
from hermes_stream.video.open import open_video

_MAX_NEW_TOKENS = 24


@dataclass(frozen=True, slots=True)
class Graded:
    """A question and what the model answered."""

    question: Question
    answer: str

    @property
    def is_right(self) -> bool:
        """Exact match with the truth."""
        return is_right(self.answer, self.question.answer)


class StockAnswerer:
    """A checkpoint folder, asked through `generate` on the whole clip; the reference for every memory."""

    def __init__(self, folder: Path) -> None:
        self._model = LlavaOnevisionForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        settings = json.loads((folder / "video_preprocessor_config.json").read_text(encoding="utf-8"))
        self._preprocess = FixedSizePreprocessor.from_settings(settings)

    @torch.no_grad()
    def encode(self, frames: Iterable[Frame]) -> torch.Tensor:
        """Features `[1, tokens + newline, E]` of a clip."""
        pixels = self._preprocess(list(frames))[None]
        features: torch.Tensor = self._model.get_video_features(pixels, return_dict=True).pooler_output
        return features

    @torch.no_grad()
    def answer(self, features: torch.Tensor, question: str) -> str:
        """Greedy answer to a question about the encoded clip."""
        embedded = torch.cat((self._embed(PREFIX), features, self._embed(QUESTION.format(text=question))), dim=1)
        mask = torch.ones(embedded.shape[:2], dtype=torch.int64)
        ids = self._model.generate(
            inputs_embeds=embedded, attention_mask=mask, max_new_tokens=_MAX_NEW_TOKENS, do_sample=False
        )
        text: str = self._tokenizer.decode(ids[0], skip_special_tokens=True)
        return text.strip()

    def _embed(self, text: str) -> torch.Tensor:
        ids = torch.tensor([self._tokenizer(text, add_special_tokens=False).input_ids])
        embedded: torch.Tensor = self._model.get_input_embeddings()(ids)
        return embedded


def grade_seeds(
    answerer: StockAnswerer, seeds: Iterable[int], *, n_frames: int = 64, fps: float = 1.0, every_seconds: float = 3.0
) -> Iterator[Graded]:
    """Render each seed at 12 fps and 320×180, sample it at `fps`, and ask as many questions of each regime."""
    for seed in seeds:
        script = make_script(seed, n_frames / fps)
        frames = sampled_frames(script, fps)
        features = answerer.encode(frames)
        per_frame = (features.shape[1] - 1) // len(frames)
        for question in _questions_of_every_regime(script, fps, every_seconds):
            n_seen = sum(frame.pts_seconds <= question.time_s for frame in frames)
            seen = torch.cat((features[:, : n_seen * per_frame], features[:, -1:]), dim=1)
            yield Graded(question, answerer.answer(seen, question.question))


def _questions_of_every_regime(script: Script, fps: float, every_seconds: float) -> Iterator[Question]:
    for regime in sorted(set(TASKS.values())):
        tasks = [task for task in TASKS if TASKS[task] == regime]
        yield from make_questions(script, fps=fps, every_seconds=every_seconds, tasks=tasks)


def sampled_frames(script: Script, fps: float) -> list[Frame]:
    """The frames of a script after a real video file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "episode.mp4"
        write_episode(script, path, fps=12, width=320, height=180)
        with open_video(path, fps=fps) as video:
            return list(video)


def accuracy_table(graded: Iterable[Graded]) -> dict[str, Any]:
    """Share of right answers and number of questions, per task and per regime."""
    by_task: dict[str, list[bool]] = defaultdict(list)
    for item in graded:
        by_task[item.question.task].append(item.is_right)
    by_regime: dict[str, list[bool]] = defaultdict(list)
    for task, verdicts in by_task.items():
        by_regime[TASKS[task]].extend(verdicts)
    return {"regimes": _shares(by_regime), "tasks": _shares(by_task)}


def evaluate_checkpoint(
    folder: Path, seeds: Iterable[int], *, on_seed: Callable[[int], None] | None = None, **settings: Any
) -> dict[str, Any]:
    """`accuracy_table` of a checkpoint folder over seeds; settings as for `grade_seeds`."""
    answerer = StockAnswerer(folder)
    graded: list[Graded] = []
    for seed in seeds:
        graded.extend(grade_seeds(answerer, [seed], **settings))
        if on_seed is not None:
            on_seed(seed)
    return accuracy_table(graded)


def _shares(verdicts: dict[str, list[bool]]) -> dict[str, dict[str, float]]:
    return {
        name: {"accuracy": round(sum(values) / len(values), 4), "n": len(values)}
        for name, values in sorted(verdicts.items())
    }
