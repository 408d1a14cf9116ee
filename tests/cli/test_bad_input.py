"""What is wrong with options, model or their combination is said in one line, before a video is opened."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

import hermes_stream.engine.engine
import hermes_stream.models.load
import hermes_stream.video
from hermes_stream.video import write_video
from tests.cli.conftest import Done
from tests.tiny import make_frames, save_checkpoint

Command = Callable[..., Done]
QUESTION = ("--question", "end=What was first?")


@pytest.fixture
def video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is there and that nobody may open."""
    monkeypatch.setattr(hermes_stream.video, "open_source", lambda *_: pytest.fail("the video was opened"))
    path = tmp_path / "never-opened.mp4"
    path.write_text("not a video")
    return path


def assert_one_line(done: Done, message: str) -> None:
    assert done.status == 2, done.err
    (line,) = done.err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert done.out == ""


@pytest.mark.parametrize("name", ["ask", "watch", "map"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--memory", "hermes(ratio=3)"], "unknown option of hermes 'ratio'; did you mean ratios"),
        (["--memory", "hermes(ratios=(0.5, 0.6, 0.3))"], "expected three shares of the layers that add up to 1"),
        (["--memory", "hermes(ratios=(0.5, 0.5))"], "option ratios"),
        (["--memory", "hermes(reindex=often)"], "option reindex is 'often', expected 'lazy' or 'eager'"),
        (["--memory", "hermse"], "did you mean hermes"),
        (["--memory", "hermes:paper(budget=0)"], "budget"),
        (["--memory", "hermes(budget=4)", "--budget", "5"], "two budgets"),
        (["--memory", "hermes(reindex=lazy"], "unbalanced parentheses"),
        (["--budget", "many"], "budget is 'many'"),
        (["--chunk", "0"], "at least 1 frame"),
        (["--fps", "nan"], "--fps"),
        (["--memory-limit", "12"], "--memory-limit is '12'; expected bytes such as 12GiB"),
        (["--device", "meta", "--model", "random:qwen3-vl-4b"], "--device meta holds no numbers"),
    ],
)
def test_settings_are_judged_before_the_model_is_loaded_and_the_video_looked_for(
    command: Command, monkeypatch: pytest.MonkeyPatch, name: str, options: list[str], message: str
) -> None:
    monkeypatch.setattr(hermes_stream.engine.engine, "load_model", lambda *_, **__: pytest.fail("a model was loaded"))
    assert_one_line(command(name, "/no/such/video.mp4", *QUESTION, *options), message)


def test_demo_judges_settings_before_it_renders(command: Command, tmp_path: Path) -> None:
    assert_one_line(command("demo", "--out", tmp_path / "out", "--memory", "hermes(ratio=3)"), "did you mean ratios")
    assert not (tmp_path / "out").exists()


def test_a_missing_file_does_not_wait_for_the_model(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hermes_stream.engine.engine, "load_model", lambda *_, **__: pytest.fail("a model was loaded"))
    assert_one_line(command("ask", "/no/such/video.mp4", *QUESTION), "no such file")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--budget", "3"], "a budget of 3 tokens cannot hold one frame of 4"),
        (["--memory-limit", "1MiB"], "the memory limit is 1.0 MiB, but the weights of"),
        (
            ["--memory", "hermes(shares=(9, 1, 1))", "--budget", "6"],
            "a budget of 3 tokens (that of layer 1) cannot hold one frame of 4",
        ),
        (["--budget", "10KiB"], "cannot hold one frame of 4"),
        (["--memory", "hermes(borders=(8, 40))"], "borders (8, 40) do not divide"),
        (["--model", "tiny-lava-onevision"], "did you mean tiny-llava-onevision"),
        (["--model", "random:qwen2.5-vl-8b"], "unknown random model 'qwen2.5-vl-8b'"),
        (["--dtype", "float"], "unknown dtype 'float'"),
        (["--device", "gpu"], "device 'gpu' is unknown"),
        (["--device", "cpu", "--device-map", "auto"], "device 'cpu' and device_map 'auto' were given"),
        (["--text-positions", "behind"], "unknown rule for text positions 'behind'; known: after, overlap"),
        (["--text-positions", "overlap"], "which llava-onevision does not have"),
    ],
)
def test_model_and_settings_are_judged_together_before_the_video_is_opened(
    command: Command, video: Path, options: list[str], message: str
) -> None:
    assert_one_line(command("ask", video, *QUESTION, *options), message)


def remove(*names: str) -> Callable[[Path], None]:
    return lambda folder: [(folder / name).unlink() for name in names] and None


def other_family(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2"}))


def other_shape(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["intermediate_size"] = 64
    (folder / "config.json").write_text(json.dumps(config))


def truncated(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def one_tensor_less(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights[next(name for name in weights if name.endswith("layers.3.mlp.up_proj.weight"))]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (other_family, "no adapter for 'gpt2'; supported: llava_onevision, qwen2_5_vl, qwen3_vl"),
        (remove("config.json"), "the folder has no config.json"),
        (remove("model.safetensors"), "the folder has no model.safetensors"),
        (remove("tokenizer.json"), "the folder has no tokenizer.json"),
        (remove("video_preprocessor_config.json"), "no preprocessor_config.json"),
        (other_shape, "model.language_model.layers.0.mlp.down_proj.weight has the shape [64, 96]"),
        (truncated, "model.safetensors is not whole"),
        (one_tensor_less, "the weights lack model.language_model.layers.3.mlp.up_proj.weight"),
    ],
    ids=["family", "config", "weights", "tokenizer", "preprocessor", "shape", "truncated", "tensor"],
)
def test_a_checkpoint_that_cannot_be_loaded_is_named(
    command: Command, video: Path, damaged: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(damaged)
    assert_one_line(command("ask", video, *QUESTION, "--model", damaged), message)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint("qwen2_5_vl", tmp_path_factory.mktemp("checkpoints") / "qwen2_5_vl")


@pytest.fixture
def damaged(whole: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(whole, tmp_path / "damaged"))


@pytest.mark.parametrize("name", ["ask", "watch", "map"])
def test_an_interval_that_brings_more_than_the_budget_is_said_once(command: Command, tmp_path: Path, name: str) -> None:
    """Two intervals of 5 frames of 4 tokens each, to a budget of 16: allowed."""
    clip = tmp_path / "clip.mp4"
    write_video(clip, (frame.image_YXC for frame in make_frames(10)), fps=10)
    settings = [*QUESTION, "--fps", 10, "--chunk", 5, *(("--out", tmp_path / "map") if name == "map" else ())]
    done = command(name, clip, "--memory", "sliding-window(budget=16)", *settings)
    assert done.status == 0, done.err
    assert [line for line in done.err.splitlines() if line.startswith("note: ")] == [
        "note: an interval of 5 frames brought 20 tokens, more than the budget of 16: a layer holds as many before "
        "each compression; shorter intervals or fewer pixels a frame take less"
    ]
    enough = command(name, clip, "--memory", "sliding-window(budget=20)", *settings)
    assert "note: " not in enough.err
