"""Questions of OpenAI's clients as those of our own API."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError

from hermes_stream.server.problems import ApiError, refusal
from hermes_stream.server.questions import MOST_LETTERS, AskRequest

# Of a question, what both APIs call by the same name.
_SHARED = {"temperature", "top_p", "seed", "stop", "as_of_s", "remember", "evidence"}


def ask_of(question: str, n_tokens: int, request: BaseModel) -> AskRequest:
    """The question with what a request says of it. Raises ApiError for what cannot be asked."""
    if len(question) > MOST_LETTERS:
        told = f"the question has {len(question)} characters; up to {MOST_LETTERS} are taken, ask a shorter one"
        raise ApiError(400, "context_length_exceeded", told, "messages")
    given: dict[str, Any] = request.model_dump(include=_SHARED, exclude_none=True)
    try:
        return AskRequest(question=question, max_new_tokens=n_tokens, **given)
    except ValidationError as error:
        raise refusal(error) from error
