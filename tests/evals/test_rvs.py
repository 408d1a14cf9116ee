"""RVS-Ego and RVS-Movie: when questions are asked, who decides of answers, what becomes of a judge's odd replies."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.errors import ConfigError
from hermes_stream.evals.item import Item, Reply
from hermes_stream.evals.judge import Verdict
from hermes_stream.evals.scores import Mode, Scores
from hermes_stream.evals.task import Loaded, Setting
from hermes_stream.evals.tasks.rvs_ego import RvsEgo
from hermes_stream.evals.tasks.rvs_movie import RvsMovie
from hermes_stream.video import Video, open_pictures
from tests.evals.published.rvs_ego import rows
from tests.evals.scripted_judge import ScriptedJudge
from tests.oracles.rvs_oracle import official_numbers


@pytest.fixture
def folder(data_of: Callable[[str], Path]) -> Path:
    return data_of("rvs_ego")


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Item]:
    """Of the list alone, without videos."""
    folder = tmp_path_factory.mktemp("rvs")
    return written(folder, rows(".mp4")).items


def written(folder: Path, videos: list[dict[str, Any]]) -> Loaded:
    (folder / "ego4d_oe.json").write_text(json.dumps(videos))
    return RvsEgo().load(folder)


def score(items: Sequence[Item], said: Sequence[str], mode: Mode, judge: ScriptedJudge | None = None) -> Scores:
    replies = {item.qid: Reply(key=item.qid, text=text) for item, text in zip(items, said, strict=True)}
    return RvsEgo(judge=judge or ScriptedJudge()).score(items, replies, mode)


def test_questions_are_asked_when_what_they_are_about_ends(folder: Path) -> None:
    loaded = RvsEgo().load(folder)
    assert [(item.qid, item.ask_seconds, item.about) for item in loaded.items[:4]] == [
        ("demo-01/0", 3, (0, 3)),
        ("demo-01/1", 3, (1, 3)),
        ("demo-01/2", 6.5, (3, 6.5)),
        ("demo-01/3", 6.5, (3, 6.5)),
    ]


def test_the_bare_question_is_put_with_room_for_a_long_answer(items: Sequence[Item]) -> None:
    task = RvsEgo()
    query = task.prompt(items[0], task.polls(items[0])[0], ())
    assert (query.prompt, query.max_new_tokens) == ("Which tool is picked up?", 256)
    assert RvsEgo(Setting(max_new_tokens=8)).prompt(items[0], task.polls(items[0])[0], ()).max_new_tokens == 8


def test_yes_and_no_are_told_from_answers_that_begin_alike(items: Sequence[Item]) -> None:
    assert {item.truth: item.split for item in items} == {
        "A red screwdriver.": "open",
        "Yes.": "yes-no",
        "No, the room is empty.": "yes-no",
        "No one.": "open",
        "yes": "yes-no",
        "An onion.": "open",
    }


def test_films_are_arrays_of_one_picture_a_second(data_of: Callable[[str], Path]) -> None:
    folder = data_of("rvs_movie")
    loaded = RvsMovie().load(folder)
    assert {(item.video, item.frame_rate) for item in loaded.items} == {
        ("movie/videos/demo-01.npy", 1.0),
        ("movie/videos/demo-02.npy", 1.0),
    }
    assert loaded.items[0].meta == {"duration": 8.0, "clip_start_time": 0, "clip_end_time": 8}
    with Video(open_pictures(folder / loaded.items[0].video, 1.0), fps=0.5) as video:
        assert [frame.pts_seconds for frame in video] == [0, 2, 4, 6]


@pytest.mark.parametrize(
    ("reply", "is_right"), [("Yes", True), ("yes, it is", True), ("no", False), ("Perhaps", None), ("", False)]
)
def test_strictly_the_first_word_decides_where_the_truth_is_yes(
    items: Sequence[Item], reply: str, is_right: bool | None
) -> None:
    judge = ScriptedJudge()
    marks = score([items[1]], [reply], "strict", judge).marks
    assert [(mark.value, mark.is_parsed, mark.is_counted) for mark in marks] == [
        (is_right is True, is_right is not None, True)
    ] * 2
    assert judge.asked == []


def test_officially_the_judge_decides_of_everything(items: Sequence[Item]) -> None:
    judge = ScriptedJudge({"It is": Verdict(True, 4.0, "")})
    scores = score([items[1]], ["It is"], "official", judge)
    assert (scores.mean("accuracy"), scores.mean("mean score")) == (1, 0.8)
    assert judge.asked == [("Is the ring red?", "Yes.", "It is")]


def test_an_empty_answer_is_wrong_without_a_judge(items: Sequence[Item]) -> None:
    judge = ScriptedJudge()
    assert score(items, [" "] * 6, "official", judge).mean("accuracy") == 0
    assert judge.asked == []


def test_an_answer_is_judged_on_one_line_and_once(items: Sequence[Item]) -> None:
    judge = ScriptedJudge()
    task = RvsEgo(judge=judge)
    reply = Reply(key=items[0].qid, text="A red\nscrewdriver.")
    for mode in ("official", "strict", "official"):
        task.score([items[0]], {reply.key: reply}, mode)  # type: ignore[arg-type]
    assert [prediction for _, _, prediction in judge.asked] == ["A redscrewdriver."]


def test_what_the_judge_says_unreadably_is_strictly_wrong_and_officially_not_there(items: Sequence[Item]) -> None:
    judge = ScriptedJudge({"?": Verdict(None, None, "I cannot say")})
    said = ["?", "Yes.", "No.", "?", "yes", "An onion."]
    official, strict = (score(items, said, mode, judge) for mode in ("official", "strict"))  # type: ignore[arg-type]
    assert (official.mean("accuracy"), strict.mean("accuracy")) == pytest.approx((3 / 4, 4 / 6))
    assert official.mean("mean score") == pytest.approx(3 / 6)
    assert {mark.key for mark in strict.marks if not mark.is_parsed} >= {"demo-01/0", "demo-01/3"}


@pytest.mark.parametrize("mode", ["official", "strict"])
def test_what_the_judge_cannot_be_asked_about_is_counted_apart(items: Sequence[Item], mode: Mode) -> None:
    """A second start judges these, and these only."""
    judge = ScriptedJudge({"good": Verdict(True, 4.0, "")}, unreachable=["lost", "gone"])
    task = RvsEgo(judge=judge)
    replies = {
        item.qid: Reply(key=item.qid, text=text)
        for item, text in zip(items, ["good", "yes", "no", "lost", "yes", "gone"], strict=True)
    }
    half = task.score(items, replies, mode)
    assert half.extras == {"not judged": 2.0}
    assert {mark.key.partition(":")[0] for mark in half.marks if not mark.is_counted} == {items[3].qid, items[5].qid}
    assert half.mean("open") == 1.0
    assert task.notes == ["nobody is there"]
    n_asked = len(judge.asked)
    judge.unreachable = ()
    whole = task.score(items, replies, mode)
    assert len(judge.asked) == n_asked + 2
    assert (whole.extras, whole.mean("open")) == ({}, pytest.approx(1 / 3))


def test_what_a_judge_decides_are_answers_that_no_rule_decides(items: Sequence[Item]) -> None:
    replies = {
        item.qid: Reply(key=item.qid, text=text) for item, text in zip(items, ["a", "yes", "", "b"], strict=False)
    }
    asked = {mode: [case.key for case in RvsEgo().cases(items, replies, mode)] for mode in RvsEgo.modes}
    assert asked == {
        "official": [items[0].qid, items[1].qid, items[3].qid],
        "strict": [items[0].qid, items[3].qid],
    }


def test_scores_are_officially_cut_to_whole_numbers(items: Sequence[Item]) -> None:
    judge = ScriptedJudge({"good": Verdict(True, 4.8, "")})
    official, strict = (score([items[0]], ["good"], mode, judge) for mode in ("official", "strict"))  # type: ignore[arg-type]
    assert (official.mean("mean score"), strict.mean("mean score")) == pytest.approx((4 / 5, 4.8 / 5))
    (average,) = [each for each in official.averages if each.name == "mean score"]
    assert average.scale == 5


def test_where_a_judge_has_no_score_right_is_five(items: Sequence[Item]) -> None:
    judge = ScriptedJudge({"good": Verdict(True, None, ""), "bad": Verdict(False, None, "")})
    scores = score([items[0], items[3]], ["good", "bad"], "official", judge)
    assert scores.mean("mean score") == 0.5


VERDICTS = st.tuples(
    st.sampled_from(["yes", "Yes", "no", "NO", "maybe", ""]), st.sampled_from([0.0, 0.5, 1.0, 3.0, 4.8, 5.0])
)


@settings(max_examples=100, deadline=None)
@given(judged=st.lists(VERDICTS, min_size=6, max_size=6))
def test_official_numbers_are_those_of_the_definition(items: Sequence[Item], judged: list[tuple[str, float]]) -> None:
    said = [f"answer {number}" for number in range(6)]
    means = {"yes": True, "no": False}
    verdicts = {
        text: Verdict(means.get(word.lower()), number, "") for text, (word, number) in zip(said, judged, strict=True)
    }
    scores = score(items, said, "official", ScriptedJudge(verdicts))
    accuracy, mean_score = official_numbers(judged)
    assert scores.mean("accuracy") == (None if accuracy is None else pytest.approx(accuracy))
    assert 5 * (scores.mean("mean score") or 0) == pytest.approx(mean_score)


def test_both_parts_are_shown_beside_the_whole(items: Sequence[Item]) -> None:
    scores = score(items, ["", "Yes", "No", "", "yes", ""], "strict")
    assert [scores.mean(name) for name in ("yes-no", "open", "accuracy", "mean score")] == [1, 0, 0.5, 0.5]


def test_constant_rows_ask_no_judge(items: Sequence[Item]) -> None:
    rows_of = RvsEgo().baselines(items, "official")
    assert {title: scores.mean("accuracy") for title, scores in rows_of.items()} == pytest.approx(
        {"always yes": 2 / 6, "always no": 1 / 6}
    )


def test_without_a_judge_only_yes_and_no_can_be_scored(items: Sequence[Item]) -> None:
    task = RvsEgo()
    replies = {item.qid: Reply(key=item.qid, text="Yes") for item in items}
    part = [item for item in items if item.split == "yes-no"]
    assert task.score(part, replies, "strict").mean("accuracy") == pytest.approx(2 / 3)
    for those, mode in ((items, "strict"), (part, "official")):
        with pytest.raises(ConfigError, match=r"RVS-Ego need a judge; .* yes-no alone"):
            task.score(those, replies, mode)  # type: ignore[arg-type]


def test_times_that_cannot_be_are_named(tmp_path: Path) -> None:
    videos = rows(".mp4")
    videos[0]["conversations"][1]["end_time"] = 0.5
    del videos[1]["conversations"][0]["end_time"]
    loaded = written(tmp_path, videos)
    assert [str(problem) for problem in loaded.problems if problem.kind == "malformed"] == [
        "ego4d_oe.json, record 0, conversations 1: has the times 1 to 0.5; expected the later one last",
        "ego4d_oe.json, record 1, conversations 0: has no 'end_time'",
    ]
    assert [item.qid for item in loaded.items] == ["demo-01/0", "demo-01/2", "demo-01/3", "demo-02/1"]


@pytest.mark.parametrize("place", ["rvs/ego/videos", "videos", "ego", "ego/videos", "data/rvs/ego/videos", ""])
def test_published_paths_may_begin_above_the_data_folder(folder: Path, place: str) -> None:
    target = folder / place
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted((folder / "ego" / "videos").glob("*.mp4")):
        path.rename(target / path.name)
    loaded = RvsEgo().load(folder)
    assert not loaded.missing_videos
    assert {str(Path(item.video).parent) for item in loaded.items} == {place or "."}


def test_a_video_that_is_still_loaded_is_named_where_it_lies(folder: Path) -> None:
    lying = folder / "rvs" / "ego" / "videos" / "demo-01.mp4"
    lying.parent.mkdir(parents=True)
    lying.touch()
    (folder / "ego" / "videos" / "demo-01.mp4").unlink()
    assert RvsEgo().load(folder).missing_videos == {"rvs/ego/videos/demo-01.mp4"}
