"""Wrong keys, counted by address."""

from __future__ import annotations

from hermes_stream.server.access.guesses import Guesses


class Clock:
    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_the_first_mistakes_cost_nothing_and_later_ones_ever_more_up_to_a_limit() -> None:
    guesses = Guesses(Clock())
    delays = [guesses.wrong("a") for _ in range(12)]
    assert delays[:4] == [0.0] * 4
    assert delays[4:8] == [0.25, 0.5, 1.0, 2.0]
    assert set(delays[8:]) == {2.0}


def test_an_address_pays_for_itself_only() -> None:
    guesses = Guesses(Clock())
    for _ in range(10):
        guesses.wrong("a")
    assert guesses.wrong("b") == 0.0


def test_a_minute_without_mistakes_forgives() -> None:
    clock = Clock()
    guesses = Guesses(clock)
    for _ in range(10):
        guesses.wrong("a")
    clock.seconds += 61
    assert guesses.wrong("a") == 0.0


def test_while_answers_are_held_back_no_further_key_is_looked_at() -> None:
    guesses = Guesses(Clock())
    for _ in range(4):
        assert guesses.may_try("a")
        guesses.wait("a")
    assert not guesses.may_try("a")
    assert guesses.may_try("b")
    guesses.answered("a")
    assert guesses.may_try("a")


def test_many_addresses_do_not_fill_the_memory() -> None:
    guesses = Guesses(Clock())
    for number in range(10_000):
        guesses.wrong(str(number))
    assert len(guesses._wrong) == 4096
    for _ in range(5):
        delay = guesses.wrong("9999")
    assert delay > 0
