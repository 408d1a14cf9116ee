"""A judge behind an endpoint, asked over real HTTP by the real client: verdicts, kept answers, failures."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hermes_stream.errors import TaskError
from hermes_stream.evals.judges import open_asker, open_judge, open_named_judge
from hermes_stream.evals.judges.endpoint import Endpoint, EndpointSetting, key_of
from hermes_stream.evals.judges.judging import Case, Judged, judge_all
from hermes_stream.evals.judges.open_answer import OpenAnswerJudge, read_verdict
from tests.evals.judges.chat_server import ChatServer, chat_server

CASES = [Case(f"q{n}", f"What is number {n}?", f"thing {n}", f"thing {n % 2}") for n in range(12)]


def fair(prompt: str) -> str:
    """Yes where the two answers in the prompt are the same line."""
    gold, said = (line.partition(": ")[2] for line in prompt.splitlines()[1:3])
    return f'{{"pred": "{"yes" if gold == said else "no"}", "score": {5 if gold == said else 0}}}'


def setting(server: ChatServer, **changes: Any) -> EndpointSetting:
    return replace(EndpointSetting(base_url=server.url, model="judge", n_retries=0), **changes)


def judge_with(server: ChatServer, kept: Path, cases: Sequence[Case] = CASES, **changes: Any) -> Judged:
    with open_judge(setting(server, **changes), kept) as judge:
        return judge_all(judge, cases, n_at_once=1)


def test_a_model_judges(tmp_path: Path) -> None:
    with chat_server(fair) as server:
        judged = judge_with(server, tmp_path / "kept.jsonl")
    assert {key for key, verdict in judged.verdicts.items() if verdict.is_right} == {"q0", "q1"}
    assert {verdict.score for verdict in judged.verdicts.values()} == {0.0, 5.0}
    assert (judged.not_judged, judged.error, judged.n_unreadable) == ((), None, 0)


def test_question_truth_and_answer_are_shown_with_pinned_decoding(tmp_path: Path) -> None:
    with chat_server(fair) as server:
        judge_with(server, tmp_path / "kept.jsonl", CASES[3:4], seed=7)
        (request,) = server.requests
    assert {name: request[name] for name in ("model", "temperature", "seed")} == {
        "model": "judge", "temperature": 0.0, "seed": 7,
    }  # fmt: skip
    assert all(text in request["messages"][-1]["content"] for text in ("What is number 3?", "thing 3", "thing 1"))


def test_what_an_endpoint_refuses_is_not_sent(tmp_path: Path) -> None:
    with chat_server(fair) as server:
        judge_with(server, tmp_path / "kept.jsonl", CASES[:1], seed=None, temperature=None)
        (request,) = server.requests
    assert not {"seed", "temperature"} & request.keys()


def test_the_key_comes_from_the_environment_and_is_kept_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", "secret-of-mine")
    kept = tmp_path / "kept.jsonl"
    with chat_server(fair) as server:
        mine = setting(server, key_variable="JUDGE_KEY")
        with open_judge(mine, kept) as judge:
            judge_all(judge, CASES[:1])
            assert "secret" not in str(judge.manifest)
    assert server.keys == ["Bearer secret-of-mine"]
    assert "secret" not in kept.read_text()


def test_what_was_answered_is_not_asked_again(tmp_path: Path) -> None:
    kept = tmp_path / "folder" / "kept.jsonl"
    with chat_server(fair) as server:
        first = judge_with(server, kept)
        n_asked = len(server.requests)
        assert judge_with(server, kept) == first
        assert len(server.requests) == n_asked == len(CASES)


def test_kept_answers_need_no_endpoint(tmp_path: Path) -> None:
    kept = tmp_path / "kept.jsonl"
    with chat_server(fair) as server:
        first = judge_with(server, kept)
    assert judge_with(server, kept) == first


@pytest.mark.parametrize("change", [{"model": "other"}, {"revision": "v2"}, {"temperature": 0.5}, {"seed": 1}])
def test_another_judge_is_asked_anew(tmp_path: Path, change: dict[str, Any]) -> None:
    kept = tmp_path / "kept.jsonl"
    with chat_server(fair) as server:
        judge_with(server, kept, CASES[:2])
        judge_with(server, kept, CASES[:2], **change)
        assert len(server.requests) == 4


def test_another_prompt_is_another_judge(tmp_path: Path) -> None:
    with chat_server(fair) as server, open_asker(setting(server), tmp_path / "kept.jsonl") as asker:
        usual, other = OpenAnswerJudge(asker), OpenAnswerJudge(asker, template="{question}{gold}{prediction}")
        assert usual.manifest["prompt_sha256"] != other.manifest["prompt_sha256"]
        assert usual.cache_key("a", "b", "c") != other.cache_key("a", "b", "c")


def test_texts_do_not_run_into_each_other() -> None:
    mine = EndpointSetting(base_url="http://localhost/v1", model="judge")
    assert key_of(mine, [("user", "ab"), ("user", "c")]) != key_of(mine, [("user", "a"), ("user", "bc")])


def test_the_manifest_says_who_judged(tmp_path: Path) -> None:
    with chat_server(fair) as server, open_judge(setting(server, revision="abc"), tmp_path / "kept.jsonl") as judge:
        judge_all(judge, CASES[:1])
        manifest = judge.manifest
    assert manifest["model"] == "judge"
    assert manifest["revision"] == "abc"
    assert manifest["served_model"] == "judge-2026-01-01"
    assert manifest["temperature"] == "0.0"
    assert len(manifest["prompt_sha256"]) == 64
    assert manifest["host"].startswith("127.0.0.1:")


def failing_after(n_answers: int, status: int) -> Callable[[str], str | int]:
    n_asked = 0

    def answer(prompt: str) -> str | int:
        nonlocal n_asked
        n_asked += 1
        return fair(prompt) if n_asked <= n_answers else status

    return answer


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
def test_a_judge_that_fails_halfway_loses_nothing(tmp_path: Path, status: int) -> None:
    kept = tmp_path / "kept.jsonl"
    with chat_server(failing_after(5, status)) as server:
        half = judge_with(server, kept)
        assert list(half.verdicts) == [f"q{n}" for n in range(5)]
        assert half.not_judged == tuple(f"q{n}" for n in range(5, 12))
        assert half.error is not None
        assert "\n" not in half.error
        assert str(status) in half.error
        assert len(server.requests) == 6, "a judge that failed is not asked on"
        server.answer = fair
        whole = judge_with(server, kept)
        assert len(server.requests) == 6 + 7
    assert whole.not_judged == ()
    assert dict(whole.verdicts) | dict(half.verdicts) == dict(whole.verdicts)


def test_one_request_that_is_refused_does_not_stop_the_others(tmp_path: Path) -> None:
    with chat_server(lambda prompt: 400 if "number 3" in prompt else fair(prompt)) as server:
        judged = judge_with(server, tmp_path / "kept.jsonl")
    assert judged.not_judged == ("q3",)
    assert len(judged.verdicts) == 11
    assert "refused a request with status 400" in str(judged.error)


def test_an_unreachable_judge_is_one_clear_line(tmp_path: Path) -> None:
    with chat_server(fair) as server:
        mine = setting(server)
    with open_judge(mine, tmp_path / "kept.jsonl") as judge:
        with pytest.raises(
            TaskError, match=r"the judge judge at 127\.0\.0\.1:\d+ cannot be asked .*start it"
        ) as caught:
            judge.judge("a", "b", "c")
        assert "\n" not in str(caught.value)
        judged = judge_all(judge, CASES)
    assert len(judged.not_judged) == len(CASES)


@pytest.mark.parametrize("body", [b"<html>busy</html>", b"{}", b'{"choices": []}', b"[]", b"", b"null"])
def test_what_is_no_reply_is_a_failure(tmp_path: Path, body: bytes) -> None:
    """As of a proxy that answers in the endpoint's place."""
    with chat_server(lambda prompt: body) as server:
        judged = judge_with(server, tmp_path / "kept.jsonl")
    assert len(judged.not_judged) == len(CASES)
    assert "cannot be asked" in str(judged.error)
    assert (tmp_path / "kept.jsonl").read_bytes() == b""


