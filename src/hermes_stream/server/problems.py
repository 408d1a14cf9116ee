"""What went wrong, as HTTP says it: a status, and one body for all of the API, in OpenAI's shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from hermes_stream.errors import (
    ContextError,
    HermesError,
    LeaseLost,
    LimitError,
    RankError,
    SessionClosed,
    SessionError,
    SourceError,
    StoreError,
    UsageError,
)


class ApiError(HermesError):
    """A request that is refused, with the status and the code that say so. param: what in the request is at fault."""

    def __init__(self, status: int, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.param = status, code, param


@dataclass(frozen=True, slots=True)
class Problem:
    """status: of HTTP. code: for programs. message: one line for people. param: the part of the request at fault."""

    status: int
    code: str
    message: str
    param: str | None = None

    @property
    def kind(self) -> str:
        """Whose fault it is, in OpenAI's words."""
        return "server_error" if self.status >= 500 else "invalid_request_error"

    def body(self) -> dict[str, Any]:
        """The JSON of a response."""
        return {"error": {"message": self.message, "type": self.kind, "code": self.code, "param": self.param}}

    def event(self, name: str | None = None) -> dict[str, Any]:
        """The JSON of an event on a connection. name: of the question that it is about."""
        about = {} if name is None else {"id": name}
        return {"type": "error", "code": self.code, "message": self.message, **about}


# The first that fits counts.
_PROBLEMS: tuple[tuple[type[HermesError], int, str], ...] = (
    (ContextError, 400, "context_length_exceeded"),
    (LimitError, 503, "insufficient_memory"),
    (StoreError, 503, "store_unavailable"),
    (LeaseLost, 503, "session_moved"),
    (SessionClosed, 409, "session_closed"),
    (SessionError, 409, "session_stopped"),
    (RankError, 503, "model_ended"),
    (SourceError, 400, "invalid_source"),
    (UsageError, 400, "invalid_request"),
)


def problem_of(error: BaseException) -> Problem:
    """The problem of any error; of those that are nobody's fault but ours, no more than that there was one."""
    message = " ".join(str(error).split())
    if isinstance(error, ApiError):
        return Problem(error.status, error.code, message, error.param)
    for kind, status, code in _PROBLEMS:
        if isinstance(error, kind):
            return Problem(status, code, message)
    return Problem(500, "internal_error", "something went wrong on the server; its log says what")


def malformed(errors: Sequence[Any]) -> Problem:
    """What pydantic complains of."""
    return Problem(400, "invalid_request", told(errors), _place(errors[0]) or None)


def refusal(error: ValidationError) -> ApiError:
    """What pydantic says of a request that no route validated."""
    problem = malformed(error.errors(include_input=False, include_context=False, include_url=False))
    return ApiError(problem.status, problem.code, problem.message, problem.param)


def not_found(what: str, name: str) -> ApiError:
    """Nothing of that name, or nothing of yours."""
    return ApiError(404, "not_found", f"there is no {what} {name!r}; list them to see what there is")


def told(errors: Sequence[Any]) -> str:
    """The first of pydantic's complaints in one line; it names the field."""
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{_place(errors[0]) or 'the body'}: {errors[0]['msg']}{more}; see /docs for what is expected"


def _place(error: Any) -> str:
    return ".".join(str(part) for part in error["loc"] if part != "body")
