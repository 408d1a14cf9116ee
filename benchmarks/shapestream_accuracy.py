"""Accuracy on held-back ShapeStream episodes, read from real mp4 files: policies at equal budgets.

    python benchmarks/shapestream_accuracy.py --memory keep-all,hermes,sliding-window --budget 64 --episodes 10

`hermes-stream eval shapestream`, with the short rows that the README shows. Prints a table; writes
benchmarks/results/NAME.json. Intervals are bootstraps over episodes; times to the first token are of questions alone.
"""

from __future__ import annotations

import argparse
from typing import Any

import record

from hermes_stream.evals.episodes import episode_seeds, make_episodes
from hermes_stream.evals.lineup import Lineup, make_entries, quarter_of_keep_all
from hermes_stream.evals.report import report
from hermes_stream.evals.run import evaluate
from hermes_stream.models.load import load_adapter
from hermes_stream.policies.spec import split_policies
from hermes_stream.shapestream import EVALUATION_SEEDS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny-llava-onevision")
    parser.add_argument("--memory", default="keep-all,hermes,sliding-window,uniform,random,recent-frames")
    parser.add_argument("--budget", default=None, help="tokens per layer; default: a quarter of what keep-all holds")
    parser.add_argument("--episodes", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="number of the first evaluation seed")
    parser.add_argument("--seconds", type=float, default=64)
    parser.add_argument("--every", type=float, default=0.5, help="seconds between questions")
    parser.add_argument("--regimes", default="real-time,backward,forward")
    parser.add_argument("--name", default="shapestream-accuracy")
    arguments = parser.parse_args()

    with Lineup(load_adapter(arguments.model)) as lineup:
        budget = arguments.budget or quarter_of_keep_all(lineup.engine, arguments.seconds)
        lineup.enter(make_entries(split_policies(arguments.memory), [budget]), arguments.seconds)
        episodes = make_episodes(
            episode_seeds(EVALUATION_SEEDS.start + arguments.first, arguments.episodes),
            seconds=arguments.seconds,
            fps=lineup.fps,
            every_seconds=arguments.every,
            regimes=arguments.regimes.split(","),
        )
        rows = report([lineup], evaluate([lineup], episodes), len(episodes))
    table = [_short(row) for row in rows]
    for line in table:
        print(_format(line))
    settings = {**vars(arguments), "budget_tokens": budget}
    print(record.save(arguments.name, settings, table))


def _short(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "memory": row["policy"],
        "n": row["n"],
        "held_tokens_max": row["held_tokens_max"],
        "ttft_ms_p50": row["ttft_ms"],
        "regime": row["regime"],
        "task": row["task"],
    }


def _format(line: dict[str, Any]) -> str:
    def show(scores: dict[str, dict[str, float]]) -> str:
        return "  ".join(f"{name} {100 * score['accuracy']:.1f} ({score['n']:.0f})" for name, score in scores.items())

    return f"{line['memory']:16} held ≤ {line['held_tokens_max']:4}  {show(line['regime'])}\n    {show(line['task'])}"


if __name__ == "__main__":
    main()
