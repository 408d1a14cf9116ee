"""Log lines: JSON, with the session they belong to, and without secrets."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator

import pytest

from hermes_stream.server.observe.logs import about_session, belongs_to, configure_logs

_log = logging.getLogger("hermes_stream.server.test")


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What is logged, as JSON; the loggers are what they were before when the test ends."""
    names = ("", "hermes_stream", "uvicorn", "uvicorn.error", "uvicorn.access", "websockets")
    before = [(each, list(each.handlers), each.level, each.propagate) for each in map(logging.getLogger, names)]
    stream = io.StringIO()
    configure_logs(None, stream)
    yield stream
    for logger, handlers, level, propagate in before:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


def rows(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_a_json_object_with_what_was_given(lines: io.StringIO) -> None:
    _log.info("said %s\nand more", "something", extra={"n": 3, "ms": 1.5, "nothing": None})
    (row,) = rows(lines)
    assert {name: row[name] for name in ("level", "logger", "message", "n", "ms")} == {
        "level": "info", "logger": "hermes_stream.server.test", "message": "said something\nand more",
        "n": 3, "ms": 1.5,
    }  # fmt: skip
    assert "nothing" not in row
    assert str(row["time"]).endswith("Z")


def test_an_error_brings_its_trace_in_the_same_line(lines: io.StringIO) -> None:
    try:
        raise ValueError("a reason")
    except ValueError:
        _log.exception("it failed")
    (row,) = rows(lines)
    assert "ValueError: a reason" in str(row["trace"])


def test_what_is_said_about_a_session_carries_its_id_wherever_it_is_said(lines: io.StringIO) -> None:
    async def main() -> None:
        with about_session("s1"):
            await asyncio.to_thread(_log.info, "on a thread")
            logging.getLogger("hermes_stream.engine").warning("in another room")
        _log.info("about nothing")

    asyncio.run(main())
    assert [row.get("session") for row in rows(lines)] == ["s1", "s1", None]


def test_a_task_can_belong_to_a_session_and_others_do_not(lines: io.StringIO) -> None:
    async def task(name: str) -> None:
        belongs_to(name)
        await asyncio.sleep(0)
        _log.info(name)

    async def main() -> None:
        await asyncio.gather(task("s1"), task("s2"))

    asyncio.run(main())
    assert all(row["session"] == row["message"] for row in rows(lines))


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://user:SECRET@camera/1",
        "https://host/path?api_key=SECRET&x=1",
        "GET /v1/stream?token=SECRET",
        "Authorization: Bearer SECRETSECRETSECRET",
        "openai-insecure-api-key.SECRET, realtime",
        "the key hs_SECRETSECRETSECRETSECRET is wrong",
        "the secret ek_SECRETSECRETSECRETSECRET",
    ],
)
def test_no_secret_gets_into_a_line(lines: io.StringIO, text: str) -> None:
    _log.info("%s", text, extra={"field": text})
    try:
        raise ValueError(text)
    except ValueError:
        _log.exception("failed")
    assert len(rows(lines)) == 2
    assert "SECRET" not in lines.getvalue()
    assert "***" in lines.getvalue()


def test_lines_for_people_have_the_same_fields(lines: io.StringIO) -> None:
    configure_logs("text", lines)
    with about_session("s1"):
        _log.warning("careful", extra={"n": 3})
    assert "WARNING careful  session=s1  n=3" in lines.getvalue()


def test_uvicorns_lines_look_like_ours_and_only_its_troubles_are_told(lines: io.StringIO) -> None:
    logging.getLogger("uvicorn.error").info("Started server process [1]")
    logging.getLogger("uvicorn.error").error("trouble")
    assert [row["message"] for row in rows(lines)] == ["trouble"]
