"""StreamingBench: stamps and options that are not as they should be, dialogues, requests, official numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.errors import ConfigError, TaskError
from hermes_stream.evals.item import Ask, Item, Reply
from hermes_stream.evals.scores import Mode, Scores
from hermes_stream.evals.task import Loaded, Setting
from hermes_stream.evals.tasks.streamingbench import StreamingBench
from hermes_stream.types import Turn
from tests.evals.published import PutVideo
from tests.evals.published.streamingbench import BARE, FILES, LETTERED, entry, question, questions_of, request
from tests.oracles.streamingbench_oracle import group_accuracy, proactive

OFFICIAL = Setting(protocol="official")
GROUPS = {"real-time": "questions_real.json", "sequential given gold": "questions_sqa.json"}


@pytest.fixture
def folder(data_of: Callable[[str], Path]) -> Path:
    return data_of("streamingbench")


@pytest.fixture(scope="module")
def annotations_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The four lists, without videos."""
    folder = tmp_path_factory.mktemp("streamingbench")
    for name, rows in FILES.items():
        (folder / name).write_text(json.dumps(rows))
    return folder


def load(folder: Path, *splits: str, protocol: Any = "strict", **setting: Any) -> tuple[StreamingBench, Loaded]:
    task = StreamingBench(Setting(protocol=protocol, splits=splits, **setting))
    return task, task.load(folder)


def written(folder: Path, *questions: dict[str, Any], name: str = "questions_real.json", **setting: Any) -> Loaded:
    (folder / name).write_text(json.dumps([entry("sample_1_real", *questions)]))
    split = {"questions_real.json": "real-time", "questions_proactive.json": "proactive"}[name]
    return load(folder, split, **setting)[1]


def score(task: StreamingBench, items: Sequence[Item], said: Mapping[str, str], mode: Mode) -> Scores:
    return task.score(items, {key: Reply(key=key, text=text) for key, text in said.items()}, mode)


def by_question(items: Sequence[Item]) -> dict[str, Item]:
    return {item.question: item for item in items}


def test_every_question_of_every_list_is_an_item_of_its_group(folder: Path) -> None:
    _, loaded = load(folder)
    counts = {split: sum(item.split == split for item in loaded.items) for split in StreamingBench.splits}
    assert counts == {"real-time": 4, "omni": 1, "contextual": 1, "sequential": 3, "proactive": 2}


def test_entries_of_one_video_are_asked_in_the_order_of_their_stamps(folder: Path) -> None:
    _, loaded = load(folder, "real-time")
    of_video = [item.ask_seconds for item in loaded.items if item.video == "videos/sample_9001_real.mp4"]
    assert of_video == [2, 3, 6]


@pytest.mark.parametrize(
    ("stamp", "meant", "published"),
    [
        ("00:00:06", 6, 6),
        ("0:01:06", 66, 66),
        ("1:01:06", 3666, 3666),
        ("00:24", 24, 24),
        ("00:00:8", 8, 8),
        ("00:12450", 765, 12450),
        ("05:11:00", 311, 18660),
    ],
)
def test_stamps_are_read_as_they_were_meant_and_officially_as_they_stand(
    tmp_path: Path, stamp: str, meant: int, published: int
) -> None:
    row = question("Counting", "How many?", stamp, "A")
    strict, official = written(tmp_path, row), written(tmp_path, row, protocol="official")
    assert (strict.items[0].ask_seconds, official.items[0].ask_seconds) == (meant, published)
    is_odd = stamp not in ("00:00:06", "0:01:06", "1:01:06")
    told = [problem for problem in strict.problems if problem.kind == "repaired"]
    assert [f"{stamp!r}, which is read as {meant} s" in str(problem) for problem in told] == [True] * is_odd


@pytest.mark.parametrize("stamp", ["soon", "00:0a:01", "12", "1:2:3:4", ":"])
def test_what_is_no_time_is_named(tmp_path: Path, stamp: str) -> None:
    loaded = written(tmp_path, question("Counting", "How many?", stamp, "A"))
    assert not loaded.items
    assert str(loaded.problems[0]).startswith("questions_real.json, record 0, questions 0: has 'time_stamp' = ")


