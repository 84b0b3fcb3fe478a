"""AdamW."""

from __future__ import annotations

from .._base import checks
from ._options import Option
from .adam import Adam


class AdamW(Adam):
    r"""Adam with decoupled weight decay: the decay is not divided by the second moment.

    ::

        p = p * (1 - lr * weight_decay)
        p = Adam's step without decay

    Notes
    -----
    Loshchilov and Hutter (2019). Same as ``torch.optim.AdamW``.

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

    weight_decay = Option(0.01, checks.non_negative, "Strength of the decay.")
    decay = Option("decoupled", checks.decay_form, "How weight decay and L1 act; see `Optimizer`.", by_name=True)
