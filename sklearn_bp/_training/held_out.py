"""Rows held out of training in turn, and what is learnt from them.

Each of several networks side by side is trained without some of the rows, and each
row is held out of exactly one.  So all rows train, and all tell, pooled, when to stop
(the cross-validation of a bagged ensemble).

From the same rows comes a temperature T: scores are divided by it, since a network
that has learnt its rows by heart is too sure of itself (Guo et al. 2017, "On
calibration of modern neural networks").
"""

import hashlib
from typing import Any

import numpy as np
from scipy import sparse

from sklearn_bp import _compiled
from sklearn_bp._network.batches import BLOCK_BYTES
from sklearn_bp._training.mini_batches import Measured

# Bounds of the temperature.  Few rows, all of them right, would have any network be as
# sure as can be; the next one that is wrong would cost all that was won.
SMALLEST_TEMPERATURE = 0.7
LARGEST_TEMPERATURE = 20.0

# It is found from at most about so many scores, of evenly spaced rows: thousands of
# rows of thousands of classes each, or a million of few.
TEMPERATURE_SIZE = 2**23

# Scores that the loss is measured on in one go: with thousands of outputs, matrices of
# all rows would take most of the time to get from the system.
BLOCK_SIZE = 2**22


def spawn(random_state):
    """A stream of its own, from a RandomState's state: nothing is drawn from that."""
    state = random_state.get_state(legacy=False)
    if state["bit_generator"] == "MT19937":
        key, position = state["state"]["key"], state["state"]["pos"]
        return np.random.RandomState([*key, position])
    # Over another bit generator: whatever its state consists of tells it from others.
    digest = hashlib.sha256(_text_of(state).encode()).digest()
    return np.random.RandomState(np.frombuffer(digest, "<u4"))


