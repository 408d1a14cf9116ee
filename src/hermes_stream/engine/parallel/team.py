"""The first rank's hold on the others: their processes, and what they are told."""

from __future__ import annotations

import logging
import shutil
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from torch import distributed

from hermes_stream.engine.parallel.member import Member
from hermes_stream.engine.parallel.wire import NOTHING_MORE, Call, to_bytes
from hermes_stream.errors import RankError
from hermes_stream.memory.sharded_slab import Shard, drop_slabs
from hermes_stream.models.checkpoint_files import first_line

_log = logging.getLogger(__name__)
# Calls that may gather before they are sent.
_MOST_QUEUED = 256
_SECONDS_TO_END = 5.0
_SECONDS_TO_SAY_WHY = 2.0


class Processes:
    """Other ranks, from the second one on, each behind a pipe. folder: theirs alone, and removed with them."""

    def __init__(self, started: Sequence[tuple[subprocess.Popen[bytes], Connection]], folder: Path) -> None:
        self._started, self._folder = list(started), folder
        self._lock = threading.Lock()
        self._has_ended = False

    @property
    def pipes(self) -> list[Connection]:
        return [pipe for _, pipe in self._started]

    def expect(self, word: str) -> None:
        """Wait until every rank says this. Raises RankError with what one says instead."""
        for index, (_, pipe) in enumerate(self._started):
            try:
                said = pipe.recv()
            except (EOFError, OSError):
                said = "its process ended"
            if said != word:
                raise RankError(self._line(index, said))

    def why_ended(self) -> str | None:
        """In a line, if one has ended or is about to."""
        for index, (_, pipe) in enumerate(self._started):
            try:
                if pipe.poll(_SECONDS_TO_SAY_WHY):
                    return self._line(index, pipe.recv())
            except (EOFError, OSError):
                return self._line(index, "its process ended")
        return None

    def end(self) -> None:
        """Let them end, and see to it that they do; once."""
        with self._lock:
            if self._has_ended:
                return
            self._has_ended = True
        for _, pipe in self._started:
            with suppress(OSError):
                pipe.send_bytes(NOTHING_MORE)
        for process, pipe in self._started:
            try:
                process.wait(_SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            pipe.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _line(self, index: int, why: str) -> str:
        return f"rank {index + 1} of the model ended ({why}); load the model again"


class Team:
    """All ranks of a model; see `Ranks`.

    A rank that fails ends the model: what the others hold is worth nothing without its heads.
    """

    def __init__(self, processes: Processes, member: Member) -> None:
        self.shard: Shard = member
        self._processes = processes
        self._numbers = count()
        self._queue: list[Call] = []
        self._forgotten: deque[int] = deque()
        # In a line; read on any thread.
        self.why_ended: str | None = None
        self._is_closed = False
        self._lock = threading.Lock()
        # Rows may be read on any thread, and every rank must do all things in one order.
        self._order = threading.Lock()
        threading.Thread(target=self._watch, name="hermes-stream ranks", daemon=True).start()

    def new_number(self) -> int:
        return next(self._numbers)

    def forget(self, number: int) -> None:
        self._forgotten.append(number)

    def later(self, function: Callable[..., Any], *values: Any) -> Any:
        """Run here, and elsewhere before anything that comes after. Raises RankError if a rank has ended."""
        with self._order:
            self._check()
            self._queue.append((function, values))
            result = function(self.shard, *values)
            if len(self._queue) >= _MOST_QUEUED:
                self._send()
            return result

    def now(self, function: Callable[..., Any], *values: Any) -> Any:
        """Run everywhere at once. Raises RankError if a rank has ended, or does."""
        with self._order:
            self._check()
            try:
                self._send((function, values))
                return function(self.shard, *values)
            except RankError:
                raise
            except BaseException as error:
                # The others wait for what does not come.
                raise self._break(first_line(error)) from error

    def close(self) -> None:
        """End the other ranks; once."""
        if self._is_closed:
            return
        self._is_closed = True
        self.why_ended = self.why_ended or "the model was closed"
        self._processes.end()
        if distributed.is_initialized():
            distributed.destroy_process_group()

    def _check(self) -> None:
        if self.why_ended is not None:
            raise RankError(self.why_ended)

    def _send(self, *last: Call) -> None:
        numbers = [self._forgotten.popleft() for _ in range(len(self._forgotten))]
        # Calls that are queued may still use what was forgotten since.
        data = to_bytes([*self._queue, (drop_slabs, (numbers,)), *last])
        self._queue.clear()
        try:
            for pipe in self._processes.pipes:
                pipe.send_bytes(data)
        except OSError as error:
            raise self._break("its pipe is closed") from error
        drop_slabs(self.shard, numbers)

    def _break(self, why: str) -> RankError:
        with self._lock:
            if self.why_ended is None:
                self.why_ended = (
                    self._processes.why_ended() or f"rank 0 of the model failed ({why}); load the model again"
                )
                _log.error("%s", self.why_ended)
                self._processes.end()
        return RankError(self.why_ended)

    def _watch(self) -> None:
        """Notice that a rank ends while nobody exchanges anything with it."""
        try:
            wait(self._processes.pipes)
        except OSError:
            return
        if not self._is_closed:
            self._break("its pipe is closed")
