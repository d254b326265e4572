"""Training on a selection of the inputs, with weights for all inputs in the end."""

from dataclasses import dataclass

import numpy as np

from sklearn_bp._network.parameters import Parameters
from sklearn_bp._tables.scaling import Scaling


@dataclass(frozen=True)
class Selection:
    """From all inputs to the selected ones, and from their weights back to all inputs.

    Attributes
    ----------
    selected : ndarray of bool of shape (n_inputs,)
    """

    selected: np.ndarray

    @property
    def n_selected(self):
        """The number of selected inputs."""
        return int(self.selected.sum())

    def of_rows(self, X, scaling):
        """The selected columns of a matrix, and their scaling."""
        some = self.selected
        return X[:, some], Scaling(scaling.centre[some], scaling.factor[some])

    def back(self, parameters):
        """`Parameters` on all inputs, without a scaling layer; others are 0."""
        p, (_, h, k) = parameters.absorbed(), parameters.shape
        skips = p.V is not None
        n_inputs, dtype = len(self.selected), p.flat.dtype
        whole = Parameters.empty(n_inputs, h, k, dtype, p.n_members, skips)
        whole.b1[...], whole.W2[...], whole.b2[...] = p.b1, p.W2, p.b2
        pairs = [(p.W1, whole.W1)]
        if skips:
            pairs.append((p.V, whole.V))
        for of_some, of_all in pairs:
            of_all[...] = 0
            of_all[self.selected] = of_some
        return whole
