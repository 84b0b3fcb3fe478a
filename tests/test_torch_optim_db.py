"""With torch's own test inputs, fusedstep's optimizers give the same results and errors as torch's optimizers."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from typing import Any

import pytest

from support.torch_cases import SHARED, backward, batches, network, ours, theirs

pytestmark = pytest.mark.torch
every_optimizer_of_torch = pytest.mark.parametrize("name", [*SHARED, "Adafactor", "Muon", "SparseAdam"])


@pytest.fixture(autouse=True)
def one_thread(torch: Any) -> Iterator[None]:
    """Run each test with one thread of torch, because the networks are small and the machine may be busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def database() -> dict[str, Any]:
    """Return a dict from the name of an optimizer to torch's test inputs for this optimizer."""
    if not os.environ.get("FUSEDSTEP_REQUIRE_PEERS"):
        pytest.importorskip("expecttest", reason="torch.testing needs the package expecttest")
    from torch.testing._internal.common_optimizers import optim_db

    return {info.name: info for info in optim_db}


@every_optimizer_of_torch
def test_ten_steps_with_every_set_of_options_agree_with_torch(name: str, torch: Any, database: dict[str, Any]) -> None:
    inputs = database[name].optim_inputs_func(device="cpu")
    assert inputs
    more = {"ns_dtype": torch.bfloat16} if name == "Muon" else {}  # the dtype of torch's Newton-Schulz iterations
    for case in inputs:
        models = [network(torch.float64)]
        models.append(copy.deepcopy(models[0]))
        mine, reference = ([p for p in m.parameters() if name != "Muon" or p.ndim == 2] for m in models)
        optimizers = [ours(name)(mine, **case.kwargs, **more), theirs(name)(reference, **case.kwargs)]
        for batch in batches(10, torch.float64):
            for model, optimizer in zip(models, optimizers, strict=True):
                optimizer.zero_grad()
                backward(model, batch)
                if name == "SparseAdam":
                    for p in model.parameters():
                        p.grad = p.grad.to_sparse(1)
                optimizer.step()
        for p, want in zip(mine, reference, strict=True):
            # If lr is a tensor, torch's Muon and SparseAdam compute with lr in the dtype of this tensor.
            rtol = 1e-5 if name in ("Muon", "SparseAdam") and isinstance(case.kwargs.get("lr"), torch.Tensor) else 1e-10
            torch.testing.assert_close(p, want, rtol=rtol, atol=rtol / 100, msg=case.desc)


@every_optimizer_of_torch
def test_mistakes_that_torch_refuses_are_refused(name: str, torch: Any, database: dict[str, Any]) -> None:
    """If torch only warns of a mistake, fusedstep must give the same warning."""
    from torch.testing._internal.common_optimizers import OptimizerErrorEnum

    cases = database[name].optim_error_inputs_func(device="cpu", dtype=torch.float32)
    assert cases
    for case in cases:
        given = case.optimizer_error_input
        params = [torch.nn.Parameter(torch.randn(2, 3))] if given.params is None else given.params
        if case.error_type is UserWarning:
            with pytest.warns(UserWarning, match=case.error_regex):
                ours(name)(params, **given.kwargs)
        elif case.error_on is OptimizerErrorEnum.CONSTRUCTION_ERROR:
            with pytest.raises(case.error_type, match=case.error_regex):
                ours(name)(params, **given.kwargs)
        else:
            with pytest.raises(case.error_type, match=case.error_regex):
                ours(name)(params, **given.kwargs).step()
