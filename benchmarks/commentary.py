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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
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
from hermes_stream.shapestream.commentary import Event, commentary_events
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
REENCODED = f"window of {WINDOW_SECONDS} s, encoded again each second"
MEMORIES = ("contiguous", "native", "re-encoded", "keep-all")


@dataclass(frozen=True, slots=True)
class Told:
    """A narrated stream. end_seconds: where it ended. held_tokens, cpu_ms: of each step; no tokens where none are held.

    Time is that of the processor: machines are shared.
    """

    remarks: tuple[Remark, ...]
    end_seconds: float
    cpu_ms: tuple[float, ...]
    held_tokens: tuple[int, ...] = ()


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
        for model, memory in product(arguments.model.split(","), arguments.memory.split(",")):
            began = time.monotonic()
            told = _tell(model, memory, video, Path(folder), arguments.seconds)
            row = {"model": Path(model).name, "memory": memory, "policy": POLICIES.get(memory, REENCODED)}
            row |= _scores(events, told, arguments.seconds, arguments.parts) | _first_and_last(told)
            rows.append(row | {"run_seconds": round(time.monotonic() - began, 1)})
            print(_line(rows[-1]), flush=True)
            print(record.save(arguments.name, vars(arguments), rows), flush=True)


def _scores(events: Sequence[Event], told: Told, seconds: int, n_parts: int) -> dict[str, Any]:
    """Of the whole stream as far as it was told, and of equal parts of all of it."""
    said = [Said(remark.start_seconds, remark.end_seconds, remark.text) for remark in told.remarks]
    (whole,) = score_commentary(events, said, end_seconds=told.end_seconds)
    parts = score_commentary(events, said, end_seconds=seconds, n_parts=n_parts)
    return {
        "end_seconds": told.end_seconds,
        "whole": whole.to_row(),
        "parts": [score.to_row() for score in parts],
    }


def _tell(model: str, memory: str, video: Path, folder: Path, seconds: int) -> Told:
    with open_video(video, fps=FPS) as frames:
        if memory == "re-encoded":
            window = ReencodedWindow(model, None, seconds=WINDOW_SECONDS, limits=LIMITS, most_tokens=MOST_TOKENS)
            return _hear(window.watch(in_steps(frames, 1.0)), float(seconds))
        place = _with_positions(model, folder / "native") if memory == "native" else model
        with load_model(place) as engine, engine.open(memory=parse_memory(POLICIES[memory])) as session:
            narration = session.narrate(tokens_per_second=MOST_TOKENS)
            return _hear(narration.watch(frames), float(seconds), lambda: max(session.stats.held_tokens))


def _hear(narration: Iterator[Remark], seconds: float, count_held: Callable[[], int] | None = None) -> Told:
    """Listen to the end, or until positions run out."""
    remarks: list[Remark] = []
    cpu_ms: list[float] = []
    held: list[int] = []
    began = time.process_time()
    try:
        for remark in narration:
            remarks.append(remark)
            cpu_ms.append(1000 * (time.process_time() - began))
            held += [] if count_held is None else [count_held()]
            began = time.process_time()
    except LimitError as error:
        print(f"ended: {error}", flush=True)
        seconds = remarks[-1].end_seconds
    return Told(tuple(remarks), seconds, tuple(cpu_ms), tuple(held))


def _with_positions(model: str, folder: Path) -> str:
    """A copy of a checkpoint whose positions do not run out; its weights stay."""
    shutil.copytree(bundled_models().get(model, Path(model)), folder, dirs_exist_ok=True)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["max_position_embeddings"] = NATIVE_POSITIONS
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def _first_and_last(told: Told) -> dict[str, Any]:
    """Medians of a step's memory and time: the second tenth of the stream, when the window is full, and the last."""
    columns = {"held_tokens": told.held_tokens, "cpu_ms": told.cpu_ms}
    return {
        name: {
            "second_tenth": round(_median(values[tenth : 2 * tenth]), 1),
            "last_tenth": round(_median(values[-tenth:]), 1),
        }
        for name, values in columns.items()
        if (tenth := len(values) // 10)
    }


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
