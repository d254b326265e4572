"""Rows held out from the ensemble members in turn, and the temperature.

Each member is trained without some of the rows, and each row is held out from exactly
one member.  So all rows are used for training, and all of them, pooled, for early
stopping (cross-validation of a bagged ensemble).

The same rows give a temperature T by which scores are divided, because an overfitted
network is too confident (Guo et al. 2017, "On calibration of modern neural networks").
"""

import hashlib
from typing import Any

import numpy as np
from scipy import sparse

from sklearn_bp import _compiled
from sklearn_bp._network.batches import BLOCK_BYTES
from sklearn_bp._training.state import Measured

# Bounds of the temperature.  With a few held-out rows, all predicted correctly, the
# best temperature would be near 0, and the next wrong prediction would cost far more
# than was gained.
SMALLEST_TEMPERATURE = 0.7
LARGEST_TEMPERATURE = 20.0

# Maximum number of scores that determine the temperature, from evenly spaced rows: a
# million rows of eight classes, or thousands of rows of thousands of classes.
TEMPERATURE_SIZE = 2**23

# Number of scores whose loss is computed at a time: with thousands of outputs,
# allocating matrices for all rows would take most of the time.
BLOCK_SIZE = 2**22


def spawn(random_state):
    """A new RandomState that depends on the state of another; draws nothing from it."""
    state = random_state.get_state(legacy=False)
    if state["bit_generator"] == "MT19937":
        key, position = state["state"]["key"], state["state"]["pos"]
        return np.random.RandomState([*key, position])
    # Another bit generator: seed from everything in its state.
    digest = hashlib.sha256(_text_of(state).encode()).digest()
    return np.random.RandomState(np.frombuffer(digest, "<u4"))


