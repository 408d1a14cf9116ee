"""Rows of a run against the definitions, computed from the published files alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hermes_stream.errors import TaskError
from hermes_stream.evals.inf_streams.duel import Prompt
from hermes_stream.evals.inf_streams.games import Cut, InfStreams, Segment, load_inf_streams
from hermes_stream.evals.inf_streams.instruction import published_instruction
from hermes_stream.evals.inf_streams.report import fifth_of, overlap_row, pairs_of
from hermes_stream.evals.inf_streams.spoken import Spoken, read_spoken
from tests.evals.inf_streams.published import NAMES, write_lines
from tests.oracles import commentary_oracle

CUT = Cut(0, 10, 1)
REFERENCE = "he runs he shoots and the ball is in the net now".split()  # noqa: SIM905
SAID = "now he runs he shoots and the ball is far off".split()  # noqa: SIM905


@pytest.fixture
def data(tmp_path: Path) -> InfStreams:
    """Two videos of 20 s, without pictures: 2 segments each."""
    words = [[2.0 * n, 2.0 * n + 1, " ".join(REFERENCE[n : n + 3])] for n in range(10)]
    write_lines(tmp_path / "eval_all_metadata.jsonl", [{"video": name, "content": words} for name in NAMES])
    return load_inf_streams(tmp_path, CUT)


def spoken(tmp_path: Path, first_end: int = 20, n_said: int = 10) -> Spoken:
    """Whoever says a word every 2 s about the first video."""
    items = [{"start_time": 2 * n, "end_time": 2 * n + 1, "response": SAID[n]} for n in range(n_said)]
    path = tmp_path / "said.jsonl"
    write_lines(path, [{"video": NAMES[0], "chunk_start": 0, "chunk_end": first_end, "items": items}])
    return read_spoken(path)


def test_overlap_is_counted_over_the_segments_that_were_watched(tmp_path: Path, data: InfStreams) -> None:
    row = overlap_row(spoken(tmp_path), data)
    wanted = [
        (SAID[first : first + 5], [word for n in range(first, first + 5) for word in REFERENCE[n : n + 3]])
        for first in (0, 5)
    ]
    rouge = [commentary_oracle.rouge_l(*pair) for pair in wanted]
    assert row["rouge_l"]["mean"] == pytest.approx(sum(rouge) / 2, abs=1e-4)
    assert row["bleu"]["mean"] == pytest.approx(commentary_oracle.bleu(wanted), abs=1e-4)
    assert (row["segments"], row["n_uncovered"], row["n_silent"]) == (2, 2, 0)
    assert row["words_per_minute"] == pytest.approx(10 / (19 / 60), abs=0.05)


def test_a_silent_run_shares_nothing_and_is_counted(tmp_path: Path, data: InfStreams) -> None:
    row = overlap_row(spoken(tmp_path, n_said=0), data)
    assert (row["rouge_l"]["mean"], row["bleu"]["mean"], row["n_silent"], row["words_per_minute"]) == (0, 0, 2, 0)


def test_a_run_that_watched_no_segment_has_no_numbers(tmp_path: Path, data: InfStreams) -> None:
    row = overlap_row(spoken(tmp_path, first_end=5), data)
    assert (row["segments"], row["rouge_l"], row["bleu"], row["words_per_minute"]) == (0, None, None, None)


def test_pairs_are_of_segments_that_both_watched(tmp_path: Path, data: InfStreams) -> None:
    run, half = spoken(tmp_path), spoken(tmp_path, first_end=10)
    assert [pair.segment.start_seconds for pair in pairs_of(run, half, data)] == [0]
    assert pairs_of(run, half, data)[0].mine == " ".join(SAID[:5])


def test_fifths_are_of_a_video_s_own_time() -> None:
    segments = [Segment("a", start, start + 10, "") for start in range(100, 200, 10)] + [Segment("b", 0, 10, "")]
    data = InfStreams((), tuple(segments), (), "")
    assert [fifth_of(segment, data) for segment in segments] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 1]


def test_prompts_come_from_a_copy_of_the_repository(tmp_path: Path) -> None:
    folder = tmp_path / "streaming_vlm" / "eval" / "model_compete"
    folder.mkdir(parents=True)
    with pytest.raises(TaskError, match="--prompts names a copy"):
        Prompt.published(tmp_path)
    (folder / "judge.py").write_text('SYS_PROMPT = ("""Judge.""")\nUSER_TEMPLATE = (\n"{reference}|"\n"{A}|{B}")\n')
    (folder / "generate.sh").write_text('QUERY="first"\nQUERY="Say what you see,\nas it happens."\nDEVICE_NUM=8\n')
    assert Prompt.published(tmp_path).messages("truth", "one", "two") == (
        ("system", "Judge."),
        ("user", "truth|one|two"),
    )
    assert published_instruction(tmp_path) == "Say what you see,\nas it happens."
    (folder / "generate.sh").write_text("DEVICE_NUM=8\n")
    with pytest.raises(TaskError, match="sets no QUERY"):
        published_instruction(tmp_path)


def test_rows_are_json(tmp_path: Path, data: InfStreams) -> None:
    row = overlap_row(spoken(tmp_path), data)
    assert json.loads(json.dumps(row))["rouge_l_by_fifth"].keys() == {"1", "3"}
