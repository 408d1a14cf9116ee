"""Questions from standard input: typed into a terminal key by key, or read line by line from anything else."""

from __future__ import annotations

import codecs
import os
import select
import signal
import sys
import threading
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

if sys.platform == "win32":
    HAS_KEYS = False
else:
    import termios
    import tty

    HAS_KEYS = True

_READ_BYTES = 4096
_POLL_SECONDS = 0.2
_ERASE = frozenset("\x7f\x08")
_ENTER = frozenset("\r\n")
_KILL_LINE, _KILL_WORD, _END, _ESCAPE = "\x15", "\x17", "\x04", "\x1b"


class LineEditor:
    """The line that is being typed. Bytes go in, finished lines come out.

    Knows backspace, Ctrl-U (the line), Ctrl-W (a word), Enter, and Ctrl-D on an empty line, which ends the input. Arrow
    and function keys do nothing; characters may arrive split over several reads.
    """

    def __init__(self) -> None:
        self.text = ""
        self.is_ended = False
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        # An escape sequence that has begun: ESC, then `[` or `O`, then parameters, then one final character.
        self._escape = ""

    def feed(self, data: bytes) -> list[str]:
        """Take what was read; no bytes are the end of the input. Returns the lines that Enter finished, none empty."""
        lines: list[str] = []
        for character in self._decoder.decode(data, final=not data):
            if self.is_ended:
                break
            if self._escape:
                self._skip_escape(character)
            elif character in _ENTER:
                lines.append(self._take())
            else:
                self._press(character)
        if not data:
            # What stands before the end of a file is a line, with or without a line break.
            lines.append(self._take())
            self.is_ended = True
        return [line for line in lines if line]

    def _take(self) -> str:
        line, self.text = self.text.strip(), ""
        return line

    def _press(self, character: str) -> None:
        if character in _ERASE:
            self._erase_character()
        elif character == _KILL_LINE:
            self.text = ""
        elif character == _KILL_WORD:
            kept, space, _ = self.text.rstrip().rpartition(" ")
            self.text = kept + space
        elif character == _END:
            self.is_ended = not self.text
        elif character == _ESCAPE:
            self._escape = character
        elif character == "\t":
            self.text += " "
        elif not unicodedata.category(character).startswith("C"):
            self.text += character

    def _erase_character(self) -> None:
        """A letter goes together with the accents that were typed after it."""
        while self.text and unicodedata.combining(self.text[-1]):
            self.text = self.text[:-1]
        self.text = self.text[:-1]

    def _skip_escape(self, character: str) -> None:
        is_opened = self._escape == _ESCAPE and character in "[O"
        is_parameter = len(self._escape) > 1 and " " <= character <= "?"
        self._escape = self._escape + character if is_opened or is_parameter else ""


def input_descriptor() -> int | None:
    """The descriptor of standard input; None where there is none to read from."""
    try:
        return sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):
        return None


@contextmanager
def reading_input(descriptor: int | None, put: Callable[[bytes], None]) -> Iterator[None]:
    """Give what comes to `put`, from a thread of its own; no bytes are the end."""
    if descriptor is None:
        put(b"")
        yield
        return
    stopped = threading.Event()
    # A daemon: a read that nobody answers must not keep the program alive.
    threading.Thread(target=_read, args=(descriptor, put, stopped), name="hermes-input", daemon=True).start()
    try:
        yield
    finally:
        stopped.set()


def _read(descriptor: int, put: Callable[[bytes], None], stopped: threading.Event) -> None:
    data = b"?"
    while data and not stopped.is_set():
        if sys.platform != "win32" and not select.select([descriptor], [], [], _POLL_SECONDS)[0]:
            continue
        try:
            data = os.read(descriptor, _READ_BYTES)
        except OSError:  # the terminal went away
            data = b""
        put(data)


@contextmanager
def key_by_key(descriptor: int, pause: Callable[[bool], None]) -> Iterator[None]:
    """Let a terminal hand over keys as they are pressed, unseen; everything is put back, whatever ends the block.

    Ctrl-C stays a signal. Ctrl-Z gives the terminal back for as long as the program is stopped.
    pause: called with True before such a stop and with False after it.
    """
    if sys.platform == "win32":
        yield
        return
    before = termios.tcgetattr(descriptor)

    def give_back() -> None:
        # TCSANOW: waiting for the output to drain could wait for ever (Ctrl-S).
        termios.tcsetattr(descriptor, termios.TCSANOW, before)

    def stop(number: int, _: FrameType | None) -> None:
        pause(True)
        give_back()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        # The program is running again.
        signal.signal(number, stop)
        tty.setcbreak(descriptor, termios.TCSANOW)
        pause(False)

    try:
        with handling(signal.SIGTSTP, stop):
            tty.setcbreak(descriptor, termios.TCSANOW)
            yield
    finally:
        give_back()


@contextmanager
def handling(number: int, handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle a signal for a while; only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, signal.SIG_DFL if before is None else before)
