"""With torch's GradScaler, the step divides the gradients by the scale of the loss.

If a gradient is inf or nan, the step is skipped.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from support.torch_cases import batches, every_optimizer, every_shared_optimizer, network, ours, theirs


def scaled_run(
    cls: type, spoiled: tuple[int, ...], unscale: bool, **options: Any
) -> tuple[list[float], list[Any], Any]:
    """Train a network with an optimizer of the class `cls` and a GradScaler.

    In the batches whose numbers are in `spoiled`, one element of a gradient is set to inf or nan, and the step is
    skipped. If `unscale` is True, `unscale_` divides the gradients by the scale, and then they are clipped. Otherwise
    the step divides them.

    Return the losses, the state dicts of model and optimizer before and after each skipped step, and the last scale.
    """
    import torch

    model = network()
    opt = cls(model.parameters(), **options)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=5)
    losses, kept = [], []
    for k, (x, y) in enumerate(batches(12)):
        opt.zero_grad()
        loss = (model(x) - y).square().mean()
        scaler.scale(loss).backward()
        losses.append(loss.item())
        if k in spoiled:
            model[2].weight.grad[3, 3] = float("inf" if k % 2 else "nan")
        if unscale:
            scaler.unscale_(opt)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        before = copy.deepcopy((model.state_dict(), opt.state_dict()))
        scaler.step(opt)
        if k in spoiled:
            kept.append((before, copy.deepcopy((model.state_dict(), opt.state_dict()))))
        scaler.update()
        # `scaler.step` sets these attributes for the optimizer's step, and then deletes them
        assert not hasattr(opt, "found_inf") and not hasattr(opt, "grad_scale")
    return losses, kept, scaler.get_scale()


@pytest.mark.parametrize("unscale", [False, True], ids=["the step divides", "unscale_ divides"])
@every_shared_optimizer
def test_losses_with_grad_scaler_agree_with_those_of_torchs_optimizer(name: str, unscale: bool, torch: Any) -> None:
    got, want = (scaled_run(side(name), (0, 3, 4), unscale) for side in (ours, theirs))
    np.testing.assert_allclose(got[0], want[0], rtol=0, atol=1e-5)
    assert got[2] == want[2], "the last scale must be the same as with torch's optimizer"


@every_optimizer
def test_a_skipped_step_changes_no_parameter_and_no_state(name: str, torch: Any) -> None:
    _, kept, _ = scaled_run(ours(name), (0, 3, 4), False, ema_decay=0.9, zero_grads=True)
    assert len(kept) == 3
    for (weights, saved), (weights_after, saved_after) in kept:
        assert all(torch.equal(w, weights_after[k]) for k, w in weights.items())
        assert saved["state"].keys() == saved_after["state"].keys()
        for k, entry in saved["state"].items():
            for key, value in entry.items():
                after = saved_after["state"][k][key]
                assert after is value or torch.equal(after, value), key


def test_clip_norm_uses_the_norm_of_the_unscaled_gradients(torch: Any) -> None:
    """Two parameters are compared. The gradient and the `grad_scale` of the second are 4096 times as large."""
    params = [torch.ones(300, requires_grad=True) for _ in range(2)]
    for p, scale in zip(params, (1.0, 4096.0), strict=True):
        opt = ours("SGD")([p], lr=1.0, clip_norm=1.0)
        p.grad = torch.full((300,), 3.0) * scale
        opt.grad_scale, opt.found_inf = torch.tensor(scale), torch.tensor(0.0)
        opt.step()
        assert opt.grad_norm == pytest.approx(3 * np.sqrt(300))
    assert torch.equal(*params) and (params[0] != 1).all()


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_grad_scale_that_is_zero_negative_nan_or_inf_is_refused(scale: float, torch: Any) -> None:
    p = torch.ones(3, requires_grad=True)
    p.grad = torch.ones(3)
    opt = ours("SGD")([p], lr=1.0)
    opt.grad_scale, opt.found_inf = torch.tensor(scale), torch.tensor(0.0)
    with pytest.raises(ValueError, match=r"SGD\.step: grad_scale must be finite and above 0; got "):
        opt.step()
    assert (p == 1).all()
