"""Standing questions of a live session, on a model that really answers: looked at, told once, kept, forgotten."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hermes_stream import Engine
from hermes_stream.engine.standing import Trigger
from hermes_stream.errors import ContextError, SessionClosed, UsageError
from hermes_stream.models.load import load_adapter
from hermes_stream.server.alerts.alert import Alert, AlertRequest
from hermes_stream.server.problems import ApiError
from hermes_stream.server.settings import Limits
from hermes_stream.server.state.thumbnails import to_jpeg
from tests.engine.held_up import held_up
from tests.server.alerting import APPEARED, APPEARS_SECONDS, HIT_SECONDS, KIND, frames, hold_looks, run, running, until
from tests.server.receiver import receiver


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(load_adapter("tiny-llava-onevision")) as engine:
        yield engine


def test_a_hit_is_told_once_with_its_time_and_its_picture(engine: Engine) -> None:
    async def test() -> None:
        async with running(engine) as server:
            alert = await server.add(name="the circle")
            await server.watch(0, 16)
            assert server.kinds("alert") == []
            assert (alert.n_looks, alert.n_skipped, alert.error) == (4, 0, "")
            await server.watch(16, 28)
            (hit,) = server.kinds("alert")
            assert {name: hit[name] for name in ("alert", "name", "question", "hit", "time_s", "since_s")} == {
                "alert": alert.name, "name": "the circle", "question": APPEARED, "hit": 1, "time_s": 23, "since_s": 23,
            }  # fmt: skip
            assert APPEARS_SECONDS <= hit["time_s"] == HIT_SECONDS
            assert hit["probability"] > 0.5
            assert hit["thumbnail"] == f"/v1/sessions/{server.live.name}/thumbnail?time_s=23.000"
            assert hit["picture"] == f"/v1/sessions/{server.live.name}/alerts/{alert.name}/hits/1/picture"
            assert server.journal.entries(server.live.name, kinds=["alert"])[0].to_json() == hit
            details = server.alerts.details(server.live, alert)
            assert details["hits"] == [hit]
            assert [look["time_s"] for look in details["looks"]] == [3, 7, 11, 15, 19, 23, 27]
            assert details["looks"][5] == {"time_s": 23, "probability": hit["probability"]}
            time_seconds, jpeg = server.alerts.picture(server.live, alert.name, 1)
            assert time_seconds == HIT_SECONDS
            shown = Image.open(io.BytesIO(jpeg))
            assert shown.size == (960, 540)
            (frame,) = frames(23, 24)
            expected = np.asarray(Image.fromarray(frame.image_YXC).resize(shown.size, Image.Resampling.BILINEAR))
            assert np.abs(np.asarray(shown).astype(int) - expected).mean() < 4

    run(test())


def test_looks_come_as_often_as_asked_for_and_ask_what_they_are_told_to(engine: Engine) -> None:
    """The probability is the model's own, of the first choice."""

    async def test() -> None:
        async with running(engine) as server:
            wording = f"Tell me when a {KIND} appears."
            often = await server.add(wording, choices=("now", "not yet"), every=2)
            seldom = await server.add(wording, choices=("not yet", "now"), every=8)
            await server.watch(0, 16)
            assert [time for time, _ in often.looks] == [1, 3, 5, 7, 9, 11, 13, 15]
            assert [time for time, _ in seldom.looks] == [7, 15]
            scores = await server.live.session.score(wording, ("now", "not yet")).aresult()
            assert often.looks[-1][1] == pytest.approx(scores.probabilities[0], abs=1e-5)
            assert seldom.looks[-1][1] == pytest.approx(scores.probabilities[1], abs=1e-5)
            assert [hit["alert"] for hit in server.kinds("alert")] == [seldom.name]

    run(test())


@given(st.integers(1, 5), st.integers(0, 9), st.lists(st.tuples(st.integers(0, 7), st.booleans()), max_size=30))
def test_looks_made_under_way_and_skipped_are_those_that_were_due(
    every: int, n_before: int, steps: list[tuple[int, bool]]
) -> None:
    """Frames come one or many at a time, and looks take as long as they take."""
    alert = Alert("id", AlertRequest(question=APPEARED), 0.0, every_frames=every, n_frames=n_before)
    n_frames, is_looking = n_before, False
    for n_new, ends in steps:
        n_frames += n_new
        begins = alert.begin_look(n_frames)
        assert not (begins and is_looking)
        is_looking = is_looking or begins
        due = [n for n in range(n_before + 1, n_frames + 1) if n % every == 0]
        assert alert.n_looks + alert.n_skipped + is_looking == len(due)
        if is_looking and ends:
            alert.end_look()
            is_looking = False


