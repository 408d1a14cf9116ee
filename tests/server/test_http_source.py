"""Files of HTTP servers through checked connections: real servers on this machine, some of them forbidden."""

from __future__ import annotations

import io
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from hermes_stream.server.pull.http_source import Web, WebFile
from hermes_stream.server.pull.networks import Forbidden, Networks
from hermes_stream.video.outside import Readable

from .certificates import make_certificate
from .web_servers import Handler, WebServer, guarded, web_server

DATA = random.Random(0).randbytes(700_000)
HERE = Networks(["127.0.0.1/32"])


def read_all(file: Readable) -> None:
    while file.read(65536):
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServer]:
    (tmp_path / "data").write_bytes(DATA)
    with web_server(tmp_path) as server:
        yield server


def test_a_file_is_read_and_sought_like_one_of_the_disk(server: WebServer) -> None:
    file, oracle, dice = WebFile(Web(HERE), server.address + "/data"), io.BytesIO(DATA), random.Random(1)
    assert file.n_bytes == len(DATA)
    assert file.seekable()
    for _ in range(60):
        whence = dice.choice((io.SEEK_SET, io.SEEK_CUR, io.SEEK_END))
        place = dice.randrange(len(DATA))
        offset = place - {io.SEEK_SET: 0, io.SEEK_CUR: oracle.tell(), io.SEEK_END: len(DATA)}[whence]
        assert file.seek(offset, whence) == oracle.seek(offset, whence) == place
        data = file.read(dice.randrange(1, 50_000))
        assert data == oracle.read(len(data))
        assert data
        assert file.tell() == oracle.tell()
    file.seek(0, io.SEEK_END)
    assert file.read(10) == b""
    with pytest.raises(ValueError, match="no place -1 from 0"):
        file.seek(-1)


def test_a_short_way_forward_asks_for_nothing_again(server: WebServer) -> None:
    file = WebFile(Web(HERE), server.address + "/data")
    file.seek(1000)
    assert DATA[1000:].startswith(file.read(10))
    assert server.asked == ["/data"]
    file.seek(600_000)
    assert DATA[600_000:].startswith(file.read(10))
    assert server.asked == ["/data", "/data"]


def test_a_redirect_to_a_forbidden_address_is_refused(server: WebServer, tmp_path: Path) -> None:
    with web_server(tmp_path, "127.0.0.2") as other:
        server.answers["/go"] = lambda handler: handler.redirect(other.address + "/data")
        with pytest.raises(Forbidden, match=r"127\.0\.0\.2 is not at a public address"):
            Web(HERE).open(server.address + "/go")
        assert other.asked == []


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://127.0.0.1/x", "rtsp://127.0.0.1/x", "data:,x"])
def test_a_redirect_to_anything_but_http_is_refused(server: WebServer, to: str) -> None:
    server.answers["/go"] = lambda handler: handler.redirect(to)
    with pytest.raises(ConnectionError, match=r"is not allowed|unknown url type"):
        Web(HERE).open(server.address + "/go")


def test_a_redirect_is_followed_and_told(server: WebServer) -> None:
    server.answers["/go"] = lambda handler: handler.redirect("/data")
    opened = Web(HERE).open(server.address + "/go")
    assert opened.url == server.address + "/data"
    assert DATA.startswith(opened.file.read(100))


@pytest.mark.parametrize("is_digest", [False, True])
def test_a_password_in_the_address_is_given_when_it_is_asked_for(server: WebServer, is_digest: bool) -> None:
    def give(handler: Handler) -> None:
        handler.give(handler.folder / "data")

    server.answers["/private"] = guarded(give, "ann", "p@ss:1", is_digest=is_digest)
    address = server.address.replace("//", "//ann:p%40ss:1@")
    assert DATA.startswith(Web(HERE).open(address + "/private").file.read(100))
    with pytest.raises(ConnectionError, match="401 Unauthorized; put user:password@ before the host name"):
        Web(HERE).open(server.address + "/private")


def test_a_password_is_not_told_to_the_host_of_a_redirect(server: WebServer, tmp_path: Path) -> None:
    headers: list[str | None] = []

    def ask(handler: Handler) -> None:
        headers.append(handler.headers.get("Authorization"))
        handler.send_response(401)
        handler.send_header("WWW-Authenticate", 'Basic realm="x"')
        handler.end_headers()

    with web_server(tmp_path, "127.0.0.2") as other:
        other.answers["/ask"] = ask
        server.answers["/go"] = lambda handler: handler.redirect(other.address + "/ask")
        with pytest.raises(ConnectionError, match="401"):
            Web(Networks(["127.0.0.0/8"])).open(server.address.replace("//", "//ann:secret@") + "/go")
    assert headers == [None]


