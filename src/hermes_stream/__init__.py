"""hermes-stream: a vision-language model that watches endless video in bounded memory and answers at any moment.

Names are imported when they are first used, so that `import hermes_stream` and `hermes-stream --help` stay quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hermes_stream.engine.answer import AnswerStream
    from hermes_stream.engine.commentary.following import Pulse
    from hermes_stream.engine.commentary.narration import Narration, Remark
    from hermes_stream.engine.engine import Engine, load_model
    from hermes_stream.engine.forgetting import Forgotten
    from hermes_stream.engine.scoring import PendingScores
    from hermes_stream.engine.session import Session, SessionStats
    from hermes_stream.engine.standing import StandingQuestion, Trigger
    from hermes_stream.errors import HermesError, UsageError
    from hermes_stream.memory.snapshot import Snapshot
    from hermes_stream.policies.attention_sinks import AttentionSinks
    from hermes_stream.policies.base import Policy
    from hermes_stream.policies.dscache import DSCache
    from hermes_stream.policies.fresh import Fresh
    from hermes_stream.policies.front_ends.change_gate import ChangeGate
    from hermes_stream.policies.front_ends.ctr import Ctr
    from hermes_stream.policies.front_ends.dtd import Dtd
    from hermes_stream.policies.gate import Gate
    from hermes_stream.policies.hermes import Hermes
    from hermes_stream.policies.infinipot_v import InfiniPotV
    from hermes_stream.policies.keep_all import KeepAll
    from hermes_stream.policies.pages import Pages
    from hermes_stream.policies.random import Random
    from hermes_stream.policies.recent import Recent
    from hermes_stream.policies.recent_frames import RecentFrames
    from hermes_stream.policies.savemem import SAVEMem
    from hermes_stream.policies.sliding_window import SlidingWindow
    from hermes_stream.policies.stream_mem import StreamMem
    from hermes_stream.policies.streaming_vlm import StreamingVLM
    from hermes_stream.policies.uniform import Uniform
    from hermes_stream.types import Answer, AsOf, Evidence, Frame, Gap, Query, Scores, TokenEvent, Turn
    from hermes_stream.video import open_video

_HOME = {
    "Answer": "types",
    "AnswerStream": "engine.answer",
    "AsOf": "types",
    "AttentionSinks": "policies.attention_sinks",
    "ChangeGate": "policies.front_ends.change_gate",
    "Ctr": "policies.front_ends.ctr",
    "Dtd": "policies.front_ends.dtd",
    "DSCache": "policies.dscache",
    "Engine": "engine.engine",
    "Evidence": "types",
    "Forgotten": "engine.forgetting",
    "Frame": "types",
    "Fresh": "policies.fresh",
    "Gap": "types",
    "Gate": "policies.gate",
    "Hermes": "policies.hermes",
    "HermesError": "errors",
    "InfiniPotV": "policies.infinipot_v",
    "KeepAll": "policies.keep_all",
    "Narration": "engine.commentary.narration",
    "Pages": "policies.pages",
    "PendingScores": "engine.scoring",
    "Policy": "policies.base",
    "Pulse": "engine.commentary.following",
    "Query": "types",
    "Random": "policies.random",
    "Recent": "policies.recent",
    "RecentFrames": "policies.recent_frames",
    "Remark": "engine.commentary.narration",
    "SAVEMem": "policies.savemem",
    "Scores": "types",
    "Session": "engine.session",
    "SessionStats": "engine.session",
    "SlidingWindow": "policies.sliding_window",
    "Snapshot": "memory.snapshot",
    "StandingQuestion": "engine.standing",
    "StreamMem": "policies.stream_mem",
    "StreamingVLM": "policies.streaming_vlm",
    "TokenEvent": "types",
    "Trigger": "engine.standing",
    "Turn": "types",
    "Uniform": "policies.uniform",
    "UsageError": "errors",
    "load_model": "engine.engine",
    "open_video": "video",
}

__all__ = [
    "Answer",
    "AnswerStream",
    "AsOf",
    "AttentionSinks",
    "ChangeGate",
    "Ctr",
    "DSCache",
    "Dtd",
    "Engine",
    "Evidence",
    "Forgotten",
    "Frame",
    "Fresh",
    "Gap",
    "Gate",
    "Hermes",
    "HermesError",
    "InfiniPotV",
    "KeepAll",
    "Narration",
    "Pages",
    "PendingScores",
    "Policy",
    "Pulse",
    "Query",
    "Random",
    "Recent",
    "RecentFrames",
    "Remark",
    "SAVEMem",
    "Scores",
    "Session",
    "SessionStats",
    "SlidingWindow",
    "Snapshot",
    "StandingQuestion",
    "StreamMem",
    "StreamingVLM",
    "TokenEvent",
    "Trigger",
    "Turn",
    "Uniform",
    "UsageError",
    "load_model",
    "open_video",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'hermes_stream' has no attribute {name!r}")
    return getattr(import_module(f"hermes_stream.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
