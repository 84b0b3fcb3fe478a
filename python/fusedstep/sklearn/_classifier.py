"""The classifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target

from .._base.arrays import Array
from ._base import can_go_on
from ._data import Data
from ._labels import Labels


@dataclass(eq=False, repr=False)
class MLPClassifier(ClassifierMixin, Labels):
    r"""A multi-layer perceptron for classification: scikit-learn's, faster, and with more options.

    Every parameter, method and attribute of ``sklearn.neural_network.MLPClassifier`` exists here with the same meaning.
    With these parameters alone, the same seed gives the same weights up to rounding. Additional options are off by
    default.

    ::

        minimise   sum_i w_i l(f(x_i), y_i) / sum_i w_i + alpha (l1_ratio |W|_1 + (1 - l1_ratio) / 2 |W|^2) / sum_i w_i
        l          -log softmax(f)_y; for two classes, and for each of several labels, the binary cross-entropy
        w_i        sample_weight_i * class_weight_y_i; sums over a batch

    Parameters
    ----------
    hidden_layer_sizes : int or array-like of int
        Units of the hidden layers; () for none.
    activation : {"relu", "tanh", "logistic", "identity", "hard_tanh"}
        The activation of the hidden layers.
    solver : str, class or function
        "adam", "sgd", "lbfgs" as in scikit-learn; the name (in any case) or the class of any optimizer of this package;
        or a function of parameter groups that returns an optimizer, such as ``partial(fs.AdamW, lr=0.01)``. Then set
        rate, decay and average in this function, and leave the estimator's parameters for them at their defaults.
    alpha : float
        Strength of the penalty on the weights (not on biases), divided by the rows of the batch.
    batch_size : int or "auto"
        Rows of a batch; "auto" is 200, or all if there are fewer. With `batch_norm` a last batch of one row is added
        to the batch before.
    learning_rate : str or function of the step
        "constant"; "invscaling" and "adaptive", which act on SGD only, as in scikit-learn; a name of
        `fusedstep.schedules.named`, which then covers `max_iter` epochs; or any schedule. With a schedule (all but the
        first three) training lasts `max_iter` epochs, unless `early_stopping` ends it.
    learning_rate_init : float or "auto"
        The first rate; "auto" is a default for small networks with this optimizer.
    power_t : float
        Exponent of "invscaling".
    max_iter : int
        Most epochs (with "lbfgs": iterations).
    shuffle : bool
        True shuffles the rows before every epoch.
    random_state : int, RandomState or None
        The same int gives the same bits, for any number of this package's threads.
    tol, n_iter_no_change : float
        Training ends when the loss (with `early_stopping` the validation score) has not improved by more than `tol` for
        more than `n_iter_no_change` epochs. ``n_iter_no_change=np.inf`` turns this off.
    verbose : bool or int
        True shows a progress bar in a terminal or notebook if rich is installed, else a line per epoch.
    warm_start : bool
        True lets `fit` start from the weights of the last fit.
    momentum, nesterovs_momentum : float, bool
        Momentum of SGD, and whether it is Nesterov's.
    early_stopping : bool
        Hold out rows (or take `X_val`, `y_val`), and restore the weights of the best score at the end.
    validation_fraction : float
        The part of the rows that is held out.
    beta_1, beta_2, epsilon : float
        The betas and eps of Adam and AdamW.
    max_fun : int
        Most evaluations of "lbfgs".
    solver_params : dict or None
        More arguments of the optimizer, such as ``{"amsgrad": True}``.
    l1_ratio : float
        Part of `alpha` that is an L1 penalty: 0 is L2, 1 is L1, between them the elastic net.
    decay : {"l2", "decoupled", "proximal"} or None
        How the penalty acts: as a part of the gradient ("l2"), directly on the weights ("decoupled"), or as a proximal
        step, which makes exact zeros. None is the optimizer's default ("decoupled" for AdamW, "l2" for most others).
    weight_decay : float or None
        Decoupled decay of the weights, ``w *= 1 - rate * weight_decay`` in every step, for solvers with this decay
        ("AdamW", "Lion") or ``decay="decoupled"``. `weight_decay` replaces `alpha`. With this decay `alpha` has little
        effect, because it is divided by the rows of the batch.
    clip_norm : float or None
        Largest norm of the gradient; a longer one is scaled down.
    warmup : int
        Number of first steps over which the rate grows from 0.
    dropout : float
        Probability of dropping a hidden unit in training.
    batch_norm : bool
        Normalise each hidden layer before its activation; `intercepts_` then has the beta of batch norm.
    weight_init, bias_init : function or None
        From `fusedstep.init`; None draws the same weights as scikit-learn.
    class_weight : dict, "balanced" or None
        Weights of the classes, also for held-out rows; "balanced" is n / (classes * rows of the class).
    label_smoothing : float
        Part of each label's probability that is moved evenly to all classes.
    sparsity : float
        Strength of a penalty on the hidden activations, added to the loss.
    sparsity_penalty : {"l1", "student_t", "kl"}
        The penalty: `fusedstep.nn.L1Activity`, `StudentTActivity` or `KLActivity` (for "logistic").
    sparsity_target : float
        Target of "kl" for the mean activation of every unit.
    pretraining : dict or None
        Arguments of `fusedstep.nn.pretrain`, such as ``{"epochs": 10, "keep": 2}``: the hidden layers are first trained
        as a stack of auto-encoders.
    input_noise, weight_noise : float
        Standard deviations of normal noise: on the inputs of every batch, and on the weights for every gradient.
    mixup : float
        Mix every row with another row, with a weight from Beta(mixup, mixup); 0 does not mix.
    ema_decay : float or None
        Predict with the exponential average of the weights over the steps.
    snapshots : int
        Number of networks whose average predicts: those at the ends of the cycles of
        ``learning_rate="cosine_restarts"``, which then has as many equal cycles.
    scoring : str, function or None
        Scorer of the validation rows, held out or given; None is the accuracy. Without validation rows it is refused.
    callbacks : list of functions or None
        Each is called as ``callback(estimator, epoch)`` after every epoch. ``epoch`` has ``number``, ``loss``,
        ``score`` and ``learning_rate``. A callback that returns True ends the training.
    dtype : {"float32", "float64"} or None
        Dtype of the network; None is that of X. float32 is about twice as fast.

    Attributes
    ----------
    classes_ : ndarray
        The classes, in the order of the columns of `predict_proba`.
    coefs_, intercepts_ : list of ndarray
        Weights (in, out) and biases of each layer: views of the network that predicts.
    loss_, best_loss_, loss_curve_ : float, float, list of float
        Loss of the last epoch, of the best epoch and of every epoch, with penalties. With `early_stopping`,
        `best_loss_` is None.
    validation_scores_, best_validation_score_ : list of float, float
        Score of each epoch and best score, if there are validation rows; else None.
    n_iter_, t_ : int
        Epochs of the last fit, and rows seen in all.
    n_features_in_, feature_names_in_, n_layers_, n_outputs_, out_activation_
        As in scikit-learn.

    Raises
    ------
    ValueError, TypeError
        If parameters or data are not as described, if parameters contradict each other, or if the loss is not finite.

    Notes
    -----
    `fit` and `partial_fit` accept validation rows, ``X_val`` and ``y_val``. Their scores are recorded, and
    `early_stopping` uses them. In `partial_fit`, `early_stopping` needs them. Sparse X is made dense a batch at a time.

    Layers that are hundreds of units wide use several threads. If many fits run at the same time, limit the threads by
    ``fusedstep.set_num_threads(1)`` and ``threadpoolctl.threadpool_limits(1)`` (joblib's workers do). Several threads
    may predict at once.

    Examples
    --------
    >>> from fusedstep.sklearn import MLPClassifier
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier((16,), solver="AdamW", learning_rate="cosine", learning_rate_init=0.01, dropout=0.1,
    ...                       max_iter=60, batch_size=16, random_state=0)
    >>> bool(model.fit(X, y).score(X, y) > 0.95)
    True
    >>> p, std = model.predict_proba(X[:2], mc_samples=50, return_std=True)
    >>> p.shape, bool((std > 0).all())
    ((2, 3), True)
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None) -> MLPClassifier:
        """Train on X and y.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n, features)
        y : array-like, shape (n,) or (n, labels)
        sample_weight : array-like, shape (n,), optional
            How much each row counts, >= 0.
        X_val, y_val : like X and y, optional
            Validation rows, in place of held-out rows.
        """
        return self._fit(X, y, sample_weight, X_val, y_val)

    @available_if(can_go_on)
    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None, *, X_val: Any = None, y_val: Any = None
    ) -> MLPClassifier:
        """Train for one more epoch on these rows; the first call needs all `classes`. See `fit`."""
        if _check_partial_fit_first_call(self, classes):
            self._learn_classes(y if type_of_target(y).startswith("multilabel") else classes)
        return self._fit(X, y, sample_weight, X_val, y_val, incremental=True)

    def predict(self, X: Any) -> Array:
        """Return the most probable class of each row; of several labels, a column of 0 and 1 each."""
        return self._labels(self._predicted(self._checked(X)))

    def predict_proba(self, X: Any, mc_samples: int | None = None, return_std: bool = False) -> Any:
        """Return the probability of every class, a column each.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n, features)
        mc_samples : int, optional
            Average over this many dropout masks; needs `dropout`. A row's masks depend on its number.
        return_std : bool
            Return (probabilities, their standard deviation over the masks).
        """
        if return_std and mc_samples is None:
            raise ValueError("return_std needs mc_samples: without dropout masks there is only one prediction")
        x = self._checked(X)
        p, std = (self._predicted(x), None) if mc_samples is None else self._sampled(x, mc_samples)
        if self.n_outputs_ == 1:
            p, std = np.hstack([1 - p, p]), None if std is None else np.hstack([std, std])
        return (p, std) if return_std else p

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithm of `predict_proba`."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def _labels(self, p: Array) -> Array:
        return self._label_binarizer.inverse_transform(p.ravel() if self.n_outputs_ == 1 else p)

    def _plain_score(self, data: Data) -> float:
        return float(accuracy_score(data.y, self._labels(self._predicted(data.x)), sample_weight=data.weights))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
