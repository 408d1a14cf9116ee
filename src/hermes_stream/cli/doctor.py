"""`hermes-stream doctor`: what is in use here and why, and whether it computes what it should."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from hermes_stream.cli.model_options import ModelOptions
from hermes_stream.cli.output import human_bytes, put_json, say
from hermes_stream.errors import HermesError

if TYPE_CHECKING:
    from hermes_stream.memory.backends.base import Backend
    from hermes_stream.models.adapter import Adapter, ModelFacts

_PACKAGES = {
    "torch": "computes",
    "transformers": "has the models, unmodified",
    "tokenizers": "reads and writes words",
    "av": "decodes video with FFmpeg",
    "numpy": "holds frames",
}
_N_FRAMES = 8


class DoctorError(HermesError):
    """A self-check found a difference that rounding does not explain."""


def doctor(
    *,
    json: Annotated[bool, Parameter(negative="")] = False,
    options: Annotated[ModelOptions | None, Parameter(name="*")] = None,
) -> None:
    """Say which libraries, device and attention are in use and why, and check a model against the stock implementation.

    Parameters
    ----------
    json
        Print one JSON object per check (for the device meta, one with the sizes).
    """
    options = options or ModelOptions()
    for line in _environment():
        say(line)
    adapter = options.load_adapter()
    facts, sizes = adapter.facts, _sizes(adapter)
    for line in (*_reasons(facts, sizes, options), *_memory_attention(adapter.backend)):
        say(line)
    if facts.device.type != "meta":
        _check(adapter, json=json)
        return
    say("checks: not run, because the device meta holds shapes and no numbers")
    if json:
        put_json(sizes)
    else:
        for name, value in sizes.items():
            print(f"{name}: {human_bytes(value) if 'bytes' in name else value}")


def _environment() -> Iterator[str]:
    import torch

    yield f"python {platform.python_version()}"
    for name, purpose in _PACKAGES.items():
        yield f"{name} {_version(name)}: {purpose}"
    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else "none seen by PyTorch"
    yield f"accelerator: {accelerator} · {torch.get_num_threads()} CPU threads"


def _sizes(adapter: Adapter) -> dict[str, Any]:
    """Sizes of the model and of its memory, in tokens and bytes."""
    from hermes_stream.engine.opening import memory_shape

    facts, shape = adapter.facts, memory_shape(adapter.facts)
    budget = adapter.defaults.budget_tokens
    return {
        "model": facts.name,
        "parameters": facts.n_parameters,
        "weight_bytes": facts.weight_bytes,
        "bytes_per_token": shape.bytes_per_token(),
        "bytes_per_token_without_unrotated_keys": shape.bytes_per_token(keep_raw=False),
        "bytes_per_token_in_8_bits": shape.bytes_per_token(memory_bits=8),
        "budget_tokens": budget,
        "budget_bytes": budget * shape.bytes_per_token(),
        "budget_bytes_without_unrotated_keys": budget * shape.bytes_per_token(keep_raw=False),
        "budget_bytes_in_8_bits": budget * shape.bytes_per_token(memory_bits=8),
    }


def _reasons(facts: ModelFacts, sizes: dict[str, Any], options: ModelOptions) -> Iterator[str]:
    """What is in use, and why."""
    weights = f"{human_bytes(sizes['weight_bytes'])} of weights"
    if facts.quantization is not None:
        weights += f", those of the language model quantised ({facts.quantization})"
    yield f"model: {facts.name}, {facts.family}, {facts.n_parameters / 1e6:.1f} M parameters, {weights}"
    yield f"device: {facts.device}, because {_why_device(facts, options)}"
    if facts.layer_devices:
        places = Counter(map(str, facts.layer_devices))
        parts = ", ".join(f"{n} on {place}" for place, n in places.items())
        yield f"layers: {parts}, each with its part of the memory beside it"
    yield f"dtype: {str(facts.dtype).removeprefix('torch.')}, because {_why_dtype(facts, options.dtype)}"
    yield (
        f"memory: {human_bytes(sizes['bytes_per_token'])} per token over all layers: rotated keys, values and "
        f"un-rotated keys, because keys that are always placed from these never drift "
        f"({human_bytes(sizes['bytes_per_token_without_unrotated_keys'])} without them, "
        f"{human_bytes(sizes['bytes_per_token_in_8_bits'])} with --memory-bits 8)"
    )
    yield (
        f"budget: {sizes['budget_tokens']} tokens per layer, {human_bytes(sizes['budget_bytes'])}, because that suits "
        "the checkpoint; --budget sets another"
    )
    yield (
        "attention: the text model's goes through hermes-stream, because the memory has another length in every layer; "
        "the vision tower keeps transformers' own"
    )


def _memory_attention(backend: Backend) -> Iterator[str]:
    """How held rows are attended to, and why."""
    yield f"memory attention: {backend.name}, {backend.reason}"
    if backend.name == "flash":
        yield (
            "attention of frames, questions and probes: all sessions' rows stand in one arena, so that one call serves "
            "many; held and own rows meet by their log-sum-exp; what recalls takes products and a softmax in float32"
        )
        return
    yield (
        "attention of frames: PyTorch's scaled_dot_product_attention (SDPA) with a lower-right mask, because new "
        "tokens stand at the end of the held ones and its is_causal would align them with the beginning"
    )
    yield (
        "attention of questions and probes: products and a softmax in at least float32, because held and own keys meet "
        "without being copied, probes need the weights, and half-precision weights of thousands of keys underflow"
    )


def _why_device(facts: ModelFacts, options: ModelOptions) -> str:
    if asked := options.device or options.device_map:
        return f"{asked} was asked for"
    return "PyTorch sees an accelerator" if facts.device.type != "cpu" else "PyTorch sees no accelerator"


def _why_dtype(facts: ModelFacts, dtype: str | None) -> str:
    if dtype is not None:
        return "it was asked for"
    if facts.name.startswith("random:"):
        return "the published checkpoint has it"
    if facts.device.type == "cpu":
        return "on most CPUs half precision saves no time, and it rounds more"
    return "the checkpoint has it"


def _check(adapter: Adapter, *, json: bool) -> None:
    """Run all checks and print them. Raises DoctorError if one is bad."""
    from hermes_stream.engine.selfcheck import run_checks
    from hermes_stream.shapestream import EVALUATION_SEEDS, make_script, render_frame
    from hermes_stream.types import Frame

    script = make_script(EVALUATION_SEEDS.start, 2 * _N_FRAMES)
    frames = [Frame(float(second), render_frame(script, second, 160, 90)) for second in range(_N_FRAMES)]
    checks = run_checks(adapter, frames)
    dtype = str(adapter.facts.dtype).removeprefix("torch.")
    for check in checks:
        numbers = {"difference": check.difference, "tolerance": check.tolerance}
        if json:
            put_json({"check": check.name, **numbers, "good": check.is_good})
        else:
            tick = "✓" if check.is_good else "✗"
            print(f"{tick} {check.name}: {check.difference:.1e} (up to {check.tolerance:.0e} is rounding in {dtype})")
    bad = [check.name for check in checks if not check.is_good]
    if bad:
        raise DoctorError(f"{len(bad)} of {len(checks)} checks failed; please report this output: {'; '.join(bad)}")
    say(f"verdict: {len(checks)} of {len(checks)} checks good")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"
