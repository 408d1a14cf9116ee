"""What went wrong, as HTTP says it: a status, and one body for all of the API, in OpenAI's shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hermes_stream.errors import (
    ContextError,
    HermesError,
    LimitError,
    SessionClosed,
    SessionError,
    SourceError,
    UsageError,
)


class ApiError(HermesError):
    """A request that is refused, with the status and the code that say so."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass(frozen=True, slots=True)
class Problem:
    """status: of HTTP. code: for programs. message: one line for people."""

    status: int
    code: str
    message: str

    def body(self) -> dict[str, Any]:
        """The JSON of a response."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": self.message, "type": kind, "code": self.code, "param": None}}

    def event(self, name: str | None = None) -> dict[str, Any]:
        """The JSON of an event on a connection. name: of the question that it is about."""
        about = {} if name is None else {"id": name}
        return {"type": "error", "code": self.code, "message": self.message, **about}


# The first that fits counts.
_PROBLEMS: tuple[tuple[type[HermesError], int, str], ...] = (
    (ContextError, 400, "context_length_exceeded"),
    (LimitError, 503, "insufficient_memory"),
    (SessionClosed, 409, "session_closed"),
    (SessionError, 409, "session_stopped"),
    (SourceError, 400, "invalid_source"),
    (UsageError, 400, "invalid_request"),
)


def problem_of(error: BaseException) -> Problem:
    """The problem of any error; of those that are nobody's fault but ours, no more than that there was one."""
    message = " ".join(str(error).split())
    if isinstance(error, ApiError):
        return Problem(error.status, error.code, message)
    for kind, status, code in _PROBLEMS:
        if isinstance(error, kind):
            return Problem(status, code, message)
    return Problem(500, "internal_error", "something went wrong on the server; its log says what")


def not_found(what: str, name: str) -> ApiError:
    """Nothing of that name, or nothing of yours."""
    return ApiError(404, "not_found", f"there is no {what} {name!r}; list them to see what there is")


def told(errors: Sequence[Any]) -> str:
    """The first of pydantic's complaints in one line; it names the field."""
    first = errors[0]
    place = ".".join(str(part) for part in first["loc"] if part != "body")
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{place or 'the body'}: {first['msg']}{more}; see /docs for what is expected"
