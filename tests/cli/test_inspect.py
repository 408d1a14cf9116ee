"""`hermes-stream inspect`: figures and numbers of a real file, and its partition in use."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hermes_stream.inspection.indices import INDICES
from tests.cli.conftest import Done
from tests.tiny import save_checkpoint

Command = Callable[..., Done]
FIGURES = ("attention", "layers", "heads")


def inspect(command: Command, *arguments: object) -> dict[str, Any]:
    done = command("inspect", *arguments)
    assert done.status == 0, done.err
    out = Path(str(arguments[arguments.index("--out") + 1]))
    content: dict[str, Any] = json.loads((out / "inspection.json").read_text())
    # The table for people says what the file says.
    lines = [line.split() for line in done.out.splitlines()[1 : 1 + len(content["layers"])]]
    assert [float(line[2]) for line in lines] == [round(row["newest_share"], 3) for row in content["layers"]]
    assert "measured partition: middle from layer" in done.out
    return content


def test_a_video_gives_figures_numbers_and_a_partition_that_can_be_used(
    command: Command, episode: tuple[Path, Path], tmp_path: Path
) -> None:
    arguments = (episode[0], "--budget", 24, "--out", tmp_path, "--question", "Which room is this?", "--layer", 2)
    content = inspect(command, *arguments)
    for name in FIGURES:
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert len(picture.convert("RGB").getcolors(1_000_000) or []) > 50
        assert "<svg" in (tmp_path / f"{name}.svg").read_text()
    assert content["command"] == (
        f"hermes-stream inspect {episode[0]} --model tiny-llava-onevision --budget 24 --question 'Which room is this?'"
    )
    assert content["model"] == {"name": "tiny-llava-onevision", "n_layers": 10, "n_heads": 6}
    assert (content["budget_tokens"], content["chunk_frames"], content["grid"]) == (24, 4, [2, 2])
    assert content["window_frames"] == 6
    assert content["sources"] == [
        {"name": str(episode[0]), "n_frames": 64, "questions": ["Which room is this?"], "damage": ""}
    ]
    assert [row["layer"] for row in content["layers"]] == list(range(10))
    for row in content["layers"]:
        assert set(INDICES) < set(row)
        assert sum(row["attention_to"].values()) == pytest.approx(1, abs=1e-5)
        assert row["standard_error"] == {}
    assert len(content["curves"]["distance_to_newest"]) == 24
    assert content["curves"]["distance_to_newest"][:2] == [0, 1]
    assert all(len(curve) == 24 for curve in content["curves"]["attention"])
    first_middle, first_deep = content["partition"]["measured"]
    assert 0 < first_middle < first_deep < 10
    assert content["partition"]["paper"] == [1, 7]
    question = ("--json", "--budget", 24, "--question", "end=Which room is this?")
    use = ("ask", episode[0], *question, "--layers", tmp_path / "inspection.json")
    given = command(*use)
    assert given.status == 0, given.err
    spelled = command("ask", episode[0], *question, "--memory", f"hermes(borders=({first_middle}, {first_deep}))")
    assert given.rows[0]["held_tokens"] == spelled.rows[0]["held_tokens"]
    assert given.rows[0]["answer"] == spelled.rows[0]["answer"]


def test_episodes_of_shapestream(command: Command, tmp_path: Path) -> None:
    arguments = ("shapestream:900200-900201", "--seconds", 24, "--budget", 24, "--questions", 2, "--out", tmp_path)
    content = inspect(command, *arguments)
    assert [source["n_frames"] for source in content["sources"]] == [24, 24]
    assert all(0 < len(source["questions"]) <= 2 for source in content["sources"])
    assert content["layers"][0]["standard_error"]["entropy"] > 0
    assert content["command"].endswith("--budget 24 --seconds 24 --questions 2")
    assert "dc:date" not in (tmp_path / "layers.svg").read_text()


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_families_with_grids_and_separators(
    command: Command, episode: tuple[Path, Path], tmp_path: Path, family: str
) -> None:
    model = save_checkpoint(family, tmp_path / family)
    arguments = ("--model", model, "--budget", 250, "--questions", 2, "--shuffle-frames", "--out", tmp_path / "out")
    content = inspect(command, episode[0], *arguments)
    assert content["model"]["n_layers"] == len(content["layers"]) == 12
    assert content["grid"][0] * content["grid"][1] * content["window_frames"] <= 250
    assert (content["layers"][0]["attention_to"]["separators"] > 0) == (family == "qwen3_vl")
    assert content["command"].endswith("--questions 2 --shuffle-frames")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{video}"], "--out"),
        (["{video}", "--out", "{text}"], "which is a file; give a folder"),
        (["{video}", "--out", "{folder}", "--questions", "0"], "--questions is 0; ask at least 1"),
        (["{video}", "--out", "{folder}", "--question", " "], "text is ' '; expected what you want to know"),
        (["{video}", "--out", "{folder}", "--question", "a?", "--questions", "3"], "both --question and --questions"),
        (["{video}", "--out", "{folder}", "--model", "tiny-lava"], "did you mean tiny-llava-onevision"),
        (["/no/such/file.mp4", "--out", "{folder}"], "no such file"),
        (["{video}", "{text}", "--out", "{folder}"], "not a video"),
        (["shapestream:one", "--out", "{folder}"], "write shapestream:SEED"),
        (["{video}", "--out", "{folder}", "--layer", "10"], "--layer is 10; the model has layers 0 to 9"),
        (["{video}", "--out", "{folder}", "--fps", "0"], "--fps is 0"),
        (["{video}", "--out", "{folder}", "--chunk", "0"], "at least 1 frame"),
        (["{video}", "--out", "{folder}", "--budget", "lots"], "lots"),
        (["{video}", "--out", "{folder}", "--budget", "8", "--chunk", "2"], "holds 2 frames of 4 tokens"),
        (["{video}", "--out", "{folder}", "--budget", "1000"], "never fill the window of 1000 tokens"),
        (["shapestream:1", "--out", "{folder}", "--seconds", "-1"], "--seconds is -1"),
        (["{video}", "--out", "{folder}", "--memory", "hermes"], "--memory"),
    ],
)
def test_mistakes_end_with_status_2_and_one_line(
    command: Command, episode: tuple[Path, Path], tmp_path: Path, arguments: list[str], message: str
) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("this is not a video\n" * 50)
    places = {"video": episode[0], "folder": tmp_path / "out", "text": text}
    done = command("inspect", *(argument.format(**places) for argument in arguments))
    assert done.status == 2
    assert message in done.err
    assert len(done.err.splitlines()) == 1
    assert done.err.startswith("error: ")
    assert done.out == ""
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layers", "10/60/31"], "add up to 101"),
        (["--layers", "nothing.json"], "expected shares as in 10/60/30"),
        (["--layers", "measured", "--memory", "uniform"], "uniform treats all layers alike"),
        (["--layers", "measured", "--memory", "hermes(borders=(1,2))"], "two groupings of the layers"),
    ],
)
def test_wrong_layers_end_with_status_2_before_the_video_is_opened(
    command: Command, arguments: list[str], message: str
) -> None:
    done = command("ask", "/no/such/file.mp4", "--question", "end=x", *arguments)
    assert done.status == 2
    assert message in done.err
    assert len(done.err.splitlines()) == 1


def test_the_bundled_model_brings_its_measured_layers(command: Command, episode: tuple[Path, Path]) -> None:
    done = command(
        "ask", episode[0], "--json", "--fps", 0.5, "--layers", "measured", "--question", "end=Which room is this?"
    )
    assert done.status == 0, done.err
    assert done.rows[0]["policy"] == "hermes"