@pytest.mark.parametrize(
    ("options", "meant", "published"),
    [
        (LETTERED, ("One.", "Two.", "Three.", "Four."), ("One.", "Two.", "Three.", "Four.")),
        (BARE, BARE, BARE),
        (("A. a", "B. b", "C. a", "D. d"), ("a", "b", "a", "d"), ("a", "b", "a", "d")),
        (
            ("A. a", "B. goes", "on", "C. c", "D. d"),
            ("a", "goes on", "c", "d"),
            ("a", "goes", "on", "C. c"),
        ),
        (("A. a", "", "B. b", "C. c", "", "D. d"), ("a", "b", "c", "d"), ("a", "", "B. b", "C. c")),
        (("A. a", "B. b", "C. c", "D. d", "E. .", "F. Translated."), ("a", "b", "c", "d"), ("a", "b", "c", "d")),
        (("A. a", "B. b", "C. c", "D. d", "D. again", "more"), ("a", "b", "c", "d"), ("a", "b", "c", "d")),
        (("A. a", "C. c", "B. b", "D. d"), ("a", "b", "c", "d"), ("a", "C. c", "B. b", "d")),
        (("A. a", "B. b", "C. c", "B. d"), ("a", "b", "c", "d"), ("a", "b", "c", "B. d")),
        (("A.Lebrun.", "Fan.", "Xu.", "Ma."), ("A.Lebrun.", "Fan.", "Xu.", "Ma."), ("Lebrun.", "Fan.", "Xu.", "Ma.")),
    ],
)
def test_options_are_put_together_and_officially_the_first_four_strings(
    tmp_path: Path, options: tuple[str, ...], meant: tuple[str, ...], published: tuple[str, ...]
) -> None:
    row = question("Counting", "How many?", "00:00:06", "B", options)
    strict, official = written(tmp_path, row), written(tmp_path, row, protocol="official")
    assert (strict.items[0].choices, official.items[0].choices) == (meant, published)
    is_odd = meant != published
    assert [problem.kind for problem in strict.problems if problem.kind == "repaired"] == ["repaired"] * is_odd


def test_four_options_cannot_be_made_of_three(tmp_path: Path) -> None:
    rows = [question("Counting", "How many?", "00:00:06", "B", options) for options in
            (("A. a", "B. b", "C. c", "and", "so on"), ("A. a", "B. b", "C. c"))]  # fmt: skip
    loaded = written(tmp_path, *rows)
    assert not loaded.items
    assert [problem.kind for problem in loaded.problems] == ["malformed", "malformed"]


def test_captions_causes_and_effects_are_left_behind(folder: Path) -> None:
    _, loaded = load(folder)
    for item in loaded.items:
        assert set(item.meta) <= {"required_ability", "video_categories", "options"}


def test_the_same_question_with_other_options_is_another_one(tmp_path: Path) -> None:
    row = question("Counting", "How many?", "00:00:06", "B")
    loaded = written(tmp_path, row, row | {"options": ["A. 1", "B. 2", "C. 3", "D. 4"]}, row | {"answer": "C"})
    assert len(loaded.items) == 2
    assert [problem.kind for problem in loaded.problems if problem.is_loss] == ["duplicate", "missing-video"]


@pytest.mark.parametrize(
    ("reply", "official", "strict"),
    [
        ("B", True, True),
        ("B) two", True, True),
        ("Both", True, False),
        ("(B)", False, True),
        (" B", False, True),
        ("Answer: B", False, False),
        ("b", False, False),
        ("", False, False),
    ],
)
def test_officially_the_first_character_counts(tmp_path: Path, reply: str, official: bool, strict: bool) -> None:
    task = StreamingBench()
    items = written(tmp_path, question("Counting", "How many?", "00:00:06", "B")).items
    for mode, expected in (("official", official), ("strict", strict)):
        (mark,) = score(task, items, {items[0].qid: reply}, mode).marks  # type: ignore[arg-type]
        assert (mark.value, mark.is_counted) == (expected, True)


def test_empty_replies_leave_the_official_denominator_in_dialogues_only(folder: Path) -> None:
    task, loaded = load(folder, "real-time", "sequential", protocol="official")
    said = {ask.key: "" for item in loaded.items for ask in task.polls(item)}
    for mode, counted in (("official", 4), ("strict", 7)):
        assert sum(mark.is_counted for mark in score(task, loaded.items, said, mode).marks) == counted  # type: ignore[arg-type]


