"""Steps of bfloat16 and float16 parameters compute in float32, and round the results once, to nearest even."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.optim import _reference
from support.machines import running
from support.oracle import variants
from support.torch_cases import (
    batches,
    every_optimizer,
    every_shared_optimizer,
    network,
    ours,
    shared_options,
    theirs,
    train,
)


@pytest.fixture(autouse=True)
def one_thread(torch: Any) -> Iterator[None]:
    """Run each test with one thread of torch, because the networks are small and the machine may be busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


every_half = pytest.mark.parametrize("half", ["bfloat16", "float16"])
#: Options that are added to the options of each optimizer, in turn.
AROUND: list[dict[str, Any]] = [
    {},
    {"weight_decay": 0.1, "maximize": True},
    {"weight_decay": 0.1, "l1": 0.02, "decay": "proximal"},
    {"weight_decay": 0.1, "l1": 0.02, "decay": "decoupled"},
]
LENGTHS = (1, 7, 16, 63, 513, 5000)  # the kernels convert 256 elements at a time to float32


def draw(n: int, seed: int, dtype: Any) -> Any:
    """Return n random numbers of many magnitudes in this dtype. In float16, some become 0 or inf."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    exponents = torch.empty(n).uniform_(-8, 5, generator=generator)
    return (torch.randn(n, generator=generator) * 10**exponents).to(dtype)


@every_half
@every_optimizer
def test_step_equals_a_float32_step_whose_results_are_rounded_once(name: str, half: str, torch: Any) -> None:
    """The reference in NumPy takes the float32 step. The moving averages of parameters are not rounded to 16 bits."""
    cls, dtype = fs.optim.registry[name], getattr(torch, half)

    def rounded(x: Any) -> Any:
        return torch.from_numpy(np.asarray(x, np.float32)).to(dtype)

    def kept(a: Any) -> Any:
        return rounded(a) if a.ndim else torch.from_numpy(np.array(a))  # scalars keep their dtype

    for k, options in enumerate(variants(cls)):
        options = {"lr": 0.1, **options, **AROUND[k % len(AROUND)]}
        params = [draw(n, n, dtype).requires_grad_() for n in LENGTHS]
        opt = ours(name)(params, ema_decay=0.9, **options)
        arrays = cls([np.zeros(n, np.float32) for n in LENGTHS], **options)
        want = [p.detach().clone() for p in params]
        averages = [p.float().numpy() for p in want]
        states = [{s: kept(a) for s, a in arrays.state[i].items()} for i in range(len(params))]
        for t in (1, 2):
            for i, p in enumerate(params):
                p.grad = draw(p.numel(), 100 * t + i, dtype)
                wide = {s: a.float().numpy() if a.ndim else a.numpy() for s, a in states[i].items()}
                with np.errstate(all="ignore"):
                    new = _reference.step(
                        cls, want[i].float().numpy(), p.grad.float().numpy(), wide, t, 0.1, arrays.groups[0]
                    )
                    averages[i] = _reference.average(averages[i], new, 0.9)
                want[i], states[i] = rounded(new), {s: kept(a) for s, a in wide.items()}
            opt.step()
        for i, p in enumerate(params):
            torch.testing.assert_close(p.detach(), want[i], rtol=0, atol=0, equal_nan=True, msg=str(options))
            for s, a in states[i].items():
                mine = opt.state[p][s] if a.ndim else opt.state[p][s].double()
                torch.testing.assert_close(mine, a, rtol=0, atol=0, equal_nan=True, msg=s)
            average = opt.state[p]["ema"]
            torch.testing.assert_close(average, torch.from_numpy(averages[i]), rtol=0, atol=0, equal_nan=True)


@every_half
def test_zero_gradients_change_no_number_and_ties_are_rounded_to_even(half: str, torch: Any) -> None:
    """All 65,536 numbers of the dtype are tested. In the first step, the gradients are zero.

    In the second step, the result before rounding is usually halfway between two neighbouring numbers of the dtype.
    """
    dtype = getattr(torch, half)
    numbers = torch.arange(65536, dtype=torch.int32).to(torch.uint16).view(dtype)
    for machine in (("v2", "threads", 1), (fs.isa(), "threads", 2)):
        p = numbers.clone().requires_grad_()
        p.grad = torch.zeros_like(numbers)
        with running(machine):
            ours("SGD")([p], lr=1.0).step()
            torch.testing.assert_close(p.detach(), numbers, rtol=0, atol=0, equal_nan=True)
            p.grad = torch.nextafter(numbers, torch.full_like(numbers, float("inf"))) - numbers
            ours("SGD")([p], lr=0.5).step()
        want = (numbers.float() - 0.5 * p.grad.float()).to(dtype)
        torch.testing.assert_close(p.detach(), want, rtol=0, atol=0, equal_nan=True)


@every_half
@every_shared_optimizer
def test_loss_curves_of_200_steps_agree_with_torch(name: str, half: str, torch: Any) -> None:
    """A model is trained three times: by our optimizer in 16 bits, by torch's in 16 bits, and by torch's in float32.

    `rounding` is the difference between the losses of torch's two trainings. `unit` is the distance between two
    neighbouring numbers of the 16-bit dtype in the range from 0.5 to 1. The mean difference between our losses and
    those of each training of torch may be at most the mean of `rounding` plus `unit`. No loss of ours may differ from
    torch's loss in float32 by more than the maximum of `rounding` plus 4 times `unit`.
    """
    dtype = getattr(torch, half)
    unit = torch.finfo(dtype).eps / 2
    data = batches(200, dtype)
    for options in shared_options(name):
        if "eps" in fs.optim.registry[name].options:
            options = {"eps": 1e-3, **options}  # 1e-8 is 0 in float16
        model = network(dtype)
        curves = []
        for cls, form, kind in ((ours, {}, dtype), (theirs, {"foreach": False}, dtype), (theirs, {}, torch.float32)):
            twin = copy.deepcopy(model).to(kind)
            curve = train(
                twin, cls(name)(twin.parameters(), **options, **form), [(x.to(kind), y.to(kind)) for x, y in data]
            )
            curves.append(np.array(curve))
        mine, torchs, exact = curves
        rounding = np.abs(torchs - exact)
        assert np.abs(mine - torchs).mean() <= rounding.mean() + unit, options
        assert np.abs(mine - exact).mean() <= rounding.mean() + unit, options
        assert np.abs(mine - exact).max() <= rounding.max() + 4 * unit, options
        assert torchs[0] - torchs[-1] > 4 * unit, "the loss must fall, because otherwise this test proves nothing"


@every_half
def test_losses_of_torchs_fused_adam_equal_ours(half: str, torch: Any) -> None:
    """Torch's fused Adam and AdamW also compute in float32. So the losses are equal, bit for bit."""
    dtype = getattr(torch, half)
    for name in ("Adam", "AdamW"):
        curves = []
        for cls, form in ((ours, {}), (theirs, {"fused": True})):
            model = network(dtype)
            curves.append(train(model, cls(name)(model.parameters(), eps=1e-3, **form), batches(50, dtype)))
        assert curves[0] == curves[1]


