"""Gradient descent, with and without momentum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._base import checks
from ._optimizer import Optimizer
from ._options import Option
from ._params import Array
from ._reference import term


class SGD(Optimizer):
    r"""Gradient descent with momentum, dampening and Nesterov's form, all optional.

    ::

        buf = momentum * buf + (1 - dampening) * g        (first step: buf = g)
        d   = g + momentum * buf  if nesterov else  buf   (without momentum: d = g)
        p   = p - lr * d

    p is the parameter and g its gradient.

    Notes
    -----
    Polyak (1964); Sutskever et al., "On the importance of initialization and momentum in deep learning" (2013).
    Same as ``torch.optim.SGD``, except that momentum must be below 1. States: ``momentum_buffer`` (buf).

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> w = np.array([1.0, -2.0])
    >>> opt = fs.SGD([w], lr=0.5)
    >>> _ = opt.step([2 * w])
    >>> w
    array([0., 0.])
    """

    rule = "sgd"
    takes_rows = True
    for_small_networks = {"lr": 0.1}

    lr = Option(0.001, checks.rate, "Learning rate.")
    momentum = Option(0.0, checks.fraction, "Decay of buf, at least 0 and below 1. With 0, there is no buf.")
    dampening = Option(0.0, checks.up_to_one, "A number from 0 to 1. The weight of g in buf is 1 - dampening.")
    weight_decay = Option(0.0, checks.non_negative, "Strength of weight decay. `decay` sets its form, by default L2.")
    nesterov = Option(
        False,
        checks.flag,
        "True uses Nesterov's momentum, which needs momentum above 0 and dampening 0. The parameters are then what "
        "`NAG` calls the look-ahead points.",
    )

    @classmethod
    def _variant(cls, group: Mapping[str, Any]) -> int:
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValueError(
                f"{cls.__name__}: nesterov needs momentum above 0 and dampening 0; "
                f"got momentum={group['momentum']}, dampening={group['dampening']}"
            )
        return super()._variant(group)

    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        """Return the new parameters; see `Optimizer.reference`."""
        c = p.dtype.type
        mu, gain = c(group["momentum"]), c(1.0 if t == 1 else 1.0 - group["dampening"])
        d = g
        if "momentum_buffer" in state:
            buf = state["momentum_buffer"]
            buf[...] = term(mu, buf) + term(gain, g)
            d = g + term(mu, buf) if group["nesterov"] else buf
        return p - c(lr) * d
