"""The runner on ShapeStream: the answers of its own table, whoever watches side by side and however often it stops."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hermes_stream.errors import TaskError
from hermes_stream.evals.annotations import Problem
from hermes_stream.evals.benchmark_run import BenchmarkRun, check_videos
from hermes_stream.evals.episodes import make_episodes
from hermes_stream.evals.lineup import Lineup, make_entries
from hermes_stream.evals.reply_log import ReplyLog, Shard, read_replies
from hermes_stream.evals.run import evaluate
from hermes_stream.evals.task import Loaded
from hermes_stream.evals.tasks.shapestream import ShapeStream
from hermes_stream.models.load import load_adapter
from tests.evals.asked import plain_item

SEEDS, SECONDS = range(900_000, 900_002), 6.0


class Listening:
    """Counts, and may end the run as a kill does: in the middle."""

    def __init__(self, most: int | None = None) -> None:
        self.n_answered, self.most = 0, most
        self.failures: list[tuple[str, str]] = []

    def answered(self, n: int) -> None:
        self.n_answered += n
        if self.most is not None and self.n_answered >= self.most:
            raise KeyboardInterrupt

    def failed(self, who: str, video: str, reason: str) -> None:
        self.failures.append((who, reason))


@pytest.fixture(scope="module")
def lineup() -> Iterator[Lineup]:
    with Lineup(load_adapter("tiny-llava-onevision")) as lineup:
        lineup.enter(make_entries(["hermes", "uniform"], [16]), SECONDS)
        yield lineup


def run_into(folder: Path, lineup: Lineup, listener: Listening) -> BenchmarkRun:
    task = ShapeStream(seeds=SEEDS, seconds=SECONDS, every_seconds=1.5, fps=lineup.fps)
    replies = read_replies(folder)
    known = {str(entry): replies.answered(str(entry)) for entry in lineup.entries}
    run = BenchmarkRun(lineup, task, task.load(), Path(), known, Shard())
    with ReplyLog(folder, Shard()) as log:
        run.run(log, listener)
    return run


def test_the_replies_are_the_answers_of_shapestreams_own_table(lineup: Lineup, tmp_path: Path) -> None:
    run_into(tmp_path, lineup, Listening())
    episodes = make_episodes(SEEDS, seconds=SECONDS, fps=lineup.fps, every_seconds=1.5)
    (records,) = evaluate([lineup], episodes)
    for record in records:
        expected = {
            f"{SEEDS[verdict.episode]}/{verdict.question.time_s:g}": verdict.text for verdict in record.verdicts
        }
        replies = read_replies(tmp_path).by_entry[str(record.entry)]
        assert {key: reply.text for key, reply in replies.items()} == expected


def test_a_run_that_stops_again_and_again_asks_each_question_once(lineup: Lineup, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run = run_into(whole, lineup, Listening())
    n_starts = 0
    while len(read_replies(broken).by_entry["uniform at 16"]) < len(run.loaded.items):
        n_starts += 1
        try:
            run_into(broken, lineup, Listening(most=3))
        except KeyboardInterrupt:
            continue
    assert n_starts > 2
    assert read_replies(broken).by_entry == read_replies(whole).by_entry
    lines = [line for line in (broken / "replies.jsonl").read_text().splitlines() if '"key"' in line]
    assert len(lines) == 2 * len(run.loaded.items)


def loaded_with(n_missing: int, n_videos: int = 9) -> Loaded:
    items = tuple(plain_item(n, 1.0, video=f"v{n}.mp4") for n in range(n_videos))
    problems = tuple(Problem("missing-video", f"v{n}.mp4", "gone", f"v{n}.mp4") for n in range(n_missing))
    return Loaded(items, problems, "")


def test_missing_videos_are_named_the_first_of_many() -> None:
    with pytest.raises(TaskError) as caught:
        check_videos(loaded_with(7), Path("data"), skips_missing=False)
    assert "lacks 7 of 9 videos: v0.mp4, v1.mp4, v2.mp4, v3.mp4, v4.mp4 and 2 more; download" in str(caught.value)
    check_videos(loaded_with(7), Path("data"), skips_missing=True)
    check_videos(loaded_with(0), Path("data"), skips_missing=False)


def test_where_no_video_is_there_nothing_can_be_passed_over() -> None:
    with pytest.raises(TaskError, match=r"holds none of the 9 videos, as v0\.mp4"):
        check_videos(loaded_with(9), Path("data"), skips_missing=True)
