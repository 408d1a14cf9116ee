"""The bundled model comments on what it has never seen, and answers meanwhile."""

from __future__ import annotations

from hermes_stream import StreamingVLM, load_model
from hermes_stream.defaults import NARRATING_MODEL
from hermes_stream.evals.commentary import Said, score_commentary
from hermes_stream.shapestream import is_right, make_script, render_frame
from hermes_stream.shapestream.commentary import commentary_events
from hermes_stream.types import Frame

_SECONDS = 30
_FPS = 2.0
_SEED = 900_007


def test_it_says_what_happens_when_it_happens_and_nothing_else() -> None:
    script = make_script(_SEED, float(_SECONDS))
    frames = [
        Frame(index / _FPS, render_frame(script, index / _FPS, 192, 108)) for index in range(int(_SECONDS * _FPS))
    ]
    with load_model(NARRATING_MODEL) as engine, engine.open(memory=StreamingVLM(budget=640)) as session:
        narration = session.narrate()
        remarks = list(narration.watch(frames[:40]))
        answer = session.ask("What color is the object?").result()
        remarks += list(narration.watch(frames[40:]))
    said = [Said(remark.start_seconds, remark.end_seconds, remark.text) for remark in remarks]
    (score,) = score_commentary(commentary_events(script, fps=_FPS), said, end_seconds=_SECONDS)
    assert score.n_events > 10
    assert score.f1 > 0.85
    shown = next(p for p in script.presences if p.start_seconds <= 19.5 < p.end_seconds)
    assert is_right(answer.text, shown.kind.color)
