"""A pass over a video: who sees what, clips, and questions at its edges."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hermes_stream import Engine, Frame, Query
from hermes_stream.errors import SourceError
from hermes_stream.evals.asking import Asker
from hermes_stream.evals.item import END, Item
from hermes_stream.evals.one_pass import BEFORE_THE_START, PAST_THE_END, OnePass, clips_of
from hermes_stream.evals.side_by_side import SideBySide
from hermes_stream.models.load import load_adapter
from tests.evals.asked import Plain, answers_in_one_pass, plain_item
from tests.tiny import make_frames


@pytest.fixture(scope="module")
def engine(llava_folder: Path) -> Iterator[Engine]:
    with Engine(load_adapter(str(llava_folder))) as engine:
        yield engine


def seen(engine: Engine, frames: list[Frame], *items: Item) -> dict[str, tuple[int, float]]:
    """Frames that each question saw, and the time of the newest."""
    with engine.open("sliding-window", budget=60) as session:
        side = SideBySide({"only": session})
        return {
            label: (answers["only"].frames_seen, answers["only"].time_seconds)
            for label, answers in answers_in_one_pass(side, frames, items)
        }


def flags(engine: Engine, frames: list[Frame], *items: Item) -> dict[str, tuple[str, ...]]:
    task = Plain()
    (clip,) = clips_of(task, items)
    with engine.open("sliding-window", budget=60) as session:
        one_pass = OnePass(SideBySide({"only": session}), {"only": Asker(session, task)}, batch_frames=4, fps=1.0)
        return {given.ask.key: given.reply.flags for answers in one_pass.run(frames, clip) for _, given in answers}


def test_a_question_sees_every_frame_up_to_its_time_and_none_after(engine: Engine) -> None:
    items = [plain_item(at, at) for at in (0.0, 2.0, 2.5, 6.0)]
    assert seen(engine, make_frames(9), *items) == {
        "0.0": (1, 0.0), "2.0": (3, 2.0), "2.5": (3, 2.0), "6.0": (7, 6.0),
    }  # fmt: skip


def test_what_is_shown_later_changes_no_answer(engine: Engine) -> None:
    frames = make_frames(9)
    others = [Frame(frame.pts_seconds, 255 - frame.image_YXC) if frame.pts_seconds > 4 else frame for frame in frames]

    def answer(shown: list[Frame]) -> tuple[int, ...]:
        with engine.open("hermes", budget=20) as session:
            asked = [plain_item("a", 4.0, "Which?", meta={"length": 8})]
            ((_, answers),) = answers_in_one_pass(SideBySide({"only": session}), shown, asked)
            return answers["only"].token_ids

    assert answer(frames) == answer(others)


def test_nothing_is_watched_after_the_last_question(engine: Engine) -> None:
    taken = []

    def frames() -> Iterator[Frame]:
        for frame in make_frames(50):
            taken.append(frame)
            yield frame

    with engine.open("sliding-window", budget=60) as session:
        list(answers_in_one_pass(SideBySide({"only": session}), frames(), [plain_item("a", 3.0)]))
    assert len(taken) == 5


def test_a_question_before_the_first_frame_sees_that_one_and_says_so(engine: Engine) -> None:
    late = [Frame(frame.pts_seconds + 0.5, frame.image_YXC) for frame in make_frames(3)]
    early = plain_item("early", 0.1)
    assert seen(engine, late, early) == {"early": (1, 0.5)}
    assert flags(engine, late, early) == {"early": (BEFORE_THE_START,)}


def test_a_question_past_the_end_says_so_and_one_after_the_video_does_not(engine: Engine) -> None:
    found = flags(engine, make_frames(4), plain_item("past", 60.0), plain_item("after", END), plain_item("last", 4.0))
    assert found == {"past": (PAST_THE_END,), "after": (), "last": ()}


def test_clips_that_begin_together_are_one_pass_and_end_where_they_end() -> None:
    items = [
        plain_item("a", END, clip=(0.0, 5.0)),
        plain_item("b", 7.0, clip=(0.0, 9.0)),
        plain_item("c", 8.0, clip=(3.0, END)),
    ]
    first, second = clips_of(Plain(), items)
    assert [(due.item.qid, due.seconds) for due in first.dues] == [("a", 5.0), ("b", 7.0)]
    assert (first.start_seconds, first.end_seconds) == (0.0, 7.0)
    assert [(due.item.qid, due.seconds) for due in second.dues] == [("c", 8.0)]
    assert second.start_seconds == 3.0


def test_an_array_of_pictures_is_watched_from_a_clips_start(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.zeros((12, 8, 8, 3), dtype=np.uint8))
    (clip,) = clips_of(Plain(), [plain_item("a", END, clip=(2.0, 4.0), frame_rate=2.0)])
    with clip.open(tmp_path / "v.npy", fps=1.0) as frames:
        assert [frame.pts_seconds for frame in frames] == [2.0, 3.0, 4.0]


def test_pictures_without_a_rate_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.zeros((2, 8, 8, 3), dtype=np.uint8))
    (clip,) = clips_of(Plain(), [plain_item("a", END)])
    with pytest.raises(SourceError, match="how many a second"), clip.open(tmp_path / "v.npy", fps=1.0):
        pass


def test_who_fails_has_an_error_for_all_that_is_left(engine: Engine) -> None:
    task, items = Plain(), [plain_item(at, at) for at in (2.0, 5.0, 90.0)]
    (clip,) = clips_of(task, items)
    with engine.open("sliding-window", budget=60) as session:
        one_pass = OnePass(SideBySide({"only": session}), {"only": Asker(session, task)}, batch_frames=4, fps=1.0)

        def frames() -> Iterator[Frame]:
            for frame in make_frames(30):
                if frame.pts_seconds == 4.0:
                    session.close()
                yield frame

        replies = [given.reply for answers in one_pass.run(frames(), clip) for _, given in answers]
    assert [reply.key for reply in replies] == ["2.0", "5.0", "90.0"]
    assert [reply.error is None for reply in replies] == [True, False, False]


def test_a_query_is_what_the_task_says(engine: Engine) -> None:
    with engine.open("sliding-window", budget=60) as session:
        side = SideBySide({"only": session})
        item = plain_item("a", 3.0, "Which colour?", meta={"length": 4})
        ((_, answers),) = answers_in_one_pass(side, make_frames(5), [item])
    with engine.open("sliding-window", budget=60) as session:
        session.watch(make_frames(4))
        assert answers["only"].token_ids == session.ask(Query("Which colour?", max_new_tokens=4)).result().token_ids