def test_dialogues_are_asked_with_own_and_with_gold_answers(folder: Path) -> None:
    task, loaded = load(folder, "sequential")
    first, second, _ = loaded.items
    assert len({item.dialogue for item in loaded.items}) == 1
    own, given = task.polls(second)
    earlier = [(first, ask, Reply(key=ask.key, text="D", time_seconds=2.0)) for ask in task.polls(first)]
    earlier.append((second, own, Reply(key=own.key, text="B")))
    told = "Question: Who serves now?\nOptions:\n(A) 2.\n(B) 6.\n(C) 7.\n(D) 4.\nOnly give the best option."
    assert task.prompt(second, own, earlier[:2]).turns == (Turn(told, "D", 2.0),)
    assert task.prompt(second, given, earlier).turns == (Turn(told, "A", 2.0),)
    assert (own.shows_gold, given.shows_gold) == (False, True)


def test_both_kinds_of_dialogue_have_a_mean_and_the_published_runner_knows_one(folder: Path) -> None:
    task, loaded = load(folder, "sequential")
    said = {ask.key: item.truth if ask.shows_gold else "?" for item in loaded.items for ask in task.polls(item)}
    scores = score(task, loaded.items, said, "strict")
    assert (scores.mean("sequential"), scores.mean("sequential given gold")) == (0, 1)
    official, same = load(folder, "sequential", protocol="official")
    assert {ask.shows_gold for item in same.items for ask in official.polls(item)} == {True}
    scores = score(official, same.items, said, "official")
    assert (scores.mean("sequential"), scores.mean("sequential given gold")) == (None, 1)


def test_requests_are_polled_every_second_until_four_after_the_moment(folder: Path) -> None:
    task, loaded = load(folder, "proactive")
    assert [[ask.seconds for ask in task.polls(item)] for item in loaded.items] == [
        list(range(2, 9)),
        list(range(3, 13)),
    ]


def test_polls_quote_the_right_text_in_the_official_protocol_only(folder: Path) -> None:
    """Here it is another one than the request asks for, as it is in 2.4 % of the published ones."""
    for protocol, quotes in (("strict", False), ("official", True)):
        task, loaded = load(folder, "proactive", protocol=protocol)
        item = by_question(loaded.items)['When it stops, output "It stops".']
        asks = task.polls(item)
        prompts = {task.prompt(item, ask, ()).prompt for ask in asks}
        assert [("It stop s" in prompt) for prompt in prompts] == [quotes]
        assert {ask.shows_gold for ask in asks} == {quotes}
        assert {item.clip[0]} == {2 if quotes else 0}


def test_after_a_yes_the_bare_request_is_put(folder: Path) -> None:
    task, loaded = load(folder, "proactive")
    item = loaded.items[0]
    first = task.polls(item)[0]
    more = task.follow_up(item, first, Reply(key=first.key, text="Yes."))
    assert more == Ask(item.qid, first.seconds, 0, "output")
    assert task.prompt(item, more, ()).prompt == item.question
    assert task.follow_up(item, more, Reply(key=more.key, text="Yes.")) is None
    for text, follows in (("No", False), ("yesterday", True), ("No, yes", True), ("", False)):
        assert (task.follow_up(item, first, Reply(key=first.key, text=text)) is not None) == follows
    likely = Reply(key=first.key, text="No", probabilities={"Yes": 0.6, "No": 0.4})
    assert task.follow_up(item, first, likely) is not None


def replies_of(task: StreamingBench, item: Item, polls: Sequence[str], output: str) -> dict[str, str]:
    said = {}
    for ask, text in zip(task.polls(item), polls, strict=False):
        said[ask.key] = text
        if (more := task.follow_up(item, ask, Reply(key=ask.key, text=text))) is not None:
            said[more.key] = output
    return said


