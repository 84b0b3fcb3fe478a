"""fusedstep's optimizers work in Lightning, Hugging Face's tools, Stable-Baselines3, skorch and torch.compile."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import pytest

import fusedstep as fs
from support.integrations import package

# Warnings of these packages are not errors.
pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.thread_unsafe]

NAMES = [name for name, cls in fs.optim.registry.items() if cls.element_wise]


@pytest.fixture
def ft(torch: Any) -> Any:
    import fusedstep.torch

    return fusedstep.torch


def rows(torch: Any, n: int = 32) -> Any:
    """Return n rows of inputs, and their targets."""
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(0))
    return x, x.sum(1, keepdim=True)


def fit_with_lightning(torch: Any, make: Any, precision: str) -> Any:
    """Train a small model with Lightning, and return its weights. `make` makes the optimizer from the parameters."""
    lightning = package("lightning")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Model(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))

        def training_step(self, batch: Any, number: int) -> Any:
            return torch.nn.functional.mse_loss(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return make(self.parameters())

    options: dict[str, Any] = {"precision": precision}
    if precision == "16-mixed":
        from lightning.pytorch.plugins import MixedPrecision

        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**20)  # so large that the scaler skips the first steps
        options = {"plugins": [MixedPrecision("16-mixed", "cpu", scaler)]}
    torch.manual_seed(0)
    model = Model()
    batches = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*rows(torch)), batch_size=8)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = lightning.Trainer(
        max_epochs=3, accelerator="cpu", gradient_clip_val=0.1, enable_model_summary=False, **quiet, **options
    )
    trainer.fit(model, batches)
    return [p.detach() for p in model.parameters()]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
@pytest.mark.parametrize(("name", "options"), [("SGD", {"momentum": 0.9}), ("AdamW", {})])
def test_weights_trained_by_lightning_agree_with_those_of_torchs_optimizer(
    torch: Any, ft: Any, precision: str, name: str, options: dict[str, Any]
) -> None:
    trained = [
        fit_with_lightning(torch, lambda p, cls=cls: cls(p, lr=0.02, **options), precision)
        for cls in (getattr(ft, name), getattr(torch.optim, name))
    ]
    for ours, theirs in zip(*trained, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_only_steps_of_float16_parameters_support_amp_scaling(torch: Any, ft: Any) -> None:
    """If `_step_supports_amp_scaling` is True, the step, not GradScaler, divides the gradients by the loss scale."""
    for dtype, by_step in ((torch.float32, False), (torch.bfloat16, False), (torch.float16, True)):
        opt = ft.AdamW([torch.nn.Parameter(torch.ones(2, dtype=dtype))], fused=True)
        assert opt._step_supports_amp_scaling is by_step


def bert(torch: Any) -> Any:
    transformers = package("transformers")
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    return transformers.BertForSequenceClassification(
        transformers.BertConfig(vocab_size=20, max_position_embeddings=8, **sizes)
    )


def fit_with_hugging_face(torch: Any, model: Any, optimizer: Any, folder: Path, resume: bool = False) -> Any:
    transformers = package("transformers")
    package("accelerate")
    ids = torch.randint(1, 20, (16, 8), generator=torch.Generator().manual_seed(0))
    data = [{"input_ids": row, "attention_mask": torch.ones_like(row), "labels": (row[0] > 9).long()} for row in ids]
    arguments = transformers.TrainingArguments(
        str(folder), max_steps=4, per_device_train_batch_size=4, use_cpu=True, report_to=[], disable_tqdm=True,
        save_steps=2, logging_steps=100,
    )  # fmt: skip
    trainer = transformers.Trainer(model=model, args=arguments, train_dataset=data, optimizers=(optimizer, None))
    trainer.train(resume_from_checkpoint=str(folder / "checkpoint-2") if resume else None)
    return trainer


@pytest.mark.parametrize("name", [*NAMES, "offloaded"])
def test_hugging_faces_trainer_trains_and_resumes(torch: Any, ft: Any, name: str, tmp_path: Path) -> None:
    """Training that resumes after two of four steps ends with exactly the weights of uninterrupted training."""

    def fit(resume: bool) -> Any:
        model = bert(torch)
        if name == "offloaded":
            optimizer = ft.OffloadedOptimizer(ft.AdamW, model, lr=1e-3)
        else:
            optimizer = getattr(ft, name)(model.parameters(), lr=1e-3, clip_norm=1.0, ema_decay=0.9)
        return fit_with_hugging_face(torch, model, optimizer, tmp_path, resume)

    whole, resumed = fit(False), fit(True)
    before = bert(torch).state_dict()
    after, again = whole.model.state_dict(), resumed.model.state_dict()
    assert any(not torch.equal(after[key], before[key]) for key in after)
    assert all(torch.equal(after[key], again[key]) for key in after)
    if name != "offloaded":
        assert whole.optimizer.optimizer.grad_norm > 0, "the Trainer's wrapper must contain our optimizer"
        with whole.optimizer.optimizer.averaged():
            pass


def test_fusedsteps_and_torchs_adamw_give_close_weights_in_hugging_faces_trainer(
    torch: Any, ft: Any, tmp_path: Path
) -> None:
    states = []
    for cls in (ft.AdamW, torch.optim.AdamW):
        model = bert(torch)
        fit_with_hugging_face(torch, model, cls(model.parameters(), lr=1e-3), tmp_path / cls.__module__)
        states.append(model.state_dict())
    for key, value in states[0].items():
        torch.testing.assert_close(value, states[1][key], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [*NAMES, "offloaded"])
def test_the_package_accelerate_of_hugging_face_can_prepare_save_and_load_optimizers(
    torch: Any, ft: Any, name: str, tmp_path: Path
) -> None:
    """The step after the load gives exactly the same weights as the step after the save."""
    accelerator = package("accelerate").Accelerator(cpu=True)
    model = torch.nn.Linear(4, 1)
    made = (
        ft.OffloadedOptimizer(ft.AdamW, model)
        if name == "offloaded"
        else getattr(ft, name)(model.parameters(), lr=0.01)
    )
    model, optimizer = accelerator.prepare(model, made)
    x, y = rows(torch)

    def step() -> None:
        optimizer.zero_grad()
        accelerator.backward(torch.nn.functional.mse_loss(model(x), y))
        optimizer.step()

    step()
    accelerator.save_state(str(tmp_path))
    step()
    after = [p.detach().clone() for p in model.parameters()]
    accelerator.load_state(str(tmp_path))
    step()
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), after, strict=True))


@pytest.mark.parametrize("name", list(fs.optim.registry))
@pytest.mark.parametrize("stepped", [False, True])
def test_an_offloaded_optimizer_loads_its_own_state(torch: Any, ft: Any, name: str, stepped: bool) -> None:
    """The step after the load gives exactly the same weights as the step after the save.

    A state with a tensor of a wrong shape is refused, and the refused load does not change the weights.
    """
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2, bias=False, dtype=torch.bfloat16)  # without bias, because Muon needs matrices
    opt = ft.OffloadedOptimizer(getattr(ft, name), model, lr=0.1)

    def step() -> None:
        opt.zero_grad()
        model(torch.ones(4, 3, dtype=torch.bfloat16)).sum().backward()
        opt.step()

    if stepped:
        step()
    saved = copy.deepcopy((model.state_dict(), opt.state_dict()))
    step()
    after = [p.detach().clone() for p in model.parameters()]
    model.load_state_dict(saved[0])
    opt.load_state_dict(saved[1])
    step()
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), after, strict=True))
    saved[1]["state"][0] = {**saved[1]["state"].get(0, {}), "master": torch.zeros(5)}
    with pytest.raises(ValueError, match=r"'master'\] must be a tensor of shape \(2, 3\); got torch.float32 \(5,\)"):
        opt.load_state_dict(saved[1])
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), after, strict=True))


def test_offloaded_sgd_gives_exactly_the_same_weights_as_plain_sgd(torch: Any, ft: Any) -> None:
    """The training loop calls the model's `zero_grad`, not the optimizer's. Each step follows two backward passes."""
    results = []
    for offloaded in (True, False):
        torch.manual_seed(0)
        model = torch.nn.Linear(4, 1)
        opt = ft.OffloadedOptimizer(ft.SGD, model, lr=0.1) if offloaded else ft.SGD(model.parameters(), lr=0.1)
        x, y = rows(torch)
        for _ in range(3):
            for part in (slice(0, 16), slice(16, 32)):  # the gradients of the two passes are added
                torch.nn.functional.mse_loss(model(x[part]), y[part]).backward()
            opt.step()
            model.zero_grad()
        results.append([p.detach().clone() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_fusedsteps_and_torchs_rmsprop_give_close_weights_in_stable_baselines(torch: Any, ft: Any) -> None:
    baselines = package("stable_baselines3")
    trained = []
    for cls in (ft.RMSprop, torch.optim.RMSprop):
        policy = {"optimizer_class": cls, "optimizer_kwargs": {"eps": 1e-5, "alpha": 0.99}, "net_arch": [8]}
        agent = baselines.A2C("MlpPolicy", "CartPole-v1", policy_kwargs=policy, n_steps=8, seed=0, device="cpu")
        trained.append([p.detach() for p in agent.learn(48).policy.parameters()])
    for ours, theirs in zip(*trained, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_fusedsteps_and_torchs_adamw_give_close_weights_in_skorch(torch: Any, ft: Any) -> None:
    skorch = package("skorch")
    x, y = rows(torch)
    trained = []
    for cls in (ft.AdamW, torch.optim.AdamW):
        torch.manual_seed(0)
        module = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
        net = skorch.NeuralNetRegressor(module, optimizer=cls, lr=0.02, max_epochs=4, batch_size=8, verbose=0,
                                        optimizer__weight_decay=0.1, train_split=None)  # fmt: skip
        trained.append([p.detach() for p in net.fit(x.numpy(), y.numpy()).module_.parameters()])
    for ours, theirs in zip(*trained, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"clip_norm": 0.5, "ema_decay": 0.9}, {"zero_grads": True}])
@pytest.mark.filterwarnings("ignore")  # torch's compiler gives warnings
def test_step_and_zero_grad_each_break_a_compiled_graph_once(torch: Any, ft: Any, options: dict[str, Any]) -> None:
    """The breaks at `backward` are not counted. The losses of compiled and uncompiled steps agree."""
    from torch._dynamo.utils import counters

    x, y = rows(torch)

    def run(compiled: bool) -> tuple[list[float], int]:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
        opt = ft.AdamW(model.parameters(), lr=0.02, **options)

        def step(x: Any, y: Any) -> Any:
            if not options.get("zero_grads"):
                opt.zero_grad()
            loss = torch.nn.functional.mse_loss(model(x), y)
            loss.backward()
            opt.step()
            return loss

        torch._dynamo.reset()
        counters.clear()
        call = torch.compile(step, backend="eager") if compiled else step
        losses = [float(call(x, y)) for _ in range(5)]
        breaks = {reason: n for reason, n in counters["graph_break"].items() if "backward()" not in reason}
        return losses, sum(breaks.values())

    losses, breaks = run(compiled=True)
    assert losses == pytest.approx(run(compiled=False)[0], rel=1e-6)
    assert breaks == (1 if options.get("zero_grads") else 2)  # one for `step`, and one for `zero_grad` if it is called
    torch._dynamo.reset()
