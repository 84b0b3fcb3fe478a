"""Parameters and an optimizer that a test changes during or between steps."""

from __future__ import annotations

from typing import Any

from .snapshots import right_or_refused
from .torch_cases import ours, theirs

LARGE = 1 << 20  # elements; when an array of this size is freed, its memory is returned to the system


class World:
    """Parameters with gradients, and an optimizer of fusedstep for these parameters."""

    def __init__(self, kind: str = "Adam", sizes: tuple[Any, ...] = ((4, 3), (5,)), **options: Any) -> None:
        import torch

        self.torch = torch
        torch.set_num_threads(1)
        torch.manual_seed(0)
        self.kind = kind
        self.params = [torch.nn.Parameter(torch.randn(size)) for size in sizes]
        self.opt = ours(kind)(self.params, lr=0.1, **options)
        self.set_gradients()

    def set_gradients(self) -> None:
        """Set new random gradients of all parameters."""
        for p in self.params:
            p.grad = self.torch.randn_like(p)

    @property
    def state(self) -> Any:
        """The state of the first parameter."""
        return self.opt.state[self.params[0]]

    def step(self, *words: str) -> bool:
        """Take a step. Return True if the step was taken, and False if it was refused; see `right_or_refused`."""
        return right_or_refused(self.opt.step, *words)

    def expected(self) -> list[Any]:
        """Return the parameters after a step of torch's optimizer with the current parameters, gradients and states."""
        groups = []
        twins: dict[Any, Any] = {}
        for group in self.opt.param_groups:
            rate = float(group["lr"])
            for p in group["params"]:
                twins[p] = p.detach().resolve_neg().clone().requires_grad_()
                twins[p].grad = None if p.grad is None else p.grad.detach().clone()
            groups.append({"params": [twins[p] for p in group["params"]], "lr": rate})
        opt = theirs(self.kind)(groups, foreach=False)
        for p, entry in self.opt.state.items():
            if p in twins and entry:
                opt.state[twins[p]] = {k: v.clone() for k, v in entry.items() if k != "ema"}
        opt.step()
        return [twins[p].detach() for group in self.opt.param_groups for p in group["params"]]

    def goes_on(self) -> Any:
        """Set the learning rates to 0.1, and assert that the next two steps agree with steps of torch's optimizer.

        If the optimizer has no parameters, take one step and compare nothing.
        """
        for group in self.opt.param_groups:
            group["lr"] = 0.1
        for _ in range(2):
            self.set_gradients()
            if not any(group["params"] for group in self.opt.param_groups):
                return self.opt.step()
            want = self.expected()
            self.opt.step()
            got = [p.detach() for group in self.opt.param_groups for p in group["params"]]
            for a, b in zip(got, want, strict=True):
                self.torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
