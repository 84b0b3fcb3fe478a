"""For a number of parameters: the memory that AdamW needs, whether the machine has it, and the time of a step."""

from __future__ import annotations

from dataclasses import dataclass

from .._base import formats

BLOCK_BYTES = 4 / formats.BLOCK  # bytes per parameter, if each block of BLOCK parameters has one 4-byte number
COLUMNS = ["weights", "gradient", "states", "copy or low bits", "B/parameter", "GB", "fits", "shortest step"]


@dataclass(frozen=True)
class Setting:
    """Bytes per parameter for one choice of the dtypes. ``states`` include the scales of 8-bit states."""

    name: str
    weights: float
    gradient: float
    states: float
    kept: float = 0.0  # a float32 copy of the weights, or the low bits, which bfloat16 weights lack
    copies: float = 0.0  # bytes that copies move before and after the step

    @property
    def held(self) -> float:
        """Bytes of memory per parameter."""
        return self.weights + self.gradient + self.states + self.kept

    @property
    def moved(self) -> float:
        """Bytes that a step moves per parameter. A step reads the gradient, and reads and writes all other arrays."""
        return 2 * self.held - self.gradient + self.copies


LOW_BITS = 2 + BLOCK_BYTES  # the low 16 bits of each float32 weight, and a checksum of each block
# In the second setting, the user copies between bfloat16 and float32. The gradient is written as float32 and read
# again, which moves 8 more bytes. The float32 copy of the weights ("master") is read again to write the weights (4 more
# bytes), but the weights are not read (2 bytes less). The memory for the float32 gradient is not included, because only
# one tensor at a time has such a gradient.
SETTINGS = (
    Setting("float32", 4, 4, 8),
    Setting("bfloat16, float32 master and states by hand", 2, 2, 8, 4, copies=10),
    Setting("bfloat16, low bits, float32 states", 2, 2, 8, LOW_BITS),
    Setting("bfloat16, low bits, bfloat16 states", 2, 2, 4, LOW_BITS),
    Setting("bfloat16, low bits, uint8 states", 2, 2, 2 * (1 + BLOCK_BYTES), LOW_BITS),
)


def rows(parameters: int, memory: int | None, bandwidth: float) -> list[list[str]]:
    """Return one row per setting. `memory` is in bytes, or None if it is unknown. `bandwidth` is in GB/s."""
    result = []
    for setting in SETTINGS:
        size = setting.held * parameters
        fits = "unknown" if memory is None else "yes" if size <= memory else "no"
        parts = (setting.weights, setting.gradient, setting.states, setting.kept, setting.held)
        seconds = setting.moved * parameters / 1e9 / bandwidth
        result.append(
            [setting.name, *(f"{part:.2f}" for part in parts), f"{size / 1e9:,.3g}", fits, f"{seconds:.3g} s"]
        )
    return result
