"""Accuracy on held-back ShapeStream episodes, read from real mp4 files: policies at equal budgets.

    python benchmarks/shapestream_accuracy.py --memory keep-all,hermes,sliding-window --budget 64 --episodes 10

Every question is asked at its time of the same pass. Prints a table; writes benchmarks/results/NAME.json.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import record

import hermes_stream as hs
from hermes_stream.engine.timeline import TimedQuestion, answer_in_time
from hermes_stream.policies.spec import split_policies
from hermes_stream.shapestream import EVALUATION_SEEDS, Question, is_right, make_questions, make_script, write_episode


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
        quarter = round(arguments.seconds * engine.defaults.fps) * engine.model.tokens_per_frame // 4
        budget = arguments.budget or quarter
        rows = [row for seed in _seeds(arguments) for row in _episode(engine, seed, budget, arguments)]
    table = [_summary(memory, rows) for memory in split_policies(arguments.memory)]
    for line in table:
        print(_format(line))
    settings = {**vars(arguments), "budget_tokens": budget}
    print(record.save(arguments.name, settings, table))


def _seeds(arguments: argparse.Namespace) -> range:
    first = EVALUATION_SEEDS.start + arguments.first
    return range(first, first + arguments.episodes)


def _episode(
    engine: hs.Engine, seed: int, budget: int | str, arguments: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    script = make_script(seed, arguments.seconds)
    wanted = set(arguments.regimes.split(","))
    fps = engine.defaults.fps
    questions = [q for q in make_questions(script, fps=fps, every_seconds=arguments.every) if q.regime in wanted]
    timed = [TimedQuestion(question.time_s, hs.Query(question.question), question) for question in questions]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "episode.mp4"
        write_episode(script, path, fps=24, width=640, height=360)
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
    keys = {"regime": sorted({row["regime"] for row in mine}), "task": sorted({row["task"] for row in mine})}
    return {
        "memory": memory,
        "n": len(mine),
        "held_tokens_max": max(row["held"] for row in mine),
        "ttft_ms_p50": sorted(row["ttft_ms"] for row in mine)[len(mine) // 2],
        **{key: {name: _score([r for r in mine if r[key] == name]) for name in names} for key, names in keys.items()},
    }


def _score(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Share right, its 95 % Wilson interval, and the number of questions."""
    n = len(rows)
    p = sum(row["right"] for row in rows) / n
    z = 1.96
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return {"accuracy": round(p, 4), "low": round(centre - half, 4), "high": round(centre + half, 4), "n": n}


def _format(line: dict[str, Any]) -> str:
    def show(scores: dict[str, dict[str, float]]) -> str:
        return "  ".join(f"{name} {100 * score['accuracy']:.1f} ({score['n']:.0f})" for name, score in scores.items())

    return f"{line['memory']:16} held ≤ {line['held_tokens_max']:4}  {show(line['regime'])}\n    {show(line['task'])}"


if __name__ == "__main__":
    main()
