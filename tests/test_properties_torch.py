"""Steps of tensors with random layouts have the same bits as steps of arrays, or raise an error and change nothing.

Dropout of tensors with random layouts has the same bits as dropout of dense copies.
"""

from __future__ import annotations

from collections import Counter
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.bits import DTYPES, assert_same_bits, numbers
from support.layouts import layouts, shapes
from support.machines import MACHINES, running
from support.oracle import CLASSES, TORCHS

REFUSALS = (TypeError, ValueError, RuntimeError)
FLAWS = [None] * 6 + ["repeated", "gaps", "alias"]


class Arena:
    """One storage. All parameters and gradients of an example are views of it."""

    def __init__(self, torch: ModuleType, seed: int, dtype: Any) -> None:
        self.torch, self.memory, self.free = torch, numbers(np.random.default_rng(seed), 1 << 14, dtype), 0
        self.tensor = torch.from_numpy(self.memory)

    def cut(self, draw: Any, shape: tuple[int, ...], dense: bool) -> Any:
        """Draw a view of the storage, without gaps if `dense` is True.

        Some views have a flaw: gaps, repeated elements or overlap with earlier views.
        """
        flaw = draw(st.sampled_from(FLAWS))
        strides = draw(layouts(shape, 1, dense and flaw not in ("repeated", "gaps")))
        strides = tuple(abs(s) for s in strides)
        if flaw == "repeated" and shape:
            strides = (0, *strides[1:])
        reach = 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) if 0 not in shape else 0
        at = draw(st.integers(0, self.free)) if flaw == "alias" else self.free
        if at + reach > self.memory.size:
            strides, reach, at = (0,) * len(shape), 1, 0
        self.free = max(self.free, at + reach)
        return self.tensor.as_strided(shape, strides, at)


def test_every_step_of_tensors_has_the_bits_of_a_step_of_arrays_or_is_refused_without_changes(
    torch: ModuleType,
) -> None:
    """The expected bits are those of a step of arrays, which test_properties.py compares with the NumPy reference."""
    fused = pytest.importorskip("fusedstep.torch")
    classes = [cls for cls in CLASSES if hasattr(fused, cls.__name__) and cls in TORCHS]
    if not classes:
        pytest.skip("fusedstep.torch has no optimizers")
    seen: Counter[str] = Counter()

    @given(st.data())
    def holds(data: Any) -> None:
        draw, dtype = data.draw, data.draw(st.sampled_from(DTYPES))
        arena, cls = Arena(torch, draw(st.integers(0, 99)), dtype), draw(st.sampled_from(classes))
        params = [
            torch.nn.Parameter(arena.cut(draw, draw(shapes(most=1025)), True)) for _ in range(draw(st.integers(1, 3)))
        ]
        grads = [arena.cut(draw, tuple(p.shape), draw(st.booleans())) for p in params]
        for p, g in zip(params, grads, strict=True):
            p.grad = g
        twins = [np.array(p.detach().numpy(), order="C") for p in params]
        before, options = arena.memory.copy(), {"lr": 0.1, "weight_decay": draw(st.sampled_from([0.0, 0.1]))}
        with running(draw(st.sampled_from(MACHINES))), np.errstate(all="ignore"):
            cls(twins, **options).step([g.numpy().copy() for g in grads])
            try:
                opt = getattr(fused, cls.__name__)(params, **options)
                opt.step()
            except REFUSALS as error:
                assert arena.memory.tobytes() == before.tobytes(), error
                seen["refused"] += 1
                return
        seen["accepted"] += 1
        for p, want in zip(params, twins, strict=True):
            assert_same_bits(p.detach().numpy(), want)
        inside = torch.zeros(arena.memory.size, dtype=torch.bool)
        for p in params:
            inside.as_strided(p.shape, p.stride(), p.storage_offset())[...] = True
        outside = ~inside.numpy()
        assert arena.memory[outside].tobytes() == before[outside].tobytes()

    holds()
    assert min(seen["accepted"], seen["refused"]) >= settings().max_examples // 10, seen


def test_dropout_of_a_tensor_of_any_layout_has_the_bits_of_dropout_of_a_dense_copy(
    torch: ModuleType,
) -> None:
    """Both calls of dropout use the same seed. Kept elements must be 2 * x, because p is 0.5. `x` must not change."""
    fused = pytest.importorskip("fusedstep.torch")
    if not hasattr(fused, "Dropout"):
        pytest.skip("fusedstep.torch has no layers")
    accepted: list[bool] = []

    @given(st.data())
    def holds(data: Any) -> None:
        draw, dtype = data.draw, data.draw(st.sampled_from(DTYPES))
        arena = Arena(torch, draw(st.integers(0, 99)), dtype)
        x = arena.cut(draw, draw(shapes(most=1025)), draw(st.booleans()))
        before, layer = arena.memory.copy(), fused.Dropout(0.5)
        torch.manual_seed(0)
        want = layer(x.clone()).numpy()
        with running(draw(st.sampled_from(MACHINES))):
            torch.manual_seed(0)
            assert_same_bits(layer(x).numpy(), want)
        kept = want != 0
        assert_same_bits(want[kept], (x.numpy() * dtype.type(2))[kept])
        assert arena.memory.tobytes() == before.tobytes()
        accepted.append(kept.any())

    holds()
    assert any(accepted)
