"""FFmpeg with its doors shut: what it would open, it is given, and it opens nothing itself."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from hermes_stream.errors import SourceError
from hermes_stream.video import open_source, write_video
from hermes_stream.video.outside import Opened, Readable

from .clips import number_of, numbered_images
from .test_network import write_playlist

SITE = "http://site.example/"


class Site:
    """An opener over a folder; `asked` are the addresses so far. A name in `moved` stands somewhere else."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked = folder, []
        self.moved: dict[str, str] = {}
        self.wrap: Callable[[Readable], Readable] = lambda file: file

    def __call__(self, url: str) -> Opened:
        self.asked.append(url)
        url = self.moved.get(url, url)
        if not url.startswith(SITE):
            raise SourceError(f"{url} is not on this site")
        path = self.folder / url.removeprefix(SITE)
        if not path.is_file():
            raise FileNotFoundError(f"{path.name} is not there")
        return Opened(self.wrap(path.open("rb", buffering=0)), url, path.stat().st_size)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.webm", "libvpx-vp9"), ("a.ts", "libx264"), ("a.mkv", "libx264")]
)
def test_pictures_are_those_of_the_file_itself(site: Site, name: str, codec: str) -> None:
    write_video(site.folder / name, numbered_images(20), fps=10, codec=codec)
    with open_source(site.folder / name) as file, open_source(SITE + name, opener=site) as given:
        assert not given.info.is_live
        assert given.info.duration_seconds == file.info.duration_seconds
        expected = [(frame.pts_seconds, number_of(frame.image_YXC)) for frame in file]
        assert [(frame.pts_seconds, number_of(frame.image_YXC)) for frame in given] == expected
        assert not given.damage.is_damaged
    assert site.asked == [SITE + name]


def test_the_segments_of_a_playlist_are_asked_for(site: Site) -> None:
    write_playlist(site.folder, is_finished=True)
    with open_source(SITE + "list.m3u8", opener=site) as source:
        assert not source.info.is_live
        assert [number_of(frame.image_YXC) for frame in source] == list(range(50))
    assert site.asked == [SITE + name for name in ("list.m3u8", "0.ts", "1.ts", "2.ts", "3.ts")]


def test_a_playlist_is_known_by_what_it_says_not_by_its_ending(site: Site) -> None:
    write_playlist(site.folder, is_finished=True)
    (site.folder / "list.m3u8").rename(site.folder / "live")
    with open_source(SITE + "live", opener=site) as source:
        assert len(list(source)) == 50


def test_a_playlist_that_moved_names_its_segments_from_where_it_is(site: Site) -> None:
    (site.folder / "far").mkdir()
    write_playlist(site.folder / "far", is_finished=True)
    text = (site.folder / "far" / "list.m3u8").read_text().replace(str(site.folder / "far") + "/", "")
    (site.folder / "far" / "list.m3u8").write_text(text)
    (site.folder / "all.m3u8").write_text("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nnear/list.m3u8\n")
    site.moved = {SITE + "near/list.m3u8": SITE + "far/list.m3u8"}
    with open_source(SITE + "all.m3u8", opener=site) as source:
        assert len(list(source)) == 50
    assert SITE + "far/0.ts" in site.asked


def test_keys_and_first_parts_of_a_playlist_that_moved_are_named_in_full(site: Site) -> None:
    lines = ["#EXTM3U", '#EXT-X-KEY:METHOD=AES-128,URI="k"', "#EXT-X-TARGETDURATION:1", "#EXTINF:1,", "0.ts"]
    (site.folder / "b").mkdir()
    (site.folder / "b" / "list").write_text("\n".join([*lines, "#EXT-X-ENDLIST", ""]))
    site.moved = {SITE + "a/list": SITE + "b/list"}
    with pytest.raises(SourceError, match=r"k is not there|encrypted"):
        open_source(SITE + "a/list", opener=site)
    assert site.asked[1] == SITE + "b/k"


def test_encrypted_segments_are_refused_with_the_reason(site: Site) -> None:
    write_playlist(site.folder, is_finished=True)
    text = (site.folder / "list.m3u8").read_text()
    key = '#EXT-X-KEY:METHOD=AES-128,URI="key"\n'
    (site.folder / "list.m3u8").write_text(text.replace("#EXTINF", key + "#EXTINF", 1))
    (site.folder / "key").write_bytes(bytes(16))
    with pytest.raises(SourceError, match=r"list\.m3u8: its segments are encrypted"):
        open_source(SITE + "list.m3u8", opener=site)


@pytest.fixture
def trap() -> tuple[str, list[bytes]]:
    """An address that nobody may connect to, and what those said who did."""
    said: list[bytes] = []
    server = socket.create_server(("127.0.0.1", 0))

    def listen() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(1)
                said.append(connection.recv(100))

    threading.Thread(target=listen, daemon=True).start()
    yield f"127.0.0.1:{server.getsockname()[1]}", said
    server.shutdown(socket.SHUT_RDWR)
    server.close()


