"""The command `hermes-stream`. Commands import what they need when they run, so that `--help` is immediate."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from cyclopts import App, CycloptsError

from hermes_stream.cli.ask import ask
from hermes_stream.cli.bench import bench
from hermes_stream.cli.demo import demo
from hermes_stream.cli.doctor import doctor
from hermes_stream.cli.eval import evaluation
from hermes_stream.cli.inspect import inspect
from hermes_stream.cli.keys import keys
from hermes_stream.cli.listing import models, policies
from hermes_stream.cli.map import map_memory
from hermes_stream.cli.narrate import narrate
from hermes_stream.cli.output import say, saying_notes
from hermes_stream.cli.report import report
from hermes_stream.cli.serve import serve
from hermes_stream.cli.sessions import sessions
from hermes_stream.cli.shapestream import shapestream
from hermes_stream.cli.train import train
from hermes_stream.cli.watch import watch
from hermes_stream.errors import HermesError, UsageError

# PyTorch's profiler reports its own start and stop otherwise; its library reads this once, when PyTorch is imported.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

app = App(
    name="hermes-stream",
    help="A vision-language model that watches endless video in bounded memory and answers at any moment.",
    version=lambda: version("hermes-stream"),
    help_format="plaintext",
    default_parameter=None,
    exit_on_error=False,
    print_error=False,
)
for command in (demo, ask, watch, narrate, serve, inspect, doctor, models, policies):
    app.command(command)
app.command(map_memory, name="map")
app.command(sessions)
app.command(keys)
app.command(shapestream)
app.command(train)
app.command(bench)
app.command(evaluation)
app.command(report)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 2 wrong usage or bad input (one clear line), 1 anything else."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit status."""
    try:
        with saying_notes():
            app(list(arguments), result_action="return_value")
    except CycloptsError as error:
        say(f"error: {_one_line(str(error))} (see hermes-stream --help)")
        return 2
    except UsageError as error:
        say(f"error: {_one_line(str(error))}")
        return 2
    except HermesError as error:
        say(f"error: {_one_line(str(error))}")
        return 1
    except BrokenPipeError:
        # The reader of our output went away, as `head` does; nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        say(f"error: {_one_line(str(error))}")
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _one_line(message: str) -> str:
    return " ".join(message.split())
