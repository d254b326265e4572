"""Data sets of the benchmarks, as pairs (X, y); each is made once and kept."""

from functools import cache
from pathlib import Path

import numpy as np
from scipy import sparse
from sklearn.datasets import load_digits, load_iris

N_PIXELS = 28 * 28
N_ALWAYS_ZERO = 67  # at least so many columns are all zero, as in the real MNIST
FILLED = 0.19  # share of its pixels that are not zero


@cache
def digits(dtype="float64"):
    """1,797 images of 8 x 8 pixels, scaled to [0, 1], ten classes."""
    X, y = load_digits(return_X_y=True)
    return (X / 16).astype(dtype), y


@cache
def iris():
    """150 rows of 4 standardized features, three classes."""
    X, y = load_iris(return_X_y=True)
    return (X - X.mean(axis=0)) / X.std(axis=0), y


@cache
def mnist(folder=None, n_rows=60_000):
    """MNIST's training images from `folder`/mnist.npz, or generated ones like it.

    float32 in [0, 1]; the file holds X_train (uint8, 784 columns or 28 x 28) and
    y_train.
    """
    file = None if folder is None else Path(folder) / "mnist.npz"
    if file is None or not file.exists():
        return like_mnist(n_rows)
    with np.load(file, allow_pickle=False) as arrays:
        X = arrays["X_train"][:n_rows].reshape(-1, N_PIXELS)
        return X.astype(np.float32) / np.float32(255), arrays["y_train"][:n_rows]


def like_mnist(n_rows, seed=0):
    """Images of MNIST's shape: smooth strokes of low rank, 19 % of pixels lit.

    An image is a sum of 40 smooth blobs with random amounts around its class's own,
    cut off where it is faint; the pixels farthest from the centre are always zero.
    """
    rng = np.random.default_rng(seed)
    y = rng.integers(10, size=n_rows)
    centres = rng.uniform(2, 25, (40, 2))
    rows, columns = np.divmod(np.arange(N_PIXELS), 28)
    squares = (rows - centres[:, :1]) ** 2 + (columns - centres[:, 1:]) ** 2
    blobs = np.exp(-squares / 8).astype(np.float32)  # (40, 784)
    amounts = rng.standard_normal((10, 40), np.float32)[y]
    amounts += 0.7 * rng.standard_normal((n_rows, 40), np.float32)
    X = amounts @ blobs
    outside = np.argsort((rows - 13.5) ** 2 + (columns - 13.5) ** 2)[-N_ALWAYS_ZERO:]
    X[:, outside] = 0
    faint = np.quantile(X[:1000], 1 - FILLED)
    X -= faint
    np.clip(X, 0, 1, out=X)
    np.rint(255 * X, out=X)
    X /= 255
    return X, y


@cache
def text(n_rows=20_000, n_columns=50_000, words=50, seed=0):
    """CSR rows of some `words` words each, frequencies as in text, two classes."""
    rng = np.random.default_rng(seed)
    frequency = 1 / (10.0 + np.arange(n_columns))  # Zipf's law, flatter at its head
    cumulated = np.cumsum(frequency / frequency.sum())
    drawn = np.searchsorted(cumulated, rng.random((n_rows, 2 * words)))
    drawn = np.minimum(drawn, n_columns - 1)
    kept = [np.unique(row)[:, None] for row in drawn]  # a word counts once a row
    kept = [rng.permutation(row[:, 0])[:words] for row in kept]
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in kept])])
    indices = np.concatenate(kept).astype(np.int32)
    values = rng.uniform(0.1, 1, len(indices))
    X = sparse.csr_matrix((values, indices, indptr), shape=(n_rows, n_columns))
    X.sort_indices()
    score = X @ rng.standard_normal(n_columns)
    return X, (score > np.median(score)).astype(int)


@cache
def synthetic(n_rows, n_features, target, seed=0):
    """Standard normal features; `target` is "binary", or a number of outputs."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_rows, n_features))
    n_outputs = 1 if target == "binary" else target
    scores = np.tanh(X @ rng.standard_normal((n_features, n_outputs)))
    scores += 0.1 * rng.standard_normal(scores.shape)
    if target == "binary":
        return X, (scores[:, 0] > 0).astype(int)
    return X, scores[:, 0] if n_outputs == 1 else scores