def _text_of(value):
    """The same text for the same state of a bit generator, on any machine."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{k}: {_text_of(value[k])}' for k in sorted(value))}}}"
    return str(value.tolist() if isinstance(value, np.ndarray) else value)


def draw_folds(strata, n_members, random_state):
    """The number of the member that a row is held out of, for each row.

    Parameters
    ----------
    strata : ndarray of shape (n,)
        Rows of equal value, their class, are spread evenly.
    n_members : int
    random_state : RandomState

    Returns
    -------
    ndarray of int of shape (n,), of the smallest dtype that will do
    """
    n = len(strata)
    folds = np.empty(n, np.min_scalar_type(n_members - 1))
    folds[spread_rows(strata, random_state)] = np.arange(n) % n_members
    return folds


def draw_part(strata, fraction, random_state):
    """Whether a row is held out, for each row, where there is one network only.

    So are a fraction of the rows; else as `draw_folds`.
    """
    n = len(strata)
    part = np.empty(n, bool)
    steps = np.arange(n) * int(np.ceil(fraction * n)) // n
    part[spread_rows(strata, random_state)] = np.diff(steps, prepend=-1) > 0
    return part


def spread_rows(strata, random_state):
    """Rows at random, but by strata."""
    return np.lexsort((random_state.permutation(len(strata)), strata))


def validation_weights(sample_weight, rows):
    """The weights of validation rows, or None without weights."""
    return None if sample_weight is None else sample_weight[rows]


class _ValidationRows:
    """Loss and score on rows that those networks that are asked did not learn from.

    A subclass has `scores(parameters)`, in the units of the targets.

    Parameters
    ----------
    loss : object of `losses`
    Y : ndarray of shape (n, n_outputs)
    sample_weight : ndarray of shape (n,) or None
    score : callable(z, parameters) -> float, or None
        Larger is better; z are scores, (n, n_outputs).
    tempered : bool
        Whether the loss is taken at the temperature where it is least.
    """

    def __init__(self, loss, Y, sample_weight, score, tempered):
        self._loss, self._Y, self._score, self.tempered = loss, Y, score, tempered
        weights = sample_weight
        weights = np.ones(len(Y)) if weights is None else weights / weights.max()
        self._weights = weights / weights.sum()
        self._forwards: dict = {}  # by number of rows
        self._compiled_loss: Any = None

    def __getstate__(self):
        """Without what is bound to memory: it is made anew where it is needed."""
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

    def _loss_at(self, z, T, compiled):
        """The loss of scores divided by a temperature; None for 1."""
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
        if n not in self._forwards:  # a fit has one dtype, and one number of scores
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
        """Errors that intervals are to hold, (n, n_targets), in the units of Y.

        With their weights, (n,).
        """
        p = self.scores(parameters)
        self._predict(p)
        return self._loss.interval_error(p, self._Y), self._weights

    def temperature(self, parameters):
        """The temperature at which the loss is least; 1 for what is no log-loss."""
        z = self.scores(parameters)
        return self._temperature_of(z, self._compiled(z))

    def _temperature_of(self, z, compiled):
        loss = self._loss
        if not loss.tempered:
            return 1.0
        step = -(-z.size // TEMPERATURE_SIZE)
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
    """The temperature T where the derivative of the loss with respect to 1 / T is 0.

    It grows with 1 / T.
    """
    found = 1 / _root(slope, 1 / LARGEST_TEMPERATURE, 1 / SMALLEST_TEMPERATURE)
    # It is found to 1 %: what is as near to 1 might be worse than 1.
    return 1.0 if abs(np.log(found)) < 0.02 else found


class HeldOut(_ValidationRows):
    """Rows held out of the members in turn, each scored by those that did not learn it.

    Parameters
    ----------
    network : TwoLayerNetwork
    X : ndarray or CSR of shape (n, n_features)
    Y : ndarray of shape (n, n_outputs)
    sample_weight : ndarray of shape (n,) or None
    rows : list of ndarrays of int
        The rows held out of each member.
    scaling : callable(X) or None
    score : callable(z, parameters) -> float, default=None
        Of the scores of these rows, member by member.
    tempered : bool, default=True
    """

    def __init__(
        self, network, X, Y, sample_weight, rows, scaling, score=None, tempered=True
    ):
        self.network, self.X, self.rows, self.scaling = network, X, rows, scaling
        pooled = np.concatenate(rows)
        weights = validation_weights(sample_weight, pooled)
        super().__init__(network.loss, Y[pooled], weights, score, tempered)
        self._at_once: Any = None

    def scores(self, parameters):
        """Scores of the held-out rows, member by member, (n_held_out, n_outputs)."""
        if self._at_once is None:
            if _compiled.Scores.cover(self.network, self.X, parameters):
                dtype = parameters.flat.dtype
                own = self.network, self.X, self.rows, self.scaling, dtype
                self._at_once = _compiled.Scores(*own)
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

    def _are_few(self, parameters):
        d, h, _ = parameters.shape
        n_bytes = len(self._Y) * (d + h) * parameters.flat.itemsize
        plain = not sparse.issparse(self.X) and self.scaling is None
        return plain and n_bytes <= BLOCK_BYTES


class _AtOnce:
    """Scores of held-out rows, the members' in one product of stacks.

    Of few rows, calling numpy for each member would take as long as training does.

    Parameters
    ----------
    network : TwoLayerNetwork
    X : ndarray of shape (n, n_features)
    rows : list of ndarrays of int
        The rows held out of each member; shorter lists are filled up with zeros.
    parameters : Parameters
        Of the layout and dtype of those to come.
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


class ValidationSet(_ValidationRows):
    """Rows that no network learns from, scored by what a fit would keep.

    Parameters
    ----------
    network : TwoLayerNetwork
    X : ndarray or CSR of shape (n_all, n_features)
    rows : ndarray of int or None
        Those of X; None for all.
    Y : ndarray of shape (n, n_outputs)
    sample_weight : ndarray of shape (n,) or None
    kept : callable(Parameters) -> Weights
        The one network on the columns of X.
    rescale : callable(z) -> z, or None
        From the units of that network's scores to those of Y.
    score : callable(z, parameters) -> float
    tempered : bool
    """

    def __init__(
        self, network, X, rows, Y, sample_weight, kept, rescale, score, tempered
    ):
        super().__init__(network.loss, Y, sample_weight, score, tempered)
        self.network, self.X, self.rows = network, X, rows
        self.kept, self.rescale = kept, rescale

    def scores(self, parameters):
        """Scores of the rows, (n, n_outputs)."""
        z = self.network.scores(self.kept(parameters), self.X, self.rows)
        return z if self.rescale is None else self.rescale(z)


def _root(increasing, low, high):
    """The root of an increasing function, from 1, to 1 %; or the bound next to it."""
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
        # Regula falsi on a logarithmic axis, with the Illinois rule: where the same end
        # stays twice, its value counts half.
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
