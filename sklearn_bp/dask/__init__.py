"""The two estimators for dask collections, whose rows are spread over a cluster.

They have the constructors and the networks of `sklearn_bp`. Training uses sums over the
partitions, so the result does not depend on the number of workers. Install them with
``pip install "sklearn-bp[dask]"``.
"""

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import validate_data

from sklearn_bp._common.types import MatrixLike
from sklearn_bp._estimators import classifier as _classifier
from sklearn_bp._estimators import regressor as _regressor
from sklearn_bp._estimators.base import BaseTwoLayer
from sklearn_bp._fitting.request import Request
from sklearn_bp._tables.features import is_dask_collection
from sklearn_bp._tables.targets import check_y_given
from sklearn_bp._versions import available_if, with_callbacks
from sklearn_bp.dask._collections import (
    blocks_of,
    check_collections,
    client_of,
    empty_rows,
    gather,
    predicted,
)
from sklearn_bp.dask._partitioned_rows import PartitionedRows
from sklearn_bp.dask._rows import hits, moments, train_block
from sklearn_bp.dask._training import r2
from sklearn_bp.losses import Quantile

__all__ = ["TwoLayerClassifier", "TwoLayerRegressor"]


class _OnCluster(BaseTwoLayer):
    """Common base of both; comes before the plain estimator among the bases."""

    _plain: Any

    @with_callbacks
    def fit(
        self,
        X: MatrixLike,
        y: MatrixLike,
        sample_weight: ArrayLike | None = None,
        client: Any = None,
        *,
        X_val: MatrixLike | None = None,
        y_val: MatrixLike | None = None,
        sample_weight_val: ArrayLike | None = None,
        coef_init: Sequence[ArrayLike] | None = None,
        intercept_init: Sequence[ArrayLike] | None = None,
    ) -> Self:
        """Fit the network to rows on a cluster.

        Parameters
        ----------
        X : dask array or DataFrame of shape (n_samples, n_features)
            Features, in blocks of rows; otherwise as in the plain class.

        y : dask array, Series or DataFrame of shape (n_samples,) or \
                (n_samples, n_outputs)
            Class labels or a label indicator matrix for the classifier, targets for the
            regressor, in the same blocks as X.

        sample_weight : dask array or Series of shape (n_samples,), default=None
            Weights >= 0, not all zero.

        client : distributed.Client, default=None
            Client of the cluster; None for the default client.

        X_val, y_val, sample_weight_val : array-like, default=None
            Validation rows in memory, which take the place of held-out rows. They are
            evaluated in this process after each epoch, so some thousands are enough.
            With them `early_stopping_metric` may be a scorer.

        coef_init, intercept_init : list of two arrays, default=None
            Weights and intercepts to start from, as in the plain class.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError, TypeError
            For parameters or data out of range; the message says which.
        RuntimeError
            If the cluster lost data that it cannot compute again, or all its workers.
        DivergenceError
            If the loss is not finite; it is a ValueError. An earlier fit is kept.
        """
        check_y_given(y, self)
        check_collections(self, X=X, y=y, sample_weight=sample_weight)
        request = Request(
            X,
            y,
            sample_weight,
            None,
            X_val,
            y_val,
            sample_weight_val,
            coef_init,
            intercept_init,
        )
        for name in ("X_val", "y_val", "sample_weight_val"):
            if is_dask_collection(getattr(request, name)):
                raise TypeError(
                    f"{name} is a dask {type(getattr(request, name)).__name__}: "
                    "validation rows are evaluated in this process after each epoch. "
                    f"Pass {name}.compute() with some rows."
                )
        blocks = blocks_of(X, y, sample_weight, client_of(client))
        return self._fit_parts(request, blocks, empty_rows(X))

    def _fit_parts(self, request, blocks, empty):
        """Fit to Parts of `Block`; `empty` is X without rows."""
        rows_of = partial(PartitionedRows, blocks=blocks, empty_rows=empty)
        return self._fit_rows(request, rows_of)

    def _kind_in_memory(self):
        return self._plain

    def _train_blocks(self, X, y, sample_weight, client, **options):
        """Train on one block after the other; the model moves, not the blocks."""
        check_y_given(y, self)
        check_collections(self, X=X, y=y, sample_weight=sample_weight)
        client = client_of(client)
        blocks = blocks_of(X, y, sample_weight, client)
        model = self.to_local()
        for block in blocks.futures:
            model = client.submit(train_block, model, block, options, pure=False)
        (model,) = gather(client, [model])
        self._adopt(model)
        if hasattr(self.random_state, "set_state"):
            self.random_state.set_state(model.random_state.get_state(legacy=False))
        return self

    def _adopt(self, model):
        """Replace the fitted attributes by those of a plain estimator, all at once."""
        parameters = {*self.get_params(deep=False), "_skl_callbacks"}
        own_parameters = {k: v for k, v in vars(self).items() if k in parameters}
        fitted = {k: v for k, v in vars(model).items() if k not in parameters}
        self.__dict__ = own_parameters | fitted

    def to_local(self) -> Any:
        """The plain estimator of `sklearn_bp` with the same parameters and weights.

        Returns
        -------
        model : estimator
            It accepts arrays and tables in memory, and is independent of this one.
        """
        model = self._plain(**self.get_params(deep=False))
        parameters = model.get_params(deep=False)
        fitted = {k: v for k, v in vars(self).items() if k not in parameters}
        fitted.pop("_skl_callbacks", None)  # they belong to this estimator
        vars(model).update(copy.deepcopy(fitted))
        return model

    @property
    def fit_batches(self) -> Any:
        """Not available: partial_fit takes the blocks of dask collections in order."""
        raise AttributeError(
            f"{type(self).__name__} of sklearn_bp.dask has no fit_batches: partial_fit "
            "takes the blocks of dask collections in order."
        )

    def _predicted(self, method, X, columns, dtype):
        check_collections(self, X=X)
        model = self.to_local()
        if not hasattr(model, "coefs_"):
            getattr(model, method)(np.empty((0, 0)))  # raises NotFittedError
        self._check_columns(X)
        return predicted(X, model, method, columns, dtype)

    def _check_columns(self, X):
        validate_data(self, empty_rows(X), skip_check_array=True, reset=False)

    def _scored(self, function, X, y, sample_weight):
        check_y_given(y, self)
        check_collections(self, X=X, y=y, sample_weight=sample_weight)
        self._check_columns(X)
        blocks = blocks_of(X, y, sample_weight, client_of(None))
        return blocks.each(function, self.to_local())

    def _refuse_collections(self, **values):
        for name, value in values.items():
            if is_dask_collection(value):
                raise TypeError(
                    f"{name} is a dask {type(value).__name__}, which this method does "
                    "not accept: call it on to_local(), with rows in memory."
                )