def _text_of(value):
    """A text for the state of a bit generator, the same on all machines."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{k}: {_text_of(value[k])}' for k in sorted(value))}}}"
    return str(value.tolist() if isinstance(value, np.ndarray) else value)


def draw_folds(strata, n_members, random_state):
    """For each row, the number of the member that it is held out from.

    Parameters
    ----------
    strata : ndarray of shape (n,)
        Rows of equal value, such as a class, are spread evenly over the members.
    n_members : int
    random_state : RandomState

    Returns
    -------
    ndarray of int of shape (n,), of the smallest sufficient dtype
    """
    n = len(strata)
    folds = np.empty(n, np.min_scalar_type(n_members - 1))
    folds[spread_rows(strata, random_state)] = np.arange(n) % n_members
    return folds


def draw_part(strata, fraction, random_state):
    """For each row, whether it is held out from a single network.

    The held-out fraction of the rows is spread over the strata as in `draw_folds`.
    """
    n = len(strata)
    part = np.empty(n, bool)
    steps = np.arange(n) * int(np.ceil(fraction * n)) // n
    part[spread_rows(strata, random_state)] = np.diff(steps, prepend=-1) > 0
    return part


def spread_rows(strata, random_state):
    """The rows in random order within each stratum, stratum after stratum."""
    return np.lexsort((random_state.permutation(len(strata)), strata))


def validation_weights(sample_weight, rows):
    """The weights of validation rows, or None without weights."""
    return None if sample_weight is None else sample_weight[rows]


class _ValidationRows:
    """Loss and score on out-of-sample rows.

    A subclass defines `scores(parameters)`, in the units of the targets.

    Parameters
    ----------
    loss : object of `losses`
    Y : ndarray of shape (n, n_outputs)
    sample_weight : ndarray of shape (n,) or None
    score : callable(z, parameters) -> float, or None
        Larger values are better; z are scores, (n, n_outputs).
    tempered : bool
        Whether to compute the loss at the temperature that minimizes it.
    """

    def __init__(self, loss, Y, sample_weight, score, tempered):
        self._loss, self._Y, self._score, self.tempered = loss, Y, score, tempered
        weights = sample_weight
        weights = np.ones(len(Y)) if weights is None else weights / weights.max()
        self._weights = weights / weights.sum()
        self._forwards: dict = {}  # by number of rows
        self._compiled_loss: Any = None

    def __getstate__(self):
        """Leaves out buffers and compiled jobs, which are created again when needed."""
        bound: dict = {"_forwards": {}, "_compiled_loss": None, "_at_once": None}
        return vars(self) | bound

    def scores(self, parameters):
        """Scores of the rows, (n, n_outputs)."""
        raise NotImplementedError

    def __call__(self, parameters):
        """Loss and score, `Measured`."""
        z = self.scores(parameters)
        compiled = self._compiled(z)
        T = self._temperature_of(z, compiled) if self.tempered else None
        loss = self._loss_at(z, T, compiled)
        score = np.nan if self._score is None else self._score(z, parameters)
        return Measured(loss, score)

    def _loss_at(self, z, T, compiled=None):
        """The loss of scores divided by a temperature; None for 1."""
        compiled = compiled or self._compiled(z)
        if compiled is not None:
            return compiled(1.0 if T is None else 1 / T)[0]
        n_rows = max(1, BLOCK_SIZE // z.shape[1])
        if len(z) <= n_rows:
            return float(self._weights @ self._values(z, T, self._Y))
        blocks = [slice(i, i + n_rows) for i in range(0, len(z), n_rows)]
        values = [self._values(z[rows], T, self._Y[rows]) for rows in blocks]
        return float(self._weights @ np.concatenate(values))

    def _values(self, z, T, Y):
        """The loss of each row."""
        p = z.copy() if T is None else z / T
        self._predict(p)
        return self._loss.value(p, Y)

    def _predict(self, z):
        """Turn scores of the rows into predictions, in place."""
        n = len(z)
        if n not in self._forwards:  # dtype and number of scores are constant in a fit
            self._forwards[n] = self._loss.bind(z.shape, z.dtype)
        self._forwards[n](z)

    def _compiled(self, z):
        """The compiled loss of scores and its slope, `_compiled.Loss.of`, or None."""
        if self._compiled_loss is None:
            self._compiled_loss = (
                _compiled.Loss(self._loss, self._Y, self._weights, z.dtype)
                if _compiled.Loss.cover(self._loss, self._Y, z)
                else False
            )
        return self._compiled_loss.of(z) if self._compiled_loss else None

    def errors(self, parameters):
        """Calibration residuals, (n, n_targets), in units of Y, and weights, (n,)."""
        p = self.scores(parameters)
        self._predict(p)
        return self._loss.interval_error(p, self._Y), self._weights

    def temperature(self, parameters):
        """The temperature that minimizes the loss; 1 unless it is a log-loss."""
        return self._temperature_of(self.scores(parameters))

    def _temperature_of(self, z, compiled=None):
        loss = self._loss
        if not loss.tempered:
            return 1.0
        step = -(-z.size // TEMPERATURE_SIZE)
        if step == 1:
            compiled = compiled or self._compiled(z)
        if compiled is not None and step == 1:
            return _temperature(lambda inverse: compiled(inverse)[1])
        z, Y, weights = z[::step], self._Y[::step], self._weights[::step]
        weighted_z = weights[:, np.newaxis] * z
        p, error = np.empty_like(z), np.empty_like(z)

        def slope(inverse):
            np.multiply(z, inverse, out=p)
            self._predict(p)
            loss.backward(p, Y, error)
            return float(np.vdot(error, weighted_z))

        return _temperature(slope)


def _temperature(slope):
    """The temperature T at which `slope`, d loss / d(1 / T), is 0.

    `slope` is an increasing function of 1 / T.
    """
    found = 1 / _root(slope, 1 / LARGEST_TEMPERATURE, 1 / SMALLEST_TEMPERATURE)
    # The root is accurate to 1 %, so a value this close to 1 may be worse than 1.
    return 1.0 if abs(np.log(found)) < 0.02 else found


class HeldOut(_ValidationRows):
    """Rows held out from the members in turn, each scored by its out-of-sample member.

    Parameters
    ----------
    network : TwoLayerNetwork
    data : Data
        X, Y, scaling and bins are used, and the weights as they are given.
    rows : list of ndarrays of int
        The rows held out from each member.
    score : callable(z, parameters) -> float, default=None
        Takes the scores of these rows, member by member.
    tempered : bool, default=True
    """

    def __init__(self, network, data, rows, score=None, tempered=True):
        self.network, self.X, self.rows = network, data.X, rows
        self.scaling, self._bins = data.scaling, data.bins
        pooled = np.concatenate(rows)
        weights = validation_weights(data.weights, pooled)
        super().__init__(network.loss, data.Y[pooled], weights, score, tempered)
        self._at_once: Any = None

    def scores(self, parameters):
        """Scores of the held-out rows, member by member, (n_held_out, n_outputs)."""
        if self._at_once is None:
            network, X, dtype = self.network, self.X, parameters.flat.dtype
            if _compiled.Scores.cover(network, X, self.scaling, parameters):
                self._at_once = _compiled.Scores(
                    network, X, self.rows, self.scaling, dtype, self._bins
                )
            elif self._are_few(parameters):
                self._at_once = _AtOnce(self.network, self.X, self.rows, parameters)
        if self._at_once is not None:
            return self._at_once(parameters)
        z = np.empty((len(self._Y), parameters.shape[2]), parameters.flat.dtype)
        end = 0
        for member, rows in zip(parameters.members(), self.rows, strict=True):
            start, end = end, end + len(rows)
            weights = member.astype(member.W1.dtype)
            self.network.scores(weights, self.X, rows, self.scaling, z[start:end])
        return z

    def scores_in_order(self, parameters):
        """The same in the order of the rows that are held out."""
        return self.scores(parameters)[np.argsort(np.concatenate(self.rows))]

    def errors_in_order(self, parameters):
        """The errors of the scores, dL/dz, times the weights of the rows.

        Returns
        -------
        ndarray of float64 of shape (n_held_out, n_outputs)
            In the order of the rows.
        """
        p = self.scores(parameters)
        self._predict(p)
        error = np.empty_like(p)
        self._loss.backward(p, self._Y, error)
        error = error * self._weights[:, np.newaxis]
        return error[np.argsort(np.concatenate(self.rows))]

    def _are_few(self, parameters):
        d, h, _ = parameters.shape
        n_bytes = len(self._Y) * (d + h) * parameters.flat.itemsize
        plain = not sparse.issparse(self.X) and self.scaling is None
        return plain and n_bytes <= BLOCK_BYTES


class _AtOnce:
    """Scores of held-out rows, of all members in one stacked product.

    With few rows, one call of numpy per member would take as long as training.

    Parameters
    ----------
    network : TwoLayerNetwork
    X : ndarray of shape (n, n_features)
    rows : list of ndarrays of int
        The rows held out from each member; shorter lists are padded with rows of zeros.
    parameters : Parameters
        With the layout and dtype of those to be scored.
    """

    def __init__(self, network, X, rows, parameters):
        (d, h, _), dtype = parameters.shape, parameters.flat.dtype
        lengths = np.array([[len(r)] for r in rows])
        is_row = np.arange(lengths.max()) < lengths
        self._rows = np.flatnonzero(is_row)
        self._X = np.zeros((*is_row.shape, d), dtype)
        self._X[is_row] = X[np.concatenate(rows)]
        self._a1 = np.empty((*is_row.shape, h), dtype)
        self._activate, _ = network.activation.bind((is_row.size, h), dtype)

    def __call__(self, parameters):
        """(n_held_out, n_outputs)."""
        p, (d, h, k), n_members = parameters, parameters.shape, len(self._X)
        X, a1 = self._X, self._a1
        np.matmul(X, p.W1.reshape(d, n_members, h).transpose(1, 0, 2), a1)
        np.add(a1, p.b1.reshape(n_members, 1, h), a1)
        self._activate(a1.reshape(-1, h))
        z2 = a1 @ p.W2.reshape(n_members, h, k)
        if p.V is not None:
            z2 += X @ p.V.reshape(d, n_members, k).transpose(1, 0, 2)
        z2 += p.b2.reshape(n_members, 1, k)
        return z2.reshape(-1, k)[self._rows]


class Blend(_ValidationRows):
    """Held-out rows, with the scores of two groups of members and their mean.

    Parameters
    ----------
    held_out : HeldOut
        The rows, in whatever order it pools them.
    first, second : ndarrays of shape (n, n_outputs)
        Their scores, in the order of the training rows, like all results of this class.
    share : float, default=1
        The weight of the first group.
    """

    def __init__(self, held_out, first, second, share=1.0):
        order = np.argsort(np.concatenate(held_out.rows))
        loss, weights = held_out._loss, held_out._weights[order]
        tempered = held_out.tempered
        super().__init__(loss, held_out._Y[order], weights, None, tempered)
        self._first, self._second, self.share = first, second, share

    def scores(self, parameters):
        """The weighted mean of both groups' scores."""
        return self._mean(self.share)

    def loss(self, share, temperature):
        """The mean loss with another weight, at a temperature."""
        return self._loss_at(self._mean(share), temperature)

    def _mean(self, share):
        z = share * self._first + (1 - share) * self._second
        return z.astype(self._first.dtype, copy=False)


