"""Answers that end before a text, against reading them one character at a time."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from hermes_stream import Engine, Query
from hermes_stream.engine.stop_texts import StopTexts

from ..oracles.stop_oracle import cut

LETTERS = st.text("ab", max_size=3)
STOPS = st.lists(st.text("ab", min_size=1, max_size=4), max_size=3)


@given(st.lists(LETTERS, max_size=8), STOPS)
def test_the_pieces_let_through_are_the_text_before_the_first_stop(pieces: list[str], stops: list[str]) -> None:
    texts = StopTexts(stops)
    shown = [texts.push(piece) for piece in pieces]
    shown.append(texts.finish())
    expected, is_hit = cut("".join(pieces), stops)
    assert ("".join(shown), texts.is_hit, texts.text) == (expected, is_hit, expected)


@given(st.lists(LETTERS, max_size=8), STOPS)
def test_nothing_is_held_back_that_no_stop_could_begin_with(pieces: list[str], stops: list[str]) -> None:
    texts = StopTexts(stops)
    for n, piece in enumerate(pieces, 1):
        texts.push(piece)
        if texts.is_hit:
            break
        held = "".join(pieces[:n])[len(texts.text) :]
        assert not held or any(stop.startswith(held) for stop in stops)


def test_without_stops_every_piece_goes_straight_through() -> None:
    texts = StopTexts(())
    assert [texts.push("red "), texts.push("circle"), texts.finish()] == ["red ", "circle", ""]


def test_an_answer_ends_before_its_stop_text_and_says_so(engine: Engine) -> None:
    query = Query("Which colour?", max_new_tokens=24, temperature=1.0)
    with engine.open("keep-all") as session:
        whole = session.ask(query).result()
        stop = whole.text[len(whole.text) // 2 :][:2]
        stream = session.ask(replace(query, stop=(stop,)))
        pieces = [token.text for token in stream]
        answer = stream.result()
    assert whole.finish_reason == "length"
    assert answer.finish_reason == "stop"
    assert answer.text == cut(whole.text, [stop])[0].strip()
    assert "".join(pieces).strip() == answer.text
    assert len(answer.token_ids) < len(whole.token_ids)
