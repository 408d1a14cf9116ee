"""Videos and files for single requests, under the rules of sources."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hermes_stream.errors import SourceError
from hermes_stream.server.pull.networks import Forbidden
from hermes_stream.server.pull.opening import Opening
from hermes_stream.server.pull.sources import Sources
from hermes_stream.server.settings import Limits, ServerSettings

from ..video.clips import number_of, write_raw
from ..video.test_network import write_playlist
from .web_servers import Handler, WebServer, web_server

MOST = 2**20


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServer]:
    write_raw(tmp_path / "a.mp4", "libx264", 50, container_options={"movflags": "faststart"})
    with web_server(tmp_path) as server:
        yield server


@pytest.fixture
def sources(server: WebServer) -> Sources:
    settings = ServerSettings(allow_networks=("127.0.0.1/32",), allow_local_files=(server.folder,))
    return Sources(settings, timeout_seconds=2)


def numbers_of(sources: Sources, source: str, most_bytes: int = MOST) -> list[int]:
    with sources.open(source, fps=5, most_bytes=most_bytes) as video:
        return [number_of(frame.image_YXC) for frame in video]


def test_a_video_of_a_request_is_seen_as_a_whole(sources: Sources, server: WebServer) -> None:
    expected = list(range(0, 50, 5))
    assert numbers_of(sources, server.address + "/a.mp4") == expected
    assert numbers_of(sources, "a.mp4") == expected
    assert numbers_of(sources, f"file://{server.folder}/a.mp4") == expected


@pytest.mark.parametrize("name", ["http", "file"])
def test_a_video_of_more_bytes_than_the_limit_is_refused(sources: Sources, server: WebServer, name: str) -> None:
    source = server.address + "/a.mp4" if name == "http" else "a.mp4"
    with pytest.raises(SourceError, match=r"more than 0\.0009\d+ MiB, the limit|larger than a request may be"):
        numbers_of(sources, source, most_bytes=1000)


def test_a_video_that_breaks_off_was_not_seen_as_a_whole(sources: Sources, server: WebServer) -> None:
    data = (server.folder / "a.mp4").read_bytes()

    def half(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[: len(data) * 3 // 4])

    server.answers["/half.mp4"] = half
    with pytest.raises(SourceError, match=rf"half\.mp4: the connection ended at byte \d+ of {len(data)}$"):
        numbers_of(sources, server.address + "/half.mp4")


def test_what_has_no_end_is_refused(sources: Sources, server: WebServer) -> None:
    with pytest.raises(SourceError, match=r"^shapestream:1 has no end; open a session with it as its source$"):
        numbers_of(sources, "shapestream:1")


@pytest.mark.parametrize(
    "source", ["http://127.0.0.2:1/a.mp4", "/etc/passwd", "data:video/mp4;base64,AA", "lavfi:testsrc"]
)
def test_the_rules_are_those_of_sessions(sources: Sources, source: str) -> None:
    with pytest.raises(Forbidden):
        numbers_of(sources, source)


def test_pictures_of_more_pixels_than_the_limit_are_refused(server: WebServer) -> None:
    limits = Limits(max_frame_pixels=64 * 48 - 1)
    sources = Sources(ServerSettings(allow_local_files=(server.folder,), limits=limits))
    with pytest.raises(
        Forbidden, match=r"a\.mp4 has pictures of 64x48 pixels, above the limit of 3071; give a smaller"
    ):
        numbers_of(sources, "a.mp4")


def test_a_file_with_an_odd_name_is_no_address(sources: Sources, server: WebServer) -> None:
    (server.folder / "a.mp4").rename(server.folder / "take:1 %41.mp4")
    assert len(numbers_of(sources, f"{server.folder}/take:1 %41.mp4")) == 10


def test_a_playlist_of_the_server_names_files_beside_it(sources: Sources, server: WebServer) -> None:
    write_playlist(server.folder, is_finished=True)
    assert len(numbers_of(sources, "list.m3u8")) == 10


@pytest.mark.parametrize("segment", ["{outside}/0.ts", "http://127.0.0.1:1/0.ts", "../outside/0.ts"])
def test_a_playlist_of_the_server_names_nothing_else(
    sources: Sources, server: WebServer, tmp_path_factory: pytest.TempPathFactory, segment: str
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    write_playlist(outside, is_finished=True)
    text = (outside / "list.m3u8").read_text()
    (server.folder / "list.m3u8").write_text(text.replace("0.ts", segment.format(outside=outside)))
    with pytest.raises(SourceError, match=r"outside of the folders|names an address"):
        numbers_of(sources, "list.m3u8")


def test_a_file_is_read_as_a_whole(sources: Sources, server: WebServer) -> None:
    assert sources.read(server.address + "/a.mp4", most_bytes=MOST) == (server.folder / "a.mp4").read_bytes()


def test_a_file_of_more_bytes_than_the_limit_is_not_read(sources: Sources, server: WebServer) -> None:
    with pytest.raises(SourceError, match="the limit"):
        sources.read(server.address + "/a.mp4", most_bytes=1000)


@pytest.mark.parametrize("url", ["a.mp4", "rtsp://127.0.0.1/x", "data:image/png;base64,AA", "shapestream:1"])
def test_only_files_of_http_servers_are_read(sources: Sources, url: str) -> None:
    with pytest.raises(SourceError, match=r"is no http:// or https:// address|is nothing that this server opens"):
        sources.read(url, most_bytes=MOST)


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("http://127.0.0.2:1/a.png", "not at a public address"),
        ("/none.png", "cannot read .*/none.png: .* 404 Not Found"),
    ],
)
def test_what_cannot_be_read_is_named(sources: Sources, server: WebServer, url: str, line: str) -> None:
    with pytest.raises(SourceError, match=line):
        sources.read(url if "://" in url else server.address + url, most_bytes=MOST)


def test_a_slow_file_is_given_up(sources: Sources, server: WebServer) -> None:
    finished = threading.Event()

    def drip(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not finished.wait(0.1):
            handler.wfile.write(b"x")

    server.answers["/drip"] = drip
    started = time.monotonic()
    with pytest.raises(SourceError, match="it took longer than 2 s"):
        sources.read(server.address + "/drip", most_bytes=MOST)
    assert time.monotonic() - started < 5
    finished.set()


def test_a_video_that_never_comes_can_be_given_up_by_another_thread(server: WebServer) -> None:
    finished = threading.Event()

    def drip(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not finished.wait(0.1):
            handler.wfile.write(b"x")

    server.answers["/drip"] = drip
    patient = Sources(ServerSettings(allow_networks=("127.0.0.1/32",)), timeout_seconds=60)

    def give_up_soon(opening: Opening) -> None:
        threading.Timer(0.5, opening.close).start()

    opened = patient.open(server.address + "/drip", fps=5, most_bytes=MOST, on_opening=give_up_soon)
    started = time.monotonic()
    with pytest.raises(SourceError), opened:
        pass
    assert time.monotonic() - started < 10
    finished.set()
