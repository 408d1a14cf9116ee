"""`hermes-stream watch`: paced playback, questions typed and piped meanwhile, a terminal that is left as it was."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from hermes_stream import Engine
from hermes_stream.cli.conversation import Conversation, Exchange
from hermes_stream.cli.keyboard import LineEditor
from hermes_stream.cli.main import main
from hermes_stream.cli.panel import render
from hermes_stream.cli.playback import Playback, RateMeter
from hermes_stream.cli.status import Status, clock_text, status_line, transcript
from hermes_stream.cli.watch import _Leave
from hermes_stream.engine.session import Session, SessionStats
from hermes_stream.engine.timeline import TimedQuestion
from hermes_stream.types import Frame, Query
from hermes_stream.video import MemorySource, Video, write_video
from tests.cli.conftest import Done
from tests.tiny import make_frames

Command = Callable[..., Done]
FIELDS = {"time_s", "question", "answer", "ttft_ms", "frames_seen", "held_tokens", "memory_bytes", "policy"}
# A test machine may be busy with other things; nothing here waits that long otherwise.
PATIENCE_SECONDS = 60
ROWS, COLUMNS = 30, 80
CLIP_SECONDS, CLIP_FPS = 2, 10
BACKSPACE, KILL_LINE, END, INTERRUPT = "\x7f", "\x15", "\x04", "\x03"
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of noise at 10 fps."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_video(path, (frame.image_YXC for frame in make_frames(CLIP_SECONDS * CLIP_FPS)), fps=CLIP_FPS)
    return path


@pytest.fixture(scope="module")
def blink(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """0.4 seconds of noise at 10 fps, in a container that can be cut anywhere."""
    path = tmp_path_factory.mktemp("blink") / "blink.ts"
    write_video(path, (frame.image_YXC for frame in make_frames(4)), fps=10)
    return path


@pytest.fixture(scope="module", autouse=True)
def forks() -> ForkServerContext:
    """Makes processes that have imported torch already; on its way while the other tests run."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hermes_stream.models.llava_onevision", "hermes_stream.engine.engine", __name__])
    forkserver.ensure_running()
    return context


class Terminal:
    """The command on a pseudo-terminal of its own; standard output goes to a file.

    Forked from a process that has imported torch, because a fresh interpreter takes seconds for that.
    """

    def __init__(self, forks: ForkServerContext, out: Path, arguments: Sequence[object]) -> None:
        self._out = out
        self._out.touch()
        self._master, self._slave = pty.openpty()
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.raw = ""
        self.before = termios.tcgetattr(self._slave)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(
            ["hermes_stream.models.llava_onevision", "hermes_stream.engine.engine", __name__]
        )
        target = [str(argument) for argument in arguments]
        name = os.ttyname(self._slave)
        self.process = forks.Process(target=_command_on, args=((name, str(out), name), target))
        self.process.start()

    @property
    def text(self) -> str:
        """Everything that was shown, without colours and cursor movements."""
        return ESCAPES.sub("", self.raw)

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._out.read_text(encoding="utf-8").splitlines()]

    @property
    def has_echo(self) -> bool:
        return bool(termios.tcgetattr(self._slave)[3] & (termios.ECHO | termios.ICANON))

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Read what is shown until something holds."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            is_over = self.process.exitcode is not None or time.monotonic() > deadline
            self._read(0.05)
            assert not is_over or condition(), f"waited in vain for {what}; shown so far:\n{self.text[-4000:]}"

    def wait_for(self, text: str) -> None:
        self.wait(lambda: text in self.text, repr(text))

    def status(self) -> int | None:
        """Wait for the end."""
        self.wait(lambda: self.process.exitcode is not None, "the end")
        self._read(0)
        return self.process.exitcode

    def assert_left_as_it_was(self) -> None:
        assert termios.tcgetattr(self._slave) == self.before
        assert self.raw.rfind("\x1b[?25h") > self.raw.rfind("\x1b[?25l") > 0, "the cursor is still hidden"
        assert "Traceback" not in self.text

    def close(self) -> None:
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        os.close(self._master)
        os.close(self._slave)

    def _read(self, seconds: float) -> None:
        while select.select([self._master], [], [], seconds)[0]:
            seconds = 0
            self.raw += os.read(self._master, 65536).decode(errors="replace")


