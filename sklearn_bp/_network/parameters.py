"""The parameters of the network, as named views of one flat vector.

The order is b1, W1, W2, b2:

    b1 (n_hidden,)   W1 (n_features, n_hidden)   W2 (n_hidden, n_outputs)   b2

A skip layer has V (n_features, n_outputs) between W2 and b2, so that all weight
matrices, `penalized`, are one slice.  Optimizers work on the whole vector and do not
need to know its parts.  Gradients and moments have the same layout.

With a scaling layer, r (n_features,) follows b2, and the kernel sees input weights
s W1, row by row, with scales s = 1 + speed r.  All members share the scales.
After training they are `absorbed`: s W1 replaces W1, and there is no r.

Several networks side by side, the members, share the vector.  Their hidden layers are
columns of a single W1, so that one product computes all of them.  W2 holds the output
weights of one member below those of another, b2 their intercepts one after the other,
and V their weights from inputs to outputs side by side.
"""

from typing import NamedTuple

import numpy as np

from sklearn_bp._common.blas import blas_for

# The usual speed: scales change this many times as fast as weights, if the steps of the
# optimizer do not depend on the length of the gradient, which is multiplied by this
# factor too.
SCALE_SPEED = 3.0

# Share of the sum over a group of features in the step of each scale of the group.
TOGETHER = 1 / 3


def _fill(layer, drawn, initializer):
    """Store the weights and intercepts that an initializer drew."""
    try:
        for array, values in zip(layer, drawn, strict=True):
            array[...] = values
    except (TypeError, ValueError) as error:
        (d, h), name = layer[0].shape, getattr(initializer, "__name__", initializer)
        raise type(error)(
            f"init={name} must return weights of shape ({d}, {h}) and intercepts of "
            f"shape ({h},): {error}"
        ) from error


class Weights(NamedTuple):
    """The arrays that predictions need, in scikit-learn's shapes.

    V is (n_features, n_outputs), or None without a skip layer.
    """

    W1: np.ndarray
    b1: np.ndarray
    W2: np.ndarray
    b2: np.ndarray
    V: np.ndarray | None = None

    def arrays(self):
        """All arrays that are not None."""
        return [w for w in self if w is not None]

    def split(self, n_units, n_features):
        """The first units on the first features, and the others: scores add up."""
        W1, b1, W2, b2, V = self
        blind = np.ascontiguousarray(W1[:n_features, :n_units])
        seeing = np.ascontiguousarray(W1[:, n_units:])
        return (
            Weights(blind, b1[:n_units], W2[:n_units], np.zeros_like(b2)),
            Weights(seeing, b1[n_units:], W2[n_units:], b2, V),
        )

    def astype(self, dtype):
        """C-ordered arrays of a dtype; copies only if necessary."""
        W1, b1, W2, b2 = (np.asarray(w, dtype, order="C") for w in self[:4])
        V = None if self.V is None else np.asarray(self.V, dtype, order="C")
        return Weights(W1, b1, W2, b2, V)


class Layout(NamedTuple):
    """The sizes of the views of `Parameters`.

    Attributes
    ----------
    n_features, n_hidden, n_outputs : int
        Layer sizes of one member.
    n_members : int, default=1
    skip : bool, default=False
        Whether there is a skip layer.
    scale_speed : float, default=0.0
        The speed of the scaling layer, usually SCALE_SPEED; 0 without one.
    """

    n_features: int
    n_hidden: int
    n_outputs: int
    n_members: int = 1
    skip: bool = False
    scale_speed: float = 0.0

    @property
    def size(self):
        """The number of parameters."""
        d, h, k, n_members, skip, scale_speed = self
        n_inputs = h + 1 + (d if skip else 0)  # per output
        per_member = (1 + d) * h + n_inputs * k
        return n_members * per_member + (d if scale_speed else 0)


