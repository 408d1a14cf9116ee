"""How layers are grouped: shares, what a checkpoint brings, what an inspection found; for hermes alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hermes_stream import Engine, Hermes
from hermes_stream.errors import ConfigError, ModelError, PolicyError
from hermes_stream.models.load import load_adapter
from hermes_stream.policies import POLICIES
from hermes_stream.policies.layers import parse_layers
from tests.tiny import make_frames, save_llava_onevision


def groups(policy: Any, n_layers: int) -> list[tuple[int, int]]:
    return [(layers.start, layers.stop) for layers in policy.layer_groups(n_layers).values()]


@pytest.mark.parametrize("text", ["10/60/30", "0.1/0.6/0.3", " 10/60.0/30 "])
def test_the_papers_shares_are_the_default_for_every_depth(text: str) -> None:
    """Default: int(0.1 L) and int(0.7 L), as released."""
    for n_layers in range(3, 130):
        borders = parse_layers(text).borders_of("model", n_layers, None)
        assert groups(Hermes(budget=9).with_layers(borders), n_layers) == groups(Hermes(budget=9), n_layers)


def test_any_shares_that_add_up() -> None:
    assert parse_layers("0/50/50").borders_of("model", 10, None) == (0, 5)
    assert parse_layers("25/25/50").borders_of("model", 10, None) == (2, 5)
    assert parse_layers("1/0/0").borders_of("model", 10, None) == (10, 10)


@pytest.mark.parametrize("text", ["10/60", "10/60/20", "10/60/30/0", "-10/80/30", "mesured", "", "a/b/c"])
def test_anything_else_is_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^layers are [^\n]*$"):
        parse_layers(text)


def test_an_inspection_is_for_its_own_model(tmp_path: Path) -> None:
    path = tmp_path / "inspection.json"
    path.write_text(json.dumps({"model": {"n_layers": 12}, "partition": {"measured": [2, 7]}}))
    grouping = parse_layers(str(path))
    assert grouping.borders_of("model", 12, (5, 6)) == (2, 7)
    with pytest.raises(ConfigError, match="of a model with 12 layers; other has 10"):
        grouping.borders_of("other", 10, None)
    for content in ("{}", "[]", "not json", '{"model": {"n_layers": 12}, "partition": {"measured": [2]}}'):
        path.write_text(content)
        with pytest.raises(ConfigError, match="is no inspection"):
            parse_layers(str(path))


def test_measured_takes_what_the_checkpoint_brings(tmp_path: Path) -> None:
    folder = save_llava_onevision(tmp_path / "model")
    settings = {"fps": 1, "chunk": 4, "budget": 48}
    with (
        Engine(load_adapter(str(folder))) as engine,
        pytest.raises(ConfigError, match="run hermes-stream inspect VIDEO"),
    ):
        engine.open("hermes", layers="measured")
    (folder / "hermes_stream.json").write_text(json.dumps({**settings, "measured_layers": [3, 8]}))
    with Engine(load_adapter(str(folder))) as engine:
        assert engine.defaults.measured_layers == (3, 8)
        session = engine.open("hermes:released(summary=none)", layers="measured")
        assert groups(session.policy, 12) == [(0, 3), (3, 8), (8, 12)]
        session.watch(make_frames(20))
        assert max(session.stats.held_tokens) <= 48
        assert groups(engine.open("hermes").policy, 12) == [(0, 1), (1, 8), (8, 12)]
    for wrong in ([3], [8, 3], [0, 13], "3,8", [1.5, 3]):
        (folder / "hermes_stream.json").write_text(json.dumps({**settings, "measured_layers": wrong}))
        with pytest.raises(ModelError, match="first middle layer, first deep layer"):
            load_adapter(str(folder))


@pytest.mark.parametrize("name", sorted(set(POLICIES) - {"hermes"}))
def test_policies_that_treat_all_layers_alike_say_so(name: str) -> None:
    with pytest.raises(PolicyError, match=f"^{name} treats all layers alike"):
        POLICIES[name]().with_layers((1, 2))


@pytest.mark.parametrize("options", [{"borders": (1, 2)}, {"ratios": (0.1, 0.6, 0.3)}])
def test_two_groupings_are_one_too_many(options: dict[str, Any]) -> None:
    with pytest.raises(PolicyError, match="two groupings of the layers"):
        Hermes(budget=9, **options).with_layers((1, 2))
