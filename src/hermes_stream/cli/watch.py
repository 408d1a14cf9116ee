"""`hermes-stream watch`: a file or a live stream, and questions typed while it runs."""

from __future__ import annotations

import signal
import sys
import time
from collections import deque
from contextlib import ExitStack
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Annotated, NoReturn

from cyclopts import Parameter

from hermes_stream.cli.ask import parse_question, report_damage
from hermes_stream.cli.conversation import Conversation, Exchange
from hermes_stream.cli.keyboard import HAS_KEYS, LineEditor, handling, input_descriptor, key_by_key, reading_input
from hermes_stream.cli.map_recorder import MapRecorder, check_can_draw
from hermes_stream.cli.output import answer_row, say
from hermes_stream.cli.panel import LineView, PanelView, View, can_show_panel
from hermes_stream.cli.playback import Playback
from hermes_stream.cli.status import Status, status_line
from hermes_stream.cli.stream_options import Opened, Options, StreamOptions, open_stream
from hermes_stream.errors import HermesError

if TYPE_CHECKING:
    from hermes_stream.engine.timeline import TimedQuestion

_REFRESH_SECONDS = 0.25
# A pipe may hold a thousand questions: as many as this are decoded side by side, the others wait for their turn.
_MAX_OPEN_QUESTIONS = 8
_SILENT_SECONDS = 3.0
# What a shell reports for a program that SIGTERM ended.
_TERMINATED = 128 + signal.SIGTERM


def watch(
    source: str,
    /,
    *,
    question: Annotated[list[str] | None, Parameter(negative="")] = None,
    remember: Annotated[bool, Parameter(negative="")] = False,
    map_folder: Annotated[Path | None, Parameter(name="--map")] = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    options: Options = None,
) -> None:
    """Watch a file at its own pace, or a live stream, and answer questions that are typed meanwhile.

    In a terminal a panel shows what is seen and held; type a question and press Enter, Ctrl-D leaves. Otherwise every
    line of standard input is a question.

    Parameters
    ----------
    source
        A file, or the URL of a stream.
    question
        "SECONDS=TEXT", or "end=TEXT", to be asked at that moment; may be repeated.
    remember
        Let each question and its answer guide what is kept afterwards.
    map_folder
        Folder for memory.png and patches.png, drawn at the end as by hermes-stream map.
    json
        Print one JSON object per answer.
    """
    questions = [parse_question(text) for text in question or []]
    if map_folder is not None:
        check_can_draw(map_folder)
    leave = _Leave()
    with (
        handling(signal.SIGINT, leave),
        handling(signal.SIGTERM, leave),
        open_stream(source, options or StreamOptions()) as opened,
    ):
        opened.engine.warm_up()
        recorder = None if map_folder is None else MapRecorder(opened)
        watching = _Watching(opened, questions, recorder, remember=remember, has_json=json)
        try:
            watching.run(leave)
        finally:
            # Also where a signal ends it: what was watched until then is what somebody wants to see.
            if recorder is not None and map_folder is not None:
                recorder.draw(map_folder)
        report_damage(opened.video)
    watching.raise_failure()


class _Leave:
    """Ctrl-C and SIGTERM as exceptions, so that terminal, source and engine are put in order on the way out.

    Python swallows an exception that a signal raises in a destructor; `check` raises it again.
    """

    def __init__(self) -> None:
        self._error: BaseException | None = None

    def __call__(self, number: int, _: object) -> NoReturn:
        self._error = KeyboardInterrupt() if number == signal.SIGINT else SystemExit(_TERMINATED)
        raise self._error

    def check(self) -> None:
        """Raise what a signal wanted, if one came."""
        if self._error is not None:
            raise self._error


