"""Does anything grow with the stream? Held tokens, bytes and time to first token, early against late.

    python benchmarks/flat_latency.py --frames 2000 --questions 200

Two sessions in one process: one is stopped at its first compression, the other watches on to the end. Both memories
stay resident and are then asked in turn, so that a noisy machine disturbs both alike; what counts is the ratio.
"""

from __future__ import annotations

import argparse
from statistics import median
from typing import Any

import record

import hermes_stream as hs
from hermes_stream.shapestream import EVALUATION_SEEDS, make_script, render_frame

QUESTION = "What is on the screen?"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny-llava-onevision")
    parser.add_argument("--memory", default="hermes")
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--name", default="flat-latency")
    arguments = parser.parse_args()

    script = make_script(EVALUATION_SEEDS.start, arguments.frames)
    with hs.load_model(arguments.model) as engine:
        late = engine.open(arguments.memory)
        early: hs.Session | None = None
        held: list[int] = []
        for start in range(0, arguments.frames, late.chunk_frames):
            stop = min(start + late.chunk_frames, arguments.frames)
            late.watch(
                [hs.Frame(float(second), render_frame(script, second, 160, 90)) for second in range(start, stop)]
            )
            held.append(max(late.stats.held_tokens))
            if early is None and late.stats.n_compressions:
                early = late.fork()
        late.check_invariants()
        if early is None:
            raise SystemExit("nothing was compressed; give more frames or a smaller budget")
        row = _compare(early, late, arguments.questions)
    row |= {"held_tokens_after_each_interval": {"least": min(held[len(held) // 4 :]), "most": max(held)}}
    for key, value in row.items():
        print(f"{key}: {value}")
    print(record.save(arguments.name, vars(arguments), [row]))


def _compare(early: hs.Session, late: hs.Session, n_questions: int) -> dict[str, Any]:
    times: dict[str, list[float]] = {"early": [], "late": []}
    for index in range(n_questions + 5):
        for name, session in (("early", early), ("late", late)):
            answer = session.ask(QUESTION, max_new_tokens=1).result()
            if index >= 5:
                times[name].append(answer.ttft_seconds * 1000)
    return {
        "frames": {"early": early.stats.frames_seen, "late": late.stats.frames_seen},
        "held_tokens": {"early": list(early.stats.held_tokens), "late": list(late.stats.held_tokens)},
        "memory_bytes": {"early": early.stats.memory_bytes, "late": late.stats.memory_bytes},
        "allocated_bytes": {"early": early.memory.allocated_bytes, "late": late.memory.allocated_bytes},
        "ttft_ms_median": {name: round(median(values), 3) for name, values in times.items()},
        "ttft_ratio_late_to_early": round(median(times["late"]) / median(times["early"]), 4),
        "compressions": late.stats.n_compressions,
    }


if __name__ == "__main__":
    main()
