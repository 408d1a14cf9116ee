"""Network streams over the loopback: HTTP files, HLS, and a live TCP stream that stalls or breaks off."""

from __future__ import annotations

import http.server
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from hermes_stream.errors import SourceError
from hermes_stream.video import open_source, open_video, write_video
from hermes_stream.video.location import Kind, locate, mask_secrets

from .clips import number_of, numbered_images, write_raw
from .test_prefetch import wait_until


class _FolderHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files with byte ranges, which the standard library leaves out, and asks for a password under /private."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path.startswith("/private"):
            self.send_error(401)
            return
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        first, _, last = self.headers.get("Range", "").removeprefix("bytes=").partition("-")
        start, end = int(first or 0), min(int(last or len(data)), len(data) - 1)
        if start >= len(data):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(data)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {start}-{end}/{len(data)}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(end + 1 - start))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(data[start : end + 1])

    def log_message(self, *arguments: object) -> None:
        """Keep quiet."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address under which it is served."""

    def handler(*arguments: object) -> _FolderHandler:
        return _FolderHandler(*arguments, directory=str(tmp_path))  # type: ignore[arg-type]

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield tmp_path, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.webm", "libvpx-vp9"), ("a.ts", "libx264"), ("a.mkv", "libx264")]
)
def test_a_file_over_http_is_not_live(served: tuple[Path, str], name: str, codec: str) -> None:
    folder, address = served
    write_video(folder / name, numbered_images(20), fps=10, codec=codec)
    with open_video(f"{address}/{name}", fps=2) as video:
        assert not video.info.is_live
        if name != "a.ts":  # MPEG-TS declares none, and over HTTP FFmpeg only sometimes looks for the end
            assert video.info.duration_seconds == pytest.approx(2.0, abs=0.1)
        assert [number_of(frame.image_YXC) for frame in video] == [0, 5, 10, 15]
        assert not video.damage.is_damaged, video.damage.summary


def write_playlist(folder: Path, *, is_finished: bool) -> None:
    """Four segments of half a second."""
    write_raw(
        folder / "list.m3u8",
        "libx264",
        50,
        format_name="hls",
        options={"g": "12", "bf": "0"},
        container_options={"hls_time": "0.5", "hls_list_size": "0", "hls_segment_filename": str(folder / "%d.ts")},
    )
    text = (folder / "list.m3u8").read_text()
    (folder / "list.m3u8").write_text(text if is_finished else text.replace("#EXT-X-ENDLIST\n", ""))


def test_a_finished_playlist_is_a_file(served: tuple[Path, str]) -> None:
    folder, address = served
    write_playlist(folder, is_finished=True)
    with open_video(f"{address}/list.m3u8", fps=None) as video:
        assert not video.info.is_live
        assert [number_of(frame.image_YXC) for frame in video] == list(range(50))


def test_an_unfinished_playlist_is_live(served: tuple[Path, str]) -> None:
    folder, address = served
    write_playlist(folder, is_finished=False)
    with open_source(f"{address}/list.m3u8") as source:
        assert source.info.is_live
        assert source.info.duration_seconds is None
        assert next(iter(source)).pts_seconds == 0.0


