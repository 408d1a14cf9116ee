"""Memories that outlive a process, and those that must not: snapshots and deletion over HTTP."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from hermes_stream.memory.snapshot import Snapshot
from hermes_stream.server.context import LiveDep, OwnerDep, ServerDep
from hermes_stream.server.problems import ApiError
from hermes_stream.server.settings import SessionSpec
from hermes_stream.server.state.forget import ForgetRequest, forget

router = APIRouter(tags=["durable memory"])


@router.post("/v1/sessions/{session_id}/snapshot")
async def save_snapshot(live: LiveDep, server: ServerDep) -> dict[str, Any]:
    """Save the session to the state folder now."""
    saved = await server.hub.keeper.save(live, even_unchanged=True)
    if saved is None:
        raise ApiError(409, "no_state_folder", "the server keeps nothing; start it with --state-dir FOLDER")
    return {"time_s": saved.time_seconds, "number": saved.number, "bytes": saved.n_bytes}


@router.get("/v1/sessions/{session_id}/snapshots")
async def list_snapshots(live: LiveDep, server: ServerDep) -> dict[str, Any]:
    """The checkpoints of the session in the state folder, oldest first."""
    folder = server.hub.keeper.folder
    saved = [] if folder is None else await asyncio.to_thread(folder.saved, live.name)
    return {"object": "list", "data": [{"time_s": each.time_seconds, "number": each.number} for each in saved]}


@router.get("/v1/sessions/{session_id}/snapshot", response_class=FileResponse)
async def download_snapshot(live: LiveDep) -> FileResponse:
    """The session's memory as a file, as it is now; `POST /v1/restore` and `Engine.restore` take it. Not encrypted."""
    path = await asyncio.to_thread(_written, live.session.snapshot)
    name = f"{live.name}-{live.session.stats.time_seconds:.0f}s.safetensors"
    return FileResponse(path, filename=name, background=BackgroundTask(path.unlink, missing_ok=True))


@router.post("/v1/restore", status_code=201)
async def restore(request: Request, server: ServerDep, owner: OwnerDep, model: str | None = None) -> dict[str, Any]:
    """A new session that goes on where the snapshot in the request's body was taken; push frames to it."""
    path = await _received(request, server.settings.limits.max_snapshot_bytes)
    try:
        snapshot = await asyncio.to_thread(Snapshot.load, path)
    finally:
        path.unlink()
    _check_no_folders(snapshot.structure)
    live = await server.hub.restore(snapshot, SessionSpec(model=model), owner)
    return live.to_json()


@router.post("/v1/sessions/{session_id}/forget")
async def forget_range(range_: ForgetRequest, live: LiveDep, server: ServerDep) -> dict[str, Any]:
    """Delete a time range wherever something of it is kept; says what was removed and what cannot be undone."""
    return await forget(server.hub, server.sources, live, range_)


def _written(take: Any) -> Path:
    with tempfile.NamedTemporaryFile(suffix=".safetensors", delete=False) as file:
        path = Path(file.name)
    take().save(path)
    return path


async def _received(request: Request, most_bytes: int) -> Path:
    n_bytes = 0
    with tempfile.NamedTemporaryFile(suffix=".safetensors", delete=False) as file:
        path = Path(file.name)
        async for part in request.stream():
            n_bytes += len(part)
            if n_bytes > most_bytes:
                path.unlink()
                raise ApiError(413, "too_large", f"a snapshot may have {most_bytes} bytes here; this one has more")
            file.write(part)
    return path


def _check_no_folders(structure: Any) -> None:
    """A snapshot may not make the server write to a folder of its choice."""
    if isinstance(structure, dict):
        if "path" in structure:
            raise ApiError(400, "invalid_request", "the snapshot names a folder for its archive; a server takes none")
        structure = list(structure.values())
    if isinstance(structure, list):
        for part in structure:
            _check_no_folders(part)
