"""Memory policies: what stays, by name."""

from __future__ import annotations

from hermes_stream.policies.attention_sinks import AttentionSinks
from hermes_stream.policies.base import Policy
from hermes_stream.policies.cache_flow import CacheFlow
from hermes_stream.policies.causal_mem import CausalMem
from hermes_stream.policies.dscache import DSCache
from hermes_stream.policies.event_forest import EventForest
from hermes_stream.policies.flux_mem import FluxMem
from hermes_stream.policies.fresh import Fresh
from hermes_stream.policies.gate import Gate
from hermes_stream.policies.hermes import Hermes
from hermes_stream.policies.infinipot_v import InfiniPotV
from hermes_stream.policies.keep_all import KeepAll
from hermes_stream.policies.live_vlm import LiveVLM
from hermes_stream.policies.pages import Pages
from hermes_stream.policies.random import Random
from hermes_stream.policies.recent import Recent
from hermes_stream.policies.recent_frames import RecentFrames
from hermes_stream.policies.rekv import ReKV
from hermes_stream.policies.savemem import SAVEMem
from hermes_stream.policies.sliding_window import SlidingWindow
from hermes_stream.policies.stream_kv import StreamKV
from hermes_stream.policies.stream_mem import StreamMem
from hermes_stream.policies.streaming_tom import StreamingTOM
from hermes_stream.policies.streaming_vlm import StreamingVLM
from hermes_stream.policies.tiered import Tiered
from hermes_stream.policies.uniform import Uniform
from hermes_stream.policies.uniform_frames import UniformFrames
from hermes_stream.policies.v_rex import VRex
from hermes_stream.policies.wrapper import Wrapper

POLICIES: dict[str, type[Policy]] = {
    policy.name: policy
    for policy in (
        AttentionSinks,
        CacheFlow,
        CausalMem,
        DSCache,
        EventForest,
        FluxMem,
        Hermes,
        InfiniPotV,
        KeepAll,
        LiveVLM,
        Random,
        RecentFrames,
        ReKV,
        SAVEMem,
        SlidingWindow,
        StreamingVLM,
        StreamingTOM,
        StreamKV,
        StreamMem,
        Tiered,
        Uniform,
        UniformFrames,
        VRex,
    )
}

WRAPPERS: dict[str, type[Wrapper]] = {wrapper.name: wrapper for wrapper in (Fresh, Gate, Pages, Recent)}
