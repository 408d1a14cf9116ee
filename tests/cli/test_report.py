"""`hermes-stream report`: tables of planted replies in every format."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hermes_stream.evals.item import Reply
from hermes_stream.evals.reply_log import Held, ReplyLog, Shard, reply_line
from hermes_stream.evals.tasks import TASKS
from tests.cli.conftest import Done
from tests.evals.published import published

Command = Callable[..., Done]
# Right, of the nine questions: three to each of three videos.
RIGHT = {
    ("hermes", 64): "111110100",
    ("hermes", 128): "111111110",
    ("uniform", 64): "010100000",
    ("recent-frames(frames=4)", None): "000000000",
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()

    def put(path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"there")

    published("videomme").write(folder, put)
    return folder


def plant(
    data: Path, out: Path, memories: dict[tuple[str, int | None], str], model: str = "tiny", **more: object
) -> None:
    task = TASKS["videomme"]()
    loaded = task.load(data)
    entries = {
        memory if budget is None else f"{memory} at {budget}": {
            "memory": memory, "budget": budget, "layers": None, "budget_tokens": budget,
            "budget_bytes": None if budget is None else 10 * budget,
        }
        for memory, budget in memories
    }  # fmt: skip
    manifest = {
        "format": 1, "bench": "videomme", "annotation_sha256": loaded.annotation_sha256, "data": str(data),
        "setting": {"protocol": "strict", "splits": list(task.splits), "seed": 0, "context_seconds": None},
        "model": {"name": model},
        "video": {"fps": 1.0}, "prompt": {"label": "own-prompt", "sha256": ""}, "wall_clock": None, "entries": entries,
        "problems": [], "runs": [], **more,
    }  # fmt: skip
    out.mkdir()
    (out / "manifest.json").write_text(json.dumps(manifest))
    with ReplyLog(out, Shard()) as log:
        for entry, right in zip(entries, memories.values(), strict=True):
            for item, mark in zip(loaded.items, right, strict=False):
                wrong = next(letter for letter in "ABCD" if letter != item.truth)
                reply = Reply(key=item.qid, text=item.truth if mark == "1" else wrong)
                log.put([reply_line(entry, reply, Held((60, 62), 1024, 0))])


@pytest.fixture
def out(data: Path, tmp_path: Path) -> Path:
    plant(data, tmp_path / "out", RIGHT)
    return tmp_path / "out"


def test_rows_are_counted_by_hand(command: Command, out: Path) -> None:
    rows = [row for row in command("report", out, "--format", "json").rows if row["mode"] == "strict"]
    by_who = {(row["memory"], row.get("budget")): row for row in rows}
    shares = {who: by_who[who]["averages"]["overall"]["value"] for who in RIGHT}
    assert shares == {who: round(100 * right.count("1") / 9, 2) for who, right in RIGHT.items()}
    hermes = by_who["hermes", 64]
    assert {name: cell["value"] for name, cell in hermes["averages"].items()} == {
        "short": 100.0, "medium": 66.67, "long": 33.33, "overall": 66.67,
    }  # fmt: skip
    assert hermes["difference"] is None
    above = by_who["uniform", 64]["difference"]
    assert above["to"] == {"memory": "hermes", "budget": 64}
    assert above["averages"]["overall"]["value"] == pytest.approx(-44.44)
    assert above["averages"]["overall"]["low"] < above["averages"]["overall"]["high"]
    assert by_who["recent-frames(frames=4)", None]["difference"] is None
    assert by_who["chance", None]["averages"]["overall"]["value"] == 25.0
    assert by_who["always B", None]["kind"] == "baseline"


def test_tables_for_people_show_what_a_table_must(command: Command, out: Path) -> None:
    shown = command("report", out)
    assert shown.status == 0, shown.err
    for part in (
        "videomme on tiny, read as official: 9 questions, 95 % interval over 3 videos",
        "read as strict: above hermes at the same budget, of the same questions",
        "by budget, tokens per layer",
        "published beside ours",
        "other model, fps, budget, prompt",
        "(always A)",
        "66.7 (33.3 to 100.0)",
        "the most that a question found",
    ):
        assert part in shown.out
    assert "…" not in shown.out


def test_markdown_and_latex_hold_the_same_cells(command: Command, out: Path) -> None:
    markdown = command("report", out, "--format", "markdown").out
    latex = command("report", out, "--format", "latex").out
    assert "| hermes | 64 | 100.0 (100.0 to 100.0) | 66.7 | 33.3 | 66.7" not in markdown  # each split has one video
    assert "| hermes | 64 | 100.0 | 66.7 | 33.3 | 66.7 (33.3 to 100.0) | 0 | 0 |" in markdown
    assert r"hermes & 64 & 100.0 & 66.7 & 33.3 & 66.7 (33.3 to 100.0) & 0 & 0 \\" in latex
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == markdown.count("**") // 2
    assert r"95 \% interval" in latex
    assert "own_" not in latex


def test_csv_has_a_line_for_each_number(command: Command, out: Path) -> None:
    lines = list(csv.DictReader(io.StringIO(command("report", out, "--format", "csv").out)))
    (line,) = [
        line
        for line in lines
        if (line["memory"], line["budget"], line["mode"], line["table"], line["column"])
        == ("hermes", "64", "strict", "averages", "overall")
    ]
    assert (line["value"], line["low"], line["high"], line["n"]) == ("66.67", "33.33", "100.0", "9")
    assert {line["table"] for line in lines} == {"averages", "tasks", "difference"}


def test_a_figure_is_drawn(command: Command, out: Path, tmp_path: Path) -> None:
    done = command("report", out, "--plot", tmp_path / "budget.png")
    assert done.status == 0, done.err
    assert (tmp_path / "budget.png").stat().st_size > 10_000


def test_results_of_one_setting_are_joined_and_of_two_models_are_not(
    command: Command, data: Path, out: Path, tmp_path: Path
) -> None:
    plant(data, tmp_path / "more", {("random", 64): "111111111"})
    plant(data, tmp_path / "other", {("hermes", 64): "111111111"}, model="another")
    joined = command("report", out, tmp_path / "more", "--format", "json").rows
    (row,) = [row for row in joined if (row["memory"], row["mode"]) == ("random", "strict")]
    assert row["difference"]["averages"]["overall"]["value"] == pytest.approx(33.33)
    apart = command("report", out, tmp_path / "other", "--format", "json").rows
    assert {row["model"] for row in apart} == {"tiny", "another"}
    assert all(row["difference"] is None for row in apart if row["model"] == "another" and row["kind"] == "memory")


def test_an_unfinished_run_counts_the_videos_that_all_have_finished(
    command: Command, data: Path, tmp_path: Path
) -> None:
    plant(data, tmp_path / "out", {("hermes", 64): "111111111", ("uniform", 64): "1111", ("random", 64): ""})
    done = command("report", tmp_path / "out", "--format", "json")
    assert {row["n"] for row in done.rows if row["kind"] == "memory"} == {3}
    assert "6 of 9 questions are not answered by every memory yet; not counted" in done.err
    assert "nothing yet from random at 64" in done.err


def test_what_cannot_be_reported_is_said_in_one_line(command: Command, data: Path, out: Path, tmp_path: Path) -> None:
    plant(data, tmp_path / "begun", {("hermes", 64): "1"})
    cases = [
        (["report"], "no result was given"),
        (["report", str(tmp_path)], "holds no result"),
        (["report", str(tmp_path / "nowhere")], "holds no result"),
        (["report", str(tmp_path / "begun")], "no video is finished yet"),
    ]
    for words, message in cases:
        _assert_one_line(command(*words), message)
    (data / "videomme" / "test.json").write_text(json.dumps(published("videomme").rows()[:3]))
    _assert_one_line(command("report", out), "the annotations are others than those that were asked")
    _assert_one_line(command("report", out, "--data", tmp_path / "gone"), "say with --data where it is now")


def _assert_one_line(done: Done, message: str) -> None:
    assert done.status == 2, done.err
    (line,) = done.err.splitlines()
    assert message in line
