"""One thread, one bounded queue: what waits, what is dropped, and that everything ends."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from hermes_stream.errors import ConfigError
from hermes_stream.video.prefetch import Prefetcher

PATIENCE_SECONDS = 5.0


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "this never came true"
        time.sleep(0.002)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    gc.collect()
    wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name == "hermes-prefetch"])


class Counter:
    """Yields 0, 1, 2, ... and remembers how many were taken."""

    def __init__(self, n_items: int) -> None:
        self.n_items = n_items
        self.n_taken = 0

    def __iter__(self) -> Iterator[int]:
        for index in range(self.n_items):
            self.n_taken = index + 1
            yield index


def test_file_mode_keeps_order_and_drops_nothing() -> None:
    prefetcher = Prefetcher(range(500), 4)
    assert list(prefetcher) == list(range(500))
    assert prefetcher.n_dropped == 0


def test_file_mode_waits_for_room() -> None:
    counter = Counter(100)
    prefetcher = Prefetcher(counter, 4)
    wait_until(lambda: counter.n_taken == 5)
    time.sleep(0.05)
    assert counter.n_taken == 5, "four wait in the queue and one at its door"
    assert list(prefetcher) == list(range(100))


def test_live_mode_never_waits_and_keeps_the_newest() -> None:
    prefetcher = Prefetcher(range(100), 4, is_live=True)
    wait_until(lambda: not prefetcher.is_running)
    assert prefetcher.n_dropped == 96
    assert list(prefetcher) == [96, 97, 98, 99]


def test_live_mode_drops_nothing_from_a_slow_source() -> None:
    asked = threading.Semaphore(0)

    def on_demand() -> Iterator[int]:
        for index in range(20):
            asked.acquire()
            yield index

    prefetcher = Prefetcher(on_demand(), 1, is_live=True)
    got = []
    for _ in range(20):
        asked.release()
        got.append(next(prefetcher))
    assert got == list(range(20))
    assert prefetcher.n_dropped == 0
    prefetcher.close()


@pytest.mark.parametrize("is_live", [False, True])
def test_an_exception_arrives_after_the_items_before_it_and_only_once(is_live: bool) -> None:
    def failing() -> Iterator[int]:
        yield from range(3)
        raise KeyError("broken")

    prefetcher = Prefetcher(failing(), 8, is_live=is_live)
    assert [next(prefetcher) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError, match="broken"):
        next(prefetcher)
    assert list(prefetcher) == []


def test_closing_frees_a_producer_that_waits_for_room() -> None:
    counter = Counter(1000)
    prefetcher = Prefetcher(counter, 2)
    wait_until(lambda: counter.n_taken == 3)
    started = time.monotonic()
    prefetcher.close()
    assert time.monotonic() - started < 0.9
    assert not prefetcher.is_running
    assert list(prefetcher) == []


def test_closing_frees_a_consumer_that_waits_for_items() -> None:
    release = threading.Event()

    def silent() -> Iterator[int]:
        release.wait(PATIENCE_SECONDS)
        yield 1

    prefetcher = Prefetcher(silent(), 2)
    got: list[list[int]] = []
    consumer = threading.Thread(target=lambda: got.append(list(prefetcher)))
    consumer.start()
    closer = threading.Thread(target=prefetcher.close)
    closer.start()
    consumer.join(PATIENCE_SECONDS)
    assert got == [[]]
    release.set()
    closer.join(PATIENCE_SECONDS)


def test_closing_does_not_wait_for_a_source_that_never_answers() -> None:
    release = threading.Event()

    def silent() -> Iterator[int]:
        release.wait(PATIENCE_SECONDS)
        yield 1

    prefetcher = Prefetcher(silent(), 2)
    started = time.monotonic()
    prefetcher.close()
    assert time.monotonic() - started < 2
    release.set()


@pytest.mark.parametrize("n_taken", [0, 2, 10])
def test_what_must_happen_at_the_end_happens_once_in_the_thread(n_taken: int) -> None:
    finished_in: list[str] = []
    prefetcher = Prefetcher(range(10), 2, on_finish=lambda: finished_in.append(threading.current_thread().name))
    for _ in range(n_taken):
        next(prefetcher)
    prefetcher.close()
    prefetcher.close()
    assert finished_in == ["hermes-prefetch"]


def test_an_error_while_finishing_is_told() -> None:
    def fail() -> None:
        raise OSError("cannot close")

    prefetcher = Prefetcher(range(2), 4, on_finish=fail)
    assert [next(prefetcher), next(prefetcher)] == [0, 1]
    with pytest.raises(OSError, match="cannot close"):
        next(prefetcher)


def test_a_forgotten_prefetcher_stops_its_thread() -> None:
    counter = Counter(1000)
    prefetcher = Prefetcher(counter, 2)
    wait_until(lambda: counter.n_taken == 3)
    del prefetcher
    gc.collect()
    wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name == "hermes-prefetch"])
    assert counter.n_taken == 3


def test_the_thread_does_not_keep_the_process_alive() -> None:
    prefetcher = Prefetcher(Counter(1000), 2)
    threads = [thread for thread in threading.enumerate() if thread.name == "hermes-prefetch"]
    assert [thread.daemon for thread in threads] == [True]
    prefetcher.close()


def test_a_queue_without_room_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        Prefetcher(range(3), 0)
