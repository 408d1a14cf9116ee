"""The server watches sources itself: files, videos and live streams that break off, the synthetic world."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from hermes_stream import Engine, load_model
from hermes_stream.errors import ConfigError
from hermes_stream.server.live_session import LiveSession
from hermes_stream.server.settings import SessionSpec
from hermes_stream.shapestream import Script, make_script, render_frame
from hermes_stream.types import Frame
from hermes_stream.video import write_video

from ..video.clips import number_of
from .pulling import HERE, N_SECONDS, Camera, make_films, times_of
from .stage import stage, until
from .web_servers import Handler, WebServer, web_server


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_films(tmp_path_factory.mktemp("films"))


@pytest.fixture
def server(films: Path) -> Iterator[WebServer]:
    with web_server(films) as server:
        yield server


def numbers_seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[tuple[float, int]]]:
    """Times and numbers of all frames that sessions are given from now on, by source."""
    seen: dict[str, list[tuple[float, int]]] = {}

    def note(live: LiveSession, frames: Sequence[Frame]) -> None:
        known = seen.setdefault(str(live.identity.spec.source), [])
        known += [(frame.pts_seconds, number_of(frame.image_YXC)) for frame in frames]
        _note(live, frames)

    _note = LiveSession._note
    monkeypatch.setattr(LiveSession, "_note", note)
    return seen


# Sampled four times a second: the nearest of 25 pictures a second, the earlier one of two.
def expected_numbers(n_seconds: int) -> list[int]:
    return [min(range(25 * n_seconds), key=lambda n: abs(n / 25 - tick / 4)) % 256 for tick in range(4 * n_seconds)]


async def watched(engine: Engine, films: Path, speed: float) -> tuple[LiveSession, float]:
    async with stage(engine, allow_local_files=(films,)) as at:
        started = time.monotonic()
        live = await at.open("a.mp4", speed=speed)
        await until(lambda: live.state == "ended")
        assert live.reason == "the source is at its end"
        assert live.session.stats.frames_seen == 4 * N_SECONDS
        return live, time.monotonic() - started


def test_a_file_at_speed_0_goes_as_fast_as_it_can(engine: Engine, films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = numbers_seen(monkeypatch)
    live, seconds = asyncio.run(watched(engine, films, 0))
    assert [number for _, number in seen["a.mp4"]] == expected_numbers(N_SECONDS)
    assert live.feed is None
    assert seconds < N_SECONDS


def test_a_file_at_speed_8_takes_an_eighth_of_its_time(engine: Engine, films: Path) -> None:
    _, seconds = asyncio.run(watched(engine, films, 8))
    assert N_SECONDS / 8 - 0.1 < seconds < N_SECONDS


def test_a_live_stream_that_breaks_off_goes_on_behind_a_gap(engine: Engine, films: Path, server: WebServer) -> None:
    data = (films / "a.ts").read_bytes()
    camera = Camera(server, data, data)

    async def watch() -> None:
        async with stage(engine, **HERE) as at:
            live = await at.open(camera.url)
            assert (live.state, live.reason, live.feed) == ("gap", "the source is being opened", "pull")
            await until(lambda: live.session.stats.frames_seen >= 4)
            assert (live.state, live.reason) == ("live", "")
            # As if all this had begun 100 s ago.
            live.origin_seconds -= 100
            camera.cut()
            await until(lambda: live.state == "gap")
            assert "the next try is in 1 s" in live.reason
            await until(lambda: live.state == "live" and len(times_of(live)) > 8)
            (gap,) = live.session.stats.gaps
            after = [time for time in times_of(live) if time >= 90]
            assert gap.start_seconds == max(time for time in times_of(live) if time < 90)
            assert gap.end_seconds == after[0]
            assert 100 < after[0] < 120
            assert "the source has stopped sending" in gap.reason
            assert np.allclose(np.diff(after), 0.25, atol=0.05)
            entry = live.journal.entries(live.name, kinds=["gap"])[0]
            assert (entry.data["start_s"], entry.data["end_s"]) == (gap.start_seconds, gap.end_seconds)

    asyncio.run(watch())
    assert camera.n_connections == 2


def stretch(path: Path, script: Script, start_seconds: float) -> bytes:
    """Four seconds of an episode as a transport stream, ten pictures a second."""
    images = (render_frame(script, start_seconds + index / 10, 320, 180) for index in range(40))
    write_video(path, images, fps=10)
    return path.read_bytes()


def test_what_is_seen_behind_a_gap_is_answered_rightly(server: WebServer, tmp_path: Path) -> None:
    script = make_script(900_003, 200)
    shown = [presence for presence in script.presences if presence.count == 1 and not presence.moves][:2]
    parts = [stretch(tmp_path / f"{seen.kind}.ts", script, seen.start_seconds - 1.2) for seen in shown]
    camera = Camera(server, *parts)

    async def watch() -> list[str]:
        answers = []
        with load_model() as engine:
            async with stage(engine, **HERE) as at:
                live = await at.open(camera.url, memory="hermes", fps=2.0, chunk=None)
                for n_frames in (7, 14):
                    await until(lambda n=n_frames: live.session.stats.frames_seen >= n)
                    answers.append((await live.session.ask("What object is visible now?").aresult()).text)
                    live.origin_seconds -= 1000
                    camera.cut()
                assert live.session.stats.gaps[0].end_seconds > 1000
        return answers

    assert asyncio.run(watch()) == [str(seen.kind) for seen in shown]


def test_a_source_that_is_not_there_yet_is_tried_again(engine: Engine, films: Path, server: WebServer) -> None:
    camera = Camera(server)

    async def watch() -> None:
        async with stage(engine, **HERE) as at:
            live = await at.open(camera.url)
            await until(lambda: "next try" in live.reason)
            assert live.state == "gap"
            assert live.reason.startswith(f"cannot open {camera.url}: the server answers 503 Service Unavailable")
            camera.parts = [(films / "a.ts").read_bytes()]
            await until(lambda: live.state == "live")
            await until(lambda: live.session.stats.frames_seen >= 7)
            assert live.session.stats.gaps == ()

    asyncio.run(watch())


def test_a_download_that_breaks_off_goes_on_where_it_stood(
    engine: Engine, films: Path, server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = numbers_seen(monkeypatch)
    data = (films / "a.mp4").read_bytes()
    asked: list[str] = []

    def half(handler: Handler) -> None:
        asked.append(handler.headers["Range"])
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data if len(asked) > 1 else data[: len(data) // 2])

    server.answers["/half.mp4"] = half
    source = server.address + "/half.mp4"

    async def watch() -> None:
        async with stage(engine, **HERE) as at:
            live = await at.open(source, speed=0)
            await until(lambda: live.state == "ended")
            assert live.session.stats.gaps == ()
            assert live.journal.entries(live.name, kinds=["gap"]) == []

    asyncio.run(watch())
    times, numbers = zip(*seen[source])
    assert len(asked) == 2
    # The picture at the break may be lost in its decoder, and come the second time.
    assert [round(4 * time) for time in times] == list(range(4 * N_SECONDS))
    assert list(numbers) == expected_numbers(N_SECONDS)


def test_a_file_goes_on_after_a_restart_as_if_there_had_been_none(
    engine: Engine, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = numbers_seen(monkeypatch)

    async def begin() -> None:
        async with stage(engine, state_dir=tmp_path, allow_local_files=(films,)) as at:
            live = await at.open("a.mp4", speed=4)
            await until(lambda: live.session.stats.frames_seen >= 8)

    async def go_on() -> None:
        async with stage(engine, state_dir=tmp_path, allow_local_files=(films,)) as at:
            (live,) = at.hub.sessions()
            await until(lambda: live.state == "ended")
            assert live.session.stats.frames_seen == 4 * N_SECONDS
            assert live.session.stats.gaps == ()

    asyncio.run(begin())
    assert 8 <= len(seen["a.mp4"]) < 4 * N_SECONDS
    asyncio.run(go_on())
    assert [number for _, number in seen["a.mp4"]] == expected_numbers(N_SECONDS)


def test_what_was_lost_with_a_killed_server_is_watched_again(engine: Engine, films: Path, tmp_path: Path) -> None:
    async def be_killed() -> None:
        async with stage(engine, state_dir=tmp_path, keeps_state=False, allow_local_files=(films,)) as at:
            live = await at.open("a.mp4", speed=4)
            await until(lambda: live.session.stats.frames_seen >= 8)
            await at.hub.save_all()
            await until(lambda: live.session.stats.frames_seen >= 20)

    async def go_on() -> None:
        async with stage(engine, state_dir=tmp_path, allow_local_files=(films,)) as at:
            (live,) = at.hub.sessions()
            assert live.session.stats.frames_seen < 20
            await until(lambda: live.state == "ended")
            assert [round(4 * time) for time in times_of(live)] == list(range(4 * N_SECONDS))

    asyncio.run(be_killed())
    asyncio.run(go_on())


def test_a_video_that_has_ended_is_not_opened_again_after_a_restart(
    engine: Engine, server: WebServer, tmp_path: Path
) -> None:
    async def watch() -> None:
        async with stage(engine, state_dir=tmp_path, **HERE) as at:
            live = await at.open(server.address + "/a.mp4", speed=0)
            await until(lambda: live.state == "ended")
        n_asked = len(server.asked)
        async with stage(engine, state_dir=tmp_path, **HERE) as at:
            (live,) = at.hub.sessions()
            await until(lambda: live.state == "ended")
            assert (live.reason, live.feed) == ("the source is at its end", None)
        assert len(server.asked) == n_asked

    asyncio.run(watch())


def test_a_file_that_is_gone_after_a_restart_ends_its_session(engine: Engine, films: Path, tmp_path: Path) -> None:
    (tmp_path / "b.mp4").write_bytes((films / "a.mp4").read_bytes())

    async def watch() -> None:
        async with stage(engine, state_dir=tmp_path / "state", allow_local_files=(tmp_path,)) as at:
            live = await at.open("b.mp4")
            await until(lambda: live.session.stats.frames_seen > 0)
        (tmp_path / "b.mp4").unlink()
        async with stage(engine, state_dir=tmp_path / "state", allow_local_files=(tmp_path,)) as at:
            (live,) = at.hub.sessions()
            await until(lambda: live.state == "ended")
            assert live.reason == "b.mp4: no such file; give the path of a video"

    asyncio.run(watch())


def truth(seed: int, time_seconds: float) -> np.ndarray:
    return render_frame(make_script(seed, time_seconds + 60), time_seconds, 640, 360)


def test_the_world_goes_on_while_the_server_is_away(engine: Engine, tmp_path: Path) -> None:
    """Its picture at a time of the session is that of the script at this time, also behind the gap."""

    async def watch() -> None:
        async with stage(engine, state_dir=tmp_path) as at:
            live = await at.open("shapestream:900005", speed=4)
            await until(lambda: len(times_of(live)) >= 6)
            frame = live.newest_frame
            assert frame is not None
            assert np.array_equal(frame.image_YXC, truth(900_005, frame.pts_seconds))
            live.origin_seconds -= 500
        async with stage(engine, state_dir=tmp_path) as at:
            (live,) = at.hub.sessions()
            await until(lambda: live.state == "live" and live.newest_frame is not None)
            frame = live.newest_frame
            assert frame is not None
            assert 500 < frame.pts_seconds < 550
            assert np.array_equal(frame.image_YXC, truth(900_005, frame.pts_seconds))
            (gap,) = live.session.stats.gaps
            assert gap.reason == "the server was not watching"
            # A frame that was on its way into the memory when the server ended is not in.
            assert gap.start_seconds in [time for time in times_of(live) if 0.75 <= time < 500]
            assert gap.end_seconds == min(time for time in times_of(live) if time > 500)

    asyncio.run(watch())


def test_the_world_at_speed_0_is_refused(engine: Engine) -> None:
    async def watch() -> None:
        async with stage(engine) as at:
            with pytest.raises(ConfigError, match="shapestream:1 has no end, so it cannot go as fast as it can"):
                await at.open("shapestream:1", speed=0)

    asyncio.run(watch())


def test_a_fork_watches_a_source_of_its_own_at_the_time_of_its_past(engine: Engine) -> None:
    async def watch() -> None:
        async with stage(engine) as at:
            live = await at.open("shapestream:1")
            await until(lambda: len(times_of(live)) >= 4)
            live.origin_seconds -= 100
            spec = SessionSpec(source="shapestream:2", fps=4.0)
            twin = await at.hub.fork(live, spec, "anybody")
            await until(lambda: twin.newest_frame is not None)
            frame = twin.newest_frame
            assert frame is not None
            assert frame.pts_seconds > 100
            assert np.array_equal(frame.image_YXC, truth(2, frame.pts_seconds))

    asyncio.run(watch())