def test_more_than_the_limit_is_refused_before_it_is_read(server: WebServer) -> None:
    with pytest.raises(Forbidden, match=r"it has more than 0\.5 MiB, the limit"):
        Web(HERE, most_bytes=2**19).open(server.address + "/data")


def test_more_than_the_limit_is_refused_where_no_size_was_told(server: WebServer) -> None:
    def endless(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(bytes(65536))

    server.answers["/endless"] = endless
    file = Web(HERE, most_bytes=2**20).open(server.address + "/endless").file
    with pytest.raises(Forbidden, match="it has more than 1 MiB"):
        read_all(file)
    assert file.tell() <= 2**20


def test_a_download_that_breaks_off_is_told(server: WebServer) -> None:
    def half(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(DATA)))
        handler.end_headers()
        handler.wfile.write(DATA[:1000])

    server.answers["/half"] = half
    file = Web(HERE).open(server.address + "/half").file
    with pytest.raises(ConnectionError, match="the connection ended at byte 1000 of 700000"):
        read_all(file)


def silent(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(b"x")
    time.sleep(5)


def test_closing_ends_a_read_from_a_silent_server(server: WebServer) -> None:
    server.answers["/silent"] = silent
    web = Web(HERE)
    file = web.open(server.address + "/silent").file
    assert file.read(10) == b"x"
    threading.Timer(0.1, web.close).start()
    started = time.monotonic()
    assert file.read(10) == b""
    assert time.monotonic() - started < 2
    with pytest.raises(ConnectionError, match="closed"):
        web.open(server.address + "/data")


def test_a_silent_server_is_given_up(server: WebServer) -> None:
    server.answers["/silent"] = silent
    file = Web(HERE, timeout_seconds=0.2).open(server.address + "/silent").file
    assert file.read(10) == b"x"
    for _ in range(2):
        with pytest.raises(ConnectionError, match=r"nothing arrived for 0\.2 s"):
            file.read(10)


def test_a_server_that_never_answers_is_given_up(server: WebServer) -> None:
    server.answers["/mute"] = lambda handler: time.sleep(2)
    with pytest.raises(ConnectionError, match=r"no answer within 0\.2 s"):
        Web(HERE, timeout_seconds=0.2).open(server.address + "/mute")


def test_a_peer_that_does_not_speak_http_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as peer:

        def greet() -> None:
            connection, _ = peer.accept()
            with connection:
                connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
                connection.recv(1000)

        threading.Thread(target=greet, daemon=True).start()
        with pytest.raises(ConnectionError, match="cannot be used"):
            Web(HERE).open(f"http://127.0.0.1:{peer.getsockname()[1]}/x")


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "httpproxy://127.0.0.1:1/x", "data:,x", "http:///x", "/etc/passwd"]
)
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(ConnectionError, match="nothing that a server may be led to"):
        Web(HERE).open(url)


def test_letters_that_http_does_not_know_are_written_as_it_does(server: WebServer, tmp_path: Path) -> None:
    (tmp_path / "vidéo 1").write_bytes(b"seen")
    server.answers["/vid%C3%A9o%201"] = lambda handler: handler.give(handler.folder / "vidéo 1")
    assert Web(HERE).open(server.address + "/vidéo 1").file.read(10) == b"seen"


def test_proxies_of_the_environment_are_passed_by(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert Web(HERE).open(server.address + "/data").n_bytes == len(DATA)


def test_https_is_read_with_a_certificate_that_is_trusted_and_with_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").write_bytes(DATA)
    certificate, tls = make_certificate(tmp_path)
    with web_server(tmp_path, tls=tls) as server:
        with pytest.raises(ConnectionError, match="certificate verify failed"):
            Web(HERE).open(server.address + "/data")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        file = Web(HERE).open(server.address + "/data").file
        assert b"".join(iter(lambda: file.read(65536), b"")) == DATA
        server.answers["/silent"] = silent
        web = Web(HERE)
        file = web.open(server.address + "/silent").file
        assert file.read(10) == b"x"
        threading.Timer(0.1, web.close).start()
        started = time.monotonic()
        with suppress(OSError):  # TLS that ends without a word may be an error
            assert file.read(10) == b""
        assert time.monotonic() - started < 2
