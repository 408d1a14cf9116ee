"""OVO-Bench: its official rules and their traps, what strict reading makes of them, its averages, its wording."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.errors import TaskError
from hermes_stream.evals.item import Item, Reply
from hermes_stream.evals.scores import Mode, Scores
from hermes_stream.evals.task import Setting
from hermes_stream.evals.tasks.ovobench import OvoBench
from tests.evals.published.ovobench import choice_record, forward_records, records
from tests.oracles.ovobench_oracle import official_scores

OFFICIAL = Setting(protocol="official")
AVERAGES = {"real-time": "realtime", "backward": "backward", "forward": "forward", "avg2": "avg2", "avg3": "avg3"}


@pytest.fixture
def folder(data_of: Callable[[str], Path]) -> Path:
    return data_of("ovobench")


def load(folder: Path, setting: Setting | None = None) -> dict[str, Item]:
    return {item.qid: item for item in OvoBench(setting).load(folder).items}


def written(folder: Path, *rows: dict[str, Any], setting: Setting | None = None) -> dict[str, Item]:
    (folder / "ovo_bench_new.json").write_text(json.dumps(rows))
    return load(folder, setting)


def score(items: Sequence[Item], said: Mapping[str, str], mode: Mode, setting: Setting | None = None) -> Scores:
    """said: by the items' ids, as what is left out is not answered."""
    task = OvoBench(setting)
    keys = {item.qid: ask.key for item in items for ask in task.polls(item)}
    return task.score(items, {keys[qid]: Reply(key=keys[qid], text=text) for qid, text in said.items()}, mode)


def right(item: Item, text: str, mode: Mode) -> bool:
    return score([item], {item.qid: text}, mode).marks[0].value == 1.0


# What people and models say, and what the rules stumble over.
REPLIES = st.one_of(
    st.sampled_from(
        ["A", "B", "E", "Yes", "No", "Y", "N", "None", "yes", "Not yet", "2", "1 2", "2 out of 3", "", "B. in the sink"]
    ),
    st.text(alphabet="ABCDEYNesno 0123.()", max_size=8),
)


@pytest.fixture(scope="module")
def official_items(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Item]:
    """Of all records, as the published runner asks them."""
    folder = tmp_path_factory.mktemp("ovobench")
    (folder / "ovo_bench_new.json").write_text(json.dumps(records()))
    splits = ("real-time", "backward", "forward")
    return OvoBench(Setting(protocol="official", splits=splits)).load(folder).items


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_official_numbers_are_those_of_the_definition(official_items: Sequence[Item], data: st.DataObject) -> None:
    """On random replies to every record, against a slow reading of the rules."""
    rows = records()
    keys = [
        (row["id"], None if poll is None else number)
        for row in rows
        for number, poll in enumerate(row.get("test_info", [None]))
    ]
    said = {key: data.draw(REPLIES) for key in keys}
    scores = score(
        official_items,
        {str(record) if poll is None else f"{record}_{poll}": text for (record, poll), text in said.items()},
        "official",
    )
    expected = official_scores(rows, said)
    names = AVERAGES | {name: name for name in expected if name.isupper()}
    assert {name: 100 * (scores.mean(name) or 0) for name in names} == pytest.approx(
        {name: expected[theirs] for name, theirs in names.items()}
    )


@pytest.mark.parametrize(
    ("reply", "official", "strict"),
    [
        ("B", True, True),
        ("(B)", True, True),
        ("B) two", True, True),
        (" B", True, True),
        ("B. in the sink", True, True),
        ("Answer: B", True, False),
        ("A. in the Box", True, False),
        ("Box", True, False),
        ("b", False, False),
        ("", False, False),
        ("A", False, False),
    ],
)
def test_the_gold_letter_counts_officially_anywhere_in_a_reply(
    folder: Path, reply: str, official: bool, strict: bool
) -> None:
    item = written(folder, choice_record(1, "STU"), setting=OFFICIAL)["1"]
    assert item.truth == "B"
    assert (right(item, reply, "official"), right(item, reply, "strict")) == (official, strict)


