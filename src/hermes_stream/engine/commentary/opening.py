"""Where a commentary begins: a stream without frames gets the opening as its prefix. On the engine's thread only."""

from __future__ import annotations

from dataclasses import replace

from hermes_stream.engine.batch import CommitSegment, PackedBatch
from hermes_stream.engine.commentary.script import Labelled, Script, embed_ids
from hermes_stream.engine.commentary.state import Commentary, CommentarySettings
from hermes_stream.engine.opening import commit_prefix, memory_shape, new_memory
from hermes_stream.engine.stream import Stream
from hermes_stream.errors import UsageError
from hermes_stream.memory.committed_text import TextRows

# Words of before the stream are older than any frame, and nothing that is forgotten is about them.
_BEFORE_SECONDS = -1.0


def begin_commentary(stream: Stream, settings: CommentarySettings) -> None:
    """Make an empty stream one with commentary.

    Raises UsageError if it has seen frames.
    """
    _check(stream)
    before = dict(stream.__dict__)
    try:
        lay_opening(stream, settings)
        if not stream.holds_features:
            _commit_text(stream, Script(stream.adapter).previous(settings.previous))
        stream.check_growth(0)
    except BaseException:
        stream.__dict__.update(before)
        raise


def lay_opening(stream: Stream, settings: CommentarySettings) -> None:
    """Put the opening into a new memory, in which all text and all frames follow one another on every axis."""
    adapter, policy = stream.adapter, stream.policy
    stream.commentary = Commentary(settings)
    n_axes, keep_raw = adapter.facts.n_axes, stream.memory.current.layers[0].slab.keeps_raw
    shape = replace(
        memory_shape(adapter.facts), time_axes=tuple(range(n_axes)), has_absolute_time=False, text_overlaps_times=False
    )
    stream.memory = new_memory(adapter, policy, shape, keep_raw=keep_raw)
    script = Script(adapter)
    ids = script.opening(stream.commentary, pins_instruction=policy.pins_instruction)
    # Questions to features may see nothing else of what is held.
    ids += script.previous(settings.previous).ids if stream.holds_features else []
    # A frame brings the text of its round along: policies that count frames have room for fewer.
    n_text = script.rows_of_round(settings.query(0).max_new_tokens)
    n_frame = policy.tokens_after(adapter.facts.tokens_per_frame)
    stream.facts = replace(stream.facts, prefix_tokens=len(ids), tokens_per_frame=n_frame + n_text)
    stream.state = policy.start(stream.facts)
    # Rounds are told by the times of the video itself.
    stream.since_seconds = 0.0
    commit_prefix(stream, embed_ids(adapter, ids))


def _check(stream: Stream) -> None:
    stream.check_open_ended()
    stream.check_running()
    if stream.commentary is not None:
        raise UsageError("the session is narrated already; go on with `narrate()`, without settings")
    if stream.newest_seconds is not None:
        raise UsageError("the session has seen frames before; narrate one from its first frame on")


def _commit_text(stream: Stream, text: Labelled) -> None:
    rows = TextRows(text.turn_N(0), _BEFORE_SECONDS, _BEFORE_SECONDS)
    stream.check_growth(len(text.ids))
    pending = stream.memory.begin_text(rows)
    stream.adapter.run(PackedBatch([CommitSegment(embed_ids(stream.adapter, text.ids), pending)], stream.adapter.rope))
    stream.memory.commit(pending)