@pytest.mark.parametrize(
    ("polls", "mode", "when", "n_false"),
    [
        (("No", "No", "Yes", "Yes"), "strict", "on time", 0),
        (("Yes",), "strict", "on time", 0),
        (("No", "No", "No", "No", "Yes"), "strict", "on time", 0),
        (("No", "No", "No", "No", "No", "Yes"), "strict", "late", 0),
        (("No",) * 7, "strict", "never", 0),
        (("not yesterday", "No", "No", "No", "No", "Yes"), "official", "on time", 0),
        (("not yesterday", "No", "No", "No", "No", "Yes"), "strict", "late", 0),
    ],
)
def test_speaking_up_is_on_time_within_two_seconds(
    folder: Path, polls: tuple[str, ...], mode: Mode, when: str, n_false: int
) -> None:
    """The request comes at 1 s, the moment at 4 s."""
    task, loaded = load(folder, "proactive")
    item = loaded.items[0]
    scores = score(task, [item], replies_of(task, item, polls, "Red it is"), mode)
    spoken = {name.removeprefix("speaks up "): share for name, share in scores.extras.items() if "speaks" in name}
    assert spoken == {each: 100.0 * (each == when) for each in ("early", "on time", "late", "never")}
    assert scores.mean("proactive") == scores.mean("proactive in time") == (when == "on time")
    assert scores.extras["false alarms per minute"] == n_false


def test_false_alarms_are_counted_per_minute_of_waiting(folder: Path) -> None:
    task, loaded = load(folder, "proactive")
    item = loaded.items[1]
    polls = ("Yes", "No", "Yes", "No", "No", "Yes")
    scores = score(task, [item], replies_of(task, item, polls, ""), "strict")
    assert scores.extras["speaks up early"] == 100
    assert scores.extras["false alarms per minute"] == 60 * 2 / 3


def test_the_right_time_with_another_text_is_half_a_success(folder: Path) -> None:
    task, loaded = load(folder, "proactive")
    item = loaded.items[0]
    scores = score(task, [item], replies_of(task, item, ("No", "No", "Yes"), "red"), "official")
    assert (scores.mean("proactive"), scores.mean("proactive in time")) == (0, 1)


def test_polls_without_a_reply_are_said_to_be_missing(folder: Path) -> None:
    task, loaded = load(folder, "proactive")
    item = loaded.items[0]
    some = score(task, [item], {task.polls(item)[2].key: "Yes"}, "strict")
    assert {mark.is_answered for mark in some.marks} == {False}
    unread = score(task, [item], replies_of(task, item, ("Perhaps", "Yes"), "Red"), "strict")
    assert {mark.is_parsed for mark in unread.marks} == {False}


# What people and models say, and what the rules stumble over.
REPLIES = st.one_of(
    st.sampled_from(["A", "B", "(B)", " B", "B) two", "Answer: B", "", "C", "D.", "Red", "Yes", "No", "It stop s"]),
    st.text(alphabet="ABCDEYNyesno .()", max_size=6),
)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_official_numbers_are_those_of_the_definition(annotations_only: Path, data: st.DataObject) -> None:
    """On random replies, group by group, against a slow reading of the rules."""
    task, loaded = load(annotations_only, protocol="official")
    items = by_question(loaded.items)
    said = {ask.key: data.draw(REPLIES) for item in loaded.items for ask in task.polls(item) if item.choices}
    polled, spoken = data.draw(_second_by_second()), data.draw(_second_by_second())
    for row in questions_of("questions_proactive.json"):
        for ask in task.polls(items[row["question"]]):
            said[ask.key] = polled[int(ask.seconds)]
            said[f"{ask.key}:output"] = spoken[int(ask.seconds)]
    scores = score(task, loaded.items, said, "official")
    for group, name in GROUPS.items():
        rows = questions_of(name)
        answered = [(row, said[task.polls(items[row["question"]])[0].key]) for row in rows]
        expected = group_accuracy(answered, skips_empty="sqa" in name)
        assert 100 * (scores.mean(group) or 0) == pytest.approx(expected), group
    rights = [
        proactive(row, polled.__getitem__, spoken.__getitem__) for row in questions_of("questions_proactive.json")
    ]
    assert scores.mean("proactive in time") == sum(in_time for in_time, _ in rights) / 2
    assert scores.mean("proactive") == sum(said_so for _, said_so in rights) / 2


