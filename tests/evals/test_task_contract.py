"""What every registered benchmark must keep; registration enrols it, with a module in `published/`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hermes_stream.errors import ConfigError, TaskError
from hermes_stream.evals.item import Ask, Item, Reply
from hermes_stream.evals.scores import Scores
from hermes_stream.evals.task import Loaded, Setting, Task
from hermes_stream.evals.tasks import TASKS, find_task
from tests.evals.published import Damage, perfect, published


def make(name: str, **setting: object) -> Task:
    return TASKS[name](Setting(**setting), **getattr(published(name), "ARGUMENTS", {}))  # type: ignore[arg-type]


def load(name: str, folder: Path, **setting: object) -> tuple[Task, Loaded]:
    task = make(name, **setting)
    return task, task.load(folder)


def damage_of(name: str) -> Damage | None:
    """None for those that read no files."""
    return published(name).DAMAGE


def asks_of(task: Task, items: Sequence[Item]) -> list[tuple[Item, Ask]]:
    return [(item, ask) for item in items for ask in task.polls(item)]


def replies_with(task: Task, items: Sequence[Item], text: str | None) -> dict[str, Reply]:
    """Of somebody who always says the same, or with None of one who knows; follow-ups are answered too."""
    replies = {}
    for item, first in asks_of(task, items):
        ask: Ask | None = first
        while ask is not None:
            said = perfect(published(task.name), item, ask) if text is None else text
            likely = {each: float(each == said) for each in task.choices(item, ask)}
            replies[ask.key] = Reply(key=ask.key, text=said, time_seconds=ask.seconds, probabilities=likely or None)
            ask = task.follow_up(item, ask, replies[ask.key])
    return replies


def assert_all_right(scores: Scores, worth: float) -> None:
    assert scores.marks
    for average in scores.averages:
        assert scores.mean(average.name) == pytest.approx(worth), average.name


def test_the_description_is_complete_and_can_be_printed(name: str) -> None:
    described = TASKS[name].describe()
    assert described["name"] == name
    for field in ("title", "splits", "metric", "modes", "data", "licence"):
        assert described[field], field
    assert json.loads(json.dumps(described)) == described


def test_what_is_published_is_read_without_a_complaint(name: str, folder: Path) -> None:
    task, loaded = load(name, folder)
    assert loaded.items
    assert [str(problem) for problem in loaded.problems if problem.is_loss] == []
    assert {item.split for item in loaded.items} == set(task.splits)
    assert {item.bench for item in loaded.items} == {name}
    assert len(loaded.annotation_sha256) == 64


def test_ids_and_asks_are_unique(name: str, folder: Path) -> None:
    task, loaded = load(name, folder)
    keys = [ask.key for _, ask in asks_of(task, loaded.items)]
    assert len({item.qid for item in loaded.items}) == len(loaded.items)
    assert len(set(keys)) == len(keys)


def test_items_of_a_video_are_in_the_order_of_their_times(name: str, folder: Path) -> None:
    _, loaded = load(name, folder)
    by_video: dict[str, list[Item]] = {}
    for item in loaded.items:
        by_video.setdefault(item.video, []).append(item)
    for items in by_video.values():
        assert [item.ask_seconds for item in items] == sorted(item.ask_seconds for item in items)
        assert [item.order for item in items] == list(range(len(items)))


def test_gold_letters_are_of_the_options_and_letters_are_no_part_of_them(name: str, folder: Path) -> None:
    _, loaded = load(name, folder)
    for item in loaded.items:
        if item.gold is not None and item.gold.kind == "letter":
            assert item.truth in "ABCDEFGHIJ"[: len(item.choices)]
            assert not any(choice.startswith(f"{'ABCDEFGHIJ'[at]}. ") for at, choice in enumerate(item.choices))


def test_the_same_files_give_the_same_items_and_hash(name: str, folder: Path) -> None:
    (_, first), (_, second) = load(name, folder), load(name, folder)
    assert first == second


def test_a_split_is_its_part_of_the_whole(name: str, folder: Path) -> None:
    task, whole = load(name, folder)
    found: list[str] = []
    for split in task.splits:
        _, part = load(name, folder, splits=(split,))
        assert {item.split for item in part.items} == {split}
        found += [item.qid for item in part.items]
    assert sorted(found) == sorted(item.qid for item in whole.items)


def test_an_unknown_split_is_refused_with_the_nearest(name: str) -> None:
    split = TASKS[name].splits[0]
    with pytest.raises(ConfigError, match=f"did you mean .*{split}"):
        make(name, splits=(split + "s",))


def test_no_prompt_knows_the_truth(name: str, folder: Path) -> None:
    """Nor when its evidence was on screen. Of what was asked before, a dialogue quotes the answers, not the gold."""
    task, loaded = load(name, folder)
    n_checked = 0
    for item, ask in asks_of(task, loaded.items):
        if ask.shows_gold:
            continue
        blind = replace(item, gold=None, about=None, delay_seconds=None)
        earlier = [(item, ask, Reply(key="earlier", text="I see."))]
        blind_earlier = [(blind, ask, Reply(key="earlier", text="I see."))]
        assert task.prompt(blind, ask, ()) == task.prompt(item, ask, ())
        assert task.prompt(blind, ask, blind_earlier) == task.prompt(item, ask, earlier)
        n_checked += 1
    assert n_checked


def test_the_question_is_asked(name: str, folder: Path) -> None:
    task, loaded = load(name, folder)
    for item, ask in asks_of(task, loaded.items):
        prompt = task.prompt(item, ask, ()).prompt
        assert item.question in prompt
        for choice in item.choices:
            assert choice in prompt


def test_who_knows_is_right_in_every_mode(name: str, folder: Path) -> None:
    task, loaded = load(name, folder)
    for mode in task.modes:
        scores = task.score(loaded.items, replies_with(task, loaded.items, None), mode)
        assert scores.mode == mode
        assert_all_right(scores, 1.0)
        assert (scores.n_unparsed, scores.n_unanswered) == (0, 0)


def test_who_says_nothing_is_wrong_and_stays_in_the_denominator(name: str, folder: Path) -> None:
    task, loaded = load(name, folder)
    for mode in task.modes:
        right = task.score(loaded.items, replies_with(task, loaded.items, None), mode)
        for replies in ({}, {key: replace(reply, text="", error="ValueError: broken") for key, reply in
                             replies_with(task, loaded.items, "").items()}):  # fmt: skip
            scores = task.score(loaded.items, replies, mode)
            assert_all_right(scores, 0.0)
            assert [mark.key for mark in scores.marks] == [mark.key for mark in right.marks]
            assert scores.n_unanswered == len(scores.marks)
            assert all(mark.is_counted for mark in scores.marks)


def test_marks_are_of_known_items_and_their_videos(name: str, folder: Path) -> None:
    task, loaded = load(name, folder)
    videos = {item.qid: item.video for item in loaded.items}
    for mode in task.modes:
        scores = task.score(loaded.items, {}, mode)
        assert len({mark.key for mark in scores.marks}) == len(scores.marks)
        for mark in scores.marks:
            assert mark.video == videos[mark.key.partition("#")[0].partition(":")[0]]


def test_baselines_are_of_the_same_questions(name: str, folder: Path) -> None:
    task, loaded = load(name, folder)
    for mode in task.modes:
        asked = task.score(loaded.items, {}, mode)
        for title, scores in task.baselines(loaded.items, mode).items():
            assert {mark.key for mark in scores.marks} == {mark.key for mark in asked.marks}, title
            for average in scores.averages:
                value = scores.mean(average.name)
                assert value is not None
                assert 0 <= value <= 1


def test_a_missing_video_is_named_and_all_else_is_there(name: str, folder: Path) -> None:
    if damage_of(name) is None:
        assert load(name, folder)[1].problems == ()
        return
    _, whole = load(name, folder)
    victim = whole.items[0].video
    path = folder / victim
    if path.is_dir():
        for picture in path.iterdir():
            picture.unlink()
    else:
        path.write_bytes(b"")
    _, loaded = load(name, folder)
    assert loaded.items == whole.items
    assert loaded.missing_videos == {victim}
    (problem,) = [problem for problem in loaded.problems if problem.kind == "missing-video"]
    assert victim in str(problem)


def test_a_record_without_a_field_is_named_with_file_and_place(name: str, folder: Path) -> None:
    damage = damage_of(name)
    if damage is None:
        assert load(name, folder)[1].problems == ()
        return
    _, whole = load(name, folder)
    damage.remove_field(folder)
    _, loaded = load(name, folder)
    (problem,) = [problem for problem in loaded.problems if problem.kind == "malformed"]
    assert str(problem) == f"{damage.file}, record {damage.index or damage.at}: has no {damage.field!r}"
    assert len(loaded.items) == len(whole.items) - damage.n_lost
    assert loaded.annotation_sha256 != whole.annotation_sha256


def test_a_record_that_comes_twice_is_used_once_and_named(name: str, folder: Path) -> None:
    damage = damage_of(name)
    if damage is None:
        assert load(name, folder)[1].problems == ()
        return
    _, whole = load(name, folder)
    damage.repeat(folder)
    _, loaded = load(name, folder)
    assert [item.qid for item in loaded.items] == [item.qid for item in whole.items]
    assert [problem.kind for problem in loaded.problems if problem.is_loss] == ["duplicate"] * damage.n_lost


def test_a_folder_of_something_else_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    if damage_of(name) is None:
        assert load(name, tmp_path)[1].items
        return
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(TaskError) as caught:
            load(name, folder)
        assert str(folder) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_an_unknown_benchmark_is_refused_with_the_nearest() -> None:
    with pytest.raises(TaskError, match="unknown benchmark 'videommme'; did you mean videomme"):
        find_task("videommme")
