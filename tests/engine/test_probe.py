"""The attention that a probe reports is the stock model's eager attention."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch

from hermes_stream.engine.ingest import Piece
from hermes_stream.memory.plan import Plan
from hermes_stream.memory.view import MemoryView
from hermes_stream.models.load import load_adapter
from hermes_stream.policies.base import Policy, Probe
from tests.engine.direct import memory_bits, open_direct, question_logits, watch_direct
from tests.oracles.stock_llava import StockLlava
from tests.tiny import make_frames

TEXTS = {"first": "Which colour is the circle?", "second": "left or right, yes or no"}


class Listener(Policy):
    """Keeps everything and remembers the last view."""

    name: ClassVar[str] = "listener"
    is_bounded: ClassVar[bool] = False
    views: list[Any] = []  # noqa: RUF012
    is_silent: bool = False

    def probes(self, n_rows: Any, history: Any, stream: Any) -> tuple[Probe, ...]:
        if self.is_silent:
            return ()
        return Probe("first", TEXTS["first"], range(12)), Probe("second", TEXTS["second"], range(3, 7))

    def after_chunk(self, view: MemoryView, state: Any) -> tuple[Plan, Any]:
        self.views.append(view)
        return Plan.keep_all(), state


class Asker(Listener):
    """Its probes are questions."""

    def probes(self, n_rows: Any, history: Any, stream: Any) -> tuple[Probe, ...]:
        return tuple(Probe(text, text, range(12), kind="question") for text in ("", TEXTS["first"]))


def test_probe_equals_eager_attention(llava_folder: Path) -> None:
    frames = make_frames(6)
    adapter = load_adapter(str(llava_folder))
    listener = Listener(views=[])
    watch_direct(open_direct(adapter, listener, chunk_frames=3), frames, 2)
    view = listener.views[-1]
    stock = StockLlava(llava_folder)
    for name, text in TEXTS.items():
        prefix, video, _, prompt = stock.embeddings(adapter._preprocess(frames), text)  # type: ignore[attr-defined]
        attentions = stock.attentions(torch.cat((prefix, video, prompt)))
        held = slice(prefix.shape[0], prefix.shape[0] + video.shape[0])
        for index, layer in enumerate(view.layers):
            if name not in layer.mass:
                assert name == "second"
                assert index not in range(3, 7)
                continue
            weights_HTN = attentions[index][:, -prompt.shape[0] :, held]
            expected_KN = weights_HTN.mean(dim=1).view(2, 2, -1).mean(dim=1)
            torch.testing.assert_close(layer.mass[name], expected_KN, atol=1e-5, rtol=0)


def test_a_probe_leaves_nothing_behind(llava_folder: Path) -> None:
    frames = make_frames(8)
    adapter = load_adapter(str(llava_folder))
    loud, silent = (
        open_direct(adapter, Listener(views=[], is_silent=is_silent), chunk_frames=4) for is_silent in (False, True)
    )
    watch_direct(loud, frames, 4)
    watch_direct(silent, frames, 4)
    for a, b in zip(memory_bits(loud), memory_bits(silent), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)
    torch.testing.assert_close(question_logits(loud, "yes?"), question_logits(silent, "yes?"), atol=1e-5, rtol=0)


def test_the_first_prompt_token_does_not_see_the_last(llava_folder: Path) -> None:
    """HERMES' release has no causal mask among prompt tokens (defect B)."""
    adapter = load_adapter(str(llava_folder))
    stream = open_direct(adapter, Listener(views=[]), chunk_frames=2)
    with torch.inference_mode():
        piece = Piece(stream, make_frames(2))
        commit, probe, *_ = piece.segments()
        from hermes_stream.engine.batch import PackedBatch

        hidden = adapter.run(PackedBatch([commit, probe], adapter.rope))
        changed = probe.embeddings_TE.clone()
        changed[-1] += 1
        probe.embeddings_TE = changed
        hidden_changed = adapter.run(PackedBatch([commit, probe], adapter.rope))
    first = commit.embeddings_TE.shape[0]
    torch.testing.assert_close(hidden[: first + 1], hidden_changed[: first + 1])
    assert not torch.allclose(hidden[-1], hidden_changed[-1])


def test_a_question_probe_is_read_as_a_question_is(llava_folder: Path) -> None:
    """An empty one too, which is the template's own tokens: end of the user's turn, start of the answer."""
    adapter = load_adapter(str(llava_folder))
    stream = open_direct(adapter, Asker(), chunk_frames=2)
    with torch.inference_mode():
        _, empty, asked = Piece(stream, make_frames(2)).segments()
        assert torch.equal(empty.embeddings_TE, adapter.question("", after_video=True))
        assert torch.equal(asked.embeddings_TE, adapter.question(TEXTS["first"], after_video=True))
    assert 0 < empty.embeddings_TE.shape[0] < asked.embeddings_TE.shape[0]
