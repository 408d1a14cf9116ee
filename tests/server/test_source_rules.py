"""What may be named as a source, and the one line that refuses the rest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hermes_stream.errors import SourceError
from hermes_stream.server.pull.networks import Forbidden
from hermes_stream.server.pull.source_rules import Address, LocalFile, World, read_source


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("http://a.example/x.mp4", Address("http://a.example/x.mp4", "a.example", 80, is_camera=False)),
        ("HTTPS://A.example:8443/x", Address("HTTPS://A.example:8443/x", "a.example", 8443, is_camera=False)),
        ("rtsp://ann:p@ss@cam/1", Address("rtsp://ann:p@ss@cam/1", "cam", 554, is_camera=True)),
        ("rtsps://cam/1", Address("rtsps://cam/1", "cam", 322, is_camera=True)),
        ("rtsp://[2001:db8::1]:8554/1", Address("rtsp://[2001:db8::1]:8554/1", "2001:db8::1", 8554, is_camera=True)),
        ("shapestream:900001", World(900001)),
    ],
)
def test_names_that_mean_something(source: str, named: object) -> None:
    assert read_source(source, ()) == named


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("lavfi:testsrc", r"^'lavfi:testsrc': lavfi: is nothing that this server opens; give rtsp://.*SEED, or a file"),
        ("udp://239.0.0.1:1234", r"^'udp://239.0.0.1:1234': udp: is nothing"),
        ("concat:a.mp4|b.mp4", r"concat: is nothing"),
        ("pipe:0", r"pipe: is nothing"),
        ("fd:3", r"fd: is nothing"),
        ("data:video/mp4;base64,AAAA", r"data: is nothing"),
        ("v4l2:/dev/video0", r"nothing that this server opens"),
        ("crypto+http://a.example/x", r"crypto\+http: is nothing"),
        ("httpproxy://a.example/x", r"httpproxy: is nothing"),
        ("ftp://ann:secret@a.example/x", r"^'ftp://\*\*\*@a.example/x': ftp: is nothing"),
        ("/dev/video0", r"^this server opens no files of its own; its operator can let it"),
        ("file:///etc/passwd", r"^this server opens no files of its own"),
        ("talk.mp4", r"^this server opens no files of its own"),
        ("http:///x.mp4", r"^'http:///x.mp4' has no host; write it as http://host/path$"),
        ("http:x.mp4", r"has no host"),
        ("http://a.example:99999/", r"is no address \(Port out of range 0-65535\); write it as http://host/path$"),
        ("http://[::1/x", r"is no address"),
        ("rtsp://cam/1\r\nHost: x", r"^the source holds control characters"),
        ("shapestream:red", r"^'shapestream:red' names no synthetic world; give shapestream:SEED"),
        ("shapestream://7", r"names no synthetic world"),
    ],
)
def test_what_is_refused_in_one_line(source: str, line: str) -> None:
    with pytest.raises(SourceError, match=line) as caught:
        read_source(source, ())
    assert "\n" not in str(caught.value)


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A folder with films and with links out of it and into it; a secret beside it."""
    (tmp_path / "films" / "old").mkdir(parents=True)
    (tmp_path / "films" / "a.mp4").write_bytes(b"x")
    (tmp_path / "films" / "old" / "b:1 %41.mp4").write_bytes(b"x")
    (tmp_path / "films2").mkdir()
    (tmp_path / "films2" / "c.mp4").write_bytes(b"x")
    (tmp_path / "films" / "out.mp4").symlink_to(tmp_path / "films2" / "c.mp4")
    (tmp_path / "films" / "in.mp4").symlink_to(tmp_path / "films" / "a.mp4")
    (tmp_path / "films" / "up").symlink_to(tmp_path)
    (tmp_path / "films" / "loop").symlink_to(tmp_path / "films" / "loop")
    os.mkfifo(tmp_path / "films" / "pipe.mp4")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("{}/films/a.mp4", "films/a.mp4"),
        ("a.mp4", "films/a.mp4"),
        ("file://{}/films/a.mp4", "films/a.mp4"),
        ("file://localhost{}/films/a.mp4", "films/a.mp4"),
        ("file://{}/films/old/b:1%20%2541.mp4", "films/old/b:1 %41.mp4"),
        ("old/b:1 %41.mp4", "films/old/b:1 %41.mp4"),
        ("{}/films/in.mp4", "films/a.mp4"),
        ("{}/films/old/../a.mp4", "films/a.mp4"),
    ],
)
def test_files_below_an_allowed_folder(shelf: Path, name: str, path: str) -> None:
    assert read_source(name.format(shelf), [shelf / "none", shelf / "films"]) == LocalFile(shelf / path)


@pytest.mark.parametrize(
    "name",
    [
        "{}/films2/c.mp4",
        "{}/films2/none.mp4",
        "../films2/c.mp4",
        "{}/films/../films2/c.mp4",
        "{}/films/out.mp4",
        "{}/films/up/films2/c.mp4",
        "file://{}/films/%2e%2e/films2/c.mp4",
        "/etc/passwd",
        "/dev/zero",
        "/proc/self/environ",
        "file://other.example/films/a.mp4",
    ],
)
def test_files_outside_are_refused_whether_they_are_there_or_not(shelf: Path, name: str) -> None:
    with pytest.raises(Forbidden, match=r"is outside of the folders|is a file of another machine"):
        read_source(name.format(shelf), [shelf / "films"])


@pytest.mark.parametrize("name", ["none.mp4", "old", "pipe.mp4", "{}/films", "loop", "x" * 3000, "file:///%00"])
def test_what_is_no_file_is_said_to_be_none(shelf: Path, name: str) -> None:
    with pytest.raises(SourceError, match=r"no such file; give the path|can be no file's name|is outside"):
        read_source(name.format(shelf), [shelf / "films"])
