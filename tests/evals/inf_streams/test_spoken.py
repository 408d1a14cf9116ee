"""Runs on disk: whole after a kill, in the published format, and never mixed up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hermes_stream.errors import ConfigError, TaskError
from hermes_stream.evals.inf_streams.games import Segment
from hermes_stream.evals.inf_streams.spoken import Piece, RunLog, Said, read_runs, read_spoken, run_name


@pytest.fixture
def log(tmp_path: Path) -> Iterator[RunLog]:
    """A run in the test's folder."""
    with RunLog(tmp_path, SETTINGS) as log:
        yield log


SETTINGS = {"model": "m", "policy": "p", "mode": "chunk", "seed": 0}


def piece(start: int, *texts: str, video: str = "a.mp4") -> Piece:
    said = tuple(Said(float(start + n), start + n + 1.0, text) for n, text in enumerate(texts))
    return Piece(video, start, start + 10, said)


def test_what_is_put_is_read_again_in_the_published_format(tmp_path: Path) -> None:
    with RunLog(tmp_path / "run", SETTINGS) as log:
        for each in (piece(0, "one", "two"), piece(10, "three"), piece(0, "four", video="b.mp4")):
            log.put(each)
    row = json.loads((tmp_path / "run" / "pieces.jsonl").read_text().splitlines()[0])
    assert row == {
        "video": "a.mp4", "chunk_start": 0, "chunk_end": 10,
        "items": [
            {"start_time": 0.0, "end_time": 1.0, "response": "one"},
            {"start_time": 1.0, "end_time": 2.0, "response": "two"},
        ],
    }  # fmt: skip
    (run,) = read_runs(tmp_path)
    assert run.settings == SETTINGS
    assert run.pieces == {
        "a.mp4": [piece(0, "one", "two"), piece(10, "three")],
        "b.mp4": [piece(0, "four", video="b.mp4")],
    }


def test_part_of_a_line_is_left_out_and_spoils_no_other(tmp_path: Path) -> None:
    with RunLog(tmp_path, SETTINGS) as log:
        log.put(piece(0, "one"))
    with (tmp_path / "pieces.jsonl").open("ab") as file:
        file.write(b'{"video": "a.mp4", "chunk_st')
    with RunLog(tmp_path, SETTINGS) as log:
        assert log.pieces("a.mp4") == [piece(0, "one")]
        log.put(piece(10, "two"))
    run = read_spoken(tmp_path)
    assert run.pieces["a.mp4"] == [piece(0, "one"), piece(10, "two")]
    assert run.n_broken == 1


def test_a_run_with_other_settings_is_not_gone_on_with(tmp_path: Path) -> None:
    RunLog(tmp_path, SETTINGS).close()
    with pytest.raises(ConfigError, match="holds a run with seed 0, not 1; name another folder"):
        RunLog(tmp_path, {**SETTINGS, "seed": 1})


def test_a_run_is_made_by_one_process_at_a_time(log: RunLog) -> None:
    with pytest.raises(ConfigError, match="is being narrated by another process"):
        RunLog(log.folder, SETTINGS)
    log.close()
    RunLog(log.folder, SETTINGS).close()


def test_predictions_of_others_are_a_file(tmp_path: Path) -> None:
    rows = [
        {
            "video": "x/a.mp4",
            "chunk_start": 0,
            "chunk_end": 20,
            "items": [{"end_time": 12, "text": "said"}, {"text": "?"}],
        },
        {"video": "a.mp4", "chunk_start": 0, "chunk_end": 10, "items": []},
    ]
    (tmp_path / "merged_result.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run,) = read_runs(tmp_path / "merged_result.jsonl")
    assert run.name == "merged_result"
    assert run.pieces == {"a.mp4": [Piece("a.mp4", 0, 20, (Said(12.0, 12.0, "said"),))]}


def test_words_belong_to_the_segment_in_which_their_second_ends(tmp_path: Path, log: RunLog) -> None:
    ends = (10.0, 10.9, 11.0, 20.0, 20.9, 21.0)
    log.put(Piece("a.mp4", 0, 30, tuple(Said(end - 1, end, f"{end}") for end in ends)))
    text = read_spoken(tmp_path).text(Segment("a.mp4", 10, 20, ""))
    assert text.split() == ["11.0", "20.0", "20.9"]


def test_a_segment_is_covered_where_no_piece_of_it_is_missing(tmp_path: Path, log: RunLog) -> None:
    for start in (0, 10, 30):
        log.put(piece(start))
    run = read_spoken(tmp_path)
    covered = [start for start in (0, 5, 10, 15, 20, 30) if run.covers(Segment("a.mp4", start, start + 10, ""))]
    assert covered == [0, 5, 10, 30]
    assert not run.covers(Segment("other.mp4", 0, 10, ""))


def test_sessions_of_a_video_are_dropped_and_those_of_others_stay(log: RunLog) -> None:
    files = [log.state_file(*key) for key in (("a.mp4", 10), ("a.mp4", 20), ("a.mp4.mp4", 10))]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"")
    log.drop_states("a.mp4", but=files[1])
    assert [file.exists() for file in files] == [False, True, True]


def test_a_run_s_folder_has_a_name_that_can_be_typed() -> None:
    settings = {"model": "org/Model-7B", "policy": "hermes(a=1) at 16MiB", "mode": "infinite"}
    assert run_name(settings) == "org-Model-7B_hermes-a=1-at-16MiB_infinite"
    assert run_name({**settings, "mode": "chunk", "past": "own"}).endswith("_chunk-own")


@pytest.mark.parametrize("content", ["no json\n", '{"video": "a"}\n', "[]\n"])
def test_a_file_of_something_else_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.jsonl").write_text(content)
    with pytest.raises(TaskError, match="holds no predictions; expected lines of"):
        read_runs(tmp_path / "x.jsonl")
    with pytest.raises(TaskError, match="holds no run"):
        read_runs(tmp_path)
    with pytest.raises(TaskError, match="holds no run"):
        read_runs(tmp_path / "nowhere")