def test_an_engine_that_is_behind_is_not_asked_twice(engine: Engine) -> None:
    """What falls due while a look is under way is skipped and counted, and never made up for."""

    async def test() -> None:
        async with running(engine) as server:
            alert = await server.add(every=1)
            may_end = hold_looks(server)
            for frame in frames(0, 9):
                await asyncio.to_thread(server.live.watch, [frame])
            await until(lambda: alert.n_skipped == 8)
            may_end.set()
            await server.settle()
            assert (alert.n_looks, alert.n_skipped) == (1, 8)
            # The one that was under way was of the first frame.
            assert [seconds for seconds, _ in alert.looks] == [0]
            await server.watch(9, 10)
            assert (alert.n_looks, alert.n_skipped) == (2, 8)

    run(test())


def test_a_feed_faster_than_the_engine_is_looked_at_when_it_can_be(engine: Engine) -> None:
    """Frames are offered as fast as they come."""

    async def test() -> None:
        async with running(engine) as server:
            posed = [await server.add(every=every) for every in (1, 2, 3)]
            for start in range(0, 24, 3):
                server.live.take(frames(start, start + 3))
                await asyncio.sleep(0.01)
            await server.settle()
            n_frames = server.live.session.stats.frames_seen
            assert n_frames + server.live.session.stats.frames_dropped == 24
            for alert, every in zip(posed, (1, 2, 3), strict=True):
                assert alert.n_looks + alert.n_skipped == n_frames // every
                assert alert.n_looks >= 1

    run(test())


def test_a_restart_keeps_questions_and_tells_nothing_twice(engine: Engine, tmp_path: Path) -> None:
    """Saved at 12 s, killed after the hit at 23 s: the stream comes again from 12 s on."""

    async def first() -> None:
        async with running(engine, tmp_path, dies=True) as server:
            await server.add(name="circle")
            await server.watch(0, 12)
            await server.hub.save_all()
            await server.watch(12, 25)
            assert [hit["time_s"] for hit in server.kinds("alert")] == [HIT_SECONDS]

    async def second() -> None:
        async with running(engine, tmp_path) as server:
            (alert,) = server.alerts.of(server.live)
            assert (alert.request.name, alert.trigger.n_hits, alert.trigger.is_armed) == ("circle", 1, False)
            assert server.live.session.stats.frames_seen == 12
            assert server.alerts.picture(server.live, alert.name, 1)[0] == HIT_SECONDS
            await server.watch(12, 32)
            assert server.kinds("alert") == []
            assert alert.n_looks == 6 + 5

    async def third() -> None:
        """What was counted is kept by an end in order."""
        async with running(engine, tmp_path) as server:
            (alert,) = server.alerts.of(server.live)
            assert (alert.n_looks, alert.trigger.looked_seconds) == (11, 31)
            assert len(server.alerts.details(server.live, alert)["hits"]) == 1

    for part in (first, second, third):
        run(part())


def test_a_hit_is_written_down_as_a_whole_or_not_at_all(engine: Engine, tmp_path: Path) -> None:
    """A server that dies while it tells: the next one tells it, once."""

    async def first() -> None:
        async with running(engine, tmp_path, dies=True) as server:
            await server.add()
            await server.watch(0, 16)
            await server.hub.save_all()
            server.live.log = lambda *_: (_ for _ in ()).throw(OSError("the disk is full"))  # type: ignore[method-assign]
            await server.watch(16, 24)
            assert server.journal.records("alert_picture") == {}

    async def second() -> None:
        async with running(engine, tmp_path) as server:
            (alert,) = server.alerts.of(server.live)
            assert alert.trigger.n_hits == 0
            await server.watch(16, 24)
            assert [hit["time_s"] for hit in server.kinds("alert")] == [HIT_SECONDS]
            assert len(server.journal.records("alert_picture")) == 1

    for part in (first, second):
        run(part())


def test_what_was_held_before_a_gap_is_held_anew_after_it(engine: Engine) -> None:
    async def test() -> None:
        async with running(engine) as server:
            alert = await server.add(hold_s=6)
            await server.watch(0, 28)
            assert alert.trigger.above_since_seconds == HIT_SECONDS
            server.live.resume(40.0, "the camera was away")
            await server.watch(40, 44)
            assert alert.trigger.above_since_seconds == 43
            assert server.kinds("alert") == []
            await server.watch(44, 52)
            assert [hit["time_s"] for hit in server.kinds("alert")] == [51]

    run(test())


