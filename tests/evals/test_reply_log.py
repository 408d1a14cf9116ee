"""Replies as lines: whole or not there, never twice, and nobody writes into another's file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hermes_stream.errors import ConfigError
from hermes_stream.evals.item import Reply
from hermes_stream.evals.reply_log import Held, ReplyLog, Shard, count_replies, read_replies, reply_line

REPLY = Reply(
    key="q#1:part", text="blau – “B”\n", time_seconds=2.5, probabilities={"A": 0.25, "B": 0.75}, flags=("odd",)
)
FILE = "replies.jsonl"


def put(folder: Path, *replies: Reply, entry: str = "hermes at 64", shard: Shard | None = None) -> None:
    with ReplyLog(folder, shard or Shard()) as log:
        log.put(reply_line(entry, reply, None) for reply in replies)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    failed = Reply(key="r", error="ValueError: no")
    put(tmp_path, REPLY, failed)
    replies = read_replies(tmp_path)
    assert replies.by_entry == {"hermes at 64": {"q#1:part": REPLY, "r": failed}}
    assert replies.answered("hermes at 64") == {"q#1:part": REPLY}
    assert count_replies(tmp_path) == 2


@pytest.mark.parametrize("n_torn", range(1, 90, 11))
def test_a_torn_last_line_is_no_reply_and_goes_when_writing_goes_on(tmp_path: Path, n_torn: int) -> None:
    put(tmp_path, REPLY, Reply(key="second", text="x" * 60))
    path = tmp_path / FILE
    path.write_bytes(path.read_bytes()[:-n_torn])
    assert set(read_replies(tmp_path).by_entry["hermes at 64"]) == {"q#1:part"}
    put(tmp_path, Reply(key="third", text="y"))
    assert set(read_replies(tmp_path).by_entry["hermes at 64"]) == {"q#1:part", "third"}
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == ["q#1:part", "third"]


def test_lines_are_there_as_soon_as_they_are_put(tmp_path: Path) -> None:
    with ReplyLog(tmp_path, Shard()) as log:
        log.put([reply_line("e", REPLY, None)])
        assert read_replies(tmp_path).by_entry["e"] == {REPLY.key: REPLY}


def test_an_error_gives_way_to_an_answer_and_an_answer_to_nothing(tmp_path: Path) -> None:
    put(tmp_path, Reply(key="a", error="E"), Reply(key="a", text="first"), Reply(key="a", text="second"))
    assert read_replies(tmp_path).by_entry["hermes at 64"]["a"].text == "first"


def test_the_most_that_a_question_found_is_kept(tmp_path: Path) -> None:
    few, many = Held((4, 4), 10, 0), Held((9, 4), 20, 5)
    with ReplyLog(tmp_path, Shard()) as log:
        log.put([reply_line("e", REPLY, many), reply_line("e", Reply(key="b"), few)])
    assert read_replies(tmp_path).held == {"e": many}


def test_shards_write_files_of_their_own_and_are_read_together(tmp_path: Path) -> None:
    for index in range(2):
        put(tmp_path, Reply(key=f"k{index}", text="t"), shard=Shard(index, 2))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["replies-0-of-2.jsonl", "replies-1-of-2.jsonl"]
    assert set(read_replies(tmp_path).by_entry["hermes at 64"]) == {"k0", "k1"}


def test_a_file_that_is_being_written_is_refused(tmp_path: Path) -> None:
    with ReplyLog(tmp_path, Shard()), pytest.raises(ConfigError, match="is being written by another run"):
        ReplyLog(tmp_path, Shard())


@pytest.mark.parametrize("line", ["no json", "{}", "[1]", '{"entry": "e"}'])
def test_a_line_that_is_no_reply_is_named(tmp_path: Path, line: str) -> None:
    put(tmp_path, REPLY)
    with (tmp_path / FILE).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ConfigError, match=r"replies\.jsonl, line 2 is no reply"):
        read_replies(tmp_path)


def test_every_video_is_in_one_shard() -> None:
    shards = [Shard.parse(f"{index}/3") for index in range(3)]
    assert [[shard.has(video) for shard in shards].count(True) for video in range(10)] == [1] * 10


@pytest.mark.parametrize("text", ["", "1", "4/4", "a/b", "-1/2", "0/0", "1/2/3"])
def test_other_shards_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--shard is"):
        Shard.parse(text)