class TwoLayerClassifier(  # type: ignore[misc]  # fit takes a client
    _OnCluster, _classifier.TwoLayerClassifier
):
    """Classifier of one hidden layer for dask arrays and DataFrames.

    It has the parameters and attributes of `sklearn_bp.TwoLayerClassifier` and, with
    solver='lbfgs', the same numbers up to rounding. Rows stay on the cluster. Their
    sums do not depend on the number of workers: for given partitions and an int
    `random_state`, the weights are the same to the last bit.

    See Also
    --------
    sklearn_bp.TwoLayerClassifier : The same for rows in memory; `to_local` gives it.

    Notes
    -----
    Differences from the plain class:

    - Each step of a solver is a round over the cluster, which takes tens of
      milliseconds, so `batch_size` is large: 'by_rows' is the power of two nearest to
      a 67th of the rows, from 256 to 8192. A step takes its share of the rows of each
      partition, in an order that depends on `random_state`, the partition and the
      epoch; shuffle='blocks' means True.
    - Held-out rows are drawn within each partition; `validation_fraction` must be a
      number and `early_stopping_metric` 'loss' or 'score', unless you pass `X_val`.
    - Rows of weight 0 are ignored: they neither count as rows nor fill batches.
    - Medians and quartiles are taken from at most 20,000 evenly spaced rows, as for
      large arrays, but here also if values are missing.
    - partial_fit trains on one block after the other, on the workers that hold them.

    If workers die, the result stays the same, as long as dask can compute their data
    again: it can for rows from files or ``dask.array.from_array``, but not for
    scattered rows.
    """

    _plain = _classifier.TwoLayerClassifier

    @available_if(lambda self: self._check_solver())
    def partial_fit(  # type: ignore[override]
        self,
        X: MatrixLike,
        y: MatrixLike,
        sample_weight: ArrayLike | None = None,
        classes: ArrayLike | None = None,
        client: Any = None,
    ) -> Self:
        """Train on the blocks in order, with one epoch on each.

        It equals partial_fit of the plain estimator on one block after the other.

        Parameters
        ----------
        X : dask array or DataFrame of shape (n_samples, n_features)
        y : dask array, Series or DataFrame of shape (n_samples[, n_outputs])
        sample_weight : dask array or Series of shape (n_samples,), default=None

        classes : array-like of shape (n_classes,), default=None
            All classes that may occur in any block; required in the first call.

        client : distributed.Client, default=None

        Returns
        -------
        self : object
        """
        self._check_partial_fit()
        return self._train_blocks(X, y, sample_weight, client, classes=classes)

    def predict(self, X: MatrixLike) -> Any:
        """Most likely class of each row, lazily.

        Parameters
        ----------
        X : dask array or DataFrame of shape (n_samples, n_features)

        Returns
        -------
        y : dask array, or Series or DataFrame for a DataFrame
        """
        columns = None
        if self._is_fitted() and self._fitted.targets.multilabel:
            columns = self.classes_.tolist()
        dtype = int if columns else getattr(self, "classes_", np.empty(0)).dtype
        return self._predicted("predict", X, columns, np.dtype(dtype))

    def decision_function(self, X: MatrixLike) -> Any:
        """Raw scores of the output layer, lazily.

        Parameters
        ----------
        X : dask array or DataFrame of shape (n_samples, n_features)

        Returns
        -------
        scores : dask array, or Series or DataFrame for a DataFrame
        """
        columns = self._class_columns()
        if self._is_fitted() and self._fitted.targets.shares_score:
            columns = None
        return self._predicted("decision_function", X, columns, self._dtype())

    def predict_proba(self, X: MatrixLike) -> Any:
        """Probability of each class, or of each label, lazily.

        Parameters
        ----------
        X : dask array or DataFrame of shape (n_samples, n_features)

        Returns
        -------
        p : dask array, or DataFrame with a column for each class
        """
        columns = self._class_columns()
        return self._predicted("predict_proba", X, columns, self._dtype())

    def predict_log_proba(self, X: MatrixLike) -> Any:
        """Logarithm of the probabilities, lazily.

        Parameters
        ----------
        X : dask array or DataFrame of shape (n_samples, n_features)

        Returns
        -------
        log_p : dask array, or DataFrame with a column for each class
        """
        columns = self._class_columns()
        return self._predicted("predict_log_proba", X, columns, self._dtype())

    def score(
        self, X: MatrixLike, y: MatrixLike, sample_weight: ArrayLike | None = None
    ) -> float:
        """Accuracy, computed on the cluster of the default client.

        Parameters
        ----------
        X : dask array or DataFrame of shape (n_samples, n_features)
        y : dask array, Series or DataFrame of shape (n_samples[, n_outputs])
        sample_weight : dask array or Series of shape (n_samples,), default=None

        Returns
        -------
        score : float
        """
        weight, hit = sum(self._scored(hits, X, y, sample_weight))
        return float(hit / weight)

    def _class_columns(self):
        return self.classes_.tolist() if self._is_fitted() else []

    def _is_fitted(self):
        return hasattr(self, "coefs_")

    def _dtype(self):
        return self.coefs_[0].dtype if self._is_fitted() else np.dtype("f8")


