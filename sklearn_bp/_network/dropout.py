"""Dropout of hidden units: masks that change from step to step.

In training each hidden unit of each row is dropped with probability `rate`, and the
others are divided by 1 - rate.  So net inputs keep their expectation, and prediction
stays the same ("inverted" dropout; Srivastava et al. 2014, "Dropout: a simple way to
prevent neural networks from overfitting").

Masks are arrays (n_rows, n_hidden) of 0 and 1 / (1 - rate).  They have their own stream
of random numbers, so dropout changes no other draw.
"""

import numpy as np

# Number of units drawn at a time, if masks are smaller: drawing step by step takes
# twice as long with 3,200 units per step.
POOL = 2**14


def stream_of(random_state):
    """The initial state of a stream of masks, four uint64, drawn from a RandomState."""
    seed = random_state.randint(2**32, size=8, dtype=np.uint32)
    return np.random.SFC64(seed).state["state"]["state"]


class Dropout:
    """Masks for the batches of a fit.

    Parameters
    ----------
    rate : float in [0, 1)
        Rounded to a multiple of 2 ** -16, since each unit takes 16 random bits.
    stream : ndarray of shape (4,), uint64
        State of the stream of random numbers; see `stream_of`.
    """

    def __init__(self, rate, stream):
        self._threshold = np.uint16(min(round(rate * 2**16), 2**16 - 1))
        self._bits = np.random.SFC64(0)
        self._pools: list[list] = []
        self.restart(stream)

    def epoch_ends(self):
        """Discard the unused masks and return the state of the stream."""
        for pool in self._pools:
            pool.clear()
        return self._bits.state["state"]["state"]

    def restart(self, stream):
        """Continue with another stream."""
        self.epoch_ends()
        state = self._bits.state
        state["state"]["state"] = stream
        self._bits.state = state

    def bind(self, shape, dtype):
        """A function that returns the next mask; it is valid until the next call."""
        masks = np.empty((max(1, POOL // (shape[0] * shape[1])), *shape), dtype)
        flat = masks.reshape(-1)
        kept = np.empty(flat.size, bool)
        random_raw, n_raw = self._bits.random_raw, -(-flat.size // 4)
        dropped_below = self._threshold
        scale = np.array(1 / (1 - int(dropped_below) / 2**16), dtype)
        pool: list[np.ndarray] = []
        self._pools.append(pool)

        def next_mask():
            if not pool:
                # Little-endian on all machines; most need no copy.
                raw = random_raw(n_raw).astype("<u8", copy=False).view("<u2")
                np.greater_equal(raw[: flat.size], dropped_below, kept)
                np.copyto(flat, kept)
                np.multiply(flat, scale, flat)
                pool.extend(masks[::-1])
            return pool.pop()

        return next_mask
