"""The model that lmms-eval loads: found by its entry point, one pass for all requests about a video."""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import hermes_stream.integrations.lmms_eval as integration
from hermes_stream import Query, load_model, open_video
from hermes_stream.errors import ConfigError
from hermes_stream.shapestream import make_script, write_episode
from tests.integrations.lmms_eval_interface import GenerationResult, Instance, chat_class, installed, manifests_of

PROJECT = Path(__file__).parents[2]
QUESTIONS = ("What object is visible now?", "What came before the current object?")
SETTINGS = {"until": ["\n\n"], "max_new_tokens": 8, "temperature": 0, "do_sample": False}
ARGUMENTS = "pretrained=tiny-llava-onevision,memory=sliding-window,budget=32,device=cpu"


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    paths = [tmp_path_factory.mktemp("videos") / f"{index}.mp4" for index in range(2)]
    for index, path in enumerate(paths):
        write_episode(make_script(900_010 + index, 8.0), path, fps=4, width=128, height=72)
    return [str(path) for path in paths]


@pytest.fixture
def model() -> Iterator[Any]:
    """As lmms-eval makes it."""
    with installed(integration._model_class.cache_clear):
        entry_points = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["entry-points"]
        (name, value), *_ = entry_points["lmms_eval.models"].items()
        (manifest,) = manifests_of(EntryPoint(name, value, "lmms_eval.models").load())
        assert manifest.model_id == "hermes_stream"
        made = chat_class(manifest).create_from_arg_string(ARGUMENTS, {"batch_size": 1, "max_batch_size": None})
        yield made
        made.clean()


def request(model: Any, number: int, content: list[dict[str, Any]]) -> Instance:
    model.task_dict.setdefault("task", {"test": {}})["test"][number] = content
    return Instance(("context", _messages, dict(SETTINGS), number, "task", "test"))


def _messages(content: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content}]


def video(path: str, question: str, **times: float) -> list[dict[str, Any]]:
    return [{"type": "video", "url": path, **times}, {"type": "text", "text": question}]


def expected(path: str, question: str, end_seconds: float = 100.0, start_seconds: float = 0.0) -> str:
    with (
        load_model("tiny-llava-onevision", device="cpu") as engine,
        engine.open("sliding-window", budget=32) as session,
    ):
        with open_video(path, fps=engine.defaults.fps, start_seconds=start_seconds) as frames:
            session.watch([frame for frame in frames if frame.pts_seconds <= end_seconds])
        return session.ask(Query(question, max_new_tokens=8)).result().text


def test_answers_are_those_of_the_session_in_the_order_of_the_requests(model: Any, videos: list[str]) -> None:
    asked = [(path, question) for question in QUESTIONS for path in videos]
    given = model.generate_until([request(model, n, video(*pair)) for n, pair in enumerate(asked)])
    assert all(isinstance(result, GenerationResult) for result in given)
    assert [result.text for result in given] == [expected(*pair) for pair in asked]
    assert all(result.token_counts.input_tokens > 0 and result.token_counts.output_tokens > 0 for result in given)
    assert [partial[2] for partial in model.cache_hook.partial] == [result.text for result in given]


def test_a_video_is_watched_once_for_all_its_requests(
    model: Any, videos: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []

    def count(source: Any, **options: Any) -> Any:
        opened.append(source)
        return open_video(source, **options)

    monkeypatch.setattr(integration, "open_video", count)
    model.generate_until([request(model, n, video(videos[n % 2], QUESTIONS[n // 2])) for n in range(4)])
    assert opened == videos


def test_a_part_of_a_video_is_watched_where_the_message_says_so(model: Any, videos: list[str]) -> None:
    content = video(videos[0], QUESTIONS[0], start_time=2.0, end_time=5.0)
    (given,) = model.generate_until([request(model, 0, content)])
    assert given.text == expected(videos[0], QUESTIONS[0], end_seconds=5.0, start_seconds=2.0)


def test_pictures_are_frames(model: Any) -> None:
    pictures = [Image.fromarray(np.full((72, 128, 3), shade, dtype=np.uint8)) for shade in (0, 128, 255)]
    content = [{"type": "image", "url": picture} for picture in pictures] + [{"type": "text", "text": QUESTIONS[0]}]
    frames = list(model.watcher._frames(integration.media_of(_messages(content))))
    assert [frame.pts_seconds for frame in frames] == [0.0, 1.0, 2.0]
    assert [int(frame.image_YXC[0, 0, 0]) for frame in frames] == [0, 128, 255]
    assert model.generate_until([request(model, 0, content)])[0].text


def test_a_memory_with_commas_stands_in_quotes(videos: list[str]) -> None:
    watcher = integration.Watcher("tiny-llava-onevision", memory='"hermes(reindex=eager,budget=32)"', device="cpu")
    with watcher.engine:
        (answer,) = watcher.answer([(_messages(video(videos[0], QUESTIONS[0])), SETTINGS)])
    assert answer.text
    assert max(answer.held_tokens) < 32 + 16


def test_what_it_cannot_do_is_said(model: Any) -> None:
    with pytest.raises(NotImplementedError, match="1 requests want likelihoods"):
        model.loglikelihood([object()])
    with pytest.raises(NotImplementedError, match="several rounds"):
        model.generate_until_multi_round([object()])
    with pytest.raises(ConfigError, match="sound"):
        integration.media_of(_messages([{"type": "audio", "url": "a.wav"}]))


@pytest.mark.parametrize(
    ("settings", "field", "value"),
    [
        ({"until": "."}, "stop", (".",)),
        ({"until": [".", "!"]}, "stop", (".", "!")),
        ({}, "max_new_tokens", 128),
        ({"max_new_tokens": 16}, "max_new_tokens", 16),
        ({"temperature": 0.7, "do_sample": False}, "temperature", 0.0),
        ({"temperature": 0.7, "do_sample": True}, "temperature", 0.7),
        ({"top_p": None, "temperature": None}, "top_p", 1.0),
    ],
)
def test_settings_are_translated(settings: dict[str, Any], field: str, value: object) -> None:
    assert getattr(integration.query_of(_messages(video("v", "What?")), settings), field) == value


def test_nothing_of_lmms_eval_is_needed_to_import_the_package() -> None:
    assert find_spec("lmms_eval") is None
    importlib.reload(integration)
    with pytest.raises(AttributeError, match="no attribute 'Hermes'"):
        _ = integration.Hermes
