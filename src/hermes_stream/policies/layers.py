"""How a policy's layers are grouped, as text: shares, the checkpoint's measured borders, or an inspection's."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from hermes_stream.errors import ConfigError

MEASURED = "measured"
_SHARES = re.compile(r"\d+(?:\.\d+)?(?:/\d+(?:\.\d+)?){2}")
_EXPECTED = "expected shares as in 10/60/30, measured, or the inspection.json that hermes-stream inspect wrote"


@dataclass(frozen=True, slots=True)
class LayerGrouping:
    """What `--layers` says, as far as it is known without a model.

    shares: of shallow and of middle layers. borders: first middle and first deep layer, of a model with `n_layers`.
    Neither: the borders that come with the checkpoint.
    """

    shares: tuple[Fraction, Fraction] | None = None
    borders: tuple[int, int] | None = None
    n_layers: int | None = None

    def borders_of(self, model: str, n_layers: int, measured: tuple[int, int] | None) -> tuple[int, int]:
        """First middle and first deep layer of a model. measured: what its checkpoint brings.

        Raises ConfigError if the checkpoint brings none, or if an inspection was of a model with other layers.
        """
        if self.shares is not None:
            # In floats, as the policy's own ratios: 0.7 of 90 layers are 62.
            shallow, middle = self.shares
            return int(float(shallow) * n_layers), int(float(shallow + middle) * n_layers)
        if self.borders is None:
            if measured is None:
                raise ConfigError(
                    f"no measured layers come with {model}; run hermes-stream inspect VIDEO --model {model} --out DIR "
                    "and give --layers DIR/inspection.json"
                )
            return measured
        if self.n_layers != n_layers:
            raise ConfigError(f"the inspection is of a model with {self.n_layers} layers; {model} has {n_layers}")
        return self.borders


def parse_layers(text: str) -> LayerGrouping:
    """`10/60/30`, `0.1/0.6/0.3`, `measured`, or the path of an inspection. Raises ConfigError for anything else."""
    text = text.strip()
    if text == MEASURED:
        return LayerGrouping()
    if _SHARES.fullmatch(text):
        return _parse_shares(text)
    path = Path(text)
    if not path.is_file():
        raise ConfigError(f"layers are {text!r}; {_EXPECTED}")
    return _read_inspection(path)


def _parse_shares(text: str) -> LayerGrouping:
    shares = [Fraction(part) for part in text.split("/")]
    total = sum(shares)
    if total not in (1, 100):
        raise ConfigError(f"layers are {text!r}, which add up to {float(total):g}; give shares that add up to 100 or 1")
    return LayerGrouping(shares=(shares[0] / total, shares[1] / total))


def _read_inspection(path: Path) -> LayerGrouping:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        first_middle, first_deep = content["partition"][MEASURED]
        return LayerGrouping(borders=(int(first_middle), int(first_deep)), n_layers=int(content["model"]["n_layers"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"layers are {str(path)!r}, which is no inspection; {_EXPECTED}") from error