def _command_on(paths: tuple[str, str, str], arguments: list[str]) -> None:
    """What a child runs, on files for standard input, output and error."""
    os.setsid()
    # The first terminal that the leader of a session opens is its controlling one: Ctrl-C will reach it.
    for descriptor, path in enumerate(paths):
        os.dup2(os.open(path, os.O_WRONLY if descriptor else os.O_RDONLY), descriptor)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
    for name in ("COLUMNS", "LINES", "NO_COLOR"):
        os.environ.pop(name, None)
    os.environ["TERM"] = "xterm-256color"
    main(arguments)


@pytest.fixture
def terminal(forks: ForkServerContext, tmp_path: Path, llava_folder: Path) -> Iterator[Callable[..., Terminal]]:
    """Starts `watch` on a terminal."""
    terminals: list[Terminal] = []

    def start(*arguments: object) -> Terminal:
        out = tmp_path / "out.jsonl"
        terminals.append(Terminal(forks, out, ["watch", *arguments, "--model", llava_folder, "--json"]))
        return terminals[-1]

    yield start
    for opened in terminals:
        opened.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.mp4"], "nowhere.mp4: no such file"),
        ([__file__], "test_watch.py"),
        (["nowhere.mp4", "--question", "now=What?"], "cannot read the question 'now=What?'"),
        (["nowhere.mp4", "--fps", "0"], "--fps is 0"),
        (["nowhere.mp4", "--memory", "hermse"], "did you mean hermes"),
        ([], "SOURCE"),
    ],
)
def test_bad_input_is_one_line_and_status_2(command: Command, arguments: list[str], message: str) -> None:
    done = command("watch", *arguments)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert message in done.err


def test_without_a_terminal_people_read_lines(command: Command, blink: Path, llava_folder: Path) -> None:
    done = command("watch", blink, "--model", llava_folder, "--fps", 10, "--question", "0.22=Which colour?")
    assert (done.status, done.out) == (0, "")
    assert re.search(r"^\[    0\.2 s\] Which colour\?\n {12}.* ms; \d+ tokens, .*\)$", done.err, re.M)


def test_a_question_that_fails_fails_the_command(command: Command, blink: Path, llava_folder: Path) -> None:
    """The random model has 512 positions; the other question is answered all the same."""
    questions = ["--question", "0.1=" + "too long " * 200, "--question", "end=Which colour?"]
    done = command("watch", blink, "--model", llava_folder, "--fps", 10, "--json", *questions)
    assert done.status == 1
    assert [row["question"] for row in done.rows] == ["Which colour?"]
    assert re.search(r"no answer: the question takes \d+ positions", done.err)
    assert done.err.splitlines()[-1].startswith("error: the question takes")


def test_a_source_that_breaks_off_can_be_asked_and_fails_the_command(
    command: Command, blink: Path, llava_folder: Path
) -> None:
    with broken_download(blink.read_bytes()) as address:
        done = command("watch", address, "--model", llava_folder, "--fps", 10, "--json", "--question", "end=What?")
    assert done.status == 1, done.err
    assert [row["question"] for row in done.rows] == ["What?"]
    assert done.rows[0]["frames_seen"] == 4
    stopped = [line for line in done.err.splitlines() if "stopped at 0." in line]
    assert len(stopped) == 2
    assert stopped[0].endswith("what was seen can still be asked")
    assert stopped[1].startswith(f"error: {address}")
    assert "the connection ended" in stopped[1]


@contextmanager
def broken_download(data: bytes) -> Iterator[str]:
    """An HTTP server that promises twice what it sends."""
    header = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (2 * len(data))
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            # FFmpeg tries the missing half again.
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.sendall(header + data)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        server.shutdown(socket.SHUT_RDWR)


