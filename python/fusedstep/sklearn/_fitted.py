"""The attributes, predictions and pickles of a fitted estimator."""

from __future__ import annotations

import warnings
from numbers import Real
from typing import Any

import numpy as np
from scipy import sparse
from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.metrics import check_scoring
from sklearn.utils.validation import check_is_fitted, validate_data

from .. import nn, optim
from .._base.arrays import Array
from .._base.checks import whole_number
from ..ensemble import Snapshots
from ..ops.philox import Philox
from ..stopping import EarlyStopping
from ._augment import moments
from ._data import Data, outputs
from ._losses import OUTPUTS
from ._network import Views, coefs, intercepts
from ._parameters import Parameters
from ._state import packed, unpack


def refuse_other_arrays(estimator: Any, **arrays: Any) -> None:
    """Refuse arrays of other libraries, such as torch tensors, if scikit-learn's option array_api_dispatch is on.

    scikit-learn converts such arrays to NumPy arrays only if this option is off.

    Raises
    ------
    TypeError
        If the option is on, and an argument after `estimator` is an array of another library.
    """
    if not get_config()["array_api_dispatch"]:
        return
    for name, array in arrays.items():
        if hasattr(array, "__dlpack__") and not isinstance(array, np.ndarray):
            kind = f"{type(array).__module__}.{type(array).__name__}"
            raise TypeError(
                f"{type(estimator).__name__}: {name} must be a NumPy array while scikit-learn's array_api_dispatch is "
                f"on; got {kind}. Pass numpy.asarray({name}), or turn array_api_dispatch off"
            )


class Fitted(Parameters, BaseEstimator):
    """The methods of an estimator that need a trained network."""

    out_activation_: str
    n_iter_: int
    t_: int
    loss_: float
    loss_curve_: list[float]
    best_loss_: Any
    validation_scores_: Any
    best_validation_score_: Any
    n_features_in_: int
    n_outputs_: int
    n_layers_: int

    _model: nn.Sequential  # the trained network
    _models: list[nn.Sequential]  # the networks that predict: `_model`, a copy with averaged weights, or the snapshots
    _optimizer: Any
    _loss: nn.Loss
    _philox: Philox | None
    _random_state: np.random.RandomState
    _first_rate: float
    _stopping: EarlyStopping
    _snapshots: Snapshots | None

    def _batch_size(self, rows: int, warn: bool = False) -> int:
        if isinstance(self.batch_size, str):
            return min(200, rows)
        if warn and self.batch_size > rows:
            warnings.warn(f"batch_size {self.batch_size} is larger than the {rows} rows; {rows} is used", stacklevel=6)
        return min(int(self.batch_size), rows)

    @property
    def _is_sgd(self) -> bool:
        cls = self._optimizer_class
        return cls is not None and issubclass(cls, optim.registry["SGD"])

    def _plain_score(self, data: Data) -> float:
        """Return the score of the predictions for these rows if `scoring` is None: the accuracy or R^2."""
        raise NotImplementedError

    def _checked(self, X: Any) -> Any:
        check_is_fitted(self)
        refuse_other_arrays(self, X=X)
        return validate_data(self, X, accept_sparse="csr", dtype=self._model.dtype, order="C", reset=False)

    def _predicted(self, x: Any) -> Array:
        """Return the mean prediction of all networks, one column per class or target. `_checked` must return x."""
        activate = OUTPUTS[self.out_activation_]
        answers = [np.asarray(activate(outputs(model, x))) for model in self._models]
        return answers[0] if len(answers) == 1 else np.mean(answers, axis=0)

    def _sampled(self, x: Any, k: int) -> tuple[Array, Array]:
        """Return the mean and the standard deviation of the predictions for x, over k dropout masks."""
        if not self.dropout:
            raise ValueError(
                f"mc_samples needs a network with dropout above 0; got mc_samples={k!r}, dropout={self.dropout}"
            )
        if whole_number("mc_samples", k, 2**63) == 0:
            raise ValueError(f"mc_samples must be at least 1; got {k!r}")
        assert self._philox is not None
        x = x.toarray() if sparse.issparse(x) else x
        mean, variance = moments(self._models, x, k, self._philox.seed, OUTPUTS[self.out_activation_])
        return mean, np.sqrt(variance)

    def _validation_score(self, data: Data) -> float:
        """Return the score of the network on validation rows, as the parameter `scoring` defines it."""
        if self.scoring is None:
            return self._plain_score(data)
        # the scorer gets a copy without feature names, because the validation rows have no feature names
        stand_in = object.__new__(type(self))
        stand_in.__dict__.update({k: v for k, v in vars(self).items() if k != "feature_names_in_"})
        scorer, options = check_scoring(self, self.scoring), {}
        if data.weights is not None:
            options["sample_weight"] = data.weights
        score = scorer(stand_in, data.x, data.y, **options)
        if not isinstance(score, Real):
            raise TypeError(f"scoring must return a number; got {score!r}")
        return float(score)

    # Fitted attributes
    @property
    def coefs_(self) -> Views:
        """The weights of each layer, as views of the arrays of the network that `predict` uses."""
        return coefs(self._fitted("coefs_"))

    @coefs_.setter
    def coefs_(self, values: Any) -> None:
        self.coefs_[:] = values

    @property
    def intercepts_(self) -> Views:
        """The biases of each layer, as views of the arrays of the network that `predict` uses.

        A layer with batch norm has no biases. The beta of its batch norm takes their place.
        """
        return intercepts(self._fitted("intercepts_"))

    @intercepts_.setter
    def intercepts_(self, values: Any) -> None:
        self.intercepts_[:] = values

    def _fitted(self, name: str) -> nn.Sequential:
        if "_models" not in vars(self):
            raise AttributeError(f"{type(self).__name__} has no {name} before fit")
        return self._models[-1]

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes as arrays, numbers and strings, which pickle and skops can save."""
        return packed(super().__getstate__())

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        unpack(self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
