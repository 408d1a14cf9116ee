"""Fill the tables and draw the figures of docs/performance.md from the files of its measurements.

    python benchmarks/performance_page.py

Between `<!-- NAME -->` and `<!-- end -->` stands what this script writes; nobody types a number. A measurement without
a file is "not measured".
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hermes_stream.bench.results import read_results
from hermes_stream.viz.speed_figures import draw_latency
from hermes_stream.viz.stream_figures import draw_streams

ROOT = Path(__file__).parent.parent
NOT_MEASURED = "not measured"
TINY, SMALL, LARGE = "tiny-llava-onevision", "random:llava-onevision-0.5b", "random:llava-onevision-7b"
# Which model a file must be of, to be judged by a target; what was rehearsed with another one is not.
MODELS = {"tiny": TINY, "0.5b": SMALL, "gpu": LARGE}

Row = Mapping[str, Any]
_BLOCK = re.compile(r"<!-- ([a-z0-9. -]+) -->\n.*?<!-- end -->", re.DOTALL)


class Results:
    """The files `performance-NAME.json` of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def content(self, name: str) -> dict[str, Any] | None:
        path = self._folder / f"performance-{name}.json"
        return read_results(path) if path.exists() else None

    def rows(self, name: str) -> list[Row]:
        content = self.content(name)
        return [] if content is None else list(content["rows"])

    def judged(self, name: str, **wanted: object) -> list[Row]:
        """Rows with these fields, of a file that is of the model and the device which the target is about."""
        content = self.content(name)
        if content is None:
            return []
        where, settings = name.split("-")[0], content["settings"]
        if Path(settings["model"]).name != MODELS[where] or settings["device"].startswith("cuda") != (where == "gpu"):
            return []
        return [row for row in content["rows"] if all(row.get(key) == value for key, value in wanted.items())]


@dataclass(frozen=True)
class Target:
    """value: None if nobody measured it. bound: "≤" or "≥" and a number, with the unit of the value."""

    what: str
    bound: str
    value: Callable[[Results], float | None]
    digits: int = 2

    def line(self, results: Results) -> list[str]:
        value = self.value(results)
        if value is None:
            return [self.what, self.bound, "–", NOT_MEASURED]
        limit = float(self.bound.split()[1].replace(",", ""))
        is_met = value <= limit if self.bound.startswith("≤") else value >= limit
        return [self.what, self.bound, f"{value:,.{self.digits}f}", "met" if is_met else "**not met**"]


def growth(results: Results, name: str, field: str) -> float | None:
    """Of HERMES' memory: a figure after most frames over the same after 64."""
    rows = {row["frames"]: row for row in results.judged(name, policy="hermes") if field in row}
    last = max(rows, default=0)
    return rows[last][field] / rows[64][field] if last >= 36_000 and 64 in rows else None


def most(results: Results, name: str, field: str, **wanted: object) -> float | None:
    return max((row[field] for row in results.judged(name, **wanted) if row.get(field) is not None), default=None)


def many_streams_ms(results: Results) -> float | None:
    """p95 with 64 streams or more, of which none dropped a frame."""
    rows = [row for row in results.judged("gpu-streams", dropped=0) if row["sessions"] >= 64]
    return min((row["ttft_ms_p95"] for row in rows), default=None)


def policy_percent(results: Results) -> float | None:
    share = most(results, "0.5b-ingest", "policy_share", policy="hermes")
    return None if share is None else 100 * share


def against_generate(results: Results) -> float | None:
    rows = [row for row in results.judged("0.5b-peers") if row["name"].startswith("transformers.generate")]
    return rows[0]["ttft_against_ours"] if rows else None


TARGETS = {
    "targets cpu": [
        Target(
            "TTFT after 36,000 frames over after 64, tiny model, `hermes`",
            "≤ 1.05",
            lambda results: growth(results, "tiny-latency", "ttft_ms_p50"),
            3,
        ),
        Target("peak bytes, the same", "≤ 1.02", lambda results: growth(results, "tiny-latency", "peak_bytes"), 3),
        Target(
            "16 streams sharing forwards over one after another, tiny model",
            "≥ 1.5",
            lambda results: most(results, "tiny-streams", "ratio", sessions=16),
        ),
        Target("probe + scoring + eviction of ingest, 0.5B", "≤ 5 %", policy_percent),
        Target("TTFT of re-prefilling 64 frames over ours, 0.5B", "≥ 20 ×", against_generate, 1),
    ],
    "targets gpu": [
        Target("TTFT", "≤ 10 ms", lambda results: most(results, "gpu-latency", "ttft_ms_p50", policy="hermes")),
        Target("TPOT", "≤ 6 ms", lambda results: most(results, "gpu-latency", "tpot_ms", policy="hermes")),
        Target("ingest", "≥ 60 frames/s", lambda results: most(results, "gpu-ingest", "frames_per_second"), 1),
        Target("TTFT p95, at least 64 live streams, nothing dropped", "≤ 150 ms", many_streams_ms, 1),
        Target(
            "TTFT after 36,000 frames over after 64",
            "≤ 1.05",
            lambda results: growth(results, "gpu-growth", "ttft_ms_p50"),
            3,
        ),
        Target("peak bytes, the same", "≤ 1.02", lambda results: growth(results, "gpu-growth", "peak_bytes"), 3),
    ],
}


def latency(rows: Sequence[Row]) -> Iterator[list[str]]:
    yield ["memory", "chunk", "frames", "TTFT ms", "p95", "TPOT ms", "pending ms", "peak MiB", "held"]
    for row in rows:
        start = [f"`{row['policy']}`", str(row["chunk"]), f"{row['frames']:,}"]
        if "error" in row:
            yield [*start, row["error"], *[""] * 5]
            continue
        times = [_ms(row[name]) for name in ("ttft_ms_p50", "ttft_ms_p95", "tpot_ms", "pending_ms")]
        yield [*start, *times, f"{row['peak_bytes'] / 2**20:.2f}", str(row["held_tokens"])]


