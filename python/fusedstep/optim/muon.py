"""Muon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._base import checks
from .._base.arrays import Array
from . import _orthogonal
from ._directions import Directed, Moved
from ._options import Option
from ._params import Entry
from ._reference import average, power, square_ema


class Muon(Directed):
    r"""Muon updates matrices by their orthogonalised momentum, and other parameters by AdamW.

    ::

        buf = buf + (1 - momentum) * (g - buf)
        x = g + momentum * (buf - g)  if nesterov else  buf              (a matrix: all axes after the first are merged)
        x = x / max(norm(x), eps)
        x = a * x + (b * x x^T + c * (x x^T)^2) x                        (this line is computed ns_steps times)
        p = p * (1 - lr * weight_decay)
        p = p - lr * sqrt(max(1, rows / columns)) * x                    (adjust_lr_fn=None or "original")
        p = p - lr * 0.2 * sqrt(max(rows, columns)) * x                  (adjust_lr_fn="match_rms_adamw")

    p is the parameter, g its gradient, and x a matrix with the shape (rows, columns). a, b and c are `ns_coefficients`.
    norm(x) is the root of the sum of all squared elements, x^T is the transpose, and x x^T is a product of matrices.

    Use Muon for the matrices of hidden layers, including the kernels of convolutions. Put embeddings, output layers,
    biases, and the gains of normalisation layers into a group with ``adamw=True``. AdamW updates the parameters of such
    a group, with `betas` and `adamw_eps`. If a group does not set `adamw`, AdamW updates its vectors (parameters
    with fewer than two axes). If the group also has matrices, the vectors are moved to a new group with ``adamw=True``,
    at the end of `groups`.

    Notes
    -----
    Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024); Liu et al., "Muon is scalable for
    LLM training" (2025), for "match_rms_adamw". The algorithm is that of ``torch.optim.Muon``, except that torch
    iterates in bfloat16. Here NumPy computes the products in the dtype of the parameter, or in float32 for 16-bit
    parameters. The bits of NumPy's products may differ between machines. Clipping and `grad_scale` change g before x is
    computed. L1 and `maximize` are applied after x is computed. States: ``momentum_buffer`` (buf). With AdamW,
    ``momentum_buffer`` is the first moment, and ``exp_avg_sq`` the second moment.

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> params = {"w": np.eye(3), "b": np.zeros(3)}
    >>> opt = fs.Muon(params, lr=0.1, weight_decay=0.0)
    >>> [group["adamw"] for group in opt.groups]
    [False, True]
    >>> info = opt.step({"w": np.diag([3.0, 2.0, 1.0]), "b": np.ones(3)})
    >>> params["b"].round(6)
    array([-0.1, -0.1, -0.1])
    """

    rule = "muon"
    for_small_networks = {"lr": 0.01}

    lr = Option(0.001, checks.rate, "Learning rate.")
    weight_decay = Option(0.1, checks.non_negative, "Strength of the weight decay.")
    momentum = Option(0.95, checks.fraction, "Decay of buf, at least 0 and below 1.")
    nesterov = Option(True, checks.flag, "True uses Nesterov's momentum.")
    ns_coefficients = Option((3.4445, -4.775, 2.0315), checks.three_numbers, "a, b and c in the formulas above.")
    eps = Option(1e-07, checks.non_negative, "Lower limit of the norm by which x is divided.")
    ns_steps = Option(5, checks.iterations, "Number of iterations, below 100, of the formula with a, b and c.")
    adjust_lr_fn = Option(None, checks.rate_adjustment, "How the rate depends on the shape; see the formulas above.")
    adamw = Option(False, checks.flag, "True updates the parameters with AdamW.", by_name=True)
    betas = Option((0.9, 0.999), checks.betas, "beta1 and beta2 of AdamW.", by_name=True)
    adamw_eps = Option(1e-08, checks.non_negative, "Keeps AdamW's denominator above 0.", by_name=True)
    decay = Option("decoupled", checks.decay_form, "Form of weight decay and L1; see `Optimizer`.", by_name=True)

    @classmethod
    def _regrouped(cls, entries: list[Entry], groups: list[dict[str, Any]], values: Mapping[str, Any]) -> list[Entry]:
        return _orthogonal.vectors_apart(cls.__name__, entries, groups, values["adamw"])

    def _directs(self, k: int) -> bool:
        return not self._groups[self._group_of[k]]["adamw"]

    def _direction(self, k: int, g: Array, t: int, rows: Array | None) -> tuple[list[Moved], Array]:
        buffer = self._state[self._keys[k]]["momentum_buffer"]
        moved, direction = _orthogonal.direction(g, buffer, self._groups[self._group_of[k]])
        return [Moved(buffer, ..., moved)], direction

    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        """Return the new parameters; see `Optimizer.reference`.

        Without AdamW, g is the orthogonalised momentum, multiplied by the factor that `adjust_lr_fn` chooses.
        """
        c = p.dtype.type
        if "exp_avg_sq" not in state:
            return p - c(lr) * g
        beta1, beta2 = group["betas"]
        m, v = state["momentum_buffer"], state["exp_avg_sq"]
        m[...] = average(m, g, beta1)
        v[...] = square_ema(v, g, beta2)
        debias = c(1.0 / np.sqrt(1.0 - power(beta2, t)))
        return p - c(lr / (1.0 - power(beta1, t))) * m / (np.sqrt(v) * debias + c(group["adamw_eps"]))