def test_a_judge_that_takes_too_long_fails(tmp_path: Path) -> None:
    is_over = threading.Event()

    def slow(prompt: str) -> str:
        is_over.wait(10)
        return fair(prompt)

    with chat_server(slow) as server:
        judged = judge_with(server, tmp_path / "kept.jsonl", CASES[:2], timeout_seconds=0.2)
        is_over.set()
    assert judged.not_judged == ("q0", "q1")
    assert "timed out" in str(judged.error)


def test_a_full_disk_is_told_and_no_verdict_is_lost_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    n_written, write = 0, os.write

    def full_after_two(file: int, content: bytes) -> int:
        nonlocal n_written
        n_written += b'"key"' in content
        if n_written > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, content)

    kept = tmp_path / "kept.jsonl"
    with chat_server(fair) as server:
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full_after_two)
            half = judge_with(server, kept, CASES[:4])
        assert list(half.verdicts) == ["q0", "q1"]
        assert "No space left" in str(half.error)
        n_asked = len(server.requests)
        assert len(judge_with(server, kept, CASES[:4]).verdicts) == 4
        assert len(server.requests) == n_asked + 2


def test_without_the_client_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(TaskError, match=r"pip install 'hermes-stream\[judge\]'"):
        Endpoint(EndpointSetting(base_url="http://localhost/v1", model="judge"))


