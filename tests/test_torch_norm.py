"""The norm of gradients that have several dtypes."""

from __future__ import annotations

from types import ModuleType

import pytest


@pytest.mark.parametrize("half", ["bfloat16", "float16"])
def test_clip_norm_of_float64_and_16_bit_gradients_is_right_if_squares_overflow(torch: ModuleType, half: str) -> None:
    """The squares of the float64 gradient overflow, but its norm is finite. Clipping makes the 16-bit gradient 0."""
    import fusedstep.torch as ft

    wide, narrow = torch.ones(3, dtype=torch.float64), torch.ones(1000, dtype=getattr(torch, half))
    wide.grad, narrow.grad = torch.full_like(wide, 1e200), torch.full_like(narrow, 123.0)
    ft.SGD([wide, narrow], lr=1.0, clip_norm=1.0).step()
    torch.testing.assert_close(wide, torch.full_like(wide, 1 - 3**-0.5))
    assert (narrow == 1).all()
