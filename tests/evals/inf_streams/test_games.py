"""The published files: what is read, what is put right, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hermes_stream.errors import ConfigError, TaskError
from hermes_stream.evals.inf_streams.games import Cut, InfStreams, load_inf_streams
from tests.evals.inf_streams.published import write_lines

CUT = Cut(start_seconds=10, segment_seconds=10, min_words=3)
WORDS = [[second, second + 0.9, f"w{second}"] for second in range(31)]


def load(folder: Path, content: Any, clips: list[dict[str, Any]] | None = None) -> InfStreams:
    write_lines(folder / "eval_all_metadata.jsonl", [{"video": "a.mp4", "content": content}])
    (folder / "a.mp4").write_bytes(b"not empty")
    if clips is not None:
        write_lines(folder / "temp_score_clips.jsonl", clips)
    return load_inf_streams(folder, CUT)


def test_segments_of_equal_length_are_cut_from_the_transcript(tmp_path: Path) -> None:
    loaded = load(tmp_path, WORDS)
    assert [(each.start_seconds, each.end_seconds) for each in loaded.segments] == [(10, 20), (20, 30)]
    assert loaded.segments[0].reference.split() == [f"w{second}" for second in range(10, 20)]
    assert loaded.games[0].said_before(10).split() == [f"w{second}" for second in range(10)]
    assert loaded.problems == ()


def test_segments_with_few_words_are_not_scored(tmp_path: Path) -> None:
    loaded = load(tmp_path, [*WORDS[:22], WORDS[-1]])
    assert [each.start_seconds for each in loaded.segments] == [10]


def test_the_benchmark_s_own_segments_are_scored_as_they_are(tmp_path: Path) -> None:
    clips = [
        {
            "video": "x/a.mp4",
            "title": "Final",
            "content": [[11.4, 12, "he runs"], [15, 19.8, "he scores"]],
            "preasr": "",
        },
        {"video": "a.mp4", "title": "Final, again", "content": [[11, 12, "first"], [15, 19, "second"]]},
    ]
    (segment,) = load(tmp_path, WORDS, clips).segments
    assert (segment.video, segment.title, segment.start_seconds, segment.end_seconds) == (
        "a.mp4",
        "Final, again",
        11,
        19,
    )
    assert segment.reference == "first\nsecond"


def test_turned_and_unordered_times_are_put_right_and_noted(tmp_path: Path) -> None:
    broken = [[word[1], word[0], word[2]] if index == 12 else word for index, word in enumerate(WORDS)]
    broken[3], broken[4] = broken[4], broken[3]
    loaded = load(tmp_path, broken)
    assert loaded.segments == load(tmp_path, WORDS).segments
    assert [problem.kind for problem in loaded.problems] == ["repaired", "repaired"]
    assert "1 of 31 words end before they start" in loaded.problems[0].message
    assert "sorted" in loaded.problems[1].message


def test_words_that_overlap_are_fine(tmp_path: Path) -> None:
    assert load(tmp_path, [[start, end + 1, word] for start, end, word in WORDS]).problems == ()


@pytest.mark.parametrize(
    "content", [None, [], "text", [[1, 2]], [["1", 2, "a"]], [[1, float("nan"), "a"]], [[-1, 2, "a"]]]
)
def test_a_transcript_that_is_none_is_named(tmp_path: Path, content: Any) -> None:
    with pytest.raises(TaskError, match=r"0 videos and 0 segments.*metadata\.jsonl, record 0: has.*--start") as caught:
        load(tmp_path, content)
    assert "\n" not in str(caught.value)


def test_a_clip_without_length_is_left_out(tmp_path: Path) -> None:
    good = {"video": "a.mp4", "content": [[10, 20, "good"]]}
    loaded = load(tmp_path, WORDS, [good, {"video": "a.mp4", "content": [[10.1, 10.3, "short"]]}])
    assert len(loaded.segments) == 1
    assert "expected a segment of a second or more" in str(loaded.problems[0])


def test_a_missing_video_and_a_second_line_about_one_are_noted(tmp_path: Path) -> None:
    rows = [{"video": "here.mp4", "content": WORDS}, {"video": "sub/here.mp4", "content": WORDS}]
    write_lines(tmp_path / "eval_all_metadata.jsonl", [*rows, {"video": "/far/away.mp4", "content": WORDS}])
    (tmp_path / "here.mp4").write_bytes(b"not empty")
    loaded = load_inf_streams(tmp_path, CUT)
    assert [game.name for game in loaded.games] == ["here.mp4", "away.mp4"]
    assert [problem.kind for problem in loaded.problems] == ["duplicate", "missing-video"]


def test_no_folder_and_no_file_are_one_line(tmp_path: Path) -> None:
    for folder, message in ((tmp_path / "nowhere", "is no folder"), (tmp_path, "holds no Inf-Streams-Eval")):
        with pytest.raises(TaskError, match=message):
            load_inf_streams(folder, CUT)


@pytest.mark.parametrize("given", [(-1, 10, 1), (0, 0, 1), (0, 10, -1)])
def test_a_cut_that_cannot_be_is_refused(given: tuple[int, int, int]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        Cut(*given)
