"""Whether the frames that an answer looked at most show what it is about: by rows and layers whose attention is taken.

    python benchmarks/evidence.py --model tiny-llava-onevision,tiny-qwen2.5-vl --memory keep-all,hermes

Questions about what was shown before that rest on exactly one presence, on held-back ShapeStream episodes. A frame is
right if that object is on screen in it; chance is a frame drawn from those that were seen. Only right answers count:
others may have looked elsewhere. Intervals are bootstraps over episodes. Prints a Markdown table; writes
benchmarks/results/evidence.json, single layers and tasks included.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np
import record
import torch

from hermes_stream.engine.batch import TailSegment
from hermes_stream.engine.engine import Engine, load_model
from hermes_stream.engine.evidence import choosing_segment, evidence_layers, frame_shares
from hermes_stream.engine.forward import run_forward
from hermes_stream.engine.question import Question as Asked
from hermes_stream.engine.stream import Stream
from hermes_stream.engine.timeline import TimedQuestion, answer_in_time
from hermes_stream.evals.resampling import Score, draw_episodes, score
from hermes_stream.inspection.clips import EpisodeClip
from hermes_stream.shapestream import Question, Viewpoint, make_questions, make_script
from hermes_stream.train.evidence import NAMING_TASKS, find_evidence
from hermes_stream.types import Query

TASKS = ("first", "before", *sorted(NAMING_TASKS))
FIRST_SEED = 990_000
_N_TOP = 3
Rows = Callable[[Asked, list[int], range], TailSegment]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One question under one rule. top, top3: whether the first frame, or one of the first three, shows the object.

    chance, chance3: the same of frames drawn at random.
    """

    episode: int
    task: str
    top: bool
    top3: bool
    chance: float
    chance3: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny-llava-onevision,tiny-qwen2.5-vl")
    parser.add_argument("--memory", default="keep-all,hermes")
    parser.add_argument("--episodes", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=75)
    parser.add_argument("--every", type=float, default=1, help="seconds between questions")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = [row for model in arguments.model.split(",") for row in _rows(model, arguments)]
    print("\n".join(_markdown(table)))
    print(record.save("evidence", vars(arguments), table))