@pytest.mark.parametrize(
    "form",
    [
        "http://{}/0.ts",
        "https://{}/0.ts",
        "httpproxy://{}/0.ts",
        "crypto+http://{}/0.ts",
        "tcp://{}/0.ts",
        "tls://{}/0.ts",
        "rtsp://{}/0.ts",
        "file:///etc/passwd.ts",
        "/etc/passwd.ts",
        "concat:/etc/passwd.ts|/etc/passwd.ts",
        "subfile,,start,0,end,0,,:/etc/passwd.ts",
        "data:video/mp2t;base64,R0dHRw==",
    ],
)
@pytest.mark.parametrize("line", ["{}", '#EXT-X-MAP:URI="{}"', '#EXT-X-KEY:METHOD=AES-128,URI="{}"'])
def test_what_a_playlist_names_is_never_opened_by_ffmpeg(
    site: Site, trap: tuple[str, list[bytes]], form: str, line: str
) -> None:
    address, said = trap
    named = line.format(form.format(address))
    segment = "" if line == "{}" else "0.ts\n"
    (site.folder / "0.ts").write_bytes(b"no video")
    (site.folder / "list.m3u8").write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-VERSION:7\n#EXTINF:1,\n{named}\n{segment}#EXT-X-ENDLIST\n"
    )
    with pytest.raises(SourceError):
        open_source(SITE + "list.m3u8", opener=site, open_timeout_seconds=2)
    assert said == []


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile '{}'\n",
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video 5004 RTP/AVP 33\r\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT2S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" '
        'bandwidth="1"><BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>',
    ],
    ids=["concat", "sdp", "dash"],
)
def test_other_lists_open_nothing_either(site: Site, trap: tuple[str, list[bytes]], text: str) -> None:
    address, said = trap
    (site.folder / "list").write_text(text.format(f"http://{address}/0.mp4"))
    with pytest.raises(SourceError):
        open_source(SITE + "list", opener=site, open_timeout_seconds=2)
    assert said == []


def numbers_of(path: Path) -> list[int]:
    with open_source(path) as source:
        return [number_of(frame.image_YXC) for frame in source]


def test_what_is_not_allowed_ends_the_source_with_the_reason(site: Site) -> None:
    write_playlist(site.folder, is_finished=True)
    text = (site.folder / "list.m3u8").read_text()
    (site.folder / "list.m3u8").write_text(text.replace("1.ts", "http://other.example/1.ts"))
    with open_source(SITE + "list.m3u8", opener=site) as source:
        numbers = [number_of(frame.image_YXC) for frame in source]
        assert source.damage.end_reason == "http://other.example/1.ts is not on this site"
        assert source.damage.broke_off
    assert numbers == numbers_of(site.folder / "0.ts")
    assert SITE + "3.ts" not in site.asked


def test_a_lost_segment_is_passed_over(site: Site) -> None:
    write_playlist(site.folder, is_finished=True)
    (site.folder / "1.ts").unlink()
    with open_source(SITE + "list.m3u8", opener=site) as source:
        numbers = [number_of(frame.image_YXC) for frame in source]
        assert not source.damage.broke_off
    assert numbers == [number for index in (0, 2, 3) for number in numbers_of(site.folder / f"{index}.ts")]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.mp4", r"^cannot open http://site\.example/none\.mp4: none\.mp4 is not there$"),
        ("page.mp4", r"Invalid data"),
    ],
)
def test_what_cannot_be_opened_is_named(site: Site, name: str, message: str) -> None:
    (site.folder / "page.mp4").write_text("<!doctype html><title>Please log in</title>")
    with pytest.raises(SourceError, match=message):
        open_source(SITE + name, opener=site)


class Broken(io.RawIOBase):
    """A file whose connection ends after so many bytes."""

    def __init__(self, file: Readable, n_bytes: int) -> None:
        self._file, self._left = file, n_bytes

    def read(self, n_bytes: int = -1, /) -> bytes:
        if self._left <= 0:
            raise ConnectionError("the line was cut")
        data = self._file.read(min(n_bytes, self._left))
        self._left -= len(data)
        return data

    def close(self) -> None:
        self._file.close()


def test_a_file_that_breaks_off_gives_what_came_and_the_reason(site: Site) -> None:
    write_video(site.folder / "a.ts", numbered_images(60), fps=10)
    n_bytes = (site.folder / "a.ts").stat().st_size
    site.wrap = lambda file: Broken(file, n_bytes * 2 // 3)
    with open_source(SITE + "a.ts", opener=site) as source:
        numbers = [number_of(frame.image_YXC) for frame in source]
        assert (source.damage.broke_off, source.damage.end_reason) == (True, "the line was cut")
    assert numbers[:30] == list(range(30))
    assert len(numbers) < 60


def test_a_slow_source_is_given_up(site: Site) -> None:
    write_video(site.folder / "a.ts", numbered_images(60), fps=10)

    class Slow(io.RawIOBase):
        def read(self, n_bytes: int = -1, /) -> bytes:
            threading.Event().wait(0.01)
            return b"\0"

    site.wrap = lambda file: file.close() or Slow()
    with pytest.raises(SourceError, match=r"a\.ts: no picture within 0\.3 s"):
        open_source(SITE + "a.ts", opener=site, open_timeout_seconds=0.3)


def test_every_file_is_closed(site: Site) -> None:
    write_playlist(site.folder, is_finished=True)
    opened: list[Readable] = []
    site.wrap = lambda file: opened.append(file) or file
    source = open_source(SITE + "list.m3u8", opener=site)
    next(iter(source))
    source.close()
    with pytest.raises(SourceError):
        open_source(SITE + "none.m3u8", opener=site)
    assert len(opened) >= 2
    assert all(file.closed for file in opened)
