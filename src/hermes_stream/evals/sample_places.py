"""Where StreamingBench's videos lie: "sample_12_real" by its list, where its script moves it, and as it is unpacked."""

from __future__ import annotations

import re

_SAMPLE = re.compile(r"(sample_\d+)_(.+)")
_ROW_ID = re.compile(r"sample_\d+(?=_\d+$)")
# "Scene_Understanding_1-25" is unpacked to "Scene Understanding_1-25".
_SPACE = re.compile(r"_(?!\d)")


def sample_of_path(path: str) -> str:
    """By its path in a list, which a script may have made absolute."""
    return path.replace("\\", "/").rpartition("/")[2].removesuffix(".mp4")


def sample_of_row(row_id: str, kind: str) -> str | None:
    """By the id of a row of a table of this kind, as "Real-Time Visual Understanding_sample_12_1"; None without one."""
    found = _ROW_ID.search(row_id)
    return f"{found[0]}_{kind}" if found else None


def sample_places(sample: str, kind: str) -> list[str]:
    """Paths below the data folder, the likeliest first. kind: of the list that names the sample: "real", "omni"."""
    found = _SAMPLE.fullmatch(sample)
    number, group = (found[1], found[2]) if found else (sample, kind)
    folder = group if group == kind else f"{kind}/{_SPACE.sub(' ', group)}"
    unpacked = [f"{root}{folder}/{number}/video.mp4" for root in ("", "data/")]
    return [f"videos/{sample}.mp4", f"src/data/videos/{sample}.mp4", *unpacked, f"{number}/video.mp4", f"{sample}.mp4"]
