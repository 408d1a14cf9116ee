"""The process of a rank that is not the first: it does what it is told until nobody is there to tell it."""

from __future__ import annotations

import os
import signal
import sys
from multiprocessing.connection import Connection

import torch
from torch import distributed

from hermes_stream.engine.parallel.member import Member, join, load
from hermes_stream.engine.parallel.wire import NOTHING_MORE, from_bytes
from hermes_stream.models.checkpoint_files import first_line

# What a rank says before it joins the others, and once it has its part of the model.
JOINING, READY = "joining", "ready"


def main(descriptor: int) -> None:
    """descriptor: of the pipe to the first rank."""
    # Both may reach all processes at once; the first one saves its sessions and then ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pipe = Connection(descriptor)
    try:
        place, options = pipe.recv()
        pipe.send(JOINING)
        join(place)
        member = load(place, options)
        pipe.send(READY)
        with torch.inference_mode():
            _follow(pipe, member)
        distributed.destroy_process_group()
    except BaseException as error:
        _end(pipe, error)


def _follow(pipe: Connection, member: Member) -> None:
    while (data := pipe.recv_bytes()) != NOTHING_MORE:
        for function, values in from_bytes(data):
            function(member, *values)


def _end(pipe: Connection, error: BaseException) -> None:
    """Say why in a line: to the first rank, or to whoever looks if that is gone; no exchange is waited for."""
    line = first_line(error) if isinstance(error, Exception) else type(error).__name__
    try:
        pipe.send(line)
    except OSError:
        sys.stderr.write(f"hermes-stream: the first rank of the model is gone, and this one ends ({line})\n")
    sys.stderr.flush()
    os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