class ValidationSet(_ValidationRows):
    """Validation rows for all members, scored by the network that a fit would return.

    Parameters
    ----------
    loss : object of `losses`
    Y : ndarray of shape (n, n_outputs)
    sample_weight : ndarray of shape (n,) or None
    scores_of : callable(Parameters) -> z
        The scores of that network, in the units of Y.
    score : callable(z, parameters) -> float
    tempered : bool
    """

    def __init__(self, loss, Y, sample_weight, scores_of, score, tempered):
        super().__init__(loss, Y, sample_weight, score, tempered)
        self._scores_of = scores_of

    def scores(self, parameters):
        """Scores of the rows, (n, n_outputs)."""
        return self._scores_of(parameters)


def _root(increasing, low, high):
    """The root of an increasing function, to 1 %; or the bound closest to it.

    The search starts at 1.
    """
    x = 1.0
    value = increasing(x)
    if not np.isfinite(value) or value == 0:
        return x
    factor = 0.5 if value > 0 else 2.0
    other, other_value = x, value
    while np.sign(other_value) == np.sign(value):
        x, value = other, other_value
        other = min(max(x * factor, low), high)
        if other == x:
            return x
        other_value = increasing(other)
        if not np.isfinite(other_value):
            return x
    while abs(np.log(other / x)) > 0.01:
        # Regula falsi on a logarithmic axis, with the Illinois rule: halve the value of
        # an end that stays twice in a row.
        share = value / (value - other_value)
        share = min(max(share, 0.02), 0.98)
        middle = x * (other / x) ** share
        middle_value = increasing(middle)
        if np.sign(middle_value) == np.sign(other_value):
            value /= 2
        else:
            x, value = other, other_value
        other, other_value = middle, middle_value
        if middle_value == 0:
            break
    return other