def ingest(rows: Sequence[Row]) -> Iterator[list[str]]:
    yield ["", *(f"`{row['policy']}`" for row in rows)]
    yield ["frames/s", *(f"{row['frames_per_second']:.2f}" for row in rows)]
    yield ["tokens/s", *(f"{row['tokens_per_second']:,.0f}" for row in rows)]
    for name in rows[0]["share"]:
        yield [name, *(f"{row['share'][name]:.2%}" for row in rows)]
    yield ["probe + scoring + eviction + re-placement", *(f"{row['policy_share']:.2%}" for row in rows)]


def streams(rows: Sequence[Row]) -> Iterator[list[str]]:
    yield ["streams", "frames/s", "one after another", "gain", "live TTFT ms", "p95", "dropped"]
    for row in rows:
        if "largest_sessions" in row:
            bound = f"p95 ≤ {row['ttft_bound_ms']:g} ms at {row['live_fps']:g} fps, nothing dropped"
            yield [f"**{row['largest_sessions']}**", f"most with {bound}", *[""] * 5]
        elif "error" in row:
            yield [str(row["sessions"]), row["error"], *[""] * 5]
        else:
            speeds = f"{row['frames_per_second']:.1f}", f"{row['alone_frames_per_second']:.1f}", f"{row['ratio']:.2f}"
            waits = _ms(row["ttft_ms_p50"]), _ms(row["ttft_ms_p95"])
            yield [str(row["sessions"]), *speeds, *waits, str(row["dropped"])]


def peers(rows: Sequence[Row]) -> Iterator[list[str]]:
    yield ["", "TTFT ms", "over ours", "TPOT ms", "peak MiB", "tokens seen", "asked"]
    for row in rows:
        times = _ms(row["ttft_ms_p50"]), f"{row['ttft_against_ours']:.2f}", _ms(row["tpot_ms"])
        yield [
            row["name"],
            *times,
            f"{row['peak_bytes'] / 2**20:.1f}",
            f"{row['seen_tokens']:,}",
            str(row["questions"]),
        ]


def floor(rows: Sequence[Row]) -> Iterator[list[str]]:
    yield ["ms", "of", "held", "weights", "KV", "arithmetic", "floor", "measured", "ratio"]
    for row in rows:
        parts = [_ms(row[name]) for name in ("weights_ms", "kv_ms", "arithmetic_ms", "floor_ms", "measured_ms")]
        ratio = "–" if row["ratio"] is None else f"{row['ratio']:.2f}"
        yield [row["figure"], row["source"], str(row["held_tokens"]), *parts, ratio]


TABLES: dict[str, Callable[[Sequence[Row]], Iterator[list[str]]]] = {
    "latency": latency,
    "policies": latency,
    "growth": latency,
    "ingest": ingest,
    "streams": streams,
    "peers": peers,
    "floor": floor,
}


def block(name: str, results: Results) -> str:
    """What stands between the marks of a name."""
    if name in TARGETS:
        lines = [["target", "", "measured", ""], *(target.line(results) for target in TARGETS[name])]
        return "\n".join(_markdown(lines))
    if name.startswith("figure "):
        return figure(name.removeprefix("figure "), results)
    content = results.content(name)
    if content is None:
        return NOT_MEASURED.capitalize() + "."
    table = TABLES[name.split("-")[-1]](content["rows"])
    return "\n".join([*_markdown(list(table)), "", _origin(content)])


def figure(name: str, results: Results) -> str:
    """The picture that `draw` makes of a measurement."""
    return f"![{name}](performance-{name}.png)" if figure_rows(name, results) else NOT_MEASURED.capitalize() + "."


def figure_rows(name: str, results: Results) -> list[Row]:
    """What can be drawn: rows that are no refusals, searches or memories that had to stop."""
    field = {"latency": "ttft_ms_p50", "streams": "ratio"}[name]
    return [row for row in results.rows(f"tiny-{name}") if field in row]


def filled(page: str, results: Results) -> str:
    """The page with every block made anew."""
    return _BLOCK.sub(lambda match: f"<!-- {match[1]} -->\n{block(match[1], results)}\n<!-- end -->", page)


def draw(results: Results, folder: Path) -> None:
    """The figures that can be drawn."""
    for name, draw_rows in (("latency", draw_latency), ("streams", draw_streams)):
        rows = figure_rows(name, results)
        if rows:
            draw_rows(rows, folder / f"performance-{name}.png")


def _markdown(lines: Sequence[Sequence[str]]) -> Iterator[str]:
    head, *rest = lines
    yield "| " + " | ".join(head) + " |"
    yield "|---" + "|--:" * (len(head) - 1) + "|"
    for line in rest:
        yield "| " + " | ".join(line) + " |"


def _origin(content: Mapping[str, Any]) -> str:
    machine = content["machine"]
    threads = f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''}"
    hardware = machine["accelerator"] or f"{machine['processor']}, {threads}, no accelerator"
    versions = f"torch {machine['torch']}, transformers {machine['transformers']}"
    return f"`{content['command']}`<br>{content['date']}, commit {machine['commit']}, {hardware}, {versions}"


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:,.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "performance.md")
    parser.add_argument("--out", type=Path, help="where the filled page goes; default: into its place")
    arguments = parser.parse_args()
    results, out = Results(arguments.results), arguments.out or arguments.page
    text = filled(arguments.page.read_text(encoding="utf-8"), results)
    out.write_text(text, encoding="utf-8")
    draw(results, out.parent)
    print(out)


if __name__ == "__main__":
    main()