@every_half
def test_torchs_fused_sgd_leaves_elements_of_16_bit_tensors_unchanged(half: str, torch: Any) -> None:
    """Our step changes all 64 elements of the tensor. Torch's step changes fewer; see pytorch#191763."""
    moved = {}
    for cls, form in ((ours, {}), (theirs, {"fused": True})):
        p = torch.ones(64, dtype=getattr(torch, half), requires_grad=True)
        p.grad = torch.ones_like(p)
        cls("SGD")([p], lr=0.5, **form).step()
        moved[cls] = int((p != 1).sum())
    assert moved[ours] == 64
    assert moved[theirs] < 64, "torch has corrected this error; write this in docs/torch.md"


def test_one_optimizer_can_have_parameters_of_several_dtypes(torch: Any) -> None:
    """The norm for clipping is over the gradients of all parameters.

    The momentum has the dtype of its parameter. The moving average of a parameter is always float32.
    """
    dtypes = (torch.float32, torch.bfloat16, torch.float16)
    params = [torch.ones(1000, dtype=d, requires_grad=True) for d in dtypes]
    for p in params:
        p.grad = torch.full_like(p, 2.0)
    opt = ours("SGD")(params, lr=1.0, momentum=0.9, clip_norm=1.0, ema_decay=0.5)
    opt.step()
    norm = 2 * np.sqrt(3000)
    assert opt.grad_norm == pytest.approx(norm)
    for p in params:
        assert opt.state[p]["momentum_buffer"].dtype is p.dtype and opt.state[p]["ema"].dtype is torch.float32
        torch.testing.assert_close(p.detach().float(), torch.full((1000,), 1 - 2 / norm), rtol=5e-3, atol=0)
