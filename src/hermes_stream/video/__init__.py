"""World in: videos from files, networks and devices, sampled by time; and pictures back out to a file."""

from __future__ import annotations

from hermes_stream.video.memory_source import MemorySource
from hermes_stream.video.open import Video, check_source, open_video
from hermes_stream.video.pictures import PictureSource, open_pictures
from hermes_stream.video.pyav_source import PyAvSource, open_source
from hermes_stream.video.sampler import sample_by_time
from hermes_stream.video.source import Damage, LazyFrame, SourceInfo, VideoSource
from hermes_stream.video.writer import write_video

__all__ = [
    "Damage",
    "LazyFrame",
    "MemorySource",
    "PictureSource",
    "PyAvSource",
    "SourceInfo",
    "Video",
    "VideoSource",
    "check_source",
    "open_pictures",
    "open_source",
    "open_video",
    "sample_by_time",
    "write_video",
]
