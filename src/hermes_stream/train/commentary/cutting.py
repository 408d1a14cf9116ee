"""From a file of transcripts and a folder of videos to a file of records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hermes_stream.errors import ConfigError, SourceError
from hermes_stream.train.commentary.cut import Cut, DenseCut, Transcript, cut, cut_dense, read_transcripts
from hermes_stream.train.commentary.records import Record, write_records
from hermes_stream.video.pyav_source import open_source


@dataclass(slots=True)
class CutReport:
    """What became of the videos. left_out: one line for each that gave nothing, with the reason."""

    n_videos: int = 0
    n_records: int = 0
    left_out: list[str] = field(default_factory=list)


def cut_file(transcripts: Path, videos: Path, stem: Path, how: Cut | DenseCut) -> CutReport:
    """Cut every video of a file of transcripts and write the records and their seek file.

    A video that cannot be read, or is shorter than a chunk, is left out and reported. Raises ConfigError for a line
    that is no transcript; nothing is written then.
    """
    report = CutReport()
    report.n_records = write_records(stem, _records(transcripts, videos, how, report))
    return report


def _records(transcripts: Path, videos: Path, how: Cut | DenseCut, report: CutReport) -> Iterator[Record]:
    for transcript in read_transcripts(transcripts):
        report.n_videos += 1
        try:
            yield from _records_of(transcript, _video_seconds(videos / transcript.video), how)
        except (SourceError, ConfigError) as error:
            report.left_out.append(str(error))


def _records_of(transcript: Transcript, seconds: float, how: Cut | DenseCut) -> Iterator[Record]:
    return cut(transcript, seconds, how) if isinstance(how, Cut) else cut_dense(transcript, seconds, how)


def _video_seconds(path: Path) -> float:
    """As the file declares it. Raises SourceError where it declares nothing or cannot be read."""
    with open_source(path) as source:
        seconds = source.info.duration_seconds
    if seconds is None:
        raise SourceError(f"{path} declares no length; remux it, as with `ffmpeg -i IN -c copy OUT.mp4`")
    return seconds
