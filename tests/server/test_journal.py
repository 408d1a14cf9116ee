"""The journal: what is written stays, what is forgotten is gone from the file."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.errors import ConfigError
from hermes_stream.sealing import open_sealed_bytes, seal_bytes
from hermes_stream.server.state.journal import Journal

TIMES = st.floats(0, 100, allow_nan=False)


def test_entries_come_back_in_order_with_what_they_hold(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    journal.add("a", "question", 1.5, {"question": "Was ist das? 🚲"})
    journal.add("b", "question", 2.0, {})
    journal.add("a", "answer", 1.5, {"answer": "ein Rad"})
    journal.close()
    again = Journal(tmp_path / "journal.sqlite")
    assert [(entry.kind, entry.data) for entry in again.entries("a")] == [
        ("question", {"question": "Was ist das? 🚲"}),
        ("answer", {"answer": "ein Rad"}),
    ]
    again.close()


def test_entries_are_chosen_by_number_kind_and_age() -> None:
    journal = Journal(None)
    numbers = [journal.add("a", "gap" if i % 2 else "alert", float(i), {"i": i}).number for i in range(10)]
    assert [e.data["i"] for e in journal.entries("a", after=numbers[6])] == [7, 8, 9]
    assert [e.data["i"] for e in journal.entries("a", kinds=["gap"])] == [1, 3, 5, 7, 9]
    assert [e.data["i"] for e in journal.entries("a", most=3)] == [0, 1, 2]
    assert [e.data["i"] for e in journal.entries("a", most=3, newest=True)] == [7, 8, 9]


@given(times=st.lists(st.none() | TIMES, max_size=20), start=TIMES, end=TIMES)
def test_forgetting_takes_the_range_and_nothing_else(times: list[float | None], start: float, end: float) -> None:
    journal = Journal(None)
    for index, time in enumerate(times):
        journal.add("a", "answer", time, {"index": index})
        journal.add("b", "answer", time, {})
    n_gone = journal.forget("a", start, end)
    expected = [index for index, time in enumerate(times) if time is None or not start <= time < end]
    assert [entry.data["index"] for entry in journal.entries("a")] == expected
    assert n_gone == len(times) - len(expected)
    assert len(journal.entries("b")) == len(times)
    journal.close()


def test_what_is_forgotten_is_in_no_file_any_more(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    journal.add("a", "answer", 5.0, {"answer": "a secret thing"})
    journal.add("a", "answer", 9.0, {"answer": "a harmless thing"})
    journal.forget("a", 4.0, 6.0)
    bytes_of_files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"secret" not in bytes_of_files
    journal.close()
    assert b"harmless" in (tmp_path / "journal.sqlite").read_bytes()


def test_contents_are_sealed_where_a_key_is_given(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", seal=lambda data: data[::-1], unseal=lambda data: data[::-1])
    journal.add("a", "answer", 1.0, {"answer": "readable"})
    journal.put("session", "a", "a", {"source": "rtsp://user:pass@camera"})
    assert journal.entries("a")[0].data == {"answer": "readable"}
    assert journal.records("session") == {"a": {"source": "rtsp://user:pass@camera"}}
    journal.close()
    raw = (tmp_path / "j").read_bytes()
    assert b"readable" not in raw
    assert b"pass@camera" not in raw


def test_records_are_replaced_listed_and_dropped_with_their_session() -> None:
    journal = Journal(None)
    journal.put("alert", "x", "a", {"n": 1})
    journal.put("alert", "x", "a", {"n": 2})
    journal.put("alert", "y", "b", {"n": 3})
    assert journal.records("alert", "a") == {"x": {"n": 2}}
    journal.add("a", "gap", None, {})
    journal.drop("a")
    assert journal.records("alert") == {"y": {"n": 3}}
    assert journal.entries("a") == []
    journal.remove("alert", "y")
    assert journal.records("alert") == {}


def test_another_file_and_a_newer_format_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("this is no database" * 100)
    with pytest.raises(ConfigError, match="no journal"):
        Journal(tmp_path / "text")
    database = sqlite3.connect(tmp_path / "newer")
    database.execute("PRAGMA user_version=99")
    database.close()
    with pytest.raises(ConfigError, match="format 99"):
        Journal(tmp_path / "newer")


def test_what_is_written_together_is_there_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    with journal.together():
        journal.add("a", "alert", 1.0, {"hit": 1})
        journal.put("alert", "x", "a", {"n": 1})
        assert journal.record("alert", "x") == {"n": 1}
    with pytest.raises(RuntimeError, match="in the middle"):
        fail_in_the_middle(journal)
    journal.close()
    again = Journal(tmp_path / "journal.sqlite")
    assert [entry.data["hit"] for entry in again.entries("a")] == [1]
    assert again.record("alert", "x") == {"n": 1}
    assert again.record("alert", "y") is None
    again.close()


def fail_in_the_middle(journal: Journal) -> None:
    with journal.together():
        journal.add("a", "alert", 2.0, {"hit": 2})
        journal.put("alert", "x", "a", {"n": 2})
        raise RuntimeError("in the middle")


def test_others_wait_for_what_is_written_together() -> None:
    journal = Journal(None)
    other = threading.Thread(target=journal.put, args=("alert", "x", "a", {"n": 2}))
    with journal.together():
        journal.put("alert", "x", "a", {"n": 1})
        other.start()
        other.join(0.1)
        assert other.is_alive()
        assert journal.record("alert", "x") == {"n": 1}
    other.join(10)
    assert journal.record("alert", "x") == {"n": 2}
    journal.close()


def test_a_journal_under_another_key_is_refused(tmp_path: Path) -> None:
    def sealed(key: bytes) -> Journal:
        return Journal(
            tmp_path / "j", seal=lambda data: seal_bytes(data, key), unseal=lambda data: open_sealed_bytes(data, key)
        )

    journal = sealed(b"1" * 32)
    journal.put("session", "a", "a", {})
    journal.close()
    with pytest.raises(ConfigError, match="another key"):
        sealed(b"2" * 32)
    with pytest.raises(ConfigError, match="another key"):
        Journal(tmp_path / "j")
    sealed(b"1" * 32).close()


_DATA = st.dictionaries(st.sampled_from(["answer", "id"]), st.text(max_size=5), max_size=2)


@settings(deadline=None)
@given(st.lists(st.tuples(st.none() | TIMES, _DATA), max_size=12), st.sets(st.integers(0, 30), max_size=12))
def test_a_session_moves_to_another_journal_whose_numbers_it_may_have(
    moved: list[tuple[float | None, dict[str, str]]], taken: set[int]
) -> None:
    one, two = Journal(None, is_shared=True), Journal(None, is_shared=True)
    for time, data in moved:
        one.add("a", "answer", time, data)
    one.put("dialogue", "a/d", "a", {"turns": []})
    exported = one.export("a")
    # Numbers close together, some of which entries of another session have there.
    for index, row in enumerate(exported["entries"]):
        row[0] = 2 * index
    there = {"entries": [[number, "gap", None, 0.0, {}] for number in sorted(taken)], "records": []}
    two.take_in("b", there)
    two.add("a", "old", 0.0, {})
    two.take_in("a", exported)
    entries = two.entries("a", most=100)
    assert [(entry.kind, entry.time_seconds, entry.data) for entry in entries] == [
        ("answer", time, data) for time, data in moved
    ]
    numbers = [entry.number for entry in entries]
    assert numbers == sorted(set(numbers))
    assert two.records("dialogue", "a") == {"a/d": {"turns": []}}
    assert len(two.entries("b", most=100)) == len(taken)
    last = two.add("a", "answer", 1.0, {}).number
    assert last > max(numbers, default=0)
    one.close()
    two.close()