@pytest.mark.parametrize(
    ("reply", "official", "strict"),
    [
        ("2", {2}, {2}),
        ("2 times", {2}, {2}),
        ("1 2", {12}, {1}),
        ("2 out of 3", set(), {2}),
        ("1. They jump 2 times", {12}, {1}),
        ("two", set(), set()),
        ("", set(), set()),
    ],
)
def test_all_digits_of_a_reply_are_officially_one_count(
    folder: Path, reply: str, official: set[int], strict: set[int]
) -> None:
    items = [item for item in load(folder).values() if item.task == "REC"]
    assert [item.truth for item in items] == ["1", "2", "12"]
    for mode, expected in (("official", official), ("strict", strict)):
        assert {int(item.truth) for item in items if right(item, reply, mode)} == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reply", "official", "strict"),
    [
        ("Yes", {"yes"}, {"yes"}),
        ("Y", {"yes"}, set()),
        ("N", {"no"}, set()),
        ("yes", set(), {"yes"}),
        ("no.", set(), {"no"}),
        ("None of it", {"no"}, set()),
        ("Nothing", {"no"}, set()),
        ("No, yes", {"no"}, {"no"}),
        ("No or Yes", {"no", "yes"}, {"no"}),
        ("Y.", set(), set()),
        ("", set(), set()),
    ],
)
def test_yes_and_no_are_officially_parts_of_words(
    folder: Path, reply: str, official: set[str], strict: set[str]
) -> None:
    items = [item for item in load(folder).values() if item.task in ("SSR", "CRR")]
    for mode, expected in (("official", official), ("strict", strict)):
        assert {item.truth for item in items if right(item, reply, mode)} == expected  # type: ignore[arg-type]


def test_every_poll_is_a_query_at_its_own_time(folder: Path) -> None:
    items = load(folder)
    assert [items[f"1502_{poll}"].ask_seconds for poll in range(5)] == [3, 3.5, 6, 7, 8]
    assert [items[f"1502_{poll}"].truth for poll in range(5)] == ["no", "no", "yes", "yes", "yes"]
    assert [items[f"1501_{poll}"].question for poll in range(3)] == ["boil water", "boil water", "add tea"]
    assert sum(item.split == "forward" for item in items.values()) == 11


def test_no_poll_can_be_told_by_its_prompt(folder: Path) -> None:
    """Five polls of CRR always carry the same five truths, in their order."""
    task, items = OvoBench(), load(folder)
    for record, n_questions in ((1500, 1), (1501, 2), (1502, 1)):
        of_record = [item for item in items.values() if item.meta["record"] == record]
        assert len({task.prompt(item, task.polls(item)[0], ()).prompt for item in of_record}) == n_questions
        assert {len(item.meta) for item in of_record} == {1}


def test_polls_and_probes_are_told_from_what_a_viewer_asks(folder: Path) -> None:
    """A policy that is told of earlier questions is not told of these."""
    task, items = OvoBench(), load(folder)
    asks = {qid: task.polls(items[qid])[0] for qid in ("1500_2", "0-probe", "0")}
    assert {qid: (ask.index, ask.part) for qid, ask in asks.items()} == {
        "1500_2": (2, ""),
        "0-probe": (None, "probe"),
        "0": (None, ""),
    }


def test_published_clips_show_up_to_a_second_of_the_future(folder: Path) -> None:
    strict, official = load(folder), load(folder, OFFICIAL)
    assert (strict["0"].ask_seconds, official["0"].ask_seconds) == (2.4, 3.0)
    assert (strict["1"].ask_seconds, official["1"].ask_seconds) == (3.0, 3.0)


def test_only_so_much_before_a_query_is_watched_where_that_is_asked_for(folder: Path) -> None:
    items = load(folder, Setting(context_seconds=2))
    assert [items[qid].clip[0] for qid in ("0", "1", "1500_0", "1500_1")] == pytest.approx([0.4, 1, 0, 4.5])


