"""What was announced against what happened."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.errors import ConfigError
from hermes_stream.evals.commentary import Said, match, score_commentary
from hermes_stream.shapestream import make_script
from hermes_stream.shapestream.commentary import Event, commentary_events, spoken_words
from tests.oracles.commentary_matching import most_pairs

_TIMED = st.lists(st.tuples(st.integers(0, 40).map(lambda n: n / 4), st.sampled_from("ab")), max_size=14).map(sorted)


@given(events=_TIMED, announced=_TIMED)
@settings(max_examples=300, deadline=None)
def test_no_matching_has_more_pairs(events: list[tuple[float, str]], announced: list[tuple[float, str]]) -> None:
    pairs = match(events, announced, 1.0)
    assert len(pairs) == most_pairs(events, announced, 1.0)
    assert len({event for event, _ in pairs}) == len({index for _, index in pairs}) == len(pairs)
    for event, index in pairs:
        assert events[event][1] == announced[index][1]
        assert abs(events[event][0] - announced[index][0]) <= 1.0


def test_scores_count_what_was_right_late_missed_false_and_garbled() -> None:
    events = [Event(1.2, "red room"), Event(3.0, "blue star enters"), Event(6.5, "blue star leaves")]
    said = [
        Said(1.0, 2.0, "red room"),
        Said(4.0, 5.0, "blue star enters"),  # half a second too late
        Said(6.0, 7.0, "blue star leaves"),
        Said(7.0, 8.0, "blue star leaves"),  # again
        Said(8.0, 9.0, "blue blue enters"),
        Said(9.0, 10.0, ""),
    ]
    (score,) = score_commentary(events, said, end_seconds=10.0)
    assert (score.n_events, score.n_announced, score.n_right, score.n_garbled) == (3, 4, 2, 1)
    assert score.recall == pytest.approx(2 / 3)
    assert score.precision == pytest.approx(2 / 5)
    assert score.f1 == pytest.approx(2 * (2 / 3) * (2 / 5) / (2 / 3 + 2 / 5))
    assert score.false_per_minute == pytest.approx(3 * 6)


def test_a_pair_across_a_border_counts_once_in_the_part_of_its_event() -> None:
    parts = score_commentary([Event(4.9, "red room")], [Said(5.0, 6.0, "red room")], end_seconds=10.0, n_parts=2)
    assert [(p.n_events, p.n_announced, p.n_right) for p in parts] == [(1, 1, 1), (0, 0, 0)]
    assert all(part.f1 == 1.0 for part in parts)


@pytest.mark.parametrize("seed", [900_001, 900_002, 900_003])
def test_the_truth_spoken_as_it_can_be_seen_is_perfect(seed: int) -> None:
    script = make_script(seed, 300.0)
    events = commentary_events(script, fps=2.0)
    steps: dict[int, list[str]] = {}
    for word in spoken_words(events, fps=2.0):
        steps.setdefault(int(word.start_seconds + 1e-6), []).append(word.text)
    said = [Said(step, step + 1.0, " ".join(words)) for step, words in steps.items()]
    for part in score_commentary(events, said, end_seconds=295.0, n_parts=5):
        assert part.f1 == 1.0
        assert part.n_events > 10


def test_silence_is_right_where_nothing_happens_and_wrong_elsewhere() -> None:
    first, second = score_commentary([Event(7.0, "red room")], [], end_seconds=10.0, n_parts=2)
    assert (first.f1, second.f1) == (1.0, 0.0)
    assert second.precision == 1.0


def test_parts_of_no_time_are_refused() -> None:
    with pytest.raises(ConfigError, match="parts"):
        score_commentary([], [], end_seconds=0.0)
