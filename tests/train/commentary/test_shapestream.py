"""The bundled model that comments, made from nothing in small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from hermes_stream.models.load import load_adapter
from hermes_stream.shapestream import make_script
from hermes_stream.shapestream.commentary import ANNOUNCEMENTS, announcements_in
from hermes_stream.train.commentary.cut import read_transcripts
from hermes_stream.train.commentary.shapestream import CURVE_FILE, Recipe, train_shapestream
from hermes_stream.train.commentary.tiny import NEW_WORDS, make_start
from hermes_stream.train.commentary.world import World, write_world
from hermes_stream.video.open import open_video


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_start(tmp_path_factory.mktemp("start") / "model")


def test_every_word_of_an_announcement_is_a_token_and_so_is_silence(start: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(start)
    for text in [*NEW_WORDS, *(f" {word}" for announcement in ANNOUNCEMENTS for word in announcement.split())]:
        assert len(tokenizer(text, add_special_tokens=False)["input_ids"]) == 1, text


def test_a_new_word_begins_as_the_mean_of_its_spelling(start: Path) -> None:
    before, after = load_adapter("tiny-qwen2.5-vl"), load_adapter(str(start))
    old = before.token(before.token_ids(" leaves")[0])  # type: ignore[attr-defined]
    spelled = [before.token(token) for token in before.token_ids(" leaves")]  # type: ignore[attr-defined]
    assert len(spelled) > 1
    (new,) = after.token_ids(" leaves")  # type: ignore[attr-defined]
    assert (after.token(new) - sum(spelled) / len(spelled)).abs().max() < 0.02 * old.abs().max()


def test_the_start_brings_its_strings_and_a_budget(start: Path) -> None:
    settings = json.loads((start / "hermes_stream.json").read_text())
    assert settings["commentary"]["time"] == ""
    assert load_adapter(str(start)).defaults.budget_tokens == 640


def test_a_world_is_videos_and_what_is_said_in_them(tmp_path: Path) -> None:
    world = World(2, 30.0, first_seed=210_000)
    done: list[int] = []
    transcripts = list(read_transcripts(write_world(world, tmp_path, done.append)))
    assert done == [1, 2]
    for seed, transcript in zip((210_000, 210_001), transcripts, strict=True):
        with open_video(tmp_path / transcript.video, fps=None) as video:
            assert sum(1 for _ in video) == 60
        said = announcements_in(" ".join(word.text for word in transcript.words))
        assert len(said) >= 3
        assert " ".join(said).split() == [word.text for word in transcript.words]
        assert f"{make_script(seed, 30.0).scenes[0].room} room" == said[0]


def test_videos_that_are_there_are_not_made_again(tmp_path: Path) -> None:
    write_world(World(1, 3.0, first_seed=210_000), tmp_path)
    video = tmp_path / "210000.mp4"
    video.write_bytes(b"as it was")
    write_world(World(1, 3.0, first_seed=210_000), tmp_path)
    assert video.read_bytes() == b"as it was"


def test_a_small_checkpoint_comes_out_that_the_engine_loads(tmp_path: Path) -> None:
    recipe = Recipe(n_videos=1, video_seconds=24.0, steps=1, batch=1)
    train_shapestream(recipe, tmp_path / "out")
    assert (tmp_path / "out" / CURVE_FILE).is_file()
    adapter = load_adapter(str(tmp_path / "out"))
    assert adapter.facts.name.endswith("out")
    assert sum(path.stat().st_size for path in (tmp_path / "out").glob("*") if path.is_file()) < 11 * 2**20
