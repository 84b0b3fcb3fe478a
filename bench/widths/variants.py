"""The formats that the study compares. A variant has a dtype for parameters and options for AdamW."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Variant:
    """One way to store parameters and states.

    Attributes
    ----------
    name : str
    bytes_per_element : float
        Bytes of the parameter, both states and the low bits, without the gradient. The low bits are the bits of a
        float32 weight that its bfloat16 parameter cannot store.
    bfloat16 : bool
        True if parameters and gradients are bfloat16, False if they are float32.
    options : dict
        Options of the optimizer.
    weak : bool
        True if the losses of the variant must be outside the margin that `bench.widths` defines, because the variant
        rounds to nearest. If they are within, the study cannot detect errors.
    """

    name: str
    bytes_per_element: float
    bfloat16: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    weak: bool = False


def _kept(state_dtype: str) -> dict[str, Any]:
    return {"master_weights": True, "state_dtype": state_dtype}


def _states(state_dtype: str, rounding: str) -> dict[str, Any]:
    return {"state_dtype": state_dtype, "rounding": rounding}


REFERENCE = Variant("float32", 12)
VARIANTS = (
    REFERENCE,
    Variant("bfloat16 parameters, nearest", 10, True, _states("float32", "nearest"), weak=True),
    Variant("bfloat16 parameters, stochastic", 10, True, _states("float32", "stochastic")),
    Variant("bfloat16 states, nearest", 8, False, _states("bfloat16", "nearest"), weak=True),
    Variant("bfloat16 states, stochastic", 8, False, {"state_dtype": "bfloat16"}),
    Variant("8-bit states, nearest", 6, False, _states("uint8", "nearest"), weak=True),
    Variant("8-bit states, stochastic", 6, False, {"state_dtype": "uint8"}),
    Variant("bfloat16 + low bits, float32 states", 12, True, _kept("float32")),
    Variant("bfloat16 + low bits, 8-bit states", 6, True, _kept("uint8")),
)
