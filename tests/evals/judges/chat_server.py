"""A little server that speaks the chat API over HTTP, in this process."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = str | int | bytes
"""A reply's text, or a status with which the request fails, or bytes that are no reply."""


class ChatServer:
    """Answers with what `answer` makes of the last message; remembers all requests."""

    def __init__(self, answer: Callable[[str], Answer]) -> None:
        self.answer = answer
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def chat_server(answer: Callable[[str], Answer]) -> Iterator[ChatServer]:
    server = ChatServer(answer)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _handler(server: ChatServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.requests.append(request)
            server.keys.append(self.headers["Authorization"])
            if self.path != "/v1/chat/completions":
                self._send(404, {"error": {"message": "no such path"}})
                return
            answer = server.answer(request["messages"][-1]["content"])
            if isinstance(answer, bytes):
                self._send_bytes(200, answer)
            elif isinstance(answer, int):
                self._send(answer, {"error": {"message": "told to fail\nwith details", "type": "test"}})
            else:
                self._send(200, _completion(request["model"], answer))

        def _send(self, status: int, content: dict[str, Any]) -> None:
            self._send_bytes(status, json.dumps(content).encode())

        def _send_bytes(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Nothing on the terminal."""

    return Handler


def _completion(model: str, text: str) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": f"{model}-2026-01-01",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