def test_a_deleted_time_range_takes_looks_pictures_and_deliveries_with_it(engine: Engine) -> None:
    async def test() -> None:
        async with running(engine) as server:
            alert = await server.add(webhook={"url": to.address})
            await server.watch(0, 28)
            await until(lambda: len(server.kinds("webhook")) == 1)
            assert server.kinds("webhook")[0] == {"alert": alert.name, "hit": 1, "outcome": "retried"}
            for tell in server.hub.on_forget:
                tell(server.live, 22.0, 24.0)
            server.journal.forget(server.live.name, 22.0, 24.0)
            details = server.alerts.details(server.live, alert)
            assert [look["time_s"] for look in details["looks"]] == [3, 7, 11, 15, 19, 27]
            assert details["hits"] == []
            assert details["webhook"]["n_waiting"] == 0
            for kind in ("alert_picture", "webhook"):
                assert server.journal.records(kind) == {}
            with pytest.raises(ApiError, match="hit 1 has no picture"):
                server.alerts.picture(server.live, alert.name, 1)
            # It stays told.
            assert (alert.trigger.n_hits, alert.trigger.is_armed) == (1, False)

    with receiver(503, 503, 503) as to:
        run(test())


def test_a_look_that_is_under_way_when_its_time_is_deleted_finds_nothing(engine: Engine) -> None:
    async def test() -> None:
        async with running(engine) as server:
            alert = await server.add()
            await server.watch(0, 23)
            may_end = hold_looks(server)
            await asyncio.to_thread(server.live.watch, frames(23, 24))
            await until(lambda: bool(server.alerts._looks[server.live.name]._tasks))
            server.alerts._looks[server.live.name].forget(22.0, 24.0)
            may_end.set()
            await server.settle()
            assert (alert.n_looks, alert.n_skipped, alert.trigger.n_hits) == (5, 1, 0)
            assert server.journal.records("alert_picture") == {}
            await server.watch(24, 28)
            assert (alert.n_looks, alert.n_skipped, alert.trigger.fired_seconds) == (6, 1, 27)

    run(test())


@pytest.mark.parametrize(("n_newer", "width"), [(2, 960), (9, 192)])
def test_the_picture_is_of_the_frame_that_was_looked_at(engine: Engine, n_newer: int, width: int) -> None:
    """Also if newer ones have come since; after many of them, the small one."""

    async def test() -> None:
        async with running(engine, chunk=8) as server:
            alert = await server.add()
            await server.watch(0, 23)
            may_end = hold_looks(server)
            for frame in frames(23, 24 + n_newer):
                await asyncio.to_thread(server.live.watch, [frame])
            await asyncio.sleep(0.05)
            may_end.set()
            await server.settle()
            time_seconds, jpeg = server.alerts.picture(server.live, alert.name, 1)
            assert time_seconds == 23
            assert jpeg == to_jpeg(frames(23, 24)[0], width)

    run(test())


def test_a_deleted_question_leaves_nothing_but_what_it_told(engine: Engine) -> None:
    async def test() -> None:
        async with running(engine) as server:
            alert = await server.add()
            kept = await server.add("Is it dark?")
            await server.watch(0, 24)
            server.alerts.remove(server.live, alert.name)
            assert server.alerts.of(server.live) == [kept]
            assert list(server.journal.records("alert")) == [kept.name]
            assert not any(name.startswith(alert.name) for name in server.journal.records("alert_picture"))
            told = [entry.data["alert"] for entry in server.journal.entries(server.live.name, kinds=["alert"])]
            assert told.count(alert.name) == 1
            for call in (server.alerts.find, server.alerts.remove):
                with pytest.raises(ApiError, match="no standing question"):
                    call(server.live, alert.name)
            server.alerts.remove(server.live, kept.name)
            await server.watch(24, 32)
            assert (alert.n_looks, kept.n_looks) == (6, 6)

    run(test())


def test_a_deleted_session_leaves_nothing_even_in_the_middle_of_a_look(engine: Engine, tmp_path: Path) -> None:
    async def test() -> None:
        async with running(engine, tmp_path) as server:
            await server.add(every=1)
            with held_up(server.live.session):
                looks = server.alerts._looks[server.live.name]
                looks._arrive(frames(0, 1))
                looks.alerts[next(iter(looks.alerts))].begin_look(1)
                looks._tasks["?"] = asyncio.create_task(looks._look(next(iter(looks.alerts.values()))))
                await asyncio.sleep(0)
            await server.hub.close(server.live)
            await asyncio.sleep(0.05)
            assert server.journal.records("alert") == {}

    run(test())