def _second_by_second() -> st.SearchStrategy[list[str]]:
    return st.lists(
        st.sampled_from(["No", "no", "Yes", "not yesterday", "", "Red", "It stop s"]), min_size=14, max_size=14
    )


def test_a_clock_that_repeats_the_request_is_among_the_constant_rows(folder: Path) -> None:
    task, loaded = load(folder)
    rows = task.baselines(loaded.items, "official")
    assert list(rows) == [*(f"always {letter}, yes after 1 s" for letter in "ABCD"), "always A, yes after 6 s",
                          "always A, yes after 7 s", "chance"]  # fmt: skip
    assert rows["always A, yes after 1 s"].mean("proactive") == 0.5
    assert rows["always A, yes after 6 s"].mean("proactive in time") == 0.5
    assert rows["always A, yes after 6 s"].mean("proactive") == 0
    assert rows["always B, yes after 1 s"].mean("real-time") == 0.25
    assert rows["chance"].mean("omni") == 0.25


def test_only_so_much_before_a_question_is_watched_where_that_is_asked_for(folder: Path) -> None:
    _, loaded = load(folder, "real-time", "proactive", context_seconds=3)
    assert {(item.ask_seconds, item.clip[0]) for item in loaded.items} == {(1, 0), (2, 0), (3, 0), (6, 3), (8, 5)}
    with pytest.raises(ConfigError, match="context of 0 s"):
        load(folder, context_seconds=0)


def test_lists_that_nobody_wants_need_not_be_there(folder: Path) -> None:
    for name in ("questions_omni.json", "questions_sqa.json", "questions_proactive.json"):
        (folder / name).unlink()
    assert len(load(folder, "real-time")[1].items) == 4
    with pytest.raises(TaskError, match=r"questions_omni\.json"):
        load(folder)


def test_the_streaming_lists_ask_the_same(folder: Path) -> None:
    """One entry for each video, with the questions' segments and sounds in them."""
    _, loaded = load(folder, "real-time")
    by_video: dict[str, dict[str, Any]] = {}
    for each in FILES["questions_real.json"]:
        video = by_video.setdefault(each["video_path"], {"questions": [], "video_path": each["video_path"]})
        video["questions"] += [{**row, "audio_path": "a.wav", "time": each["time"]} for row in each["questions"]]
    (folder / "questions_real.json").rename(folder / "kept")
    (folder / "questions_real_stream.json").write_text(json.dumps(list(by_video.values())))
    again = load(folder, "real-time")[1].items
    assert {(item.qid, item.ask_seconds, item.truth) for item in again} == {
        (item.qid, item.ask_seconds, item.truth) for item in loaded.items
    }


def test_the_hubs_table_asks_the_same_of_its_unpacked_videos(tmp_path: Path, put_video: PutVideo) -> None:
    lines = [
        "question_id,task_type,question,time_stamp,answer,options,frames_required,temporal_clue_type",
        "Real-Time Visual Understanding_sample_7_1,Counting,\"How many, now?\",00:00:06,B,\"['A. One.', 'B. Two.', "
        "'C. Three.', 'D. Four.']\",1,Concurrent",
        "Real-Time Visual Understanding_sample_7_2,Counting,What?,00:00:07,B,none,1,Concurrent",
        "nothing,Counting,What?,00:00:07,B,\"['1', '2', '3', '4']\",1,Concurrent",
    ]
    (tmp_path / "Real_Time_Visual_Understanding.csv").write_text("\r\n".join(lines))
    put_video(tmp_path / "real" / "sample_7" / "video.mp4")
    loaded = load(tmp_path, "real-time")[1]
    (item,) = loaded.items
    assert (item.question, item.choices, item.truth) == ("How many, now?", ("One.", "Two.", "Three.", "Four."), "B")
    assert item.video == "real/sample_7/video.mp4"
    assert [str(problem).partition(": ")[2][:17] for problem in loaded.problems] == [
        "has 'options' = '",
        "has 'question_id'",
    ]


def test_a_table_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Real_Time_Visual_Understanding.csv").write_bytes(b"question\n\xff\xfe")
    with pytest.raises(TaskError, match="not readable as CSV"):
        load(tmp_path, "real-time")