class Played:
    """Frames played into a session, and what was answered meanwhile."""

    def __init__(
        self, session: Session, frames: Sequence[Frame], fps: float, questions: Sequence[tuple[float, str]] = ()
    ) -> None:
        ended, done = threading.Event(), threading.Semaphore(0)
        self.conversation = Conversation(session, remember=False, on_done=lambda exchange: done.release())
        timed = [TimedQuestion(seconds, Query(text, max_new_tokens=2), None) for seconds, text in questions]
        with Video(MemorySource(frames), fps=None) as video:
            self.playback = Playback(session, video, fps, timed, ask=self.conversation.ask, on_end=ended.set)
            self._started = time.monotonic()
            self.playback.start()
            assert ended.wait(PATIENCE_SECONDS)
            self.seconds = time.monotonic() - self._started
        for _ in timed:
            assert done.acquire(timeout=PATIENCE_SECONDS)

    @property
    def answers(self) -> dict[str, int]:
        """Frames that each question saw."""
        return {e.question: e.answer.frames_seen for e in self.conversation.exchanges if e.answer is not None}


def spaced(n_frames: int, interval_seconds: float) -> list[Frame]:
    return [Frame(index * interval_seconds, frame.image_YXC) for index, frame in enumerate(make_frames(n_frames))]


def test_a_file_is_played_at_its_own_pace(engine: Engine) -> None:
    with engine.open("keep-all") as session:
        played = Played(session, spaced(5, 0.125), 8, [(0.3, "between"), (0.375, "on"), (9.0, "behind")])
        assert played.playback.error is None
        assert played.seconds >= 0.5
        assert session.stats.frames_seen == 5
    assert played.answers == {"between": 3, "on": 4, "behind": 5}


def test_behind_the_clock_nothing_is_dropped(engine: Engine) -> None:
    with engine.open("keep-all", chunk=4) as session:
        played = Played(session, spaced(40, 0.001), 1000, [(0.0205, "in the middle")])
        assert session.stats.frames_seen == 40
    assert played.answers == {"in the middle": 21}


def test_the_rate_is_that_of_the_last_seconds() -> None:
    meter = RateMeter()
    assert meter.per_second is None
    for second in range(20):
        meter.count(1, float(second))
    for step in range(41):
        meter.count(2, 20 + step * 0.25)
    assert meter.per_second == pytest.approx(8, rel=0.05)


@pytest.mark.parametrize(
    ("reads", "lines", "left"),
    [
        ([b"one\ntwo\r\n\n  \nthr"], ["one", "two"], "thr"),
        (["größe".encode()[:3], "größe".encode()[3:] + b"\r"], ["größe"], ""),
        ([b"abc\x7f\x08d"], [], "ad"),
        ([b"\x7f\x7fa"], [], "a"),
        (["xe\u0301\x7f".encode()], [], "x"),
        ([b"away\x15stay"], [], "stay"),
        ([b"one two\x17", b"2"], [], "one 2"),
        ([b"a\x1b[D\x1b[1;5Cb\x1bOHc\x1b", b"[3", b"~d\x1bxe"], [], "abcde"),
        ([b"a\x04b\x00\tc\xff"], [], "ab c\ufffd"),
        ([b"last line", b""], ["last line"], ""),
    ],
)
def test_keys_edit_the_line(reads: list[bytes], lines: list[str], left: str) -> None:
    editor = LineEditor()
    assert [line for data in reads for line in editor.feed(data)] == lines
    assert editor.text == left


def test_the_input_ends_on_an_empty_line_only() -> None:
    editor = LineEditor()
    editor.feed(b"a\x04")
    assert not editor.is_ended
    assert editor.feed(b"\x7f\x04never asked\n") == []
    assert editor.is_ended


