"""Turn a fitted estimator into plain data and back, for pickle, copy and skops."""

from __future__ import annotations

from typing import Any

from .. import nn, optim
from ..nn.saving import described_network, network_of
from ..ops.philox import Philox
from ..schedules import annealing, decay, plateau
from ..stopping import EarlyStopping
from ._solver import frozen, make_snapshots, thawed

State = dict[str, Any]
SCHEDULES: dict[str, Any] = {
    name: cls
    for module in (annealing, decay, plateau)
    for name, cls in vars(module).items()
    if isinstance(cls, type) and cls.__module__ == module.__name__
}
REMADE = ("_model", "_models", "_optimizer", "_loss", "_philox", "_stopping", "_snapshots")


def packed(state: State) -> State:
    """Return the attributes `state` of an estimator, with plain data in place of this package's objects."""
    if "_model" not in state:
        return state
    model, optimizer, philox = state["_model"], state["_optimizer"], state["_philox"]
    stopping, snapshots = state.get("_stopping"), state["_snapshots"]
    others = [] if snapshots else [m for m in state["_models"] if m is not model]
    plain = {
        "network": _network(model),
        "predicts": [_network(other) for other in others],
        "optimizer": None if optimizer is None else _named(frozen(optimizer)),
        "philox": None if philox is None else philox.state_dict(),
        "stopping": None if stopping is None else _stopping(stopping),
        "snapshots": None if snapshots is None else [_network(member) for member in snapshots],
    }
    return {name: value for name, value in state.items() if name not in REMADE} | {"_plain": plain}


def unpack(estimator: Any) -> None:
    """Make the objects of an estimator again from the plain data that `packed` returned."""
    plain = estimator.__dict__.pop("_plain", None)
    if plain is None:
        return
    model = estimator._model = _model(plain["network"])
    frozen_optimizer = plain["optimizer"]
    estimator._optimizer = None if frozen_optimizer is None else thawed(_classed(frozen_optimizer), model)
    estimator._philox = None if plain["philox"] is None else Philox(0)
    if estimator._philox is not None:
        estimator._philox.load_state_dict(plain["philox"])
    if plain["stopping"] is not None:
        estimator._stopping = _stopped(plain["stopping"], model)
    estimator._snapshots = None
    if plain["snapshots"] is not None:
        estimator._snapshots = make_snapshots(estimator, model, estimator._optimizer)
        assert estimator._snapshots is not None
        estimator._snapshots.put([_model(member) for member in plain["snapshots"]])
    others = [_model(other) for other in plain["predicts"]]
    estimator._models = list(estimator._snapshots or others or [model])
    estimator._loss = estimator._make_loss()


def _network(model: nn.Sequential) -> State:
    return {**described_network(model), "weights": model.state_dict()}


def _model(plain: State) -> nn.Sequential:
    return network_of(plain, plain["weights"])


def _named(known: State) -> State:
    """Return the data `known` of an optimizer, with plain data in place of objects.

    A registered class is replaced by its name, and a schedule by a dict. If another group has the same schedule object
    as the first group, the entry "lr" of that other group is left out.
    """
    cls: Any = known["class"]
    first, *others = known["options"]
    shared = [{k: v for k, v in other.items() if k != "lr" or v is not first["lr"]} for other in others]
    options = [first | {"lr": _plain(first["lr"])}, *shared]
    name = str(cls.__name__)
    return known | {"class": name if optim.registry.get(name) is cls else cls, "options": options}


def _classed(known: State) -> State:
    cls: Any = known["class"]
    first, *others = known["options"]
    first = first | {"lr": _alive(first["lr"])}
    options = [first, *({"lr": first["lr"], **other} for other in others)]
    return known | {"class": optim.registry[cls] if isinstance(cls, str) else cls, "options": options}


def _plain(value: Any) -> Any:
    if SCHEDULES.get(type(value).__name__) is not type(value):
        return value
    return {"schedule": type(value).__name__, "attributes": {k: _plain(v) for k, v in vars(value).items()}}


def _alive(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    made = object.__new__(SCHEDULES[value["schedule"]])
    made.__dict__.update({k: _alive(v) for k, v in value["attributes"].items()})
    return made


def _stopping(stopping: EarlyStopping) -> State:
    options = {"patience": stopping.patience, "mode": stopping.mode, "tol": stopping.tol}
    return {"options": options, "seen": stopping.state_dict(), "best_weights": stopping.best_weights}


def _stopped(plain: State, model: nn.Sequential) -> EarlyStopping:
    kept = plain["best_weights"]
    stopping = EarlyStopping(model if isinstance(kept, dict) else [], **plain["options"])
    stopping.load_state_dict(plain["seen"], kept)
    return stopping