def test_the_documentation_s_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docs = Path(__file__).parents[3] / "docs" / "benchmarks.md"
    blocks = re.findall(r"```python\n(.*?)```", docs.read_text(encoding="utf-8"), re.DOTALL)
    (code,) = [block for block in blocks if "open_judge" in block]
    assert "http://localhost:8000/v1" in code
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    with chat_server(lambda prompt: '{"pred": "yes", "score": 4}') as server:
        exec(compile(code.replace("http://localhost:8000/v1", server.url), "benchmarks.md", "exec"), names)
    assert names["judged"].verdicts["q1"].score == 4


def test_errors_that_pass_are_tried_again(tmp_path: Path) -> None:
    n_asked = 0

    def shaky(prompt: str) -> str | int:
        nonlocal n_asked
        n_asked += 1
        return 503 if n_asked == 1 else fair(prompt)

    with chat_server(shaky) as server:
        judged = judge_with(server, tmp_path / "kept.jsonl", CASES[:1], n_retries=1)
    assert list(judged.verdicts) == ["q0"]


def test_part_of_a_line_spoils_neither_the_lines_before_nor_behind(tmp_path: Path) -> None:
    kept = tmp_path / "kept.jsonl"
    with chat_server(fair) as server:
        judge_with(server, kept, CASES[:3])
        kept.write_bytes(kept.read_bytes()[:-20])
        judge_with(server, kept, CASES[:5])
        assert len(server.requests) == 3 + 3
        judge_with(server, kept, CASES[:5])
        assert len(server.requests) == 3 + 3


_CHILD = """
import sys
from pathlib import Path
from hermes_stream.evals.judges import open_judge
from hermes_stream.evals.judges.endpoint import EndpointSetting
from hermes_stream.evals.judges.judging import Case, judge_all
with open_judge(EndpointSetting(base_url=sys.argv[1], model="judge", n_retries=0), Path(sys.argv[2])) as judge:
    judge_all(judge, [Case(f"q{n}", f"What is number {n}?", f"thing {n}", f"thing {n % 2}") for n in range(12)], 1)
"""


