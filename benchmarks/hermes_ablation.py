"""HERMES' presets and the ablations of its paper on held-back ShapeStream episodes, at two budgets.

    python benchmarks/hermes_ablation.py --model tiny-llava-onevision --episodes 18

All settings watch the same real mp4 files side by side and are asked every question at its time. Prints a Markdown
table; writes benchmarks/results/hermes-ablation-MODEL.json, with the ages of what each setting keeps.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np
import record
from episodes import answer_side_by_side, episode, evaluation_seeds, quarter_of_keep_all, score, scores_by

import hermes_stream as hs
from hermes_stream.engine.timeline import TimedQuestion
from hermes_stream.shapestream import Question, is_right
from hermes_stream.viz.memory_map import kept_ages

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
    with hs.load_model(arguments.model) as engine:
        budgets = _budgets(engine, arguments)
        rows = [row for seed in evaluation_seeds(arguments.first, arguments.episodes)
                for row in _episode(engine, seed, budgets, arguments)]  # fmt: skip
    table = [_summary(name, budget, rows) for budget in (*budgets, None) for name in _names(budget)]
    print("\n".join(_markdown(table, budgets)))
    print(record.save(f"hermes-ablation-{arguments.model}", {**vars(arguments), "budgets": budgets}, table))


def _budgets(engine: hs.Engine, arguments: argparse.Namespace) -> tuple[int, ...]:
    if arguments.budgets:
        return tuple(int(budget) for budget in arguments.budgets.split(","))
    quarter = quarter_of_keep_all(engine, arguments.seconds)
    return quarter // 2, quarter


def _names(budget: int | None) -> list[str]:
    return ["keep-all"] if budget is None else list(SETTINGS)


def _episode(
    engine: hs.Engine, seed: int, budgets: tuple[int, ...], arguments: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    fps = engine.defaults.fps
    sessions: dict[tuple[str, int | None], hs.Session] = {("keep-all", None): engine.open("keep-all")}
    for name, memory in SETTINGS.items():
        for budget in budgets:
            sessions[name, budget] = engine.open(memory, budget=budget, layers=_LAYERS.get(name))
    with (
        episode(seed, seconds=arguments.seconds, fps=fps, every_seconds=arguments.every) as (path, questions),
        hs.open_video(path, fps=fps) as video,
    ):
        for question, answers in answer_side_by_side(sessions, video, _thinned(questions)):
            for (name, budget), answer in answers.items():
                yield {
                    "name": name,
                    "budget": budget,
                    "regime": question.regime,
                    "right": is_right(answer.text, question.answer),
                    "held": sum(answer.held_tokens) / len(answer.held_tokens),
                }
        for (name, budget), session in sessions.items():
            yield {"name": name, "budget": budget, "ages": kept_ages(session.memory).mean(axis=0)}
    for session in sessions.values():
        session.close()


def _thinned(questions: list[TimedQuestion[Question]]) -> list[TimedQuestion[Question]]:
    """Every third of the real-time questions, which are twice as many and hardly differ; all others."""
    real_time = [question for question in questions if question.label.regime == "real-time"]
    return [question for question in questions if question.label.regime != "real-time"] + real_time[::_REAL_TIME_STRIDE]


def _summary(name: str, budget: int | None, rows: list[dict[str, Any]]) -> dict[str, Any]:
    of_mine = [row for row in rows if (row["name"], row["budget"]) == (name, budget)]
    mine = [row for row in of_mine if "right" in row]
    ages = np.mean([row["ages"] for row in of_mine if "ages" in row], axis=0)
    return {
        "name": name,
        "memory": SETTINGS.get(name, name),
        "budget": budget,
        "held_mean_max": max(row["held"] for row in mine),
        "all": score([row["right"] for row in mine]),
        "regime": scores_by(mine, "regime"),
        "kept_by_age_tenths_newest_first": [round(float(share), 3) for share in ages],
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


def _share(cell: dict[str, float] | None) -> str:
    """Per cent right, and the 95 % interval."""
    if cell is None:
        return "–"
    return f"{100 * cell['accuracy']:.1f} ({100 * cell['low']:.0f}–{100 * cell['high']:.0f})"


if __name__ == "__main__":
    main()
