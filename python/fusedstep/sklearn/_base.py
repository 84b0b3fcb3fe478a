"""The base class of the classifier and the regressor: it trains a network, and continues a training."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.validation import _check_sample_weight, validate_data

from .. import nn
from .._base.arrays import Array
from ..nn.threads import largest_weight, one_blas_thread
from ..ops.philox import Philox
from ..stopping import EarlyStopping
from . import _lbfgs
from ._data import Data
from ._epochs import Epochs
from ._fitted import Fitted, refuse_other_arrays
from ._network import make_network, put_pretrained
from ._options import check_options
from ._solver import first_rate, make_optimizer, make_snapshots

FLOATS = (np.float64, np.float32)
NETWORK = ("hidden_layer_sizes", "activation", "batch_norm", "dropout", "dtype")  # parameters that define a network


@contextmanager
def as_before_if_refused(estimator: Any) -> Iterator[None]:
    """If the `with` block raises an error, restore the estimator's attributes.

    Otherwise an old network could predict with new classes.
    """
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


def can_go_on(estimator: Any) -> bool:
    """Return True if the solver supports `partial_fit`. All solvers except "lbfgs" do."""
    if estimator.solver == "lbfgs":
        raise AttributeError("partial_fit needs a solver that trains on batches; got solver='lbfgs'")
    return True


class BaseMLP(Fitted):
    """A network with scikit-learn's interface. A subclass defines targets, loss and predictions."""

    # Methods that subclasses override
    def _encode(self, y: Any, first: bool, incremental: bool) -> Array:
        """Return the targets in the form that the loss takes.

        If `first` is True, a new network will be made, and this method also sets the attributes that depend on y. But
        in `partial_fit`, `classes_` is set before this call. `incremental` is True in `partial_fit` and for validation
        rows. y may then lack some of the classes.
        """
        raise NotImplementedError

    def _softened(self, targets: Array, dtype: Any) -> Array:
        """Return the targets in the dtype of the training. A classifier also smooths its labels."""
        return targets.astype(dtype)

    def _make_loss(self) -> nn.Loss:
        """Return the loss, and set `out_activation_` and `n_outputs_`."""
        raise NotImplementedError

    def _class_weights(self, y: Array, incremental: bool) -> Array | None:
        """Return the class weight of each row, or None if `class_weight` is not set."""
        return None

    # Fitting
    def _fit(
        self, X: Any, y: Any, sample_weight: Any, X_val: Any = None, y_val: Any = None, incremental: bool = False
    ) -> Any:
        self._validate_params()
        check_options(self)
        first = not hasattr(self, "_model") or not (self.warm_start or incremental)
        if not first:
            self._check_same_network()
        with as_before_if_refused(self):
            data = self._data(X, y, sample_weight, first, incremental)
            if first or not incremental:
                self._random_state = check_random_state(self.random_state)
            if first:
                self._start(data)
            elif self._draws and self._philox is None:
                self._philox = self._new_source()
            given = self._given_validation(X_val, y_val)
        rows = len(data) if self.solver == "lbfgs" else self._batch_size(len(data))
        with one_blas_thread(rows, largest_weight(self._model.layers)):
            if self.solver == "lbfgs":
                self._run_lbfgs(data)
            else:
                self._run_epochs(data, given, incremental)
        if not np.isfinite(self._model.arena).all():
            raise ValueError("Solver produced non-finite parameter weights. Scale the inputs, or take smaller steps.")
        return self

    def _data(self, X: Any, y: Any, sample_weight: Any, first: bool, incremental: bool) -> Data:
        X, y = self._check_rows(X, y, first)
        targets = self._encode(y, first, incremental)
        targets = self._softened(targets, X.dtype)
        weights = None if sample_weight is None else _check_sample_weight(sample_weight, X, ensure_non_negative=True)
        of_classes = self._class_weights(y, incremental)
        if of_classes is not None:
            weights = of_classes if weights is None else weights * of_classes
            if not weights.any():
                given = self.class_weight
                raise ValueError(
                    f"class_weight times sample_weight must be above 0 for at least one row; got class_weight={given!r}"
                )
        return Data(X, targets, y, weights).without_weightless()

    def _check_rows(self, X: Any, y: Any, first: bool) -> tuple[Any, Array]:
        refuse_other_arrays(self, X=X, y=y)
        kind = np.dtype(self.dtype) if self.dtype else FLOATS
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse="csr",
            multi_output=True,
            dtype=kind if first else self._model.dtype,
            order="C",
            reset=first,
            **self._y_checks,
        )
        return X, column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y

    _y_checks: dict[str, Any] = {}

    def _start(self, data: Data) -> None:
        """Make the network, and start its loss curve as an empty list."""
        self._loss = self._make_loss()
        self._model = make_network(self, data.x.shape[1], self.n_outputs_, data.x.dtype, self._random_state)
        self._philox = self._new_source() if self._draws else None
        if self.pretraining is not None and self._philox is not None:
            x = data.x.toarray() if sparse.issparse(data.x) else data.x
            put_pretrained(self, self._model, x, self._philox.seed)
        self.n_layers_ = len(self._hidden) + 2
        self.t_ = 0
        self._optimizer = self._snapshots = None
        self.loss_curve_ = []
        self._models = [self._model]
        self._built_with = {name: copy.copy(getattr(self, name)) for name in NETWORK}

    def _new_source(self) -> Philox:
        """Return a generator of random numbers for options that scikit-learn's estimator lacks, such as dropout."""
        return Philox(int(self._random_state.randint(2**31)))

    def _check_same_network(self) -> None:
        """Refuse to continue the training if parameters that define the network have changed."""
        for name, before in self._built_with.items():
            if not np.array_equal(getattr(self, name), before):
                need = f"{name} must stay {before!r}, its value when the network was made, to continue the training"
                raise ValueError(f"{need}; got {getattr(self, name)!r}")

    def _given_validation(self, X_val: Any, y_val: Any) -> Data | None:
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val must be given together")
        if X_val is None:
            if self.scoring is not None and not self.early_stopping:
                raise ValueError(
                    "scoring needs validation rows: set early_stopping=True, or call fit with X_val and y_val; "
                    f"got scoring={self.scoring!r}"
                )
            return None
        if self.solver == "lbfgs":
            raise ValueError("X_val must be None with solver='lbfgs', which has no epochs; got an array")
        try:
            X_val, y_val = self._check_rows(X_val, y_val, first=False)
            return Data(X_val, self._encode(y_val, False, True), y_val)
        except ValueError as problem:
            raise ValueError(f"X_val, y_val: {problem}") from problem

    def _split(self, data: Data) -> tuple[Data, Data]:
        """Split the rows into training rows and held-out rows. scikit-learn's estimator holds out the same rows."""
        if not self.validation_fraction:
            raise ValueError("validation_fraction must be above 0 if no X_val is given; got 0")
        options = {"random_state": self._random_state, "test_size": self.validation_fraction}
        try:
            parts = train_test_split(np.arange(len(data)), stratify=self._strata(data), **options)
        except ValueError as error:
            raise ValueError(f"{error}{self._rare(data)}") from None
        if len(parts[1]) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        return data.rows(parts[0]), data.rows(parts[1])

    def _strata(self, data: Data) -> Any:
        """Return the labels by which the held-out rows are stratified, or None."""
        return None

    def _rare(self, data: Data) -> str:
        """Return a sentence that names the classes with a single row, or an empty text, for an error of `_split`."""
        return ""

    def _run_epochs(self, data: Data, validation: Data | None, incremental: bool) -> None:
        if self.early_stopping and validation is None:
            if incremental:
                raise ValueError(
                    "partial_fit does not support early_stopping=True without X_val and y_val, because a later call "
                    "could train on held-out rows; got X_val=None"
                )
            data, validation = self._split(data)
        if not incremental or self._optimizer is None:
            self._prepare_run(len(data), incremental)
        elif self._stops_early != self.early_stopping:
            self._prepare_stopping()
        if self._stopping.stop and incremental and self.early_stopping:
            warnings.warn("Early stopping has ended the training: this call of partial_fit does nothing.", stacklevel=4)
            return
        optimizer, self._models = self._optimizer, [self._model]
        Epochs(self, data, validation).run(1 if incremental else self.max_iter)
        restore = self.early_stopping and (self._stopping.stop or not incremental)
        if restore:
            if self.validation_scores_ and np.isnan(self.validation_scores_).all():
                raise ValueError(
                    "The validation score must not be nan after every epoch, because then no epoch is the best. "
                    "Check scoring and the validation rows."
                )
            self._stopping.restore()
        elif optimizer.has_averages:
            with optimizer.averaged():
                self._models = [copy.deepcopy(self._model)]
        self._models = list(self._snapshots or self._models)
        if not incremental:
            self._stopping.wait_anew()  # so that a later partial_fit trains

    def _prepare_run(self, rows: int, incremental: bool) -> None:
        batches = math.ceil(rows / self._batch_size(rows, warn=not incremental))
        self._optimizer = make_optimizer(self, self._model, self.max_iter * batches)
        self._first_rate = first_rate(self) if self._optimizer_class else 0.0
        self._snapshots = make_snapshots(self, self._model, self._optimizer)
        self.n_iter_ = 0
        self._prepare_stopping()

    def _prepare_stopping(self) -> None:
        patience = None if math.isinf(self.n_iter_no_change) else int(self.n_iter_no_change) + 1
        if self.early_stopping:
            self._stopping = EarlyStopping(self._model, patience, mode="max", tol=self.tol)
        else:
            self._stopping = EarlyStopping([], patience, tol=self.tol)
        self._stops_early = self.early_stopping
        self.best_loss_ = None if self.early_stopping else math.inf
        self.validation_scores_ = self.best_validation_score_ = None

    def _run_lbfgs(self, data: Data) -> None:
        self._optimizer = self._snapshots = None
        self.n_iter_, self.loss_ = _lbfgs.minimize(self, data)
        self.best_loss_ = self.loss_
        self.validation_scores_ = self.best_validation_score_ = None
