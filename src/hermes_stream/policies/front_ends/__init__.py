"""Front-ends: what the text model never reads, by name."""

from __future__ import annotations

from hermes_stream.policies.front_ends.base import FrontEnd
from hermes_stream.policies.front_ends.change_gate import ChangeGate
from hermes_stream.policies.front_ends.ctr import Ctr
from hermes_stream.policies.front_ends.dtd import Dtd

FRONT_ENDS: dict[str, type[FrontEnd]] = {front_end.name: front_end for front_end in (ChangeGate, Ctr, Dtd)}
