"""The page at `/`: the files of `web/`, sent with what keeps a browser from loading or running anything else."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FOLDER = Path(__file__).parent / "web"

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        # Pictures are fetched with the key in a header and shown from memory; so is a video that is to be pushed.
        "img-src 'self' blob:",
        "media-src 'self' blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # No text can become markup, whoever wrote it: answers and names of sessions are not ours.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    # Asked for again each time, and answered with 304 where nothing changed: a new version shows at once.
    "cache-control": "no-cache",
}


class _Web(StaticFiles):
    """Files with our headers."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(HEADERS)
        return response


def add_page(app: FastAPI) -> None:
    """Serve the page at `/` and its parts below `/web`; these need no key, and hold nothing of a session."""
    web = _Web(directory=FOLDER)
    app.mount("/web", web, name="web")

    async def index(request: Request) -> Response:
        return await web.get_response("index.html", request.scope)

    app.add_api_route("/", index, include_in_schema=False, methods=["GET", "HEAD"], response_model=None)