@pytest.mark.parametrize(
    ("path", "message"),
    [("/none.mp4", "404 Not Found; check the address"), ("/private/a.mp4", "put user:password@ before the host name")],
)
def test_answers_of_the_server_are_told(served: tuple[Path, str], path: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        open_video(served[1] + path, fps=1)


def test_a_server_that_sends_no_video_is_named(served: tuple[Path, str]) -> None:
    folder, address = served
    (folder / "login.mp4").write_text("<!doctype html><title>Please log in</title>")
    with pytest.raises(SourceError, match="Invalid data"):
        open_video(f"{address}/login.mp4", fps=1)


@contextmanager
def sender(data: bytes, then: Callable[[socket.socket], object]) -> Iterator[str]:
    """Send bytes to whoever connects first, then do something with the connection; gives the address."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def send() -> None:
            with suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    connection.sendall(data)
                    then(connection)

        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
    thread.join()


def transport_stream(folder: Path) -> bytes:
    return write_raw(folder / "a.ts", "libx264", 60, options={"g": "10"}).read_bytes()


def test_a_live_stream_that_ends_gives_all_its_pictures(tmp_path: Path) -> None:
    with sender(transport_stream(tmp_path), lambda connection: None) as address, open_video(address, fps=5) as video:
        assert video.info.is_live
        assert [number_of(frame.image_YXC) for frame in video] == list(range(0, 60, 5))


def test_a_live_stream_that_falls_silent_ends_with_a_reason(tmp_path: Path) -> None:
    finished = threading.Event()
    data = transport_stream(tmp_path)
    with (
        sender(data, lambda connection: finished.wait(10)) as address,
        open_source(address, read_timeout_seconds=0.3) as source,
    ):
        frames = list(source)
        assert source.damage.ended_early
        assert source.damage.broke_off
        assert source.damage.summary == "nothing arrived for 0.3 s"
        finished.set()
    # The last picture may never have left the stream's own buffers; those in the decoder are given.
    assert len(frames) >= 58


def test_a_download_that_breaks_off_ends_with_a_reason(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "a.mp4", "libx264", 100, container_options={"movflags": "faststart"}, is_noisy=True)
    data = path.read_bytes()
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(data)
    with (
        sender(answer + data[: len(data) // 2], lambda connection: None) as address,
        open_source(address.replace("tcp:", "http:")) as source,
    ):
        assert 10 < len(list(source)) < 100
        assert source.damage.ended_early
        assert source.damage.broke_off
        assert source.damage.end_reason.startswith("the connection ended")


def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    finished = threading.Event()
    with sender(b"", lambda connection: finished.wait(10)) as address:
        with pytest.raises(SourceError, match=r"did not answer within 0\.3 s; check the address"):
            open_source(address, open_timeout_seconds=0.3)
        finished.set()


def test_closing_lets_go_of_a_silent_stream(tmp_path: Path) -> None:
    finished = threading.Event()
    with sender(transport_stream(tmp_path), lambda connection: finished.wait(10)) as address:
        video = open_video(address, fps=5)
        next(iter(video))
        started = time.monotonic()
        video.close()
        assert time.monotonic() - started < 2
        assert list(video) == []
        finished.set()
        wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name == "hermes-prefetch"])


def serve_rtsp(server: socket.socket, data: bytes) -> None:
    """Just enough RTSP: an MPEG transport stream in RTP packets, interleaved with the answers on one TCP connection."""
    description = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:track\r\n"
    headers = {
        "OPTIONS": "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n",
        "DESCRIBE": f"Content-Type: application/sdp\r\nContent-Length: {len(description)}\r\n",
        "SETUP": "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n",
        "PLAY": "Session: 1\r\n",
    }
    connection, _ = server.accept()
    with connection, connection.makefile("rb") as requests:
        method = ""
        while method != "PLAY":
            lines = []
            while line := requests.readline().strip():
                lines.append(line.decode())
            method = lines[0].split()[0]
            sequence = next(line for line in lines if line.lower().startswith("cseq"))
            body = description if method == "DESCRIBE" else ""
            connection.sendall(f"RTSP/1.0 200 OK\r\n{sequence}\r\n{headers[method]}\r\n{body}".encode())
        n_payload = 7 * 188
        for index, start in enumerate(range(0, len(data), n_payload)):
            packet = struct.pack("!BBHII", 0x80, 33, index % 2**16, index * 900, 1) + data[start : start + n_payload]
            connection.sendall(struct.pack("!cBH", b"$", 0, len(packet)) + packet)


def test_rtsp_is_live_and_its_password_is_shown_nowhere(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve_rtsp, args=(server, transport_stream(tmp_path)), daemon=True)
        thread.start()
        with open_video(f"rtsp://admin:hunter2@127.0.0.1:{server.getsockname()[1]}/cam", fps=5) as video:
            assert video.info.is_live
            assert "hunter2" not in repr(video) + repr(video.info)
            numbers = [number_of(frame.image_YXC) for frame in video]
        thread.join()
    # The last packet of a transport stream in RTP is never completed, so the end may look longer than it is.
    assert numbers[:12] == list(range(0, 60, 5))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://camera/1", "rtsp://camera/1"),
        ("rtsp://admin:secret@camera:554/1", "rtsp://***@camera:554/1"),
        ("rtsp://admin:p@ss@camera/1", "rtsp://***@camera/1"),
        ("https://a.b/c.m3u8?token=abc&x=1", "https://a.b/c.m3u8?token=***&x=1"),
        ("https://a.b/c?X-Amz-Signature=abc&X-Amz-Date=1", "https://a.b/c?X-Amz-Signature=***&X-Amz-Date=1"),
        ("https://a.b/c?api_key=abc#end", "https://a.b/c?api_key=***#end"),
        ("https://a.b/c?monkey=banana&path=/me@home", "https://a.b/c?monkey=banana&path=/me@home"),
    ],
)
def test_secrets_are_masked(url: str, shown: str) -> None:
    assert mask_secrets(url) == shown
    location = locate(url)
    assert (location.kind, location.url, location.shown) == (Kind.NETWORK, url, shown)
    assert url == shown or url not in repr(location)


@pytest.mark.parametrize(
    ("source", "kind", "url", "format_name"),
    [
        ("talk.mp4", Kind.FILE, "talk.mp4", None),
        ("12:30.mp4", Kind.FILE, "file:12:30.mp4", None),
        ("file:///films/no%20such.mp4", Kind.FILE, "/films/no such.mp4", None),
        ("/dev/video3", Kind.DEVICE, "/dev/video3", "v4l2"),
        ("lavfi:testsrc=size=64x48", Kind.DEVICE, "testsrc=size=64x48", "lavfi"),
        ("avfoundation:0", Kind.DEVICE, "0", "avfoundation"),
        ("concat:a.mp4|b.mp4", Kind.FILE, "file:concat:a.mp4|b.mp4", None),
        ("https://a.b/" + "x" * 5000, Kind.NETWORK, "https://a.b/" + "x" * 5000, None),
    ],
)
def test_names_of_videos(source: str, kind: Kind, url: str, format_name: str | None) -> None:
    location = locate(source)
    assert (location.kind, location.url, location.format) == (kind, url, format_name)
