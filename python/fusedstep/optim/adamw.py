"""AdamW."""

from __future__ import annotations

from .._base import checks
from ._options import Option
from .adam import Adam


class AdamW(Adam):
    r"""AdamW: Adam with decoupled weight decay, which is not part of the gradient.

    ::

        p = p * (1 - lr * weight_decay)
        m = m + (1 - beta1) * (g - m)
        v = beta2 * v + (1 - beta2) * g^2
        p = p - lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)

    p is the parameter, g its gradient and t the number of the step, from 1.

    Notes
    -----
    Loshchilov and Hutter (2019). Same as ``torch.optim.AdamW``. States: ``exp_avg`` (m), ``exp_avg_sq`` (v), and
    ``max_exp_avg_sq`` with `amsgrad` (see `Adam`).

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> w = np.array([1.0, -2.0])
    >>> opt = fs.AdamW([w], lr=0.1, weight_decay=0.1)
    >>> _ = opt.step([2 * w])
    >>> w.round(6)
    array([ 0.89, -1.88])
    """

    for_small_networks = {"lr": 3e-3, "weight_decay": 0.3}

    weight_decay = Option(0.01, checks.non_negative, "Strength of the weight decay.")
    decay = Option("decoupled", checks.decay_form, "Form of weight decay and L1; see `Optimizer`.", by_name=True)
