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
        p = parameters.absorbed()
        layout = p.layout._replace(n_features=len(self.selected))
        whole = Parameters.empty(layout, p.flat.dtype)
        whole.b1[...], whole.W2[...], whole.b2[...] = p.b1, p.W2, p.b2
        pairs = [(p.W1, whole.W1)]
        if p.V is not None:
            pairs.append((p.V, whole.V))
        for of_some, of_all in pairs:
            of_all[...] = 0
            of_all[self.selected] = of_some
        return whole
