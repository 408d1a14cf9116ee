"""Pictures and videos that OpenAI's clients name by their addresses."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from .conftest import RunningServer, server_process
from .openai_clients import MODEL, about_video, client_of, image, user
from .shape_clips import SECONDS, clip
from .web_servers import Handler, WebServer, web_server

QUESTION = "What object is visible now?"
WAIT_SECONDS = 20.0
DRIP_SECONDS = 0.2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clip and its last picture, as files."""
    folder = tmp_path_factory.mktemp("media")
    (folder / "clip.mp4").write_bytes(clip().mp4)
    (folder / "last.png").write_bytes(base64.b64decode(clip().picture_uris[-1].partition(",")[2]))
    (folder / "half.mp4").write_bytes(clip().mp4[: len(clip().mp4) // 2])
    return folder


@pytest.fixture(scope="module")
def web(folder: Path) -> Iterator[WebServer]:
    with web_server(folder) as web:
        yield web


@pytest.fixture(scope="module")
def open_server(folder: Path) -> Iterator[RunningServer]:
    """One whose operator allows this machine, and the folder."""
    with server_process("--allow-network", "127.0.0.0/8", "--allow-local-files", folder) as server:
        yield server


@pytest.fixture
def client(open_server: RunningServer) -> Iterator[openai.OpenAI]:
    with client_of(open_server.address) as client:
        yield client


def answer_about(client: openai.OpenAI, url: str) -> str | None:
    return client.chat.completions.create(model=MODEL, messages=about_video(url, QUESTION)).choices[0].message.content


def test_a_video_of_a_web_server_is_answered_right(client: openai.OpenAI, web: WebServer) -> None:
    done = client.chat.completions.create(model=MODEL, messages=about_video(f"{web.address}/clip.mp4", QUESTION))
    assert done.choices[0].message.content == clip().truths[QUESTION]
    assert done.hermes["frames_seen"] == SECONDS


def test_a_picture_of_a_web_server_is_answered_right(client: openai.OpenAI, web: WebServer) -> None:
    messages = [user(image(f"{web.address}/last.png"), QUESTION)]
    done = client.chat.completions.create(model=MODEL, messages=messages)
    assert done.choices[0].message.content == clip().truths[QUESTION]


def test_pictures_and_videos_are_one_stream(client: openai.OpenAI, web: WebServer) -> None:
    video = {"type": "video_url", "video_url": {"url": f"{web.address}/clip.mp4"}}
    messages = [user(image(clip(900_302).picture_uris[-1]), video, image(f"{web.address}/last.png"), QUESTION)]
    done = client.chat.completions.create(model=MODEL, messages=messages)
    assert done.hermes["frames_seen"] == SECONDS + 2
    # The video begins a second after the first picture, the last picture a second after the video's last one.
    assert done.hermes["time_s"] == SECONDS + 1


def test_a_file_below_an_allowed_folder_is_answered_right(client: openai.OpenAI, folder: Path) -> None:
    assert answer_about(client, (folder / "clip.mp4").as_uri()) == clip().truths[QUESTION]


def test_what_lmms_evals_openai_model_sends_is_answered(client: openai.OpenAI, folder: Path) -> None:
    """With `pass_video_url`: the video by its file, and how many frames vLLM should take of it."""
    done = client.chat.completions.create(
        model=MODEL,
        messages=about_video((folder / "clip.mp4").as_uri(), QUESTION),
        max_tokens=16,
        temperature=0,
        extra_body={"media_io_kwargs": {"video": {"num_frames": 10}}},
    )
    assert done.choices[0].message.content == clip().truths[QUESTION]
    assert done.usage is not None
    assert done.usage.completion_tokens > 0


def test_a_redirect_is_followed_where_it_may_lead(client: openai.OpenAI, web: WebServer) -> None:
    web.answers["/moved.mp4"] = lambda handler: handler.redirect("/clip.mp4")
    assert answer_about(client, f"{web.address}/moved.mp4") == clip().truths[QUESTION]


@pytest.mark.parametrize("target", ["http://10.255.255.1/clip.mp4", "file:///etc/passwd"])
def test_a_redirect_does_not_lead_where_the_rules_forbid(client: openai.OpenAI, web: WebServer, target: str) -> None:
    web.answers["/astray"] = lambda handler: handler.redirect(target)
    for messages in (about_video(f"{web.address}/astray", QUESTION), [user(image(f"{web.address}/astray"), QUESTION)]):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model=MODEL, messages=messages)
        assert (caught.value.code, caught.value.param) == ("invalid_source", "messages.0.content.0")


@pytest.mark.parametrize("place", ["/missing.mp4", "/half.mp4", "/last.txt"])
def test_what_cannot_be_had_as_a_whole_is_refused(client: openai.OpenAI, web: WebServer, place: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        answer_about(client, web.address + place)
    assert (caught.value.code, caught.value.param) == ("invalid_source", "messages.0.content.0")


def test_a_video_that_never_comes_is_given_up_with_its_client(
    client: openai.OpenAI, open_server: RunningServer, web: WebServer
) -> None:
    web.answers["/slow.mp4"] = drip
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=1.0).chat.completions.create(
            model=MODEL, messages=about_video(f"{web.address}/slow.mp4", QUESTION)
        )
    until = time.monotonic() + WAIT_SECONDS
    while open_server.http.get("/v1/sessions").json()["data"]:
        assert time.monotonic() < until


def drip(handler: Handler) -> None:
    """A byte now and then, for much longer than the test waits, or until nobody takes them."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(clip().mp4)))
    handler.end_headers()
    for number in range(int(3 * WAIT_SECONDS / DRIP_SECONDS)):
        handler.wfile.write(clip().mp4[number : number + 1])
        time.sleep(DRIP_SECONDS)
