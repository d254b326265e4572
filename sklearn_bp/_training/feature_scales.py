"""A scaling layer: a trainable scale for each feature, before the hidden layer.

With input weights s_j W1_jm, where s_j = 1 + speed r_j starts at 1, and G the
gradient with respect to these products,

    dL/dW1_jm = s_j G_jm        dL/dr_j = speed sum_m W1_jm G_jm

The network cannot express more than without it.  But Adam, whose steps have the same
length for every weight, can scale a feature up or down as a whole.  Holzmüller,
Grinsztajn and Steinwart 2024, "Better by default: strong pre-tuned MLPs and boosted
trees on tabular data", use such a layer and its faster rate.  After training, W1
absorbs it.

For features in groups, such as the bins of a column, the step of r_j follows

    dL/dr_j + TOGETHER sum_i dL/dr_i        i in the group of j

so that an irrelevant column loses all of its bins, and a relevant one keeps them.

Kernel and optimizer are not aware of it: the kernel sees s W1 in a buffer, and for the
optimizer r is one of the parameters.  `scaling_inputs` connects the two.
"""

import numpy as np

from sklearn_bp._network.parameters import TOGETHER


def scaling_inputs(optimizer, parameters, groups=None):
    """A bound optimizer that learns scales, and the parameters that the kernel sees.

    Parameters
    ----------
    optimizer : Bound
        An adaptive optimizer, bound to `parameters`.
    parameters : Parameters
        Parameters with a scaling layer, `r`.
    groups : ndarray of int of shape (n_features,) or None
        As in `Data`.

    Returns
    -------
    optimizer : Bound
    parameters : Parameters
    """
    W1, r = parameters.W1, parameters.r
    G, slopes = optimizer.target.W1, optimizer.target.r
    scaled, s = np.empty_like(W1), np.empty_like(r)
    by_feature = s[:, np.newaxis]
    speed, one = np.array(parameters.scale_speed, r.dtype), np.array(1, r.dtype)
    finish_step = optimizer.finish

    def scale():
        np.multiply(r, speed, s)
        np.add(s, one, s)
        np.multiply(W1, by_feature, scaled)

    def finish(n_rows, rate):
        np.vecdot(W1, G, out=slopes)
        if groups is not None:
            slopes[...] += TOGETHER * np.bincount(groups, slopes)[groups]
        np.multiply(slopes, speed, slopes)
        np.multiply(G, by_feature, G)
        squared_norm = finish_step(n_rows, rate)
        scale()
        return squared_norm

    scale()
    return optimizer._replace(finish=finish), parameters.with_input_weights(scaled)
