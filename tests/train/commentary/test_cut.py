"""The cutter: chunks with overlap, and dense clips, out of long videos."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.errors import ConfigError
from hermes_stream.shapestream import make_script, write_episode
from hermes_stream.train.commentary.cut import Cut, DenseCut, Transcript, cut, cut_dense, read_transcripts
from hermes_stream.train.commentary.cutting import cut_file
from hermes_stream.train.commentary.records import AskedMidway, RecordFile
from hermes_stream.types import TimedWord
from tests.oracles.commentary_chunks import longest_pause, words_within


def _spoken(gaps_and_lengths: list[tuple[float, float]]) -> tuple[TimedWord, ...]:
    words, time = [], 0.0
    for index, (gap, length) in enumerate(gaps_and_lengths):
        words.append(TimedWord(time + gap, time + gap + length, f"w{index}"))
        time += gap + length
    return tuple(words)


_WORDS = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.5, 2.0, 5.0]), st.sampled_from([0.0, 0.25, 0.5])), max_size=80)


@given(_WORDS.map(_spoken), st.integers(1, 9), st.data())
@settings(max_examples=150, deadline=None)
def test_every_chunk_has_the_words_that_end_in_it_and_all_earlier_ones_as_previous_text(
    words: tuple[TimedWord, ...], chunk: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(0, chunk - 1))
    records = list(cut(Transcript("a.mp4", words), 60.5, Cut(chunk, overlap, least_words=0)))
    assert [record.start_seconds for record in records] == list(range(0, 61 - chunk, chunk - overlap))
    for record in records:
        start, end = record.start_seconds, record.start_seconds + chunk
        assert record.end_seconds == end
        # What ends exactly at 0 has no second of its own; it was said before.
        assert [word.text for word in record.words] == words_within(words, start, end)
        assert record.previous.split() == words_within(words, -1.0, start)


def test_the_paper_s_chunks_are_24_s_every_12_s_with_48_words_at_least() -> None:
    words = tuple(TimedWord(index / 2, index / 2 + 0.5, "w") for index in range(2 * 48))
    starts = [record.start_seconds for record in cut(Transcript("a.mp4", words), 72.0, Cut())]
    assert starts == [0.0, 12.0, 24.0]


def test_a_question_belongs_to_the_chunks_in_which_it_is_asked() -> None:
    asked = (AskedMidway("1", 12.0, "Who?", "He"), AskedMidway("2", 12.5, "Where?", "There"))
    records = list(cut(Transcript("a.mp4", (), asked=asked), 36.0, Cut(24, 12, 0)))
    assert [[item.name for item in record.asked] for record in records] == [["1", "2"], ["2"]]


@given(_WORDS.map(_spoken))
@settings(max_examples=150, deadline=None)
def test_dense_clips_lie_apart_and_have_no_longer_pause_and_words_enough(words: tuple[TimedWord, ...]) -> None:
    how = DenseCut(2, 6, 1.5, 1.0)
    records = list(cut_dense(Transcript("a.mp4", words), 100.0, how))
    for earlier, later in pairwise(records):
        assert earlier.end_seconds <= later.start_seconds
    for record in records:
        seconds = record.end_seconds - record.start_seconds
        assert 2 <= seconds <= 6
        assert len(record.words) >= seconds
        assert longest_pause(record.words) <= 1.5
        assert record.previous.split() == words_within(words, -1.0, record.start_seconds)


def test_speech_without_a_pause_is_cut_to_the_longest_clips() -> None:
    words = tuple(TimedWord(index / 2, index / 2 + 0.5, "w") for index in range(300))
    spans = [(r.start_seconds, r.end_seconds) for r in cut_dense(Transcript("a.mp4", words), 150.0, DenseCut())]
    assert spans == [(0.0, 64.0), (64.0, 128.0), (128.0, 150.0)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([(1.0, 2.0, "a"), (1.5, 3.0, "b")], "sort the transcript and part words that overlap"),
        ([(4.0, 5.0, "a"), (1.0, 2.0, "b")], "sort the transcript"),
        ([(4.0, 3.0, "a")], "before it begins"),
    ],
)
def test_words_that_overlap_or_are_out_of_order_are_refused(
    words: list[tuple[float, float, str]], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Transcript("a.mp4", tuple(TimedWord(*word) for word in words))


def test_questions_out_of_order_are_refused() -> None:
    with pytest.raises(ConfigError, match="questions are out of order"):
        Transcript("a.mp4", (), asked=(AskedMidway("1", 9.0, "q", "a"), AskedMidway("2", 2.0, "q", "a")))


def test_a_video_that_is_shorter_than_a_chunk_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"a\.mp4 has 20 s, a chunk 24 s"):
        list(cut(Transcript("a.mp4", ()), 20.0, Cut()))


@pytest.mark.parametrize("overlap", [24, -1, 30])
def test_an_overlap_that_cannot_be_is_refused(overlap: int) -> None:
    with pytest.raises(ConfigError, match="overlap"):
        Cut(24, overlap)


@pytest.mark.parametrize("settings_", [{"least_seconds": 0}, {"most_seconds": 3}, {"silence_seconds": 0.5}])
def test_dense_clips_that_cannot_be_are_refused(settings_: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="cannot be cut"):
        DenseCut(**settings_)


@pytest.mark.parametrize("line", ["{", '{"video": "a.mp4"}', '{"video": "a", "content": [[1, 2]]}', "[]"])
def test_a_line_that_is_no_transcript_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "transcripts.jsonl"
    path.write_text(json.dumps({"video": "a.mp4", "content": [[0, 1, "hi"]]}) + "\n" + line + "\n")
    with pytest.raises(ConfigError, match=r"transcripts\.jsonl, line 2: not a transcript"):
        list(read_transcripts(path))


def test_videos_that_are_missing_or_too_short_are_left_out_and_said_and_the_others_cut(tmp_path: Path) -> None:
    for name, seconds in (("long", 9.0), ("short", 2.0)):
        write_episode(make_script(3, seconds), tmp_path / f"{name}.mp4", fps=4, width=64, height=48)
    rows = [{"video": f"{name}.mp4", "content": [[0.2, 0.6, "go"]]} for name in ("short", "gone", "long")]
    transcripts = tmp_path / "transcripts.jsonl"
    transcripts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = cut_file(transcripts, tmp_path, tmp_path / "chunks", Cut(4, 2, 0))
    assert (report.n_videos, report.n_records) == (3, 3)
    assert "short.mp4 has 2 s" in report.left_out[0]
    assert "gone.mp4" in report.left_out[1]
    assert {record.video for record in RecordFile(tmp_path / "chunks")} == {"long.mp4"}