def test_who_asks_at_once_sees_at_most_the_first_frame(folder: Path) -> None:
    """Item 1117 of the published list asks at 0.03 s."""
    row = choice_record(1117, "STU") | {"realtime": 0.03}
    assert written(folder, row)["1117"].ask_seconds == 0.03
    assert written(folder, row, setting=OFFICIAL)["1117"].ask_seconds == 1.0


def test_the_place_counts_and_not_the_text_of_the_answer(folder: Path) -> None:
    row = choice_record(1, "STU") | {"answer": "in the box"}
    assert written(folder, row, setting=OFFICIAL)["1"].truth == "B"


def test_a_fifth_option_may_be_right_and_its_stray_letter_is_strictly_none_of_it(folder: Path) -> None:
    row = choice_record(4, "ASI")
    strict, official = written(folder, row)["4"], written(folder, row, setting=OFFICIAL)["4"]
    assert official.truth == "E"
    assert official.choices[4] == "(E)leaves it there"
    assert strict.choices["ABCDE".index(strict.truth)] == "leaves it there"


def test_options_are_shuffled_by_the_seed_and_only_strictly(folder: Path) -> None:
    row = choice_record(1, "STU")
    official = written(folder, row, setting=OFFICIAL)["1"]
    orders = [load(folder, Setting(seed=seed))["1"] for seed in range(8)]
    assert official.choices == tuple(row["options"])
    assert len({item.choices for item in orders}) > 2
    for item in orders:
        assert item.choices["ABCD".index(item.truth)] == "in the sink"


def test_hallucination_stands_apart_and_both_backward_means_are_given(folder: Path) -> None:
    """HLD asks for one and the same answer, which no other task has."""
    task, items = OvoBench(), list(load(folder).values())
    said = {item.qid: item.truth for item in items if item.task == "HLD"}
    scores = score(items, said, "strict")
    assert scores.mean("hallucination") == 1
    assert scores.mean("backward") == pytest.approx(1 / 3)
    assert scores.mean("backward without HLD") == 0
    assert scores.mean("avg2") == pytest.approx(1 / 6)
    assert scores.mean("avg2 without HLD") == 0
    apart = {average.name for average in task.averages if average.is_apart}
    assert apart == {"hallucination", "abstention probe"}


def test_who_always_abstains_is_found_out_by_the_probe(folder: Path) -> None:
    """Right in all of HLD; the same option at questions that have an answer is wrong."""
    items = list(load(folder).values())
    said = {
        item.qid: "ABCDEF"[item.choices.index("Unable to answer")]
        for item in items
        if "Unable to answer" in item.choices
    }
    scores = score(items, said, "strict")
    assert (scores.mean("hallucination"), scores.mean("abstention probe")) == (1, 0)
    assert scores.extras["false abstention"] == 100
    probed = {item.qid for item in items if item.split == "abstention-probe"}
    assert probed == {"0-probe", "2-probe"}


def test_how_often_each_letter_was_said_is_told(folder: Path) -> None:
    items = list(load(folder, Setting(splits=("real-time",))).values())
    said = ["A", "A", "B) x", "Answer: A", "A.", ""]
    scores = score(items, {item.qid: text for item, text in zip(items, said, strict=True)}, "official")
    assert scores.extras == {"says A": 75.0, "says B": 25.0}


def test_constant_rows_need_no_video(folder: Path) -> None:
    items = list(load(folder, OFFICIAL).values())
    rows = OvoBench(OFFICIAL).baselines(items, "official")
    assert list(rows) == ["always A / yes / 1", "always B / yes / 1", "chance"]
    constant = rows["always A / yes / 1"]
    assert (constant.mean("REC"), constant.mean("SSR"), constant.mean("CRR")) == pytest.approx((1 / 3, 1 / 3, 3 / 5))
    assert rows["chance"].mean("forward") == pytest.approx(1 / 3)
    assert list(OvoBench().baselines([item for item in items if item.split == "forward"], "strict")) == [
        "always yes / 1",
        "chance",
    ]


