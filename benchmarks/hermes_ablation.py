"""HERMES' presets and the ablations of its paper on held-back ShapeStream episodes, at two budgets.

    python benchmarks/hermes_ablation.py --model tiny-llava-onevision --episodes 18

All settings watch the same real mp4 files side by side and are asked every question at its time; intervals are
bootstraps over episodes. Prints a Markdown table; writes benchmarks/results/hermes-ablation-MODEL.json, with the ages
of what each setting keeps.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import record

from hermes_stream.engine.timeline import TimedQuestion
from hermes_stream.evals.episodes import Episode, episode_seeds, make_episodes
from hermes_stream.evals.lineup import Entry, Lineup, quarter_of_keep_all
from hermes_stream.evals.report import by_regime, held_tokens, right_and_episode
from hermes_stream.evals.resampling import Ints, Score, draw_episodes, score
from hermes_stream.evals.run import Record, evaluate
from hermes_stream.models.load import load_adapter
from hermes_stream.shapestream import EVALUATION_SEEDS, Question

# What each row of the table is called, and the policy. λ is shallow, middle, deep.
SETTINGS = {
    "`paper`": "hermes",
    "`released`": "hermes:released",
    "λ 0, 0, 0": "hermes(smooth_shallow=0, smooth_middle=0, smooth_deep=0)",
    "λ 0, 0, 0.5": "hermes(smooth_shallow=0, smooth_middle=0, smooth_deep=0.5)",
    "λ 0, 0.5, 0": "hermes(smooth_shallow=0, smooth_middle=0.5, smooth_deep=0)",
    "λ 0.5, 0, 0": "hermes(smooth_shallow=0.5, smooth_middle=0, smooth_deep=0)",
    "λ 0.5, 0.5, 0.5": "hermes(smooth_shallow=0.5, smooth_middle=0.5, smooth_deep=0.5)",
    "no summary token": "hermes(summary=none)",
    "summaries in all layers": "hermes(summary=all)",
    "re-indexing eager": "hermes(reindex=eager)",
    "prompt: what happens": "hermes(prompts=what-happens)",
    "prompt: describe": "hermes(prompts=describe)",
    "prompt: summarize": "hermes(prompts=summarize)",
    "budget 1.3 / 1 / 0.7": "hermes(shares=(1.3, 1, 0.7))",
    "budget 0.7 / 1.6 / 0.7": "hermes(shares=(0.7, 1.6, 0.7))",
    "budget 0.7 / 1 / 1.3": "hermes(shares=(0.7, 1, 1.3))",
    "raw-embedding queries": "hermes(attention=embedding)",
    "smoothing by row": "hermes(match=index)",
    "layers as measured": "hermes",
    "control: sliding window": "sliding-window",
    "control: uniform": "uniform",
    "control: random": "random",
}
# Beside the policy: another grouping of the layers, by `hermes-stream inspect`.
_LAYERS = {"layers as measured": "measured"}
_REAL_TIME_STRIDE = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny-llava-onevision")
    parser.add_argument(
        "--budgets", default=None, help="tokens per layer; default: an eighth and a quarter of keep-all"
    )
    parser.add_argument("--episodes", type=int, default=18)
    parser.add_argument("--first", type=int, default=0, help="number of the first evaluation seed")
    parser.add_argument("--seconds", type=float, default=64)
    parser.add_argument("--every", type=float, default=0.5, help="seconds between questions")
    arguments = parser.parse_args()
    with Lineup(load_adapter(arguments.model)) as lineup:
        budgets = _budgets(lineup, arguments)
        names = [(name, budget) for budget in budgets for name in SETTINGS]
        entries = [Entry(SETTINGS[name], budget, _LAYERS.get(name)) for name, budget in names]
        lineup.enter([*entries, Entry("keep-all")], arguments.seconds)
        (records,) = evaluate([lineup], _episodes(lineup, arguments))
    times_drawn_BE = draw_episodes(arguments.episodes)
    labels = [*(name for name, _ in names), "keep-all"]
    table = [_summary(name, watched, times_drawn_BE) for name, watched in zip(labels, records, strict=True)]
    print("\n".join(_markdown(table, budgets)))
    print(record.save(f"hermes-ablation-{arguments.model}", {**vars(arguments), "budgets": budgets}, table))


def _budgets(lineup: Lineup, arguments: argparse.Namespace) -> tuple[int, ...]:
    if arguments.budgets:
        return tuple(int(budget) for budget in arguments.budgets.split(","))
    quarter = quarter_of_keep_all(lineup.engine, arguments.seconds)
    return quarter // 2, quarter


def _episodes(lineup: Lineup, arguments: argparse.Namespace) -> list[Episode]:
    seeds = episode_seeds(EVALUATION_SEEDS.start + arguments.first, arguments.episodes)
    episodes = make_episodes(seeds, seconds=arguments.seconds, fps=lineup.fps, every_seconds=arguments.every)
    return [replace(episode, questions=_thinned(episode.questions)) for episode in episodes]


def _thinned(questions: tuple[TimedQuestion[Question], ...]) -> tuple[TimedQuestion[Question], ...]:
    """Every third of the real-time questions, which are twice as many and hardly differ; all others."""
    real_time = [question for question in questions if question.label.regime == "real-time"]
    others = [question for question in questions if question.label.regime != "real-time"]
    return (*others, *real_time[::_REAL_TIME_STRIDE])


def _summary(name: str, watched: Record, times_drawn_BE: Ints) -> dict[str, Any]:
    right_N, episode_N = right_and_episode(watched)
    return {
        "name": name,
        "memory": watched.entry.memory,
        "budget": watched.entry.budget,
        "held_mean_max": held_tokens(watched),
        "all": score(right_N, episode_N, times_drawn_BE),
        "regime": by_regime(watched, right_N, episode_N, times_drawn_BE),
        "kept_by_age_tenths_newest_first": np.mean(watched.ages, axis=0).round(3).tolist(),
    }


def _markdown(table: list[dict[str, Any]], budgets: tuple[int, ...]) -> Iterator[str]:
    """A row per setting; of each budget real-time and backward questions, and how new what is kept is."""
    by_cell = {(line["name"], line["budget"]): line for line in table}
    columns = [f"{budget}: {what}" for budget in budgets for what in ("real-time %", "backward %", "newest tenth")]
    yield "| setting | " + " | ".join(columns) + " |"
    yield "|---" * (1 + len(columns)) + "|"
    for name in SETTINGS:
        cells = [cell for budget in budgets for cell in _cells(by_cell[name, budget])]
        yield f"| {name} | " + " | ".join(cells) + " |"
    yield "| keep-all | " + " | ".join(_cells(by_cell["keep-all", None]) * len(budgets)) + " |"


def _cells(line: dict[str, Any]) -> list[str]:
    newest = line["kept_by_age_tenths_newest_first"][0]
    return [*(_share(line["regime"].get(regime)) for regime in ("real-time", "backward")), f"{100 * newest:.0f} %"]


def _share(cell: Score | None) -> str:
    """Per cent right, and the 95 % interval, which one episode does not give."""
    if cell is None:
        return "–"
    if cell["low"] is None or cell["high"] is None:
        return f"{100 * cell['accuracy']:.1f}"
    return f"{100 * cell['accuracy']:.1f} ({100 * cell['low']:.0f}–{100 * cell['high']:.0f})"


if __name__ == "__main__":
    main()
