"""Commentary on a long held-back ShapeStream video against what happened in it, second by second.

    python benchmarks/commentary.py --model tiny-qwen2.5-vl-commentary --seconds 1200

An announcement is right if the same words are true within a second. False speech per minute counts what did not happen
and what makes no sense. Four memories: streaming-vlm's with contiguous and with native positions, a window that is
encoded again each second, and everything until positions run out. Rows are given for the whole stream and for equal
parts of it. Prints a table; writes benchmarks/results/NAME.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import record
import torch
from commentary_window import ReencodedWindow

from hermes_stream.engine.commentary.narration import Remark
from hermes_stream.engine.commentary.steps import in_steps
from hermes_stream.engine.engine import load_model
from hermes_stream.errors import LimitError
from hermes_stream.evals.commentary import Said, score_commentary
from hermes_stream.models.load import bundled_models
from hermes_stream.policies.spec import parse_memory
from hermes_stream.shapestream import make_script, write_episode
from hermes_stream.shapestream.commentary import commentary_events
from hermes_stream.train.commentary.layout import TextLimits
from hermes_stream.video.open import open_video

FPS = 2.0
WINDOW_SECONDS = 16
LIMITS = TextLimits(64, 64)
MOST_TOKENS = 20
# Of the run with native positions: its checkpoint knows 2,048, and would lay the rest out afresh when they are out.
NATIVE_POSITIONS = 1 << 20
# Rows that bound nothing: the window and the limits of the text do.
_TEXT = f"text_head={LIMITS.head_tokens}, text_tail={LIMITS.tail_tokens}"
_CACHE = f"streaming-vlm(budget=640, seconds={WINDOW_SECONDS}, {_TEXT}"
POLICIES = {
    "contiguous": f"{_CACHE})",
    "native": f'{_CACHE}, positions="native")',
    "keep-all": "keep-all",
}
MEMORIES = ("contiguous", "native", "re-encoded", "keep-all")


@dataclass(frozen=True, slots=True)
class Told:
    """A narrated stream. end_seconds: where it ended; held_tokens, seconds: of each step, as far as they are known."""

    remarks: tuple[Remark, ...]
    end_seconds: float
    held_tokens: tuple[int, ...] = ()
    seconds: tuple[float, ...] = ()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny-qwen2.5-vl-commentary", help="several separated by commas")
    parser.add_argument("--memory", default=",".join(MEMORIES))
    parser.add_argument("--seed", type=int, default=900_700)
    parser.add_argument("--seconds", type=int, default=1200)
    parser.add_argument("--parts", type=int, default=6)
    parser.add_argument("--name", default="commentary")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        script = make_script(arguments.seed, float(arguments.seconds))
        video = Path(folder) / "stream.mp4"
        write_episode(script, video, fps=FPS, width=192, height=108)
        events = commentary_events(script, fps=FPS)
        for model in arguments.model.split(","):
            for memory in arguments.memory.split(","):
                began = time.monotonic()
                told = _tell(model, memory, video, Path(folder), arguments.seconds)
                said = [Said(remark.start_seconds, remark.end_seconds, remark.text) for remark in told.remarks]
                scores = score_commentary(events, said, end_seconds=arguments.seconds, n_parts=arguments.parts)
                (whole,) = score_commentary(events, said, end_seconds=told.end_seconds)
                rows.append(
                    {
                        "model": Path(model).name,
                        "memory": memory,
                        "policy": POLICIES.get(memory, f"window of {WINDOW_SECONDS} s, encoded again each second"),
                        "end_seconds": told.end_seconds,
                        "whole": whole.to_row(),
                        "parts": [score.to_row() for score in scores],
                        "run_seconds": round(time.monotonic() - began, 1),
                        **_first_and_last(told),
                    }
                )
                print(_line(rows[-1]), flush=True)
                print(record.save(arguments.name, vars(arguments), rows), flush=True)


def _tell(model: str, memory: str, video: Path, folder: Path, seconds: int) -> Told:
    with open_video(video, fps=FPS) as frames:
        if memory == "re-encoded":
            window = ReencodedWindow(model, None, seconds=WINDOW_SECONDS, limits=LIMITS, most_tokens=MOST_TOKENS)
            remarks, times = [], []
            began = time.perf_counter()
            for remark in window.watch(in_steps(frames, 1.0)):
                remarks.append(remark)
                times.append(time.perf_counter() - began)
                began = time.perf_counter()
            return Told(tuple(remarks), float(seconds), seconds=tuple(times))
        place = _with_positions(model, folder / "native") if memory == "native" else model
        return _narrate(place, POLICIES[memory], frames, float(seconds))


def _narrate(model: str, policy: str, frames: Any, seconds: float) -> Told:
    remarks: list[Remark] = []
    held: list[int] = []
    with load_model(model) as engine, engine.open(memory=parse_memory(policy)) as session:
        narration = session.narrate(tokens_per_second=MOST_TOKENS)
        try:
            for remark in narration.watch(frames):
                remarks.append(remark)
                held.append(max(session.stats.held_tokens))
        except LimitError as error:
            print(f"ended: {error}", flush=True)
            seconds = remarks[-1].end_seconds
    return Told(tuple(remarks), seconds, tuple(held), tuple(remark.seconds for remark in remarks))


def _with_positions(model: str, folder: Path) -> str:
    """A copy of a checkpoint whose positions do not run out; its weights stay."""
    shutil.copytree(bundled_models().get(model, Path(model)), folder, dirs_exist_ok=True)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["max_position_embeddings"] = NATIVE_POSITIONS
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def _first_and_last(told: Told) -> dict[str, Any]:
    """Memory and time of a step, first against last tenth of the stream."""
    found: dict[str, Any] = {}
    for name, values, digits in (("held_tokens", told.held_tokens, 0), ("step_ms", told.seconds, 2)):
        tenth = len(values) // 10
        if tenth:
            factor = 1000 if name == "step_ms" else 1
            first, last = (factor * _median(part) for part in (values[tenth : 2 * tenth], values[-tenth:]))
            found[name] = {"second_tenth": round(first, digits), "last_tenth": round(last, digits)}
    return found


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def _line(row: dict[str, Any]) -> str:
    def parts(name: str) -> Iterator[str]:
        return (f"{part[name]:5.2f}" for part in row["parts"])

    whole = row["whole"]
    return (
        f"{row['model']:30} {row['memory']:10} to {row['end_seconds']:.0f} s  F1 {whole['f1']:.3f} "
        f"false/min {whole['false_per_minute']:.2f}\n   F1 of parts {' '.join(parts('f1'))}\n"
        f"   false/min   {' '.join(parts('false_per_minute'))}"
    )


if __name__ == "__main__":
    main()
