"""RTSP through the forwarder: no redirect reaches FFmpeg, whatever a camera sends; pictures do."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hermes_stream.errors import SourceError
from hermes_stream.server.pull.networks import Forbidden, Networks
from hermes_stream.server.pull.opening import CameraOpening
from hermes_stream.server.pull.rtsp import AnswerWatch, RtspForwarder

from ..oracles.rtsp_oracle import is_redirected
from ..video.clips import number_of, write_raw
from ..video.test_network import serve_rtsp
from .certificates import make_certificate

HERE = Networks(["127.0.0.1/32"])
REDIRECT = b"RTSP/1.0 302 Found\r\nCSeq: 1\r\nLocation: rtsp://127.0.0.2:9/x\r\n\r\n"

PIECES = [
    b"RTSP/1.0 200 OK\r\n", b"RTSP/1.0 302 Moved\r\n", b"RTSP/1.0 401 No\n", b"RTSP/1.0  301 x\n", b"RTSP/9 +302\n",
    b"RTSP/1.0 0302 x\n", b"RTSP/1.0\t302\n", b"REDIRECT rtsp://x RTSP/1.0\r\n", b"\r\n", b"\n", b"\r", b"\n\n",
    b"Location: rtsp://x/\r\n", b"CSeq: 2\r\n", b"v=0\r\n", b"body", b"\0", b"a\0b\n", b"x" * 5000 + b"\n",
    b"Content-Length: 4\r\n", b"Content-Length: 40\n", b"content-length:0\n", b"Content-Length: 7x\n",
    b"Content-Length:-5\n", b"Content-Length :9\n", b" Content-Length: 9\n", b"Content-Length:" + b" " * 4090 + b"9\n",
    b"$\0\0\2ab", b"$\0\0\1x", b"$\0\0\0", b"$\0\0\x14", b"$",
]  # fmt: skip


@settings(max_examples=300, deadline=None)
@example(pieces=[b"RTSP/1.0 302 Moved\r\n", b"\0", b"\n"], cuts=[])
@example(pieces=[b"RTSP/1.0 302 Moved\r\n", b"\r$\0\0\1x", b"\n"], cuts=[])
@given(pieces=st.lists(st.sampled_from(PIECES), max_size=14), cuts=st.lists(st.integers(0, 400), max_size=6))
def test_no_redirect_that_ffmpeg_would_see_comes_by(pieces: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(pieces)
    watch, passed = AnswerWatch(), b""
    try:
        for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(stream)]):
            watch.answered(stream[start:end])
            passed += stream[start:end]
    except Forbidden:
        pass
    assert not is_redirected(passed)


@settings(deadline=None)
@given(
    bodies=st.lists(st.binary(max_size=40), min_size=1, max_size=5),
    packets=st.lists(st.binary(max_size=40), max_size=3),
    cuts=st.lists(st.integers(0, 400), max_size=6),
)
def test_proper_answers_and_packets_come_by(bodies: list[bytes], packets: list[bytes], cuts: list[int]) -> None:
    form = "RTSP/1.0 %d Some reason\r\nCSeq: 1\r\nContent-Base: rtsp://x/\r\nContent-Length: %d\r\n\r\n"
    statuses = (200, 401, 200, 454, 200)
    stream = b"".join((form % (status, len(body))).encode() + body for status, body in zip(statuses, bodies))
    stream += b"".join(b"$" + struct.pack("!BH", 0, len(packet)) + packet for packet in packets)
    watch = AnswerWatch()
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(stream)]):
        watch.answered(stream[start:end])


def test_behind_the_request_for_pictures_nothing_is_looked_at() -> None:
    watch = AnswerWatch()
    watch.asked(b"DESCRIBE rtsp://x RTSP/1.0\r\n\r\n")
    with pytest.raises(Forbidden, match="sends its clients to another address"):
        watch.answered(REDIRECT)
    watch.asked(b"PLAY rtsp://x RTSP/1.0\r\n\r\n")
    watch.answered(REDIRECT)


def test_a_header_without_end_is_refused() -> None:
    watch = AnswerWatch()
    with pytest.raises(Forbidden, match="too long to be RTSP"):
        watch.answered(b"RTSP/1.0 200 OK\r\n" + b"x: y\r\n" * 3000)


@contextmanager
def peer(*answers: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A camera that answers each request with the next of these; its address, and the requests so far."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                for answer in answers:
                    asked.append(connection.recv(4096))
                    connection.sendall(answer)
                connection.settimeout(5)
                while connection.recv(4096):
                    pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"rtsp://127.0.0.1:{server.getsockname()[1]}/cam", asked
    thread.join(5)
    assert not thread.is_alive()


def opening(url: str, networks: Networks = HERE) -> CameraOpening:
    return CameraOpening(url, networks, timeout_seconds=5, read_timeout_seconds=5)


OPTIONS = b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nPublic: OPTIONS, DESCRIBE\r\n\r\n"


@pytest.mark.parametrize("answers", [(REDIRECT,), (OPTIONS, REDIRECT)])
def test_a_redirect_is_refused_and_named(answers: tuple[bytes, ...]) -> None:
    with socket.create_server(("127.0.0.2", 0)) as elsewhere:
        elsewhere.settimeout(0.2)
        port = elsewhere.getsockname()[1]
        camera = peer(*(answer.replace(b":9/", b":%d/" % port) for answer in answers))
        with camera as (url, asked), pytest.raises(Forbidden, match=r"^the camera sends its clients to another"):
            opening(url).open(fps=5)
        assert len(asked) == len(answers)
        with pytest.raises(TimeoutError):
            elsewhere.accept()


def test_an_address_that_is_not_allowed_is_never_connected_to() -> None:
    with socket.create_server(("127.0.0.2", 0)) as server:
        server.settimeout(0.2)
        with pytest.raises(Forbidden, match=r"127\.0\.0\.2 is not at a public address"):
            opening(f"rtsp://127.0.0.2:{server.getsockname()[1]}/cam").open(fps=5)
        with pytest.raises(TimeoutError):
            server.accept()


def test_a_camera_that_is_away_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(SourceError, match=f"127.0.0.1 port {port} does not answer"):
        opening(f"rtsp://127.0.0.1:{port}/cam").open(fps=5)


def test_pictures_of_a_camera_come_through(tmp_path: Path) -> None:
    data = write_raw(tmp_path / "a.ts", "libx264", 60, options={"g": "10"}).read_bytes()
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve_rtsp, args=(server, data), daemon=True)
        thread.start()
        camera = opening(f"rtsp://admin:hunter2@127.0.0.1:{server.getsockname()[1]}/cam")
        video = camera.open(fps=5)
        assert video.info.is_live
        assert video.info.url == f"rtsp://***@127.0.0.1:{server.getsockname()[1]}/cam"
        numbers = [number_of(frame.image_YXC) for frame in video]
        camera.close()
        thread.join()
    assert numbers[:12] == list(range(0, 60, 5))


def test_rtsps_is_read_with_a_certificate_that_is_trusted_and_with_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_raw(tmp_path / "a.ts", "libx264", 60, options={"g": "10"}).read_bytes()
    certificate, tls = make_certificate(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as plain, tls.wrap_socket(plain, server_side=True) as server:
        url = f"rtsps://127.0.0.1:{server.getsockname()[1]}/cam"

        def serve() -> None:
            with suppress(OSError):
                server.accept()
            serve_rtsp(server, data)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with pytest.raises(SourceError, match="certificate verify failed"):
            opening(url).open(fps=5)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        camera = opening(url)
        numbers = [number_of(frame.image_YXC) for frame in camera.open(fps=5)]
        camera.close()
        thread.join()
    assert numbers[:12] == list(range(0, 60, 5))


def test_closing_ends_a_camera_that_is_silent() -> None:
    with peer() as (url, _):
        camera = opening(url)
        threading.Timer(0.2, camera.give_up).start()
        started = time.monotonic()
        with pytest.raises(SourceError):
            camera.open(fps=5)
        assert time.monotonic() - started < 3


def test_the_thread_ends_with_the_forwarder() -> None:
    with peer() as (url, _):
        forwarder = RtspForwarder(url, HERE, timeout_seconds=5)
        assert forwarder.address.startswith("rtsp://127.0.0.1:")
        forwarder.close()
        deadline = time.monotonic() + 3
        while any(thread.name == "hermes-rtsp" for thread in threading.enumerate()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
