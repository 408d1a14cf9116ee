"""The API's description: an OpenAPI document that tells of keys and errors as they are, and the same for people."""

from __future__ import annotations

from html import escape
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse

router = APIRouter()

_SUMMARY = "Live video that is watched, remembered in bounded memory, and asked about at any moment."
_TAGS = {
    "sessions": "Streams with their memories: open, look, list, fork, end.",
    "questions": "Asking about what was seen, at any moment; it changes nothing.",
    "durable memory": "Snapshots, the past, and deletion.",
    "alerts": "Standing questions: asked of every moment, told when the answer is yes.",
    "openai": "The part of OpenAI's API that fits.",
    "realtime": "OpenAI's realtime API, and secrets for browsers.",
    "operation": "For programs that watch the server.",
}
_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "code", "param"],
            "properties": {
                "message": {"type": "string", "description": "One line for people."},
                "type": {"type": "string", "enum": ["invalid_request_error", "server_error"]},
                "code": {"type": "string", "description": "For programs, as in not_found."},
                "param": {"type": ["string", "null"], "description": "The part of the request that is at fault."},
            },
        }
    },
}
_FAILURE = {
    "description": "What went wrong.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}
# Of operations that answer either way.
JSON_OR_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {"schema": {"type": "object"}}, "text/event-stream": {}}}
}
_NEEDS_NO_KEY = frozenset({"/health", "/ready"})
_METHODS = ("get", "post", "put", "patch", "delete")
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
    "dt{font-family:ui-monospace,monospace;margin-top:1rem}dd{margin:0 0 0 1.5rem}"
)
# No script, and nothing from elsewhere.
_HEADERS = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"}


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of an application; made once."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=_SUMMARY, routes=app.routes)
        document["tags"] = [{"name": name, "description": text} for name, text in _TAGS.items()]
        components = document.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        schemas["Error"] = _ERROR
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key": []}]
        for path, _, operation in operations(document):
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = _FAILURE
            if path in _NEEDS_NO_KEY:
                operation["security"] = []
        app.openapi_schema = document
    return app.openapi_schema


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Path, method and description of each operation of a document."""
    return [
        (path, method, item[method])
        for path, item in document["paths"].items()
        for method in _METHODS
        if method in item
    ]


@router.get("/docs", include_in_schema=False, response_class=HTMLResponse)
async def page(request: Request) -> HTMLResponse:
    """All operations on one page that needs nothing from elsewhere."""
    return HTMLResponse(to_html(describe(request.app)), headers=_HEADERS)


def to_html(document: dict[str, Any]) -> str:
    """The operations of a document, by tag."""
    parts = []
    known = operations(document)
    for tag in document["tags"]:
        own = [each for each in known if tag["name"] in each[2].get("tags", ())]
        if own:
            rows = "".join(_row(*each) for each in own)
            parts.append(f"<h2>{escape(tag['name'])}</h2><p>{escape(tag['description'])}</p><dl>{rows}</dl>")
    title = f"{escape(document['info']['title'])} {escape(document['info']['version'])}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width"><style>' + _STYLE + f"</style><h1>{title}</h1>"
        f'<p>{escape(document["info"]["description"])} Bodies and answers: <a href="/openapi.json">openapi.json</a>. '
        f"WebSockets and events: <code>docs/server.md</code>.</p>{''.join(parts)}</html>"
    )


def _row(path: str, method: str, operation: dict[str, Any]) -> str:
    text = operation.get("description") or operation.get("summary", "")
    return f"<dt>{method.upper()} {escape(path)}</dt><dd>{escape(text)}</dd>"
