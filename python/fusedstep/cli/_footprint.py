"""The memory of AdamW for a number of parameters, whether this machine has it, and the time of a step."""

from __future__ import annotations

from dataclasses import dataclass

from .._base import formats

BLOCK_BYTES = 4 / formats.BLOCK  # per parameter: a scale, or a sum, of each block
COLUMNS = ["weights", "gradient", "states", "kept bits", "B/parameter", "GB", "fits", "step at best"]


@dataclass(frozen=True)
class Setting:
    """Bytes per parameter; ``states`` include their scales."""

    name: str
    weights: float
    gradient: float
    states: float
    kept: float = 0.0
    copies: float = 0.0  # bytes moved by copies around the step, in addition to a single pass

    @property
    def held(self) -> float:
        """Bytes of memory."""
        return self.weights + self.gradient + self.states + self.kept

    @property
    def moved(self) -> float:
        """Bytes that a step moves: the gradient is read, all else is read and written."""
        return 2 * self.held - self.gradient + self.copies


LOW_BITS = 2 + BLOCK_BYTES
# Without a fused step, the gradient is converted to float32 and read again (8 more bytes), and the master is read to
# write the weights, which are not read (2 more). A float32 gradient of one tensor at a time is not counted as memory.
SETTINGS = (
    Setting("float32", 4, 4, 8),
    Setting("bfloat16, float32 master and states by hand", 2, 2, 8, 4, copies=10),
    Setting("bfloat16, low bits, float32 states", 2, 2, 8, LOW_BITS),
    Setting("bfloat16, low bits, bfloat16 states", 2, 2, 4, LOW_BITS),
    Setting("bfloat16, low bits, uint8 states", 2, 2, 2 * (1 + BLOCK_BYTES), LOW_BITS),
)


def rows(parameters: int, memory: int | None, bandwidth: float) -> list[list[str]]:
    """Return a row per setting; `memory` in bytes, None where it is unknown, `bandwidth` in GB/s."""
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
