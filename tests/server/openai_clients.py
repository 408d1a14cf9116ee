"""Unmodified OpenAI clients of a server, and messages as they send them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai

MODEL = "tiny-llava-onevision"


@contextmanager
def client_of(address: str) -> Iterator[openai.OpenAI]:
    """Without retries, so that each test sees what it asked for."""
    with openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0, timeout=60) as client:
        yield client


def async_client_of(address: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0, timeout=60)


def about_video(url: str, question: str) -> list[Any]:
    """One message with a video and a question."""
    return [user({"type": "video_url", "video_url": {"url": url}}, question)]


def user(*parts: dict[str, Any] | str) -> dict[str, Any]:
    """A message of the user; texts may be given as they are."""
    content = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    return {"role": "user", "content": content}


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}