def status(**changes: Any) -> Status:
    stats = SessionStats(33, 297, 32.0, (48, *[57] * 11), 1_234_567, 84, 4, 700)
    values: dict[str, Any] = {
        "source": "a-rather-long-name-of-a-video.mp4" * 4,
        "state": "playing",
        "stats": stats,
        "duration_seconds": 3675.0,
        "fps": 1.02,
        "lag_seconds": 2.5,
        "n_dropped": 7,
        "groups": {"shallow": range(1), "middle": range(1, 7), "deep": range(7, 12), "none": range(0)},
        "budget_tokens": 48,
        "interval_tokens": 36,
        "ttft_seconds": 0.0314,
        "n_questions": 3,
        "typed": "What is " + "very " * 30 + "long?",
        "notice": "",
    }
    return Status(**{**values, **changes})


def drawn(shown: Status, exchanges: Sequence[Exchange], height: int = ROWS) -> list[str]:
    console = Console(width=COLUMNS, height=height, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(render(shown, exchanges, console))
    return capture.get().splitlines()


@pytest.mark.parametrize("height", [8, 12, 16, 20, 24, 50])
@pytest.mark.parametrize("budget_tokens", [48, None])
def test_the_panel_fits_its_terminal(height: int, budget_tokens: int | None) -> None:
    exchanges = [Exchange(f"Question {number}?", 30.0, "word " * 100) for number in range(6)]
    shown = status(notice="http://camera stopped at 32.0 s: " + "because " * 40, budget_tokens=budget_tokens)
    lines = drawn(shown, exchanges, height)
    assert len(lines) < height
    assert {len(line) for line in lines} == {COLUMNS}
    assert lines[-2].rstrip("│ ").endswith("very long?")


def test_the_panel_shows_what_the_memory_holds() -> None:
    text = "\n".join(drawn(status(), [Exchange("Which\x1b[2J room?", 30.0, "The bl")]))
    for shown in ("0:32 / 1:01:15", "33", "1.0", "2.5 s", "7", "31 ms", "1.2 MiB", "0:30  Which [2J room?", "The bl▌"):
        assert shown in text
    assert re.search(r"shallow +layer 0 +━+ +48 held, budget 48", text)
    assert re.search(r"middle +layers 1–6 +━+ +57 held, budget 48", text)
    assert "none" not in text


def test_one_line_says_the_same() -> None:
    line = status_line(status())
    expected = (
        "0:32 / 1:01:15 · 33 frames · 1.0 fps · lag 2.5 s · 7 dropped · shallow 48, middle 57, deep 57 tokens a layer"
    )
    assert line == f"{expected} · 1.2 MiB · 4 compressions · first token 31 ms"


def test_what_was_not_finished_is_said() -> None:
    assert transcript(Exchange("Why?", 3.0, "Beca")) == "[    3.0 s] Why?\n            Beca … (not finished)"
    assert (clock_text(0), clock_text(59.9), clock_text(60), clock_text(3600)) == ("0:00", "0:59", "1:00", "1:00:00")


def test_questions_are_typed_edited_and_answered_on_a_panel(
    terminal: Callable[..., Terminal], clip: Path, tmp_path: Path
) -> None:
    watched = terminal(clip, "--fps", "5", "--map", tmp_path)
    watched.wait_for("frames seen")
    assert not watched.has_echo
    watched.type("nonsense" + KILL_LINE + "Welche Größx")
    watched.type(BACKSPACE + "e [bold]")
    watched.wait_for("› Welche Größe [bold]")
    watched.type("\r")
    watched.wait(lambda: watched.rows, "the first answer")
    watched.wait_for("● ended")
    watched.type("And now?\r")
    watched.wait(lambda: len(watched.rows) == 2, "the second answer")
    watched.wait_for("questions    2")
    watched.type(END)
    assert watched.status() == 0, watched.text
    watched.assert_left_as_it_was()
    first, second = watched.rows
    assert (first["question"], second["question"]) == ("Welche Größe [bold]", "And now?")
    assert second["frames_seen"] == CLIP_SECONDS * 5
    assert (tmp_path / "memory.png").stat().st_size > 1000
    for row in (first, second):
        assert set(row) == FIELDS
        start = "".join(character if character.isprintable() else " " for character in row["answer"])[:30].strip()
        assert start in watched.text
    labels = ["clip.mp4", "0:01 / 0:02", "fps", "lag", "dropped", "first token", "memory", "KiB", "compressions"]
    assert [label for label in labels if label not in watched.text] == []
    assert re.search(r"layers? \d.*━.*\d+ held, budget 48", watched.text)


@pytest.mark.parametrize("ending", ["Ctrl-C", "SIGTERM"])
def test_a_live_source_is_left_by_a_signal_with_the_terminal_in_order_and_a_map(
    terminal: Callable[..., Terminal], ending: str, tmp_path: Path
) -> None:
    watched = terminal("lavfi:testsrc=size=64x48:rate=10,realtime", "--fps", "5", "--map", tmp_path / "maps")
    watched.wait_for("● live")
    watched.type("What is shown?\r")
    watched.wait(lambda: watched.rows, "the answer")
    assert watched.rows[0]["frames_seen"] > 0
    watched.type("half a question")
    watched.wait_for("› half a question")
    if ending == "Ctrl-C":
        watched.type(INTERRUPT)
    else:
        os.kill(watched.process.pid or 0, signal.SIGTERM)
    assert watched.status() == (130 if ending == "Ctrl-C" else 143), watched.text
    watched.assert_left_as_it_was()
    assert {path.name for path in (tmp_path / "maps").iterdir()} == {"memory.png", "patches.png"}


def test_lines_of_a_pipe_are_questions(
    forks: ForkServerContext, clip: Path, llava_folder: Path, tmp_path: Path
) -> None:
    """More than are decoded at once, some when the first have been asked, and the last one without a line break."""
    lines = [f"Question {number}?" for number in range(11)]
    pipe, out, err = (tmp_path / name for name in ("pipe", "out", "err"))
    os.mkfifo(pipe)
    out.touch()
    err.touch()
    timed = ["--question", "end=Last?", "--question", "1.1=Middle?"]
    arguments = ["watch", str(clip), "--model", str(llava_folder), "--fps", "5", "--json", *timed]
    process = forks.Process(target=_command_on, args=((str(pipe), str(out), str(err)), arguments))
    process.start()
    with pipe.open("w") as writer:
        writer.write("\n\n".join(lines[:10]) + "\n")
        writer.flush()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not out.read_text():
            assert process.exitcode is None, err.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        writer.write(lines[10])
    process.join(PATIENCE_SECONDS)
    assert process.exitcode == 0, err.read_text()
    rows = {row["question"]: row for row in map(json.loads, out.read_text().splitlines())}
    assert sorted(rows) == sorted([*lines, "Middle?", "Last?"])
    assert all(set(row) == FIELDS for row in rows.values())
    assert (rows["Middle?"]["time_s"], rows["Middle?"]["frames_seen"]) == (1.0, 6)
    assert (rows["Last?"]["time_s"], rows["Last?"]["frames_seen"]) == (1.8, 10)
    assert all(1 <= rows[line]["frames_seen"] <= 10 for line in lines)
    assert "\x1b" not in err.read_text()
    summary = r"^0:01 / 0:02 · 10 frames · \d.* fps · .*tokens a layer .* first token \d+ ms$"
    assert re.search(summary, err.read_text(), re.M)


def test_a_fresh_interpreter_explains_the_command() -> None:
    code = "from hermes_stream.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "watch", "--help"], capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "--question" in done.stdout


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_whose_exception_was_swallowed_is_raised_again(number: int, error: type[BaseException]) -> None:
    """Python ignores what is raised in a destructor, a signal's exception too; the loop asks again."""
    leave = _Leave()
    leave.check()
    with pytest.raises(error):
        leave(number, None)
    with pytest.raises(error):
        leave.check()
