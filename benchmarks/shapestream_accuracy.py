"""Accuracy on held-back ShapeStream episodes, read from real mp4 files: policies at equal budgets.

    python benchmarks/shapestream_accuracy.py --memory keep-all,hermes,sliding-window --budget 64 --episodes 10

Every question is asked at its time of the same pass. Prints a table; writes benchmarks/results/NAME.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import record
from episodes import episode, evaluation_seeds, quarter_of_keep_all, scores_by

import hermes_stream as hs
from hermes_stream.engine.timeline import answer_in_time
from hermes_stream.policies.spec import split_policies
from hermes_stream.shapestream import Question, is_right


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

    with hs.load_model(arguments.model) as engine:
        budget = arguments.budget or quarter_of_keep_all(engine, arguments.seconds)
        seeds = evaluation_seeds(arguments.first, arguments.episodes)
        rows = [row for seed in seeds for row in _episode(engine, seed, budget, arguments)]
    table = [_summary(memory, rows) for memory in split_policies(arguments.memory)]
    for line in table:
        print(_format(line))
    settings = {**vars(arguments), "budget_tokens": budget}
    print(record.save(arguments.name, settings, table))


def _episode(
    engine: hs.Engine, seed: int, budget: int | str, arguments: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    wanted = set(arguments.regimes.split(","))
    fps = engine.defaults.fps
    with episode(seed, seconds=arguments.seconds, fps=fps, every_seconds=arguments.every) as (path, questions):
        timed = [question for question in questions if question.label.regime in wanted]
        for memory in split_policies(arguments.memory):
            given = None if memory.startswith("keep-all") else budget
            with engine.open(memory, budget=given) as session, hs.open_video(path, fps=fps) as video:
                for asked, answer in answer_in_time(session, video, timed, batch_frames=session.chunk_frames):
                    yield {"memory": memory, **_row(asked.label, answer)}


def _row(question: Question, answer: hs.Answer) -> dict[str, Any]:
    return {
        "regime": question.regime,
        "task": question.task,
        "recall_delay_s": question.recall_delay_s,
        "right": is_right(answer.text, question.answer),
        "held": max(answer.held_tokens),
        "bytes": answer.memory_bytes,
        "ttft_ms": answer.ttft_seconds * 1000,
    }


def _summary(memory: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    mine = [row for row in rows if row["memory"] == memory]
    return {
        "memory": memory,
        "n": len(mine),
        "held_tokens_max": max(row["held"] for row in mine),
        "ttft_ms_p50": sorted(row["ttft_ms"] for row in mine)[len(mine) // 2],
        "regime": scores_by(mine, "regime"),
        "task": scores_by(mine, "task"),
    }


def _format(line: dict[str, Any]) -> str:
    def show(scores: dict[str, dict[str, float]]) -> str:
        return "  ".join(f"{name} {100 * score['accuracy']:.1f} ({score['n']:.0f})" for name, score in scores.items())

    return f"{line['memory']:16} held ≤ {line['held_tokens_max']:4}  {show(line['regime'])}\n    {show(line['task'])}"


if __name__ == "__main__":
    main()