def test_a_killed_process_has_lost_nothing_that_was_answered(tmp_path: Path) -> None:
    kept, child = tmp_path / "kept.jsonl", None

    def kill_at_the_ninth(prompt: str) -> str:
        if "number 8" in prompt and child is not None:
            os.kill(child.pid, signal.SIGKILL)
        return fair(prompt)

    with chat_server(kill_at_the_ninth) as server:
        child = subprocess.Popen([sys.executable, "-c", _CHILD, server.url, str(kept)])
        assert child.wait(60) == -signal.SIGKILL
        child = None
        n_before = len(server.requests)
        judged = judge_with(server, kept)
        assert len(judged.verdicts) == 12
        assert (n_before, len(server.requests)) == (9, 9 + 4)


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with chat_server(fair) as server, pytest.raises(TaskError, match="name another file"):
        judge_with(server, tmp_path / "file" / "kept.jsonl")


@pytest.mark.parametrize("address", ["localhost:8000", "judge", "ftp://host/v1", "http:///v1"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(TaskError, match="is no address of a judge"):
        Endpoint(EndpointSetting(base_url=address, model="judge"))


@pytest.mark.parametrize(
    ("reply", "is_right", "score"),
    [
        ('{"pred": "yes", "score": 4}', True, 4.0),
        ("{'pred': 'no', 'score': 0}", False, 0.0),
        ('Sure:\n```json\n{"pred": "Yes", "score": "3"}\n```', True, 3.0),
        ('{"pred": "no", "score": null}', False, None),
        ('{"pred": "yes", "score": 11}', True, None),
        ('{"pred": "yes"}', True, None),
        ('{"score": 4} then {"pred": "no", "score": 1}', False, 1.0),
        ("yes", None, None),
        ('{"pred": "perhaps", "score": 2}', None, None),
        ("{__import__('os').getcwd()}", None, None),
        ("{1, 2}", None, None),
        ("", None, None),
    ],
)
def test_how_a_verdict_is_read(reply: str, is_right: bool | None, score: float | None) -> None:
    verdict = read_verdict(reply)
    assert (verdict.is_right, verdict.score, verdict.raw) == (is_right, score, reply)


def test_verdicts_that_cannot_be_read_are_kept_and_counted(tmp_path: Path) -> None:
    with chat_server(lambda prompt: "I would say so") as server:
        judged = judge_with(server, tmp_path / "kept.jsonl")
        assert judge_with(server, tmp_path / "kept.jsonl") == judged
        assert len(server.requests) == len(CASES)
    assert (judged.n_unreadable, judged.not_judged) == (12, ())


def test_braces_in_an_answer_are_shown_as_they_are(tmp_path: Path) -> None:
    with chat_server(fair) as server:
        judge_with(server, tmp_path / "kept.jsonl", [Case("q", "{gold}?", "{}", "{prediction}")])
        assert "Student's answer: {prediction}" in server.requests[0]["messages"][-1]["content"]


def test_a_judge_may_be_named_in_one_word(tmp_path: Path) -> None:
    with chat_server(fair) as server, open_named_judge(f"{server.url}#org/judge@abc", tmp_path / "kept.jsonl") as judge:
        assert judge_all(judge, CASES[:1]).verdicts["q0"].is_right
        assert (judge.manifest["model"], judge.manifest["revision"]) == ("org/judge", "abc")
    with open_named_judge("exact", tmp_path / "kept.jsonl") as rule:
        assert rule.manifest == {"model": "exact"}


@pytest.mark.parametrize("name", ["http://localhost:8000/v1", "http://localhost:8000/v1#", "http://localhost/v1#@abc"])
def test_an_address_without_a_model_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(TaskError, match="names no model; expected one as in"), open_named_judge(name, tmp_path / "k"):
        pass


def test_anybody_may_ask_the_endpoint_other_things(tmp_path: Path) -> None:
    """Pairwise comparisons ask the same way, and are kept as well."""
    messages = [("system", "Which is better?"), ("user", "A or B?")]
    with chat_server(lambda prompt: "A") as server, open_asker(setting(server), tmp_path / "kept.jsonl") as asker:
        assert [asker.ask(messages).text for _ in range(3)] == ["A"] * 3
        assert len(server.requests) == 1
