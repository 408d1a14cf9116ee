"""The grammar of memory policies: what it reads, and what it says about everything else."""

from __future__ import annotations

import enum
import typing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.errors import PolicyError
from hermes_stream.memory.plan import Positions
from hermes_stream.policies import POLICIES, WRAPPERS
from hermes_stream.policies.base import Policy
from hermes_stream.policies.front_ends import FRONT_ENDS, Ctr, Dtd
from hermes_stream.policies.hermes import Hermes
from hermes_stream.policies.keep_all import KeepAll
from hermes_stream.policies.part import Part
from hermes_stream.policies.recent import Recent
from hermes_stream.policies.recent_frames import RecentFrames
from hermes_stream.policies.sliding_window import SlidingWindow
from hermes_stream.policies.spec import parse_memory, split_policies
from hermes_stream.policies.stream_mem import StreamMem
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
        (
            "streammem(question='What, (who) + where | \\'it\\' is?')",
            StreamMem(question="What, (who) + where | 'it' is?"),
        ),
        ("streammem(question=what's up)", StreamMem(question="what's up")),
        ("dtd(drop=0.25) | hermes", Hermes(front_ends=(Dtd(drop=0.25),))),
        ("dtd|ctr(keep=8)|uniform", Uniform(front_ends=(Dtd(), Ctr(keep=8)))),
        (
            "hermes:released(budget=256) + recent(frames=2)",
            Recent(inner=parse_memory("hermes:released"), frames=2, budget=256),
        ),
        ("dtd | uniform(budget=9)+recent", Recent(inner=Uniform(), budget=9, front_ends=(Dtd(),))),
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
        ("hermse", "unknown memory policy 'hermse'; did you mean hermes"),
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
        ("hermes + recent-frames(frames=4)", "two stores: hermes and recent-frames(frames=4); a memory has one"),
        ("uniform | hermes", "uniform is a store; before | stand front-ends, such as dtd(drop=0.5)"),
        ("dtd(drop=0.5)", "dtd is a front-end and needs a store behind it, as in dtd | hermes"),
        ("dtd | ", "cannot read the memory policy ''"),
        ("hermes + dtd", "dtd is a front-end and stands before the store, as in dtd | hermes"),
        ("recent(frames=4)", "recent is a wrapper and needs a store before it, as in hermes + recent"),
        ("dtd | recent", "recent is a wrapper and needs a store before it"),
        ("recent | hermes", "recent is a wrapper and stands behind the store, as in hermes + recent"),
        ("dtt | hermes", "unknown memory policy 'dtt'; did you mean dtd?"),
        ("hermes + resent", "unknown memory policy 'resent'; did you mean recent or "),
        ("dtd | ctr | dtd | hermes", "hermes: dtd stands before the store twice; give it once"),
        ("hermes + recent + recent(frames=2)", "recent: recent is wrapped around the store twice; give it once"),
        ("dtd(drop=0.5, threshold=0.5) | hermes", "dtd: drop is a share and threshold a cosine; give one of them"),
        ("dtd(drop=1) | hermes", "dtd: option drop is '1', expected less than 1"),
        ("dtd(dropp=1) | hermes", "unknown option of dtd 'dropp'; did you mean drop?"),
        ("dtd:paper | hermes", "dtd has no presets; leave out ':paper'"),
        ("hermes + recent(frames=0)", "recent: option frames is '0', expected greater than or equal to 1"),
        ("hermes + recent(budget=64)", "unknown option of recent 'budget'"),
        ("hermes(front_ends=dtd)", "unknown option of hermes 'front_ends'"),
        ("hermes + recent(inner=uniform)", "unknown option of recent 'inner'"),
        ("recent-frames + recent", "recent: recent-frames holds features, not rows; leave recent out"),
        ("ctr | infinipot-v", "infinipot-v: infinipot-v compares cells, which ctr merges"),
        ("ctr | infinipot-v + recent", "compares cells, which ctr merges; drop tokens with dtd instead"),
        ("hermes(budget=1MiB) + recent", "the budget 1MiB is in bytes, which means nothing without a model"),
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


def _values(annotation: Any) -> st.SearchStrategy[Any]:
    """Values of an option's type; not all of them may stand together."""
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return st.sampled_from(list(annotation))
    if typing.get_origin(annotation) is typing.Literal:
        return st.sampled_from(typing.get_args(annotation))
    if typing.get_origin(annotation) is tuple:
        return st.tuples(*map(_values, typing.get_args(annotation)))
    kinds: dict[Any, st.SearchStrategy[Any]] = {
        bool: st.booleans(),
        int: st.integers(1, 99),
        float: st.floats(0.01, 0.99),
        str: st.text(max_size=12) | st.just("64MiB"),
        Path: st.sampled_from([Path("/spare"), Path("a folder, (with) more")]),
    }
    union = [kind for kind in typing.get_args(annotation) if kind is not type(None)]
    return kinds[annotation] if annotation in kinds else _values(union[0])


@st.composite
def _parts(draw: st.DrawFn, kinds: dict[str, type[Part]]) -> tuple[type[Part], dict[str, Any]]:
    kind = kinds[draw(st.sampled_from(sorted(kinds)))]
    options = {name: field.annotation for name, field in kind.options().items()}
    chosen = draw(st.lists(st.sampled_from(sorted(options)), max_size=3, unique=True)) if options else []
    return kind, {name: draw(_values(options[name])) for name in chosen}


@settings(max_examples=300, deadline=None)
@given(_parts(POLICIES), st.lists(_parts(FRONT_ENDS), max_size=2), st.lists(_parts(WRAPPERS), max_size=2))
def test_what_a_policy_says_of_itself_is_what_it_was_made_of(store: Any, fronts: Any, wrappers: Any) -> None:
    try:
        policy = store[0](**store[1], front_ends=tuple(kind(**options) for kind, options in fronts))
        for kind, options in wrappers:
            policy = kind(inner=policy, **options)
    except ValueError:
        return  # options that cannot stand together
    assert parse_memory(str(policy)) == policy
    assert policy.title == (
        policy.name if not fronts and not wrappers else str(policy.model_copy(update={"budget": None}))
    )
