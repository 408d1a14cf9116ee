"""Stages are told to whoever looks, on any thread and also when they fail, and to nobody else."""

from __future__ import annotations

import threading

import pytest
from torch.profiler import ProfilerActivity, profile

from hermes_stream.stages import EVICT, PLACE, STAGES, VISION, listening, stage


class Diary:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def begin(self, name: str) -> None:
        self.lines.append(f"+{name}")

    def end(self, name: str) -> None:
        self.lines.append(f"-{name}")


def test_a_listener_hears_nested_stages_of_all_threads_and_failed_ones() -> None:
    diary = Diary()

    def work() -> None:
        with stage(EVICT), stage(PLACE):
            pass

    with listening(diary):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        with pytest.raises(KeyError), stage(VISION):
            raise KeyError
    work()
    assert diary.lines == [f"+{EVICT}", f"+{PLACE}", f"-{PLACE}", f"-{EVICT}", f"+{VISION}", f"-{VISION}"]


def test_who_heard_the_beginning_hears_the_end() -> None:
    diary = Diary()
    with stage(EVICT), listening(diary), stage(VISION):
        pass
    listener = listening(diary)
    listener.__enter__()
    with stage(PLACE):
        listener.__exit__(None, None, None)
    assert diary.lines == [f"+{VISION}", f"-{VISION}", f"+{PLACE}", f"-{PLACE}"]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_any_profiler_of_pytorch_sees_them() -> None:
    """Which hangs on a private flag of PyTorch's: it is asked because a range costs time where nobody looks."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for name in STAGES:
            with stage(name):
                pass
    assert set(STAGES) <= {event.name for event in profiler.events() or ()}
