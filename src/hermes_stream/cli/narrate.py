"""`hermes-stream narrate`: a video in, a commentary out, second by second."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hermes_stream.cli.ask import parse_question, report_damage
from hermes_stream.cli.conversation import Conversation, Exchange
from hermes_stream.cli.keyboard import LineEditor, input_descriptor, reading_input
from hermes_stream.cli.output import answer_row, progress_bar, put_json, say
from hermes_stream.cli.stream_options import NarrateOptions, Opened, open_stream
from hermes_stream.errors import HermesError

if TYPE_CHECKING:
    from hermes_stream.engine.commentary.following import Pulse
    from hermes_stream.engine.commentary.narration import Narration, Remark
    from hermes_stream.engine.timeline import TimedQuestion
    from hermes_stream.types import Frame
    from hermes_stream.video import Video
    from hermes_stream.video.subtitles import SubtitleFile


def narrate(
    source: str,
    /,
    *,
    prompt: str | None = None,
    srt: Path | None = None,
    vtt: Path | None = None,
    step: float = 1.0,
    tokens_per_second: float = 20.0,
    realtime: Annotated[bool, Parameter(negative="")] = False,
    question: Annotated[list[str] | None, Parameter(negative="")] = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    options: Annotated[NarrateOptions | None, Parameter(name="*")] = None,
) -> None:
    """Comment on a video, step by step; what was said becomes part of the memory.

    Every line of standard input is a question, answered from the same memory while the commentary goes on.

    Parameters
    ----------
    source
        A file, or the URL of a stream.
    prompt
        What is wanted. Default: the model's own.
    srt
        File for SubRip subtitles, written as they come.
    vtt
        File for WebVTT subtitles, likewise.
    step
        Seconds after which something may be said.
    tokens_per_second
        The most that is said.
    realtime
        Show a file at its own pace, and keep up with it, as with a live stream.
    question
        "SECONDS=TEXT", or "end=TEXT", to be asked once that moment was narrated; may be repeated.
    json
        Print one JSON object per remark, and per answer.
    """
    from hermes_stream.video.subtitles import Form, SubtitleFile

    questions = [parse_question(text) for text in question or []]
    with ExitStack() as stack:
        chosen = options or NarrateOptions()
        chosen.check()
        files = [
            stack.enter_context(SubtitleFile(path, form))
            for path, form in ((srt, Form.SRT), (vtt, Form.VTT))
            if path is not None
        ]
        opened = stack.enter_context(open_stream(source, chosen))
        narration = opened.session.narrate(prompt, step_seconds=step, tokens_per_second=tokens_per_second)
        narrating = _Narrating(opened, narration, files, questions, has_json=json)
        stack.enter_context(reading_input(input_descriptor(), narrating.type))
        narrating.run(is_followed=realtime or opened.video.info.is_live)
        report_damage(opened.video)
    narrating.raise_failure()


class _Narrating:
    """The commentary on the main thread; questions come in on others, as they are typed or as their time comes."""

    def __init__(
        self,
        opened: Opened,
        narration: Narration,
        files: list[SubtitleFile],
        questions: list[TimedQuestion[None]],
        *,
        has_json: bool,
    ) -> None:
        self._session, self._video, self._narration = opened.session, opened.video, narration
        self._files, self._has_json = files, has_json
        self._waiting = sorted(questions, key=lambda question: question.time_seconds)
        self._conversation = Conversation(opened.session, remember=False, on_done=self._finish)
        self._editor, self._lines = LineEditor(), list[str]()
        # Of what is printed, and of what was typed and is not asked yet.
        self._lock = threading.Condition()
        self._n_done = 0
        self._error: Exception | None = None

    def run(self, *, is_followed: bool) -> None:
        """Until the video ends and all questions are answered. is_followed: whether the video does not wait."""
        remarks = self._narration.follow(paced(self._video)) if is_followed else self._narration.watch(self._video)
        with progress_bar() as progress:
            task = progress.add_task("narrating", total=self._video.info.duration_seconds, note="")
            for remark in remarks:
                self._put(remark)
                note = pulse_line(self._narration.pulse) if is_followed else f"{remark.end_seconds:.0f} s"
                progress.update(task, completed=remark.end_seconds, note=note)
                self._ask_what_is_due(remark.end_seconds)
        self._ask_what_is_due(float("inf"))
        with self._lock:
            self._lock.wait_for(lambda: self._n_done == self._conversation.n_asked)
        if is_followed:
            say(pulse_line(self._narration.pulse))

    def type(self, data: bytes) -> None:
        """What was read from standard input; before the first frame there is nothing to ask about."""
        with self._lock:
            self._lines += self._editor.feed(data)
        if self._session.memory.frames_seen:
            self._ask_lines()

    def raise_failure(self) -> None:
        """Raise what went wrong with an answer."""
        if self._error is not None:
            raise self._error

    def _put(self, remark: Remark) -> None:
        if not remark.text:
            return
        for file in self._files:
            file.add(remark.start_seconds, remark.end_seconds, remark.text)
        with self._lock:
            if self._has_json:
                put_json(remark_row(remark))
            else:
                print(f"[{remark.start_seconds:7.1f} s] {remark.text}", flush=True)

    def _ask_what_is_due(self, seconds: float) -> None:
        self._ask_lines()
        while self._waiting and self._waiting[0].time_seconds <= seconds:
            self._conversation.ask(self._waiting.pop(0).query)

    def _ask_lines(self) -> None:
        from hermes_stream.types import Query

        with self._lock:
            lines, self._lines = self._lines, []
        for line in lines:
            self._conversation.ask(Query(line))

    def _finish(self, exchange: Exchange) -> None:
        with self._lock:
            answer = exchange.answer
            if answer is None:
                self._error = self._error or exchange.error or HermesError("an answer ended without a text")
            elif self._has_json:
                put_json(answer_row(exchange.question, answer, self._session.policy.title))
            else:
                print(f"[{answer.time_seconds:7.1f} s] {exchange.question}\n            {answer.text}", flush=True)
            self._n_done += 1
            self._lock.notify_all()


def paced(video: Video) -> Iterator[Frame]:
    """Frames when they are due; a live source brings them so."""
    from hermes_stream.video.pace import Pace

    pace, frames = Pace(is_live=video.info.is_live), iter(video)
    for frame in frames:
        pace.arrive(frame.pts_seconds)
        time.sleep(pace.wait_seconds(frame.pts_seconds))
        yield frame


def remark_row(remark: Remark) -> dict[str, float | str]:
    """The fields of one remark, as `--json` prints them."""
    return {
        "start_s": round(remark.start_seconds, 3),
        "end_s": round(remark.end_seconds, 3),
        "text": remark.text,
    }


def pulse_line(pulse: Pulse) -> str:
    """Whether the speaker keeps up, for people."""
    available = "?" if pulse.available_per_second is None else f"{pulse.available_per_second:.0f}"
    dropped = f", {pulse.n_dropped} frames dropped" if pulse.n_dropped else ""
    return (
        f"{pulse.lag_seconds:.1f} s behind, {available} tokens/s of which {pulse.needed_per_second:.1f} are said, "
        f"{pulse.n_spoken} steps spoken, {pulse.n_skipped} in silence to keep up{dropped}"
    )