def _rows(model: str, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    with load_model(model) as engine:
        for memory in arguments.memory.split(","):
            outcomes: dict[tuple[str, str], list[Outcome]] = {}
            for episode in range(arguments.episodes):
                for found in _episode(engine, memory, episode, arguments):
                    for rule, outcome in found.items():
                        outcomes.setdefault(rule, []).append(outcome)
            for (rows, layers), of_rule in outcomes.items():
                head = {"model": model, "memory": memory, "rows": rows, "layers": layers}
                yield head | _summary(of_rule, arguments.episodes)


def _episode(
    engine: Engine, memory: str, episode: int, arguments: argparse.Namespace
) -> Iterator[dict[tuple[str, str], Outcome]]:
    """For each question that was answered rightly and rests on one presence, what every rule found."""
    script, fps = make_script(FIRST_SEED + episode, arguments.seconds), engine.defaults.fps
    asked = make_questions(script, fps=fps, every_seconds=arguments.every, tasks=TASKS)
    timed = [TimedQuestion(q.time_s, Query(q.question, max_new_tokens=16), q) for q in asked]
    clip = EpisodeClip(FIRST_SEED + episode, arguments.seconds)
    with engine.open(memory) as session, closing(clip.frames(fps)) as frames:
        for question, answer in answer_in_time(session, frames, timed, batch_frames=session.chunk_frames):
            truth: Question = question.label
            presences = find_evidence(Viewpoint(script, truth.time_s, fps), truth)
            if len(presences) != 1 or answer.text != truth.answer:
                continue
            said = [token for token in answer.token_ids if token not in engine._adapter.stop_token_ids]
            query, stream = question.query, session.stream
            shares = engine.call(session, lambda query=query, said=said, stream=stream: _shares(stream, query, said))
            outcomes = {
                rule: _judge(episode, truth.task, share_F, seconds_F, presences[0].is_visible)
                for rule, (share_F, seconds_F) in shares.items()
            }
            yield {rule: outcome for rule, outcome in outcomes.items() if outcome is not None}


def _shares(stream: Stream, query: Query, said: list[int]) -> dict[tuple[str, str], tuple[list[float], list[float]]]:
    """By rows and layers, the share of each frame and when it was shown; on the engine's thread."""
    question, n_layers = Asked(stream, query), stream.adapter.facts.n_layers
    if question.is_asking:
        run_forward(stream.adapter, [question.segment])
        question.end_asking()
    run_forward(stream.adapter, [question.segment])
    tables = [question.table(layer).concat(question.fresh.table) for layer in range(n_layers)]
    found = {}
    for rows, make in ROWS.items():
        segment = make(question, said, range(n_layers))
        run_forward(stream.adapter, [segment])
        weights = [segment.attention[layer][:, : table.n_tokens] for layer, table in enumerate(tables)]
        for name, layers in _layer_sets(n_layers).items():
            share_F, seconds_F = frame_shares(
                [weights[layer] for layer in layers],
                [tables[layer] for layer in layers],
                question.version.grids_seen + 1,
            )
            found[rows, name] = share_F.tolist(), seconds_F.tolist()
    return found


def _tokens_themselves(question: Asked, said: list[int], layers: range) -> TailSegment:
    """The answer's tokens as the model reads them back."""
    facts = question.adapter.facts
    question.tail.n_rows = question.n_rows
    position_T = question.answer_position + torch.arange(len(said))
    segment = TailSegment(
        question.adapter.tokens(torch.tensor(said)), position_T.expand(facts.n_axes, -1), question.tail
    )
    segment.n_read, segment.read_layers = len(said), layers
    return segment


ROWS: dict[str, Rows] = {"that chose the tokens": choosing_segment, "of the tokens": _tokens_themselves}


def _layer_sets(n_layers: int) -> dict[str, Sequence[int]]:
    middle = evidence_layers(n_layers)
    return {
        "all": range(n_layers),
        "first third": range(middle.start),
        "middle third": middle,
        "last third": range(middle.stop, n_layers),
        **{f"layer {layer}": (layer,) for layer in range(n_layers)},
    }


def _judge(
    episode: int, task: str, shares: Sequence[float], seconds: Sequence[float], is_right: Callable[[float], bool]
) -> Outcome | None:
    """None where no frame that was seen shows the object, or all could be named."""
    seen = [frame for frame, share in enumerate(shares) if share > 0]
    right = {frame for frame in seen if is_right(seconds[frame])}
    if not right or len(seen) <= _N_TOP:
        return None
    top = sorted(seen, key=lambda frame: -shares[frame])[:_N_TOP]
    missed = comb(len(seen) - len(right), _N_TOP) / comb(len(seen), _N_TOP)
    return Outcome(episode, task, top[0] in right, bool(right & set(top)), len(right) / len(seen), 1 - missed)


def _summary(outcomes: list[Outcome], n_episodes: int) -> dict[str, Any]:
    episode_N, times_drawn_BE = np.array([each.episode for each in outcomes]), draw_episodes(n_episodes)
    by_task: dict[str, list[bool]] = {}
    for each in outcomes:
        by_task.setdefault(each.task, []).append(each.top)
    return {
        "n": len(outcomes),
        "top": score(np.array([each.top for each in outcomes]), episode_N, times_drawn_BE),
        "top3": score(np.array([each.top3 for each in outcomes]), episode_N, times_drawn_BE),
        "chance": float(np.mean([each.chance for each in outcomes])),
        "chance3": float(np.mean([each.chance3 for each in outcomes])),
        "top_by_task": {task: [len(tops), float(np.mean(tops))] for task, tops in sorted(by_task.items())},
    }


def _markdown(table: list[dict[str, Any]]) -> Iterator[str]:
    yield "| model | memory | rows | layers | n | first | chance | of three | chance |"
    yield "|---" * 9 + "|"
    for row in table:
        if row["layers"].startswith("layer"):
            continue
        cells = [row["model"], row["memory"], row["rows"], row["layers"], str(row["n"])]
        for name, chance in (("top", "chance"), ("top3", "chance3")):
            cells += [_share(row[name]), f"{100 * row[chance]:.0f}"]
        yield f"| {' | '.join(cells)} |"


def _share(cell: Score) -> str:
    """Per cent, and the 95 % interval, which one episode does not give."""
    if cell["low"] is None or cell["high"] is None:
        return f"{100 * cell['accuracy']:.0f}"
    return f"{100 * cell['accuracy']:.0f} ({100 * cell['low']:.0f}–{100 * cell['high']:.0f})"


if __name__ == "__main__":
    main()
