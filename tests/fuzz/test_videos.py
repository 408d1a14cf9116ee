"""Changed video files, read in a process of their own: each ends with frames or in one line, soon, in little memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ..video.clips import write_raw
from .conftest import Tries
from .mutations import mutated

pytestmark = pytest.mark.fuzz
_PATIENCE_SECONDS = 30
_MOST_BYTES = 4 * 2**30
_CODECS = {
    "a.mp4": ("libx264", {"g": "10"}),
    "a.mkv": ("libx264", {"g": "10"}),
    "a.ts": ("mpeg2video", {}),
    "a.webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
    "a.avi": ("mpeg4", {}),
    "a.flv": ("libx264", {"g": "10"}),
}
_N_FILES = 32
# Reads files named on its command line; says of each what came of it.
_READER = f"""
import json, resource, sys, time
from hermes_stream.errors import HermesError
from hermes_stream.video import open_source
resource.setrlimit(resource.RLIMIT_AS, ({_MOST_BYTES}, {_MOST_BYTES}))
for name in sys.argv[1:]:
    began, times, refused = time.monotonic(), [], None
    try:
        with open_source(name) as source:
            for frame in source.lazy_frames():
                times.append(frame.pts_seconds)
    except HermesError as error:
        refused = str(error)
    print(json.dumps([times, refused, time.monotonic() - began]), flush=True)
"""


@pytest.mark.parametrize("name", _CODECS)
@pytest.mark.timeout(0)
def test_video(tmp_path: Path, tries: Tries, name: str) -> None:
    codec, options = _CODECS[name]
    whole = write_raw(tmp_path / name, codec, 30, options=options, is_noisy=True).read_bytes()
    for dice in tries:
        files = []
        for number in range(_N_FILES):
            files.append(tmp_path / f"{number}-{name}")
            files[-1].write_bytes(mutated(whole, dice))
        done = subprocess.run(
            [sys.executable, "-c", _READER, *map(str, files)],
            capture_output=True, text=True, timeout=_N_FILES * _PATIENCE_SECONDS, check=False,
        )  # fmt: skip
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert done.returncode == 0, f"seed {tries.seed}, file {len(rows)}: {done.returncode}, {done.stderr[-2000:]}"
        for times, refused, seconds in rows:
            assert times == sorted(set(times)), f"seed {tries.seed}: times fall"
            assert refused is None or "\n" not in refused
            assert seconds < _PATIENCE_SECONDS
            tries.count["refused" if refused else "read"] += 1