def test_a_webhook_gets_what_the_journal_says(engine: Engine) -> None:
    async def test() -> None:
        async with running(engine) as server:
            alert = await server.add(webhook={"url": f"{to.address}/T0KEN", "secret": "12345678"})
            await server.watch(0, 24)
            await until(lambda: bool(server.kinds("webhook")))
            (hit,) = server.kinds("alert")
            (request,) = to.received
            assert json.loads(request.body) == {"type": "alert", "session": server.live.name, **hit}
            shown = server.alerts.details(server.live, alert)
            stands = {"n_waiting": 0, "n_delivered": 1, "n_failed": 0, "error": ""}
            assert shown["webhook"] == {"url": f"{to.address}/…", "is_signed": True, **stands}
            assert "T0KEN" not in json.dumps(shown) + repr(alert.request)
            assert "12345678" not in json.dumps(shown) + repr(alert.request)

    with receiver() as to:
        run(test())


def test_what_cannot_be_asked_or_told_is_refused_at_once(engine: Engine) -> None:
    async def test() -> None:
        async with running(engine, limits=Limits(max_alerts=1)) as server:
            for error, message, options in (
                (UsageError, "expected what you want to know", {"question": " "}),
                (UsageError, "2 to 26 different answers", {"choices": ("yes",)}),
                (UsageError, "begin with the same token", {"choices": ("red", "reddish")}),
                (ContextError, "ask a shorter one", {"question": "word " * 5000}),
                (ApiError, "not at a public address", {"webhook": {"url": "http://192.168.0.1/"}}),
                (ApiError, "cannot be found", {"webhook": {"url": "https://nowhere.invalid/"}}),
                (ApiError, "no address", {"webhook": {"url": "file:///etc/passwd"}}),
            ):
                with pytest.raises(error, match=message) as caught:
                    await server.add(**options)
                assert "\n" not in str(caught.value)
            assert server.alerts.of(server.live) == []
            await server.add()
            with pytest.raises(ApiError, match="1 standing questions, its limit"):
                await server.add()

    run(test())


def test_a_session_that_is_closed_while_it_is_posed_a_question_is_not_there_any_more(engine: Engine) -> None:
    async def test() -> None:
        async with running(engine) as server:
            may_end = hold_looks(server)
            adding = asyncio.create_task(server.add())
            await asyncio.sleep(0.05)
            await server.hub.close(server.live)
            may_end.set()
            with pytest.raises((ApiError, SessionClosed)):
                await adding
            assert server.journal.records("alert") == {}

    run(test())


def test_a_look_that_fails_is_counted_and_the_next_one_comes(engine: Engine) -> None:
    async def test() -> None:
        async with running(engine) as server:
            alert = await server.add()
            score = server.live.session.score
            server.live.session.score = lambda *_: (_ for _ in ()).throw(RuntimeError("out of order"))  # type: ignore[method-assign]
            await server.watch(0, 4)
            assert (alert.n_looks, alert.n_skipped) == (0, 1)
            assert "its log says what" in alert.error
            server.live.session.score = score  # type: ignore[method-assign]
            await server.watch(4, 8)
            assert (alert.n_looks, alert.n_skipped, alert.error) == (1, 1, "")

    run(test())


def test_old_pictures_give_way(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hermes_stream.server.alerts.alert_looks.N_PICTURES", 2)

    async def test() -> None:
        async with running(engine) as server:
            alert = await server.add("Is it so?", every=1)
            looks = server.alerts._looks[server.live.name]
            score = server.live.session.score
            await server.watch(0, 1)
            found = await score("Is it so?").aresult()
            for second in range(1, 9):
                probability = float(second % 2)
                changed = type(found)(("yes", "no"), (probability, 1 - probability), 1.0, float(second), 0.0)
                await asyncio.to_thread(server.live.watch, frames(second, second + 1))
                await server.settle()
                alert.trigger = Trigger(n_hits=alert.trigger.n_hits)
                await looks._take(alert, changed)
            assert alert.trigger.n_hits >= 4
            assert len(server.journal.records("alert_picture")) == 2

    run(test())


def test_a_record_is_the_whole_question(engine: Engine) -> None:
    request = AlertRequest(
        question="Is it so?", hold_s=2, cooldown_s=60, every=7, webhook={"url": "https://a.example/", "secret": "x" * 8}
    )
    alert = Alert("id", request, 5.0, every_frames=7, n_frames=21)
    again = Alert.of_record("id", json.loads(json.dumps(alert.record())), every_frames=4, n_frames=21)
    assert again.record() == alert.record()
    assert again.request == request
    assert again.question == alert.question
    assert [again.begin_look(n) for n in (27, 28)] == [False, True]