class TwoLayerRegressor(  # type: ignore[misc]
    _OnCluster, _regressor.TwoLayerRegressor
):
    """Regressor of one hidden layer for dask arrays and DataFrames.

    It has the parameters and attributes of `sklearn_bp.TwoLayerRegressor` and, with
    solver='lbfgs', the same numbers up to rounding. Rows stay on the cluster. Their
    sums do not depend on the number of workers: for given partitions and an int
    `random_state`, the weights are the same to the last bit.

    See Also
    --------
    sklearn_bp.TwoLayerRegressor : The same for rows in memory; `to_local` gives it.

    Notes
    -----
    Differences from the plain class:

    - Each step of a solver is a round over the cluster, which takes tens of
      milliseconds, so `batch_size` is large: 'by_rows' is the power of two nearest to
      a 67th of the rows, from 256 to 8192. A step takes its share of the rows of each
      partition, in an order that depends on `random_state`, the partition and the
      epoch; shuffle='blocks' means True.
    - Held-out rows are drawn within each partition; `validation_fraction` must be a
      number and `early_stopping_metric` 'loss' or 'score', unless you pass `X_val`.
    - Rows of weight 0 are ignored: they neither count as rows nor fill batches.
    - Medians and quartiles are taken from at most 20,000 evenly spaced rows, as for
      large arrays, but here also if values are missing.
    - partial_fit trains on one block after the other, on the workers that hold them.

    If workers die, the result stays the same, as long as dask can compute their data
    again: it can for rows from files or ``dask.array.from_array``, but not for
    scattered rows.
    """

    _plain = _regressor.TwoLayerRegressor

    @available_if(lambda self: self._check_solver())
    def partial_fit(  # type: ignore[override]
        self,
        X: MatrixLike,
        y: MatrixLike,
        sample_weight: ArrayLike | None = None,
        client: Any = None,
    ) -> Self:
        """Train on the blocks in order, with one epoch on each.

        It equals partial_fit of the plain estimator on one block after the other.

        Parameters
        ----------
        X : dask array or DataFrame of shape (n_samples, n_features)
        y : dask array, Series or DataFrame of shape (n_samples[, n_outputs])
        sample_weight : dask array or Series of shape (n_samples,), default=None
        client : distributed.Client, default=None

        Returns
        -------
        self : object
        """
        return self._train_blocks(X, y, sample_weight, client)

    def predict(self, X: MatrixLike, return_std: bool = False) -> Any:
        """Predicted targets, lazily.

        Parameters
        ----------
        X : dask array or DataFrame of shape (n_samples, n_features)

        return_std : bool, default=False
            Whether to return the standard deviation of the predictions as well.

        Returns
        -------
        y : dask array, or Series or DataFrame for a DataFrame

        std : the same
            Only with `return_std`.
        """
        columns, dtype = self._columns_and_dtype()
        mean = self._predicted("predict", X, columns, dtype)
        if not return_std:
            return mean
        return mean, self._predicted("_spread", X, columns, dtype)

    def _columns_and_dtype(self):
        """Columns and dtype of predictions, found by predicting one row."""
        if not hasattr(self, "coefs_"):
            return None, np.dtype("f8")
        z = np.zeros((1, self.n_outputs_), self.coefs_[0].dtype)
        targets = self._targets()
        p = targets.mean(z)
        if p.ndim == 3:
            raise ValueError(
                "Several quantiles of several targets have three dimensions, which "
                "predictions of dask collections cannot have: use to_local()."
            )
        if p.ndim == 1:
            return None, p.dtype
        levels = getattr(targets.loss, "levels", np.empty(0)).tolist()
        return levels if len(levels) == p.shape[1] else list(range(p.shape[1])), p.dtype

    def score(
        self, X: MatrixLike, y: MatrixLike, sample_weight: ArrayLike | None = None
    ) -> float:
        """R2, the mean over the outputs, computed on the cluster of the default client.

        Parameters
        ----------
        X : dask array or DataFrame of shape (n_samples, n_features)
        y : dask array, Series or DataFrame of shape (n_samples[, n_outputs])
        sample_weight : dask array or Series of shape (n_samples,), default=None

        Returns
        -------
        score : float
        """
        if hasattr(self, "coefs_") and isinstance(self._fitted.targets.loss, Quantile):
            raise ValueError(
                "The score of quantiles needs the quantiles of all targets, which are "
                "not sums over partitions: use to_local() on rows in memory."
            )
        sums = [m for m in self._scored(moments, X, y, sample_weight) if m is not None]
        total = sum(weight for weight, *_ in sums)
        mean = sum(weight * mean for weight, mean, *_ in sums) / total
        around = sum(s + w * np.square(m - mean) for w, m, s, _ in sums)
        return r2(sum(residual for *_, residual in sums), around)
