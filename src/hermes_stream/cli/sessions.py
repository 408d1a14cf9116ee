"""`hermes-stream sessions`: the sessions of a running server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from cyclopts import App, Parameter

from hermes_stream.cli.output import human_bytes, put_json, say
from hermes_stream.cli.remote import Remote
from hermes_stream.errors import HermesError

sessions = App(name="sessions", help="Sessions of a running server: open, ask, save, fork, forget, delete.")

Server = Annotated[Remote | None, Parameter(name="*")]
Flag = Annotated[bool, Parameter(negative="")]


@sessions.command(name="list")
def list_sessions(*, json: Flag = False, server: Server = None) -> None:
    """What the server watches.

    Parameters
    ----------
    json
        Print one JSON object per session.
    """
    for session in (server or Remote()).call("GET", "/v1/sessions")["data"]:
        _show(session, json)


@sessions.command(name="open")
def open_session(
    source: str | None = None,
    /,
    *,
    memory: str | None = None,
    budget: str | None = None,
    fps: float | None = None,
    speed: float | None = None,
    name: str | None = None,
    json: Flag = False,
    server: Server = None,
) -> None:
    """Begin a session.

    Parameters
    ----------
    source
        What the server opens itself; without one, frames are pushed to it.
    memory
        What to keep, as of hermes-stream watch.
    budget
        How much of it, as of hermes-stream watch.
    fps
        Frames per second to look at.
    speed
        Of a source with an end: 1 is its own pace, 0 as fast as it goes.
    name
        For people.
    json
        Print it as JSON.
    """
    given = {"source": source, "memory": memory, "budget": budget, "fps": fps, "speed": speed, "name": name}
    spec = {key: value for key, value in given.items() if value is not None}
    _show((server or Remote()).call("POST", "/v1/sessions", spec), json)


@sessions.command
def ask(
    session: str,
    question: str,
    /,
    *,
    as_of: float | None = None,
    remember: Flag = False,
    json: Flag = False,
    server: Server = None,
) -> None:
    """Ask a session; the answer is printed as it comes.

    Parameters
    ----------
    as_of
        Answer as if it were that time of the stream, in seconds.
    remember
        Let question and answer guide what is kept from now on.
    json
        Print the whole answer as JSON at its end.
    """
    body: dict[str, Any] = {"question": question, "remember": remember, "stream": True}
    if as_of is not None:
        body["as_of_s"] = as_of
    for event in (server or Remote()).events(_path(session, "ask"), body):
        if event["type"] == "error":
            raise HermesError(event["error"]["message"])
        if event["type"] == "response.text.delta" and not json:
            print(event["delta"], end="", flush=True)
        if event["type"] == "response.text.done":
            put_json({name: value for name, value in event.items() if name != "type"}) if json else print()


@sessions.command
def save(session: str, file: Path | None = None, /, *, server: Server = None) -> None:
    """Save a session in the server's state folder, or download its memory.

    Parameters
    ----------
    file
        Where to; by default the server keeps it.
    """
    remote = server or Remote()
    if file is not None:
        remote.download(_path(session, "snapshot"), file)
        say(f"{file}: {human_bytes(file.stat().st_size)}")
        return
    saved = remote.call("POST", _path(session, "snapshot"))
    say(f"saved as of {saved['time_s']:.1f} s, {human_bytes(saved['bytes'])}")


@sessions.command
def restore(file: Path, /, *, model: str | None = None, json: Flag = False, server: Server = None) -> None:
    """A new session that goes on where a file was saved.

    Parameters
    ----------
    file
        What hermes-stream sessions save wrote.
    model
        Of those that the server has; by default its first.
    json
        Print it as JSON.
    """
    with file.open("rb") as opened:
        query = "" if model is None else f"?model={quote(model, safe='')}"
        _show((server or Remote()).upload(f"/v1/restore{query}", opened, file.stat().st_size), json)


@sessions.command
def fork(session: str, /, *, source: str | None = None, json: Flag = False, server: Server = None) -> None:
    """A second session with the same past.

    Parameters
    ----------
    source
        What the server opens for it; without one, frames are pushed to it.
    json
        Print it as JSON.
    """
    _show((server or Remote()).call("POST", _path(session, "fork"), {"source": source} if source else {}), json)


@sessions.command
def forget(
    session: str, /, *, start: float, end: float, rebuild: Flag = False, json: Flag = False, server: Server = None
) -> None:
    """Delete a time range of a session wherever something of it is kept, and say what cannot be undone.

    Parameters
    ----------
    start
        Seconds of the stream.
    end
        Seconds of the stream; the end itself stays.
    rebuild
        Watch the source again without the range, so that nothing later knows of it; for sources that can be replayed.
    json
        Print the report as JSON.
    """
    body = {"start_s": start, "end_s": end, "rebuild": rebuild}
    report = (server or Remote()).call("POST", _path(session, "forget"), body)
    if json:
        put_json(report)
        return
    gone = [f"{value} {name.replace('_', ' ')}" for name, value in report.items() if value and name != "remains"]
    say(f"removed: {', '.join(gone) or 'nothing was there'}")
    for line in report["remains"]:
        say(f"remains: {line}")


@sessions.command
def delete(session: str, /, *, server: Server = None) -> None:
    """End a session and delete everything that was kept of it."""
    (server or Remote()).call("DELETE", f"/v1/sessions/{quote(session, safe='')}")


def _path(session: str, what: str) -> str:
    return f"/v1/sessions/{quote(session, safe='')}/{what}"


def _show(session: dict[str, Any], as_json: bool) -> None:
    if as_json:
        put_json(session)
        return
    what = session["source"] or session["name"] or "pushed"
    print(
        f"{session['id']}  {session['state']:5}  {session['time_s']:8.1f} s  {session['frames_seen']:7} frames  "
        f"{session['memory']}  {human_bytes(session['memory_bytes'])}  {what}"
    )
