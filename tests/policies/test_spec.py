"""The grammar of memory policies: what it reads, and what it says about everything else."""

from __future__ import annotations

import pytest

from hermes_stream.errors import PolicyError
from hermes_stream.memory.plan import Positions
from hermes_stream.policies import POLICIES
from hermes_stream.policies.base import Policy
from hermes_stream.policies.hermes import Hermes
from hermes_stream.policies.keep_all import KeepAll
from hermes_stream.policies.recent_frames import RecentFrames
from hermes_stream.policies.sliding_window import SlidingWindow
from hermes_stream.policies.spec import parse_memory, split_policies
from hermes_stream.policies.uniform import Uniform


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("keep-all", KeepAll()),
        (" hermes ", Hermes()),
        ("hermes()", Hermes()),
        ("hermes:paper", Hermes()),
        (
            "hermes:released",
            Hermes(
                schedule="released",
                attention="embedding",
                smoothing="recursive",
                match="index",
                trigger="prefix",
                compaction="ranks",
            ),
        ),
        ("hermes:released(match=identity)", Hermes(**{**Hermes.presets["released"], "match": "identity"})),
        ("hermes( reindex = eager , budget=256 )", Hermes(reindex="eager", budget=256)),
        ("hermes(ratios=(0.2, 0.5, 0.3), history=false)", Hermes(ratios=(0.2, 0.5, 0.3), history=False)),
        ("hermes(borders=(1,3), smooth_deep=.5)", Hermes(borders=(1, 3), smooth_deep=0.5)),
        ("hermes(reindex='eager')", Hermes(reindex="eager")),
        ("sliding-window(positions=compact)", SlidingWindow(positions=Positions.COMPACT)),
        ("recent-frames(frames=4)", RecentFrames(frames=4)),
        ("uniform(newest=true)", Uniform(newest=True)),
    ],
)
def test_good_texts(text: str, policy: Policy) -> None:
    assert parse_memory(text) == policy


@pytest.mark.parametrize("name", list(POLICIES))
def test_every_registered_name_is_a_text(name: str) -> None:
    assert type(parse_memory(name)) is POLICIES[name]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hermse", "unknown memory policy 'hermse'; did you mean hermes?"),
        ("sliding_window", "unknown memory policy 'sliding_window'; did you mean sliding-window?"),
        ("hermes:relased", "unknown preset of hermes 'relased'; did you mean released?"),
        ("keep-all:paper", "keep-all has no presets; leave out ':paper'"),
        ("hermes(smoothin=none)", "unknown option of hermes 'smoothin'; did you mean smoothing"),
        ("hermes(reindex=sometimes)", "hermes: option reindex is 'sometimes', expected 'lazy' or 'eager'"),
        ("hermes(smooth_deep=lots)", "hermes: option smooth_deep is 'lots', expected a valid number"),
        ("hermes(smooth_deep=2)", "hermes: option smooth_deep is '2', expected less than or equal to 1"),
        ("hermes(weight=nan)", "hermes: option weight is 'nan', expected a finite number"),
        ("hermes(history=perhaps)", "hermes: option history is 'perhaps', expected a valid boolean"),
        ("hermes(ratios=(0.5,0.5,0.5))", "hermes: ratios are (0.5, 0.5, 0.5); expected three shares"),
        ("hermes(ratios=(0.5,x,0.5))", "hermes: option ratios is '(0.5,x,0.5)', expected a valid tuple"),
        ("hermes(borders=(1,))", "hermes: option borders is (1,), "),
        ("recent-frames(frames=0)", "recent-frames: option frames is '0', expected greater than or equal to 1"),
        ("recent-frames(frames=true)", "recent-frames: option frames is 'true', expected a valid integer"),
        (
            "sliding-window(positions=shrink)",
            "option positions is 'shrink', expected 'keep', 'compact', 'contiguous' or 'ranks'",
        ),
        ("hermes(budget=0)", "budget is '0'; expected tokens per layer such as 256"),
        ("hermes(budget=few)", "budget is 'few'; expected tokens per layer such as 256, or bytes such as 16MiB"),
        ("hermes(budget=16MiB)", "the budget 16MiB is in bytes, which means nothing without a model"),
        ("keep-all(budget=8)", "keep-all: keep-all holds everything and takes no budget"),
        ("hermes(eager)", "hermes: cannot read the option 'eager'; expected option=value"),
        ("hermes(reindex=)", "hermes: cannot read the option 'reindex='"),
        ("hermes(budget=1,)", "hermes: cannot read the option ''"),
        ("hermes(budget=1,budget=2)", "hermes: the option budget is given twice"),
        ("hermes(", "unbalanced parentheses"),
        ("hermes)(", "unbalanced parentheses"),
        ("hermes()x", "cannot read the memory policy 'hermes()x'; expected name, name:preset"),
        ("hermes:", "cannot read the memory policy 'hermes:'"),
        ("", "cannot read the memory policy ''"),
        ("hermes + recent-frames(frames=4)", "composing policies with + or | is not available yet"),
        ("dtd(drop=0.5) | hermes", "composing policies with + or | is not available yet"),
    ],
)
def test_bad_texts_are_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(PolicyError) as refusal:
        parse_memory(text)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("budget", "tokens"), [(64, 64), ("64", 64), ("16KiB", 16), ("1 kB", 1)])
def test_a_budget_beside_the_text(budget: int | str, tokens: int) -> None:
    assert parse_memory("hermes", budget, bytes_per_token=1000).budget_tokens == tokens


def test_a_policy_without_bounds_ignores_the_budget_of_all() -> None:
    assert parse_memory("keep-all", 64) == KeepAll()


def test_bytes_in_the_text_are_converted_where_the_model_is_known() -> None:
    assert parse_memory("uniform(budget=1MiB)", bytes_per_token=1024).budget_tokens == 1024


@pytest.mark.parametrize(
    ("text", "budget", "message"),
    [
        ("hermes(budget=8)", 9, "two budgets: 8 in 'hermes(budget=8)' and 9 beside it; give one"),
        ("hermes", "1MiB", "the budget 1MiB is in bytes, which means nothing without a model"),
        ("hermes", "-3", "budget is '-3'; expected tokens per layer"),
    ],
)
def test_bad_budgets_beside_the_text(text: str, budget: int | str, message: str) -> None:
    with pytest.raises(PolicyError) as refusal:
        parse_memory(text, budget)
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("hermes", ["hermes"]),
        ("a, b(x=1,y=(2,3)) ,c", ["a", "b(x=1,y=(2,3))", "c"]),
    ],
)
def test_lists_split_outside_parentheses(text: str, parts: list[str]) -> None:
    assert split_policies(text) == parts


@pytest.mark.parametrize("text", ["a,,b", "", "a,"])
def test_empty_entries_of_a_list_are_refused(text: str) -> None:
    with pytest.raises(PolicyError, match="an empty entry"):
        split_policies(text)
