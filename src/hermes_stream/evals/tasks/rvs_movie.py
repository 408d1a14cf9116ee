"""RVS-Movie: the same of 22 excerpts of films, published as arrays of one picture a second, the first of 0 s."""

from __future__ import annotations

from typing import ClassVar

from hermes_stream.evals.tasks.rvs_ego import RvsEgo


class RvsMovie(RvsEgo):
    """See the module."""

    name: ClassVar[str] = "rvs_movie"
    title: ClassVar[str] = "RVS-Movie"
    licence: ClassVar[str] = "CC BY-NC 4.0, and the licence of MovieNet"
    files: ClassVar[str] = "movie/movienet_oe.json, and its arrays (.npy) in movie/videos/"
    folder: ClassVar[str] = "movie"
    file: ClassVar[str] = "movienet_oe.json"