class _Watching:
    """Playback, typing and answering at once. Everything that happens arrives in one queue, taken by one loop."""

    def __init__(
        self,
        opened: Opened,
        questions: list[TimedQuestion[None]],
        recorder: MapRecorder | None,
        *,
        remember: bool,
        has_json: bool,
    ) -> None:
        session, video = opened.session, opened.video
        self._recorder = recorder
        self._session = session
        self._video = video
        self._fps = opened.fps
        self._has_json = has_json
        # What was read from standard input, an answer that has ended, or None: the playback has.
        self._events: SimpleQueue[bytes | Exchange | None] = SimpleQueue()
        self._conversation = Conversation(session, remember=remember, on_done=self._events.put)
        ask, on_end = self._conversation.ask, lambda: self._events.put(None)
        frames = video if recorder is None else recorder.watch(video)
        self._playback = Playback(session, video, opened.fps, questions, ask=ask, on_end=on_end, frames=frames)
        model = opened.engine.model
        self._interval_tokens = -(-session.chunk_frames // model.frames_per_grid) * model.tokens_per_frame
        self._groups = session.policy.layer_groups(len(session.memory.layers))
        self._editor = LineEditor()
        self._lines: deque[str] = deque()
        self._is_interactive = sys.stdin is not None and sys.stdin.isatty()
        self._has_keys = False
        self._n_done = 0
        self._failed_answer: Exception | None = None

    def run(self, leave: _Leave) -> None:
        """Until the person leaves or, where nobody types, until there is nothing left to do."""
        descriptor = input_descriptor()
        with ExitStack() as stack:
            view = self._open_view(stack, descriptor)
            stack.enter_context(reading_input(descriptor, self._events.put))
            stack.callback(self._playback.stop)
            self._playback.start()
            self._loop(view, leave)
        say(status_line(self._status()))
        if self._playback.n_unasked:
            say(f"note: questions whose time had not come: {self._playback.n_unasked}")

    def raise_failure(self) -> None:
        """Raise what went wrong on the way. A person has seen that a question failed; a program must be told."""
        error = self._playback.error or (None if self._is_interactive else self._failed_answer)
        if error is not None:
            raise HermesError(self._notice or str(error)) from error

    def _open_view(self, stack: ExitStack, descriptor: int | None) -> View:
        """A panel where it can be seen, unless the terminal would write what is typed into it."""
        has_answers = not self._has_json
        can_take_keys = HAS_KEYS and self._is_interactive and descriptor is not None
        if not can_show_panel() or (self._is_interactive and not can_take_keys):
            return LineView(has_answers=has_answers)
        view = stack.enter_context(PanelView(has_answers=has_answers))
        if can_take_keys and descriptor is not None:
            self._has_keys = True
            stack.enter_context(key_by_key(descriptor, view.pause))
        return view

    def _loop(self, view: View, leave: _Leave) -> None:
        next_seconds = time.monotonic()
        while not self._is_finished:
            leave.check()
            # What is typed shows at once, everything else at the next refresh.
            has_typed = self._take_event(max(0.0, next_seconds - time.monotonic()), view)
            self._ask_lines()
            if has_typed or time.monotonic() >= next_seconds:
                view.show(self._status(), self._conversation.exchanges)
                next_seconds = time.monotonic() + _REFRESH_SECONDS
        view.show(self._status(), self._conversation.exchanges)

    @property
    def _is_finished(self) -> bool:
        is_asking = self._lines or self._n_open
        return not is_asking and (self._is_leaving or (self._editor.is_ended and self._playback.is_ended))

    @property
    def _is_leaving(self) -> bool:
        """A person who ends the input wants to go; a pipe that ends has only said all it had to say."""
        return self._is_interactive and self._editor.is_ended

    @property
    def _n_open(self) -> int:
        return self._conversation.n_asked - self._n_done

    def _take_event(self, timeout_seconds: float, view: View) -> bool:
        """Wait for what happens next; returns whether it was typed."""
        try:
            event = self._events.get(timeout=timeout_seconds)
        except Empty:
            return False
        if isinstance(event, bytes):
            self._lines.extend(self._editor.feed(event))
            if self._is_leaving:
                self._playback.stop()
            return True
        if event is not None:
            self._finish(event, view)
        return False

    def _finish(self, exchange: Exchange, view: View) -> None:
        self._n_done += 1
        self._failed_answer = self._failed_answer or exchange.error
        if self._recorder is not None:
            self._recorder.asked_at(exchange.time_seconds)
        if self._has_json and exchange.answer is not None:
            view.put_row(answer_row(exchange.question, exchange.answer, self._session.policy.title))

    def _ask_lines(self) -> None:
        """Ask what was typed; before the first frame there is nothing to ask about."""
        from hermes_stream.types import Query

        is_ready = self._session.memory.frames_seen > 0 or self._playback.is_ended or self._is_leaving
        while is_ready and self._lines and self._n_open < _MAX_OPEN_QUESTIONS:
            self._conversation.ask(Query(self._lines.popleft()))

    def _status(self) -> Status:
        info, stats = self._video.info, self._session.stats
        return Status(
            source=info.url if info.is_live or "://" in info.url else Path(info.url).name,
            state=self._state,
            stats=stats,
            duration_seconds=info.duration_seconds,
            fps=self._playback.rate.per_second,
            lag_seconds=self._playback.lag_seconds,
            n_dropped=self._video.n_dropped + stats.frames_dropped,
            groups=self._groups,
            budget_tokens=self._session.policy.budget_tokens,
            interval_tokens=self._interval_tokens,
            ttft_seconds=self._conversation.ttft_seconds,
            n_questions=self._conversation.n_asked,
            typed=self._editor.text if self._has_keys else None,
            notice=self._notice,
        )

    @property
    def _state(self) -> str:
        if self._is_leaving:
            return "leaving"
        if self._playback.is_ended:
            return "stopped" if self._playback.error else "ended"
        if self._playback.silent_seconds > max(_SILENT_SECONDS, 2 / self._fps):
            return f"silent for {self._playback.silent_seconds:.0f} s"
        return "live" if self._video.info.is_live else "playing"

    @property
    def _notice(self) -> str:
        """Why the source stopped, in one line."""
        error = self._playback.error
        if error is None:
            return ""
        is_foreign = not isinstance(error, HermesError | ConnectionError)
        reason = " ".join(f"{type(error).__name__}: {error}".split() if is_foreign else str(error).split())
        return f"{self._video.info.url} stopped at {self._session.memory.time_seconds:.1f} s: {reason}"
