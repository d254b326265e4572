"""The story of fit, for data in memory and on a cluster, for fit and partial_fit.

`fit` has no side effects: it returns a `Fit`, and the estimator stores its attributes.
"""

from dataclasses import replace

from sklearn_bp._fitting import encoded_members
from sklearn_bp._fitting.start import fresh_state, start_from
from sklearn_bp._fitting.trainings import Fitting
from sklearn_bp._network.dropout import stream_of
from sklearn_bp._network.kernel import TwoLayerNetwork
from sklearn_bp._training.held_out import spawn
from sklearn_bp._training.state import DivergenceError


def fit(recipe, rows, start, begin):
    """Train a network on rows.

    Parameters
    ----------
    recipe : Recipe
    rows : MemoryRows or PartitionedRows
        As the user passed them.
    start : Start or None
        The fit to continue from; None to start from scratch.
    begin : callable(Training) -> Training
        Notifies callbacks that training begins; they may load a state from a file.

    Returns
    -------
    Fit
    """
    state = None if start is None else start.resumed(recipe, rows.request.incremental)
    rows = rows.checked(recipe, start)  # from here on without rows of weight 0
    inputs, rows = rows.learn_inputs(start)
    targets, running = rows.targets.learned(rows, inputs.running, start is not None)
    inputs = inputs._replace(running=running)
    if start is None:
        inputs = encoded_members.with_requested_bins(recipe, rows, inputs)
    rows = rows.prepared(inputs, targets, start)

    loss = targets.training_loss(recipe, rows.training_dtype)
    network = TwoLayerNetwork(recipe.activation_object, loss)
    constant, tol = _best_constant(recipe, rows, loss)
    settings = rows.settings(inputs, loss.n_scores(rows.n_targets))
    if start is None:
        state = fresh_state(settings, rows.training_dtype, constant)
    else:
        state = start.continued(state, settings, inputs, targets, rows.training_dtype)
    if rows.request.has_start:
        start_from(rows.request, recipe, state.parameters, inputs, targets)

    data, validate = rows.hold_out(network, settings, state, inputs)
    if recipe.dropout and state.dropout_stream is None:
        state.dropout_stream = stream_of(spawn(state.random_state))
    fitting = Fitting(recipe, settings, rows, inputs, targets, start, validate)
    training = fitting.training(network, data, state, tol)
    return _trained(fitting, training, constant, begin)


def _trained(fitting, training, constant, begin):
    """The `Fit` of a training, or of it and a second one, if one follows."""
    if encoded_members.may_follow(fitting):
        training.n_trainings = 2
    training = begin(training)
    result = training.run()
    try:
        second = encoded_members.second_training(fitting, training, result, constant)
        if second is not None:
            second = begin(second)
            return second.finished(second.run())
    except KeyboardInterrupt:  # before an epoch of the second training had ended
        result = replace(result, reason="interrupted")
    except DivergenceError:  # of the second training alone
        pass
    return training.finished(result)


def _best_constant(recipe, rows, loss):
    """The starting output intercepts, and the smallest improvement that counts.

    With standardize=True these are the best constant scores, and `tol` in units of
    their loss.
    """
    if not recipe.standardize:
        return None, recipe.tolerance
    constant, its_loss = rows.best_constant(loss)
    return constant, recipe.tolerance * (abs(its_loss) if recipe.monitors_a_loss else 1)
