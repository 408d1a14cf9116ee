"""Servers as threads that take one step in the store at a time, in an order that a test chooses."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class DictStore:
    """A store in memory, as far as leases need one: each operation at once and as a whole."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def create(self, name: str, data: bytes) -> bool:
        is_new = name not in self.files
        self.files.setdefault(name, data)
        return is_new

    def write(self, name: str, data: bytes) -> None:
        self.files[name] = data

    def remove(self, name: str) -> None:
        self.files.pop(name, None)

    def read(self, name: str) -> bytes | None:
        return self.files.get(name)

    def names(self, folder: str) -> list[str]:
        return [name.removeprefix(f"{folder}/") for name in self.files if name.startswith(f"{folder}/")]


class _Killed(BaseException):
    """No handler of errors stops it."""


class Actor:
    """Runs a function that is given a store; `step` lets it go on to its next step there."""

    def __init__(self, store: DictStore, work: Callable[[Any], None]) -> None:
        self._turn, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self.is_over = self._is_killed = False
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(_Stepwise(store, self._wait), work))
        self._thread.start()
        self._back.acquire()

    def step(self) -> None:
        """One operation on the store, and all up to the next one."""
        if not self.is_over:
            self._turn.release()
            self._back.acquire()

    def kill(self) -> None:
        """It does nothing more. What it was about to do is not done."""
        self._is_killed = True
        self.step()
        self._thread.join()

    def _wait(self) -> None:
        self._back.release()
        self._turn.acquire()
        if self._is_killed:
            raise _Killed

    def _run(self, store: Any, work: Callable[[Any], None]) -> None:
        try:
            work(store)
        except _Killed:
            pass
        except Exception as error:  # told to the test
            self.error = error
        self.is_over = True
        self._back.release()


class _Stepwise:
    """Waits before each operation."""

    def __init__(self, store: DictStore, wait: Callable[[], None]) -> None:
        self._store, self._wait = store, wait

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._store, name)

        def stepwise(*arguments: Any) -> Any:
            self._wait()
            return operation(*arguments)

        return stepwise
