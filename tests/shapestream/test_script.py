"""The script: the same on every machine, endless, and consistent in itself."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.errors import ConfigError
from hermes_stream.shapestream import EVALUATION_SEEDS, TRAINING_SEEDS, make_script
from hermes_stream.shapestream.script import MOST_LANDMARKS, SHORTEST_PRESENCE_SECONDS

seeds = st.integers(0, 10**7)


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_a_longer_script_begins_with_the_shorter_one(seed: int) -> None:
    short, long = make_script(seed, 40.0), make_script(seed, 200.0)
    assert long.scenes[: len(short.scenes)] == short.scenes
    assert len(long.scenes) > len(short.scenes)


@given(seeds, st.floats(0.5, 2.0))
@settings(max_examples=30, deadline=None)
def test_scenes_cover_the_time_without_gaps_and_presences_do_not_overlap(seed: int, pace: float) -> None:
    script = make_script(seed, 120.0, pace=pace)
    assert script.scenes[0].start_seconds == 0.0
    assert script.scenes[-1].end_seconds >= 120.0
    for before, after in zip(script.scenes, script.scenes[1:], strict=False):
        assert before.end_seconds == after.start_seconds
    for before, after in zip(script.presences, script.presences[1:], strict=False):
        assert before.end_seconds <= after.start_seconds
    for scene in script.scenes:
        for presence in scene.presences:
            assert scene.start_seconds <= presence.start_seconds < presence.end_seconds <= scene.end_seconds
            assert presence.end_seconds - presence.start_seconds >= SHORTEST_PRESENCE_SECONDS * pace - 1e-9
            assert presence.room == scene.room


def test_a_seed_means_the_same_episode_everywhere() -> None:
    """The digest was taken once; it changes only with the world, and then checkpoints must be trained anew."""
    digest = hashlib.sha256(repr(make_script(900_000, 300.0).scenes).encode()).hexdigest()
    assert digest[:16] == "65840004e7816dd7"


def test_different_seeds_differ() -> None:
    assert make_script(1, 60.0).scenes != make_script(2, 60.0).scenes


def test_training_and_evaluation_seeds_are_disjoint() -> None:
    assert TRAINING_SEEDS[-1] == 899_999
    assert EVALUATION_SEEDS[0] == 900_000
    assert not set(TRAINING_SEEDS) & set(EVALUATION_SEEDS)


def test_one_shape_colour_and_room_never_appear() -> None:
    script = make_script(5, 3000.0)
    assert len({p.kind.shape for p in script.presences}) == 5
    assert len({p.kind.color for p in script.presences}) == 5
    assert len({scene.room for scene in script.scenes}) == 7


def test_lookups_agree_with_the_intervals() -> None:
    script = make_script(9, 60.0)
    for tenth in range(600):
        time = tenth / 10
        scene, presence = script.scene_at(time), script.presence_at(time)
        assert scene.start_seconds <= time < scene.end_seconds
        assert [p for p in script.presences if p.start_seconds <= time < p.end_seconds] == [presence] * bool(presence)


@pytest.mark.parametrize(("duration", "pace"), [(0.0, 1.0), (-1.0, 1.0), (float("nan"), 1.0), (5.0, 0.0)])
def test_impossible_scripts_are_refused(duration: float, pace: float) -> None:
    with pytest.raises(ConfigError, match="above 0"):
        make_script(1, duration, pace=pace)


def test_times_outside_the_script_are_refused() -> None:
    script = make_script(1, 10.0)
    with pytest.raises(ConfigError, match="outside"):
        script.scene_at(-0.1)
    with pytest.raises(ConfigError, match="outside"):
        script.scene_at(1e6)


@given(st.integers(0, 10**6), st.integers(1, MOST_LANDMARKS))
@settings(max_examples=15, deadline=None)
def test_landmarks_are_shown_once_and_spread_over_the_episode(seed: int, n: int) -> None:
    script = make_script(seed, 600.0, landmarks=n)
    shown = Counter(presence.kind for presence in script.presences)
    once = [presence for presence in script.presences if shown[presence.kind] == 1 and presence.start_seconds < 600]
    # Everything else may also happen to come once, so at least.
    assert len(once) >= n - 1
    # A part without one: its landmark came late in the one before, or waited for its scene to end.
    parts = {int(presence.start_seconds / 600 * n) for presence in once}
    assert len(parts) >= n / 2


def test_without_landmarks_kinds_come_back() -> None:
    shown = Counter(presence.kind for presence in make_script(5, 600.0).presences)
    assert sum(times == 1 for times in shown.values()) <= 3
    marked = Counter(presence.kind for presence in make_script(5, 600.0, landmarks=10).presences)
    assert sum(times == 1 for times in marked.values()) >= 9


@pytest.mark.parametrize("landmarks", [-1, MOST_LANDMARKS + 1])
def test_more_landmarks_than_kinds_to_spare_are_refused(landmarks: int) -> None:
    with pytest.raises(ConfigError, match=f"landmarks is {landmarks}; expected 0 to {MOST_LANDMARKS}"):
        make_script(5, 60.0, landmarks=landmarks)
