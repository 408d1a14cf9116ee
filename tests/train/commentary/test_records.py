"""The published format, read a line at a time."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.errors import ConfigError
from hermes_stream.train.commentary.records import AskedMidway, Record, RecordFile, write_records
from hermes_stream.types import TimedWord

_TIMES = st.floats(0, 1e4, allow_nan=False).map(lambda time: round(time, 3))
_WORD = st.builds(TimedWord, _TIMES, _TIMES, st.text(min_size=1, max_size=8))
_ASKED = st.builds(AskedMidway, st.text(max_size=4), _TIMES, st.text(max_size=8), st.text(max_size=8))
_RECORD = st.builds(
    Record,
    video=st.text(min_size=1, max_size=12),
    start_seconds=_TIMES,
    end_seconds=_TIMES,
    words=st.lists(_WORD, max_size=4).map(tuple),
    query=st.text(max_size=12),
    previous=st.text(max_size=12),
    asked=st.lists(_ASKED, max_size=2).map(tuple),
    title=st.text(max_size=5),
    category=st.text(max_size=5),
)

# As published, but for its length.
_PUBLISHED = (
    '[{"role": "user", "content": [{"type": "video", "video": "rel/path.mp4", "video_start": 30.0, "video_end": 54.0},'
    ' {"type": "text", "text": "Commentate.", "previous": "kick off", "title": "A game", "category": "soccer"}]},'
    ' {"role": "assistant", "content": [{"type": "text_stream", "text_stream": [[30.10, 30.32, "okay"]]}]}]'
)


@given(_RECORD)
@settings(max_examples=200, deadline=None)
def test_a_record_is_read_as_it_was_written(record: Record) -> None:
    assert Record.from_line(record.to_line()) == record


def test_a_published_line_is_read() -> None:
    record = Record.from_line(_PUBLISHED)
    assert record == Record(
        "rel/path.mp4",
        30.0,
        54.0,
        (TimedWord(30.1, 30.32, "okay"),),
        query="Commentate.",
        previous="kick off",
        title="A game",
        category="soccer",
    )


def _some(n: int) -> list[Record]:
    return [Record(f"{index}.mp4", index, index + 24.0, (), previous="é" * index) for index in range(n)]


def test_records_are_found_by_their_offsets_without_reading_the_others(tmp_path: Path) -> None:
    assert write_records(tmp_path / "train", _some(5)) == 5
    path = tmp_path / "train_with_seeks.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    assert json.loads((tmp_path / "train_seeks.jsonl").read_text()) == [
        sum(map(len, lines[:index])) for index in range(5)
    ]
    # Whatever the second line holds, the fourth is read.
    lines[1] = b"x" * (len(lines[1]) - 1) + b"\n"
    path.write_bytes(b"".join(lines))
    file = RecordFile(path)
    assert file[3] == _some(5)[3]
    assert file[-1:] == _some(5)[-1:]
    with pytest.raises(ConfigError, match=r"train_with_seeks\.jsonl, record 1"):
        _ = file[1]


def test_a_missing_seek_file_is_made_up_for_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_records(tmp_path / "train", _some(3))
    (tmp_path / "train_seeks.jsonl").unlink()
    with caplog.at_level(logging.WARNING, "hermes_stream"):
        assert list(RecordFile(tmp_path / "train")) == _some(3)
    assert "train_seeks.jsonl is missing" in caplog.text


@pytest.mark.parametrize("text", ["[0, 7]", "[0, 100000]", "{", '["a"]', "3"])
def test_a_seek_file_of_other_lines_is_refused(tmp_path: Path, text: str) -> None:
    write_records(tmp_path / "train", _some(3))
    (tmp_path / "train_seeks.jsonl").write_text(text)
    with pytest.raises(ConfigError, match="delete it"):
        RecordFile(tmp_path / "train")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file of records"):
        RecordFile(tmp_path / "train")


def test_what_fails_midway_leaves_the_old_file_as_it_was(tmp_path: Path) -> None:
    write_records(tmp_path / "train", _some(2))

    def failing() -> Iterator[Record]:
        yield _some(1)[0]
        raise ConfigError("line 2")

    with pytest.raises(ConfigError, match="line 2"):
        write_records(tmp_path / "train", failing())
    assert list(RecordFile(tmp_path / "train")) == _some(2)


@pytest.mark.parametrize("line", ["[]", "{", "[1, 2]", '[{"content": []}, {"content": []}]'])
def test_a_line_that_is_no_record_is_quoted(line: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read") as raised:
        Record.from_line(line)
    assert line[:10] in str(raised.value)
