"""A user's script for two type checkers, mypy and pyright. Both checkers must accept it.

The last lines contain mistakes, each with an "ignore" comment for both checkers. The checkers report an "ignore"
comment if its line has no error. So this file also shows that both checkers find every mistake.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

import fusedstep as fs
from fusedstep import Adam, StepInfo, dropout, nn
from fusedstep.nn import ReLU, Sequential
from fusedstep.nn.activations import Tanh
from fusedstep.optim import AdamW, Optimizer, registry
from fusedstep.torch import Adam as Fused

Array = npt.NDArray[np.float32]
w: Array = np.ones(3, np.float32)

# Every optimizer, with common options and with its own options.
rate: Callable[[int], float] = fs.schedules.cosine(0.1, total_steps=10)
optimizers: list[fs.optim.Optimizer] = [
    fs.Adadelta([w], rho=0.8),
    fs.Adagrad([w], 0.1, lr_decay=0.01),
    fs.Adam({"w": w}, lr=rate, betas=(0.8, 0.99), amsgrad=True, eps_hat=True),
    fs.AdamW([{"params": [w], "lr": 0.3}], weight_decay=0.1, decay="proximal"),
    fs.Lion([w], ema_decay=0.9, num_threads=None),
    fs.NAG([w], momentum=0.5, maximize=True),
    fs.RMSprop([w], centered=True, l1=0.1),
    fs.SGD([w], momentum=0.9, nesterov=True),
]
info: fs.StepInfo = optimizers[0].step([w], clip_norm=1.0)
norm: float | None = info.grad_norm
with fs.NAG([w]).lookahead():
    pass

# The checkers know every public name, for all kinds of imports.
imported: list[Any] = [Adam, AdamW, Fused, Optimizer, ReLU, Sequential, StepInfo, Tanh, dropout, nn, registry]
modules: list[Any] = [fs.augment, fs.ensemble, fs.init, fs.inspect, fs.nn, fs.ops, fs.optim, fs.schedules, fs.search]
modules += [fs.stopping, fs.sklearn, fs.torch]
key: fs.Key = fs.Philox(0).key()
dropped: Any = fs.dropout(w, 0.5, key)
statistics = fs.BatchStats()
model = fs.nn.Sequential(fs.nn.Linear(3, 4), fs.nn.ReLU(), fs.nn.Linear(4, 2), rng=0)
trainer = fs.nn.Trainer(model, fs.nn.SoftmaxNLL(), fs.AdamW(model.params))
stopping = fs.stopping.EarlyStopping(model, patience=3)
classifier = fs.sklearn.MLPClassifier((8,), dropout=0.1)
drop_in = fs.torch.AdamW([], lr=0.1, clip_norm=1.0)
layer = fs.torch.BatchNorm2d(3)
version: str = fs.__version__

# Mistakes.
fs.Adam([w], lr="fast")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
fs.Adam([w], nonsense=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
fs.AdamW([w], decay="L2")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
fs.SGD([w], betas=(0.9, 0.99))  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
fs.droput(w, 0.5, key)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
fs.nn.Sequental()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
fs.schedules.cosin(0.1, 10)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
fs.torch.AdmW([])  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
optimizers[0].step([w], clip_norms=1.0)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
