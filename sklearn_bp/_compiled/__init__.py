"""An epoch of training in one compiled call, with the results of the Python loop.

For each batch, and for each ensemble member on the b rows that are not held out from
it, in the notation of `_network` and with the sample weights w,

    z1 = x W1 + b1              a1 = f(z1)
    z2 = a1 W2 + b2             p  = g(z2)
    delta2 = w (dL / dz2)       delta1 = (delta2 W2^T) * f'(z1)
    dL/dW2 = a1^T delta2        dL/db2 = 1^T delta2
    dL/dW1 = x^T  delta1        dL/db1 = 1^T delta1

followed by a step of the optimizer in one pass, and by the running mean of the weights.
A scaling layer multiplies x by s here, not W1.  The products use scipy's gemm.  Python
draws the order of the rows and keeps all lasting state: parameters, optimizer state,
curves.

If the rows are sparse, the products with x are sums.  A row of x W1 is the sum of the
rows of W1 at its stored numbers, times these numbers.  A row of x^T delta1 is such a
sum of rows of delta1, taken just before the step of its feature.  Where many numbers
are stored (`takes_gemm`), rows are copied as dense ones instead.

The bins of a numeric column are full below the bin of a row and empty above it.  So
their product with W1 lies between two running sums of rows of W1.  `binned` finds the
places of the rows in their bins, and bins.h has the products and the gradient.

`covered` decides which fits run compiled.  All others, and all fits if the extension
was not built, run the Python loop, which is the reference.  If it has sparse rows,
where passes over all weights take most of the time, the step of the optimizer is still
compiled (`covers_steps`, `bound`).

The files in C, each compiled for float and for double where it computes:

    engine.c, engine.h    the functions that Python calls, and their arguments
    variants.h            the files below, by type and instruction set
    functions.h           exp, log, tanh
    bins.h                products with columns in bins, and their gradient
    layers.h, losses.h    forward and backward of the layers; losses, output errors
    optimizers.h          updates by the optimizers, the running mean
    features.h, batch.h   rows, dense or sparse, gathered into a batch
    step.h                a step of one member on a batch
    training.h            many batches; steps of the feature scales
    meeting.h             threads that take a step together
    held_out.h            scores of held-out rows, and their loss

Here the parameters of each member are contiguous, one row per member.  Sums over
members are taken in their order, and no result of a member depends on its thread, so
results have the same bits for any number of threads.

The environment variable SKLEARN_BP_ENGINE selects the engine: "auto" (compiled if
possible), "python", or "compiled" (an error if the extension is missing).
"""

import numpy as np

from sklearn_bp import optimizers
from sklearn_bp._compiled.bins import binned
from sklearn_bp._compiled.epochs import Epochs
from sklearn_bp._compiled.held_out import Loss, Scores
from sklearn_bp._compiled.library import (
    DTYPES,
    MOST,
    is_asked_for,
    is_built,
    is_plain,
    is_readable,
    numbers_at_once,
)
from sklearn_bp._compiled.steps import bound

__all__ = [
    "Epochs",
    "Loss",
    "Scores",
    "binned",
    "bound",
    "covered",
    "covers_steps",
    "is_asked_for",
    "is_built",
]

OPTIMIZERS = (optimizers.SGD, optimizers.Adam, optimizers.AdamW, optimizers.RMSprop)


def covered(network, data, parameters, optimizer, batch_size, dropout):
    """Whether training runs compiled; only this function decides it.

    Parameters
    ----------
    network : TwoLayerNetwork
    data : Data
    parameters : Parameters
    optimizer : object of `optimizers`
    batch_size : int
    dropout : float
    """
    _, h, k = parameters.shape
    dtype = parameters.flat.dtype
    return (
        is_asked_for()
        and is_plain(network)
        and type(optimizer) in OPTIMIZERS
        and optimizer.clip_norm is None
        and not dropout
        and parameters.V is None
        and dtype in DTYPES
        and isinstance(getattr(data, "Y", None), np.ndarray)
        and data.Y.shape[1] == k
        and is_readable(data.X, data.scaling)
        and numbers_at_once(data.X, batch_size, h, dtype) <= MOST
        and max(h * parameters.n_members, k * batch_size) <= MOST
    )


def covers_steps(data, parameters, optimizer):
    """Whether an epoch in Python has compiled steps: where rows are sparse.

    Parameters
    ----------
    data : Data
    parameters : Parameters
    optimizer : object of `optimizers`
    """
    return (
        is_asked_for()
        and hasattr(getattr(data, "X", None), "tocsr")  # not of rows on a cluster
        and type(optimizer) in OPTIMIZERS
        and optimizer.clip_norm is None
        and parameters.flat.dtype in DTYPES
    )
