"""The benchmarks, one file each; what stands in this table can be named on the command line."""

from __future__ import annotations

from hermes_stream.errors import TaskError, unknown_name
from hermes_stream.evals.task import Task
from hermes_stream.evals.tasks.egoschema import EgoSchema
from hermes_stream.evals.tasks.longvideobench import LongVideoBench
from hermes_stream.evals.tasks.mlvu import Mlvu
from hermes_stream.evals.tasks.mvbench import MvBench
from hermes_stream.evals.tasks.ovobench import OvoBench
from hermes_stream.evals.tasks.rvs_ego import RvsEgo
from hermes_stream.evals.tasks.rvs_movie import RvsMovie
from hermes_stream.evals.tasks.shapestream import ShapeStream
from hermes_stream.evals.tasks.streamingbench import StreamingBench
from hermes_stream.evals.tasks.videomme import VideoMme

TASKS: dict[str, type[Task]] = {
    task.name: task
    for task in (
        ShapeStream, StreamingBench, OvoBench, RvsEgo, RvsMovie, VideoMme, MvBench, EgoSchema, LongVideoBench, Mlvu,
    )
}  # fmt: skip


def find_task(name: str) -> type[Task]:
    """A benchmark by its name. Raises TaskError for an unknown one, with the nearest."""
    if name not in TASKS:
        raise TaskError(unknown_name("benchmark", name, TASKS))
    return TASKS[name]