def test_yes_and_no_are_compared_by_their_probabilities_and_counts_are_read(folder: Path) -> None:
    task, items = OvoBench(), load(folder)
    (ask,) = task.polls(items["1501_0"])
    assert task.choices(items["1501_0"], ask) == ("Yes", "No")
    assert task.choices(items["1500_0"], ask) == ()
    likely = Reply(key="1501_0#0", text="No", probabilities={"Yes": 0.6, "No": 0.4})
    counted = Reply(key="1500_0#0", text="1 jump")
    for qid, reply in (("1501_0", likely), ("1500_0", counted)):
        assert task.score([items[qid]], {reply.key: reply}, "logits").marks[0].value == 1


def test_what_the_records_say_of_times_and_answers_is_in_no_field_that_prompts_may_use(folder: Path) -> None:
    for item in load(folder).values():
        assert set(item.meta) == {"record"}


CONSTANTS = '''
BR_PROMPT_TEMPLATE = """
Q {}
O {}
Letter only.
"""
REC_PROMPT_TEMPLATE = """Count. {}"""
SSR_PROMPT_TEMPLATE = """Step: {}"""
CRR_PROMPT_TEMPLATE = """Enough? {}"""
'''


def test_the_wording_of_a_copy_is_used(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "constant.py").write_text(CONSTANTS)
    task = OvoBench(Setting(protocol="official", prompts=tmp_path))
    items = load(folder, OFFICIAL)
    prompts = {
        qid: task.prompt(items[qid], task.polls(items[qid])[0], ()).prompt
        for qid in ("8", "1500_0", "1501_0", "1502_0")
    }
    assert prompts == {
        "8": "\nQ What of FPD is number 8?\nO A. left; B. right;\nLetter only.\n",
        "1500_0": "Count. How many times did they jumping over it?",
        "1501_0": "Step: boil water",
        "1502_0": "Enough? What does he do to the car?",
    }
    assert task.prompt_label == "ovobench-official"


def test_a_copy_without_the_wording_is_refused(folder: Path, tmp_path: Path) -> None:
    task = OvoBench(Setting(prompts=tmp_path))
    item = load(folder)["1500_0"]
    with pytest.raises(TaskError, match="--prompts"):
        task.prompt(item, task.polls(item)[0], ())


def test_what_cannot_be_is_named(folder: Path) -> None:
    _, step, clue = forward_records()
    del step["test_info"][1]["step"]
    clue["test_info"][0]["type"] = 2
    rows = [
        choice_record(1, "STU") | {"gt": 4},
        choice_record(2, "STU") | {"task": "XYZ"},
        choice_record(3, "STU") | {"options": ["one"]},
        step,
        clue,
    ]
    (folder / "ovo_bench_new.json").write_text(json.dumps(rows))
    loaded = OvoBench().load(folder)
    assert [str(problem)[: len(start)] for problem, start in zip(loaded.problems, STARTS, strict=True)] == STARTS
    assert {item.qid for item in loaded.items} == {"1501_0", "1501_2", "1502_1", "1502_2", "1502_3", "1502_4"}


STARTS = [
    "ovo_bench_new.json, record 0: has 'gt' = 4; expected the place of one of 4 options",
    "ovo_bench_new.json, record 1: has the task 'XYZ'; expected one of OCR,",
    "ovo_bench_new.json, record 2: has 'options'",
    "ovo_bench_new.json, record 3, test_info 1: has no 'step'",
    "ovo_bench_new.json, record 4, test_info 0: has 'type' = 2; expected 0 or 1",
]


def test_the_repositorys_own_folders_are_known(folder: Path) -> None:
    (folder / "data").mkdir()
    for name in ("ovo_bench_new.json", "src_videos"):
        (folder / name).rename(folder / "data" / name)
    loaded = OvoBench().load(folder)
    assert not loaded.problems
    assert loaded.items[0].video.startswith("data/src_videos/")
