"""`hermes-stream doctor`: what is in use here and why, and whether it computes what it should."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

from cyclopts import Parameter

from hermes_stream.cli.output import human_bytes, put_json, say
from hermes_stream.defaults import DEFAULT_MODEL
from hermes_stream.errors import HermesError

_PACKAGES = ("torch", "transformers", "tokenizers", "av", "numpy")
_N_FRAMES = 8


class DoctorError(HermesError):
    """A self-check found a difference that rounding does not explain."""


def doctor(
    *,
    model: str = DEFAULT_MODEL,
    dtype: str | None = None,
    device: str | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Say which libraries, device and attention are in use, and check a model against the stock implementation.

    Parameters
    ----------
    model
        A bundled model, a checkpoint folder, a hub id, or random:SHAPE.
    dtype
        float32, bfloat16, float16 or float64.
    device
        cpu, cuda, cuda:1, ... Default: an accelerator if there is one.
    json
        Print one JSON object per check.
    """
    import torch

    from hermes_stream.engine.ingest import memory_shape
    from hermes_stream.engine.selfcheck import run_checks
    from hermes_stream.models.load import load_adapter
    from hermes_stream.shapestream import EVALUATION_SEEDS, make_script, render_frame
    from hermes_stream.types import Frame

    say(f"python {platform.python_version()} · " + " · ".join(f"{name} {_version(name)}" for name in _PACKAGES))
    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else "none seen by PyTorch"
    say(f"accelerator: {accelerator} · {torch.get_num_threads()} CPU threads")
    adapter = load_adapter(model, dtype=dtype, device=device)
    facts = adapter.facts
    size = f"{facts.n_parameters / 1e6:.1f} M parameters"
    say(f"model: {facts.name}, {facts.family}, {size}, {facts.device}, {facts.dtype}")
    n_bytes = memory_shape(facts).bytes_per_token()
    say(f"memory: {human_bytes(n_bytes)} per token over all layers, un-rotated keys included")
    say("attention: SDPA with lower-right masks for frames, one softmax over all tokens for questions and probes")
    script = make_script(EVALUATION_SEEDS.start, 2 * _N_FRAMES)
    frames = [Frame(float(second), render_frame(script, second, 160, 90)) for second in range(_N_FRAMES)]
    checks = run_checks(adapter, frames)
    for check in checks:
        if json:
            put_json(
                {
                    "check": check.name,
                    "difference": check.difference,
                    "tolerance": check.tolerance,
                    "good": check.is_good,
                }
            )
        else:
            tick = "✓" if check.is_good else "✗"
            print(f"{tick} {check.name}: {check.difference:.1e} (up to {check.tolerance:.0e} is rounding)")
    bad = [check.name for check in checks if not check.is_good]
    if bad:
        raise DoctorError(f"{len(bad)} of {len(checks)} checks failed; please report this output: {'; '.join(bad)}")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"