class Parameters:
    """Views into one flat vector.

    Parameters
    ----------
    flat : ndarray of shape (layout.size,), float32 or float64
        Stored without a copy.
    layout : Layout, or a tuple of its values
    member_weights : ndarray of shape (n_members,), default=None
        The weights of the members in the one network that `mean` makes of them; None
        for equal ones.

    Attributes
    ----------
    shape : tuple of int
        (n_features, n_hidden, n_outputs) of one member.
    n_members : int
    scale_speed : float
    W1, b1 : ndarrays of shape (n_features, n_members * n_hidden) and (n_members *
        n_hidden,)
    W2, b2 : ndarrays of shape (n_members * n_hidden, n_outputs) and (n_members *
        n_outputs,)
    V : ndarray of shape (n_features, n_members * n_outputs) or None
    r : ndarray of shape (n_features,) or None
    penalized : ndarray, 1-D
        W1, W2 and V.
    unpenalized : tuple of two ndarrays, 1-D
        The parameters before and after them: b1; b2 and r.
    """

    def __init__(self, flat, layout, member_weights=None):
        self.flat, self.layout = flat, Layout(*layout)
        self.member_weights = member_weights
        d, n_hidden, k, n_members, skip, self.scale_speed = self.layout
        self.shape, self.n_members = (d, n_hidden, k), n_members
        h = n_hidden * n_members
        self.b1 = flat[:h]
        self.W1 = flat[h : h + d * h].reshape(d, h)
        self.W2 = flat[h + d * h : h + d * h + h * k].reshape(h, k)
        end = len(flat) - (d if self.scale_speed else 0)
        self.b2 = flat[end - n_members * k : end]
        self.r = flat[end:] if self.scale_speed else None
        self.penalized = flat[h : end - len(self.b2)]
        self.unpenalized = self.b1, flat[end - len(self.b2) :]
        self.V = None
        if skip:
            self.V = self.penalized[d * h + h * k :].reshape(d, n_members * k)

    @classmethod
    def empty(cls, layout, dtype, member_weights=None):
        """Uninitialized parameters, except for r = 0."""
        flat = np.empty(Layout(*layout).size, dtype=dtype)
        self = cls(flat, layout, member_weights)
        if self.r is not None:
            self.r[...] = 0
        return self

    @classmethod
    def draw(cls, layout, dtype, initializer, random_state, glorot_factor):
        """Initial values, drawn layer by layer as MLPClassifier draws them; V is 0."""
        self = cls.empty(layout, dtype)
        if self.V is not None:
            self.V[...] = 0
        for W1, b1, W2, b2, _ in self.members():
            for layer in ((W1, b1), (W2, b2)):
                drawn = initializer(random_state, *layer[0].shape, glorot_factor)
                _fill(layer, drawn, initializer)
        return self

    @classmethod
    def pack(
        cls,
        coefs,
        intercepts,
        dtype,
        n_members=1,
        skip=None,
        scale_speed=0.0,
        member_weights=None,
    ):
        """Copies of arrays in scikit-learn's shapes: the inverse of `unpack`.

        Several members share the hidden units equally.  `skip` is V, (n_features,
        n_outputs), if there is a skip layer.
        """
        (d, h), (_, k) = np.shape(coefs[0]), np.shape(coefs[1])
        layout = (d, h // n_members, k, n_members, skip is not None, scale_speed)
        self = cls.empty(layout, dtype, member_weights)
        self.W1[...], self.b1[...] = coefs[0], intercepts[0]
        self.W2[...] = coefs[1]
        self.b2[...] = np.tile(intercepts[1], n_members)
        if skip is not None:
            self.V[...] = np.tile(skip, n_members)
        if member_weights is None:
            self.W2 *= n_members
            return self
        self._of_hidden(self.W2)[...] /= member_weights[:, np.newaxis, np.newaxis]
        total = member_weights.sum()
        self.b2 /= total
        if skip is not None:
            self.V /= total
        return self

    @classmethod
    def side_by_side(cls, first, second, member_weights):
        """The members of two `Parameters` together, without scaling layers.

        The second may have further features behind those of the first, whose members
        have input weights of 0 there.
        """
        n_members = first.n_members + second.n_members
        layout = second.layout._replace(n_members=n_members, scale_speed=0.0)
        self = cls.empty(layout, second.flat.dtype, member_weights)
        self.b1[...] = np.concatenate([first.b1, second.b1])
        self.W2[...] = np.concatenate([first.W2, second.W2])
        self.b2[...] = np.concatenate([first.b2, second.b2])
        pairs = [(self.W1, first.W1, second.W1)]
        if self.V is not None:
            pairs.append((self.V, first.V, second.V))
        for whole, left, right in pairs:
            n_features, start = left.shape
            whole[:n_features, :start], whole[n_features:, :start] = left, 0
            whole[:, start:] = right
        return self

    def paired(self):
        """The same with pairs of members as one each, whose scores are their mean."""
        d, h, k = self.shape
        n_members, V = self.n_members // 2, self.V
        layout = Layout(d, 2 * h, k, n_members, V is not None)
        other = Parameters.empty(layout, self.flat.dtype)
        other.W1[...], other.b1[...] = self.W1, self.b1
        np.divide(self.W2, 2, out=other.W2)
        pairs = self.b2.reshape(n_members, 2, k)
        pairs.mean(axis=1, out=other.b2.reshape(n_members, k))
        if V is not None:
            pairs = V.reshape(d, n_members, 2, k)
            other.V[...] = pairs.mean(axis=2).reshape(d, n_members * k)
        return other

    def _of_hidden(self, W2):
        """Output weights by member, (n_members, n_hidden, n_outputs): a view."""
        return W2.reshape(self.n_members, *self.shape[1:])

    def unpack(self):
        """Copies in scikit-learn's shapes: coefs, intercepts.

        Several members become the one network whose scores are their mean, with
        `member_weights`: it has all their hidden units, and their output weights times
        the member's weight.
        """
        _, _, k = self.shape
        b2, weights = self.b2.reshape(self.n_members, k), self.member_weights
        if weights is None:
            b2, W2 = b2.mean(axis=0), self.W2 / self.n_members
        else:
            b2, W2 = (weights @ b2).astype(b2.dtype), self.W2.copy()
            self._of_hidden(W2)[...] *= weights[:, np.newaxis, np.newaxis]
        return [self.W1.copy(), W2], [self.b1.copy(), b2]

    def unpack_skip(self):
        """The skip layer of that one network, (n_features, n_outputs), or None."""
        if self.V is None:
            return None
        d, _, k = self.shape
        V, weights = self.V.reshape(d, -1, k), self.member_weights
        if weights is None:
            return V.mean(axis=1)
        return np.einsum("dmk,m->dk", V, weights).astype(V.dtype)

    def shifts(self):
        """Members' b2 and V minus their means, which `unpack` returns.

        Returns
        -------
        b2 : ndarray of shape (n_members * n_outputs,)
        V : ndarray of shape (n_features, n_members * n_outputs) or None
        """
        _, (_, b2) = self.unpack()
        total = 1 if self.member_weights is None else self.member_weights.sum()
        V = None
        if self.V is not None:
            V = self.V - np.tile(self.unpack_skip() / total, self.n_members)
        return self.b2 - np.tile(b2 / total, self.n_members), V

    def members(self):
        """The `Weights` of each member, as views."""
        _, h, k = self.shape
        hidden = [slice(j * h, (j + 1) * h) for j in range(self.n_members)]
        outputs = [slice(j * k, (j + 1) * k) for j in range(self.n_members)]
        V = [None if self.V is None else self.V[:, o] for o in outputs]
        return [
            Weights(self.W1[:, i], self.b1[i], self.W2[i], self.b2[o], v)
            for i, o, v in zip(hidden, outputs, V, strict=True)
        ]

    def mean(self):
        """The `Weights` of the one network whose scores are the mean of the members."""
        if self.n_members == 1:
            return Weights(self.W1, self.b1, self.W2, self.b2, self.V)
        (W1, W2), (b1, b2) = self.unpack()
        return Weights(W1, b1, W2, b2, self.unpack_skip())

    @property
    def scales(self):
        """The factors s of the features, (n_features,)."""
        if self.r is None:
            return np.ones(self.shape[0])
        return 1 + self.scale_speed * self.r

    def absorbed(self):
        """The same network without a scaling layer; self if it has none."""
        if self.r is None:
            return self
        flat = self.flat[: -len(self.r)]
        layout, weights = self.layout[:-1], self.member_weights
        absorbed = Parameters(np.empty_like(flat), layout, weights)
        start, stop = self.b1.size, self.b1.size + self.W1.size
        W1 = flat[start:stop].reshape(self.W1.shape)
        absorbed.flat[:start] = flat[:start]
        np.multiply(W1, self.scales[:, np.newaxis], out=absorbed.W1)
        absorbed.flat[stop:] = flat[stop:]
        return absorbed

    def with_input_weights(self, W1):
        """The same views with another W1, which is not part of `flat`."""
        other = self.like(self.flat)
        other.W1 = W1
        return other

    def like(self, flat):
        """The same layout over another vector."""
        return Parameters(flat, self.layout, self.member_weights)

    def copy(self):
        """A copy with its own vector."""
        return self.like(self.flat.copy())

    def astype(self, dtype):
        """A copy of another dtype."""
        return self.like(self.flat.astype(dtype))

    def __reduce__(self):
        """Copied and pickled by the flat vector: views stay views of it."""
        return Parameters, (self.flat, tuple(self.layout), self.member_weights)

    def squared_norm(self):
        """sum(W1 ** 2) + sum(W2 ** 2) + sum(V ** 2)."""
        weights = self.penalized
        return float(blas_for(weights.dtype).dot(weights, weights))
