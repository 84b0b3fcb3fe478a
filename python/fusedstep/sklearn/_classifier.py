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
    r"""A multi-layer perceptron for classification. It is faster than scikit-learn's and has more options.

    Every parameter, method and attribute of ``sklearn.neural_network.MLPClassifier`` exists here with the same meaning.
    If only these parameters are used, the same seed gives the same weights as in scikit-learn, up to rounding.
    Additional options are off by default.

    ::

        minimise   sum_i w_i l(f(x_i), y_i) / sum_i w_i + alpha (l1_ratio |W|_1 + (1 - l1_ratio) / 2 |W|^2) / sum_i w_i
        l          more than two classes: -log softmax(f(x))_y
                   two classes, or several labels per row: the binary cross-entropy, summed over the labels
        w_i        sample_weight_i * class_weight_y_i; the sums are over the rows i of a batch
        f(x), W    outputs of the network before the last activation, and all weights

    Parameters
    ----------
    hidden_layer_sizes : int or array-like of int
        Number of units of each hidden layer. () means no hidden layers.
    activation : {"relu", "tanh", "logistic", "identity", "hard_tanh"}
        The activation of the hidden layers.
    solver : str, class or function
        "adam", "sgd" and "lbfgs" are the solvers of scikit-learn. Any other optimizer of this package can be given by
        its class, or by its name in upper or lower case. A function, such as ``partial(fs.AdamW, lr=0.01)``, is called
        with parameter groups and must return an optimizer. With a function, `learning_rate`, `warmup`, `l1_ratio`,
        `decay`, `weight_decay`, `ema_decay` and `solver_params` must have their defaults, because the function chooses
        these options.
    alpha : float
        Strength of the penalty on the weights. Biases have no penalty. The penalty is divided by the number of rows in
        the batch. If the rows have weights, it is divided by the sum of these weights.
    batch_size : int or "auto"
        Number of rows per batch. "auto" is ``min(200, n)`` for n rows. With `batch_norm`, a last batch of one row is
        added to the batch before.
    learning_rate : str or function of the step
        "constant", "invscaling" and "adaptive" mean the same as in scikit-learn. The last two change the rate only if
        the solver is SGD. Any other name is a schedule of `fusedstep.schedules.named`, which covers `max_iter` epochs.
        A function computes the rate from the number of the step. With a schedule or a function, only `early_stopping`
        or a callback can end the training before `max_iter` epochs.
    learning_rate_init : float or "auto"
        The first learning rate. "auto" is a rate that suits small networks. This rate depends on the optimizer, not
        on the network.
    power_t : float
        Exponent of "invscaling": after each epoch, the rate is ``learning_rate_init / (t_ + 1) ** power_t``. ``t_`` is
        the number of rows that the network was trained on so far. A row is counted once in every epoch.
    max_iter : int
        Largest number of epochs. With "lbfgs", largest number of iterations.
    shuffle : bool
        If True, shuffle the rows before every epoch.
    random_state : int, RandomState or None
        The same int gives the same results, bit for bit, also if this package uses another number of threads.
    tol, n_iter_no_change : float
        The training ends after more than `n_iter_no_change` epochs in a row that did not improve the loss by more than
        `tol`. With `early_stopping`, the validation score is used instead of the loss. With
        ``n_iter_no_change=np.inf``, the training never ends for this reason.
    verbose : bool or int
        If True, show the progress. If rich is installed and the output is a terminal or a notebook, there is a progress
        bar. In all other cases, one line per epoch is printed.
    warm_start : bool
        If True, `fit` starts from the weights of the last fit.
    momentum, nesterovs_momentum : float, bool
        Momentum of SGD. If `nesterovs_momentum` is True, it is Nesterov's momentum.
    early_stopping : bool
        If True, compute the score of validation rows after every epoch. At the end of the training, restore the weights
        that had the best score. The validation rows are the arguments `X_val` and `y_val` of `fit`. Without these
        arguments, they are rows of X that are held out from the training.
    validation_fraction : float
        Fraction of the rows that is held out.
    beta_1, beta_2, epsilon : float
        The betas and eps of Adam and AdamW.
    max_fun : int
        Largest number of evaluations of the loss with "lbfgs".
    solver_params : dict or None
        Arguments of the optimizer that are not parameters here, such as ``{"amsgrad": True}``.
    l1_ratio : float
        Fraction of `alpha` that is an L1 penalty. With 0 the penalty is L2, with 1 it is L1, and with a number between
        0 and 1 it is the elastic net.
    decay : {"l2", "decoupled", "proximal"} or None
        How the penalty changes the weights. "l2" adds the penalty's gradient to the gradient of the loss. "decoupled"
        shrinks the weights directly. "proximal" is a proximal step, which makes exact zeros with L1. None is the
        optimizer's default: "decoupled" for AdamW, "l2" for most others.
    weight_decay : float or None
        Decoupled decay of the weights: every step, with learning rate ``lr``, does ``w *= 1 - lr * weight_decay``. Some
        solvers, such as "AdamW" and "Lion", have a decoupled decay by default. All others need ``decay="decoupled"``.
        `weight_decay` replaces `alpha`. It is not divided by the number of rows in the batch.
    clip_norm : float or None
        Largest norm of the gradient. A gradient with a larger norm is scaled down to this norm.
    warmup : int
        Number of steps at the start in which the learning rate grows from 0.
    dropout : float
        Probability that a hidden unit is set to zero in training.
    batch_norm : bool
        If True, normalise each hidden layer before its activation. The hidden layers then have no biases, and
        `intercepts_` has the beta of their batch norm instead.
    weight_init, bias_init : function or None
        Initialisers of the weights and biases, such as ``fusedstep.init.he()``. None: the same initial values as in
        scikit-learn.
    class_weight : dict, "balanced" or None
        Weights of the classes. They are also used in the score of held-out rows. "balanced" gives class c the weight
        n / (k * n_c), where n is the number of rows, k the number of classes, and n_c the number of rows of class c.
    label_smoothing : float
        A number eps, >= 0 and < 1. The target t of each class, 0 or 1, becomes ``(1 - eps) t + eps / k`` for k classes.
        If rows have several labels, k is 2.
    sparsity : float
        Strength of a penalty on the hidden activations, which is added to the loss.
    sparsity_penalty : {"l1", "student_t", "kl"}
        The penalty: `fusedstep.nn.L1Activity`, `StudentTActivity` or `KLActivity`. "kl" needs the activation
        "logistic".
    sparsity_target : float
        Target of "kl" for the mean activation of every unit.
    pretraining : dict or None
        If given, the hidden layers are first trained as a stack of auto-encoders. The dict has arguments of
        `fusedstep.nn.pretrain`, such as ``{"epochs": 10}``.
    input_noise, weight_noise : float
        Standard deviations of normal noise in training. `input_noise`: noise is added to the inputs of every batch.
        `weight_noise`: every gradient is computed with noise added to the weights.
    mixup : float
        If above 0, train on mixtures: each row x of a batch becomes ``lam x + (1 - lam) x'``, where x' is a random row
        of the batch. The targets are mixed in the same way. For every batch, lam is drawn from Beta(mixup, mixup).
    ema_decay : float or None
        If given, predict with the exponential moving average of the weights. Each step computes
        ``average = ema_decay * average + (1 - ema_decay) * weights``.
    snapshots : int
        If above 0, a copy of the network is kept at the end of each cycle of the learning rate, and the prediction is
        the mean of the copies' predictions. `learning_rate` must be a schedule with a method ``ends_cycle(t)``, or
        "cosine_restarts", which then divides the training into `snapshots` cycles of equal length. Only the latest
        `snapshots` copies are kept.
    scoring : str, function or None
        Scorer for the validation rows. None: the accuracy. If there are no validation rows, `scoring` must be None.
    callbacks : list of functions or None
        Each is called as ``callback(estimator, epoch)`` after every epoch. ``epoch`` has the attributes ``number``,
        ``loss``, ``score`` and ``learning_rate``. If a callback returns True, the training ends.
    dtype : {"float32", "float64"} or None
        Dtype of the network. None: float32 if X is float32, else float64. float32 is about twice as fast as float64.

    Attributes
    ----------
    classes_ : ndarray
        The classes, in the order of the columns of `predict_proba`.
    coefs_, intercepts_ : list of ndarray
        Weights, of shape (in, out), and biases of each layer. They are views of the arrays of the network that
        `predict` uses.
    loss_, best_loss_, loss_curve_ : float, float, list of float
        Loss of the last epoch, of the best epoch and of every epoch. The penalties are included. With `early_stopping`,
        `best_loss_` is None.
    validation_scores_, best_validation_score_ : list of float, float
        Score of each epoch, and the best score. Both are None if there are no validation rows.
    n_iter_, t_ : int
        Number of epochs of the last fit, and number of rows that the network was trained on so far. A row is counted
        once in every epoch.
    n_features_in_, feature_names_in_, n_layers_, n_outputs_, out_activation_
        As in scikit-learn.

    Raises
    ------
    ValueError, TypeError
        If parameters or data are not as described, if parameters contradict each other, or if the loss is not finite.
        With ``early_stopping=True``, a loss that is not finite causes a warning instead, if a validation score was
        finite before.

    Notes
    -----
    `fit` and `partial_fit` accept validation rows ``X_val`` and ``y_val``. After every epoch, the score of these rows
    is appended to `validation_scores_`. `early_stopping` uses this score. `partial_fit` with `early_stopping` needs
    ``X_val`` and ``y_val``.

    If X is sparse, the training converts only one batch at a time to a dense array. The solver "lbfgs" and
    `pretraining` convert all rows at once.

    Layers that are hundreds of units wide use several threads. If many fits run at the same time, limit the threads
    with ``fusedstep.set_num_threads(1)`` and ``threadpoolctl.threadpool_limits(1)``. joblib limits the threads of its
    workers itself. Several threads may call `predict` at the same time.

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
            The class of each row. If rows have several labels, one column per label, with 1 for the labels of a row and
            0 for all others.
        sample_weight : array-like, shape (n,), optional
            Weight of each row in the loss, >= 0.
        X_val, y_val : like X and y, optional
            Rows whose score is computed after every epoch. If they are given, `early_stopping` uses this score and
            holds out no rows of X.
        """
        return self._fit(X, y, sample_weight, X_val, y_val)

    @available_if(can_go_on)
    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None, *, X_val: Any = None, y_val: Any = None
    ) -> MLPClassifier:
        """Train for one more epoch on these rows.

        The first call needs `classes`: an array of all classes, including classes that are not in y. `fit` describes
        the other arguments.
        """
        if _check_partial_fit_first_call(self, classes):
            self._learn_classes(y if type_of_target(y).startswith("multilabel") else classes)
        return self._fit(X, y, sample_weight, X_val, y_val, incremental=True)

    def predict(self, X: Any) -> Array:
        """Return the most probable class of each row.

        If a row can have several labels, return one column per label instead: 1 if the row has the label, otherwise 0.
        """
        return self._labels(self._predicted(self._checked(X)))

    def predict_proba(self, X: Any, mc_samples: int | None = None, return_std: bool = False) -> Any:
        """Return the probability of every class, one column per class.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n, features)
        mc_samples : int, optional
            Average over this many dropout masks. The model must have `dropout` > 0. The masks of a row depend on its
            index in X, so the same row at another index has another result.
        return_std : bool
            If True, return (probabilities, standard deviations of the probabilities over the masks).
        """
        if return_std and mc_samples is None:
            raise ValueError(
                "return_std needs mc_samples, the number of dropout masks to predict with; got mc_samples=None"
            )
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
