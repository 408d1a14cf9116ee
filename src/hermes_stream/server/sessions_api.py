"""Sessions over HTTP: open, look, list, fork, save, delete, and what happened in them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from hermes_stream.memory.held_map import held_map
from hermes_stream.server.context import LiveDep, OwnerDep, ServerDep
from hermes_stream.server.fleet.routing import wanted_name
from hermes_stream.server.problems import ApiError
from hermes_stream.server.settings import SessionSpec
from hermes_stream.server.state.thumbnails import to_jpeg

router = APIRouter(prefix="/v1/sessions", tags=["sessions"])

_N_DIGITS = 4


@router.post("", status_code=201)
async def open_session(spec: SessionSpec, server: ServerDep, owner: OwnerDep) -> dict[str, Any]:
    """Begin a session. With a source the server watches it at once; without one, push frames to it.

    In a fleet the header `x-session-id` gives its id.
    """
    live = await server.hub.open(spec, owner, name=wanted_name())
    return live.to_json()


@router.get("")
async def list_sessions(server: ServerDep, owner: OwnerDep) -> dict[str, Any]:
    """Your sessions, oldest first."""
    return {"object": "list", "data": [live.to_json() for live in server.hub.sessions(owner)]}


@router.get("/{session_id}")
async def get_session(live: LiveDep) -> dict[str, Any]:
    """Where a session stands."""
    return live.to_json()


@router.delete("/{session_id}", status_code=204)
async def delete_session(live: LiveDep, server: ServerDep) -> Response:
    """End a session and delete everything that was kept of it."""
    await server.hub.close(live)
    return Response(status_code=204)


@router.post("/{session_id}/fork", status_code=201)
async def fork_session(live: LiveDep, spec: SessionSpec, server: ServerDep, owner: OwnerDep) -> dict[str, Any]:
    """A second session with the same past, and a feed of its own: the request's source, or pushed frames."""
    changed = spec.model_dump(include={"model", "memory", "budget", "memory_bits", "chunk"}, exclude_none=True)
    if changed:
        raise ApiError(400, "invalid_request", f"a fork keeps the memory as it is; leave out {', '.join(changed)}")
    kept = live.identity.spec.model_dump(exclude={"source", "name", "speed", "fps"})
    own = spec.model_dump(include={"source", "name", "speed", "fps"})
    twin = await server.hub.fork(live, SessionSpec(**kept, **own), owner)
    return twin.to_json()


@router.get("/{session_id}/picture", response_class=Response)
async def newest_picture(live: LiveDep) -> Response:
    """The newest frame, as JPEG."""
    frame = live.newest_frame
    if frame is not None:
        return _jpeg(to_jpeg(frame, width=960), frame.pts_seconds)
    return _thumbnail(live, float("inf"))


@router.get("/{session_id}/thumbnail", response_class=Response)
async def thumbnail(live: LiveDep, time_s: Annotated[float, Query(allow_inf_nan=False)]) -> Response:
    """The small picture nearest to a time of the stream, as JPEG; its own time stands in the header x-time-s."""
    return _thumbnail(live, time_s)


@router.get("/{session_id}/memory")
async def memory_map(live: LiveDep) -> dict[str, Any]:
    """What each layer holds now: for each frame of which something is held, the share of its tokens by layer."""
    version = live.session.memory
    held, groups = held_map(version), live.session.policy.layer_groups(len(version.layers))
    return {
        "time_s": version.time_seconds,
        "layers": len(version.layers),
        "groups": {name: [layers.start, layers.stop] for name, layers in groups.items()},
        "frames": held.frame_F.tolist(),
        "times_s": [round(float(time), 3) for time in held.seconds_F],
        "shares": [[round(share, _N_DIGITS) for share in row] for row in held.share_LF.tolist()],
        "summarised_tokens": list(held.n_summarised_L),
        "archived_tokens": list(version.archived_tokens),
        "waiting_tokens": version.features.n_rows,
    }


@router.get("/{session_id}/journal")
async def journal(
    live: LiveDep,
    after: Annotated[int, Query(ge=0, lt=2**63)] = 0,
    kind: Annotated[list[str] | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> dict[str, Any]:
    """What happened, oldest first: questions, answers, alerts, gaps. Without `after`, the last `limit` entries."""
    entries = live.journal.entries(live.name, after=after, kinds=kind or (), most=limit, newest=after == 0)
    return {"object": "list", "data": [entry.to_json() for entry in entries]}


@router.get("/{session_id}/events", response_class=EventSourceResponse)
async def events(live: LiveDep) -> AsyncIterator[ServerSentEvent]:
    """What happens from now on, as server-sent events: state, gap, compressed, question, answer, alert, deleted."""
    with live.bus.listen() as listener:
        yield ServerSentEvent(data=live.to_json(), event="session")
        async for event in listener:
            number = None if event.number is None else str(event.number)
            yield ServerSentEvent(data=event.data, event=event.kind, id=number)


def _thumbnail(live: LiveDep, time_seconds: float) -> Response:
    found = live.thumbnails.nearest(time_seconds)
    if found is None:
        raise ApiError(404, "not_found", f"session {live.name} has no picture yet; it begins with its first frame")
    return _jpeg(found[1], found[0])


def _jpeg(data: bytes, time_seconds: float) -> Response:
    headers = {"x-time-s": f"{time_seconds:.3f}", "cache-control": "private, no-store"}
    return Response(data, media_type="image/jpeg", headers=headers)