@pytest.mark.parametrize("root", ["", "data/"])
def test_videos_are_found_where_the_archives_put_them(folder: Path, root: str) -> None:
    folders = {
        "sample_9001_real": "real/sample_9001",
        "sample_9003_Scene_Understanding_1-25": "omni/Scene Understanding_1-25/sample_9003",
        "sample_9005_sqa": "sqa/sample_9005",
    }
    for stem, place in folders.items():
        target = folder / root / place / "video.mp4"
        target.parent.mkdir(parents=True)
        (folder / "videos" / f"{stem}.mp4").rename(target)
    _, loaded = load(folder)
    assert not loaded.missing_videos
    assert {f"{root}{place}/video.mp4" for place in folders.values()} <= {item.video for item in loaded.items}


def test_paths_that_the_script_made_absolute_are_understood(folder: Path) -> None:
    rows = json.loads((folder / "questions_real.json").read_text())
    for row in rows:
        row["video_path"] = "/home/somebody/StreamingBench/src/data/" + row["video_path"].removeprefix("./")
    (folder / "questions_real.json").write_text(json.dumps(rows))
    assert not load(folder, "real-time")[1].missing_videos


def test_a_moment_before_its_request_and_an_answer_that_is_none_are_named(tmp_path: Path) -> None:
    row = request("When it stops, say so.", "00:00:05", "00:00:04", "so")
    loaded = written(tmp_path, row, name="questions_proactive.json")
    assert "has a moment that is before the request" in str(loaded.problems[0])
    loaded = written(tmp_path, question("Counting", "How many?", "00:00:06", "E"))
    assert "has 'answer' = 'E'" in str(loaded.problems[0])
    (tmp_path / "questions_real.json").write_text(json.dumps([{"video_path": "./videos/sample_1_real.mp4"}]))
    (problem,) = load(tmp_path, "real-time")[1].problems
    assert str(problem) == "questions_real.json, record 0: has no 'questions'"


TEMPLATES = {
    "StreamingBench.py": 'PROMPT_TEMPLATE = """Look. {}\n{}\n{}\n{}\n{}"""',
    "StreamingBenchSQA.py": 'PROMPT_TEMPLATE = """Look.\n{}\nNow: {}\n{}\n{}\n{}\n{}\nBest:"""',
    "StreamingBenchProactive.py": 'PROMPT_TEMPLATE_PROACTIVE = """Ask: {}\nAnswer:"""',
}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Of a repository with other wording."""
    root = tmp_path / "copy"
    (root / "src/benchmark").mkdir(parents=True)
    for name, text in TEMPLATES.items():
        (root / "src/benchmark" / name).write_text(text)
    return root


def test_the_wording_of_a_copy_is_used(folder: Path, copy: Path) -> None:
    task, loaded = load(folder, protocol="official", prompts=copy)
    items = by_question(loaded.items)
    first, second = items["Who serves now?"], items["Who is that in the last question?"]

    def prompt(item: Item, *earlier: Any) -> str:
        return task.prompt(item, task.polls(item)[0], earlier).prompt

    assert prompt(items["How many cups are red now?"]) == (
        "Look. How many cups are red now?\nA. One.\nB. Two.\nC. Three.\nD. Four.\n\nThe best option is:"
    )
    assert prompt(first) == "Look.\n\nNow: Who serves now?\nA. 2.\nB. 6.\nC. 7.\nD. 4.\nBest:"
    told = (first, task.polls(first)[0], Reply(key="first", text="D"))
    assert "Who serves now?" in prompt(second, told)
    assert "Answer: A\nNow: Who is that" in prompt(second, told)
    assert prompt(items['When it stops, output "It stops".']).startswith(
        'Ask: When it stops, output "It stops".\nIs now'
    )


def test_broken_options_are_shown_as_the_published_runner_shows_them(folder: Path, copy: Path) -> None:
    broken = "A. He says: 'I can\nstill run.'\nB. He sits.\n\n\n"
    whole = "A. He says: 'I can still run.'\nB. He sits.\nC. He turns.\nD. He runs.\n\n"
    for protocol, shown in (("official", broken), ("strict", whole)):
        task, loaded = load(folder, "omni", protocol=protocol, prompts=copy)
        (item,) = loaded.items
        assert shown in task.prompt(item, task.polls(item)[0], ()).prompt
