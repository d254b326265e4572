"""Backpropagation by hand: one step of one row, every intermediate.

The numbers are chosen so that all can be checked on paper.  With L = ln 3,
sigmoid(L) = 3 / (1 + 3) = 3/4 and sigmoid(-L) = 1/4: the network's weights are
multiples of L, so that its activations are quarters.  The decimals below are the
fractions of the comments, worked out from L to forty digits.

    x  = (1, 2)
    W1 = L [ 2  -1 ]    b1 = L (1, -2)
           [-1   1 ]

    z1 = L (1*2 + 2*(-1) + 1,  1*(-1) + 2*1 - 2) = (L, -L)
    a1 = (3/4, 1/4)
    f'(z1) = a1 (1 - a1) = (3/16, 3/16)
"""

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse

from sklearn_bp._network.batches import Data
from sklearn_bp._network.kernel import TwoLayerNetwork
from sklearn_bp._network.objective import loss_and_gradient
from sklearn_bp._network.parameters import Parameters
from sklearn_bp._training.mini_batches import MiniBatches
from sklearn_bp._training.patience import Patience
from sklearn_bp._training.state import Plan, TrainingState
from sklearn_bp.activations import ACTIVATIONS
from sklearn_bp.losses import CLASSIFIER_LOSSES
from sklearn_bp.optimizers import SGD
from sklearn_bp.schedules import Constant

L = 1.0986122886681098  # ln 3
RATE = 0.5

X = np.array([[1.0, 2.0]])
W1 = np.array([[2 * L, -L], [-L, L]])
b1 = np.array([L, -2 * L])

# One output, half its squared error, the target 0:
#
#   W2 = L (2, -4)    b2 = L/2
#   z2 = L (2*3/4 - 4*1/4 + 1/2) = L
#   p  = 3/4,   loss = (3/4 - 0)^2 / 2 = 9/32
#   delta2 = (p - y) p (1 - p) = 3/4 * 3/4 * 1/4 = 9/64
#   delta1 = W2 delta2 f'(z1) = L (2*9/64*3/16, -4*9/64*3/16) = L (27/512, -27/256)
#   dW2 = a1 delta2 = (27/256, 9/256)    db2 = delta2 = 9/64
#   dW1 = x^T delta1 = L [27/512  -27/256]    db1 = delta1
#                        [27/256  -27/128]
#
# The step subtracts half of that:
#   W2 = (2L - 27/512, -4L - 9/512)
#      = (2.197224577336219... - 0.052734375, -4.394449154672439... - 0.017578125)
#   b2 = L/2 - 9/128 = 0.5493061443340549 - 0.0703125
#   W1 = L [2 - 27/1024   -1 + 27/512] = L [1.9736328125   -0.947265625]
#          [-1 - 27/512    1 + 27/256]     [-1.052734375    1.10546875 ]
#   b1 = L (1 - 27/1024, -2 + 27/512) = L (0.9736328125, -1.947265625)
SQUARED_ERROR = SimpleNamespace(
    loss=CLASSIFIER_LOSSES["squared_error"][False],
    y=[[False]],
    W2=np.array([[2 * L], [-4 * L]]),
    b2=np.array([L / 2]),
    z2=[[L]],
    p=[[0.75]],
    value=0.28125,
    delta2=[[0.140625]],
    delta1=[[0.05793463241023235, -0.11586926482046470]],
    dW1=[
        [0.05793463241023235, -0.11586926482046470],
        [0.11586926482046470, -0.23173852964092939],
    ],
    db1=[0.05793463241023235, -0.11586926482046470],
    dW2=[[0.10546875], [0.03515625]],
    db2=[0.140625],
    new_W1=[
        [2.1682572611311032, -1.0406776562578774],
        [-1.1565469210783421, 1.2144815534885744],
    ],
    new_b1=[1.0696449724629935, -2.1392899449259871],
    new_W2=[[2.1444902023362194], [-4.4120272796724388]],
    new_b2=[0.47899364433405485],
)

# Three classes, log-loss on a softmax, the true one being the second:
#
#   W2 = L [ 2  0  1]    b2 = L (1/2, -1, 0)
#          [-4  4 -3]
#   z2 = L (2*3/4 - 4/4 + 1/2,  0 + 4/4 - 1,  3/4 - 3/4 + 0) = (L, 0, 0)
#   p  = (3, 1, 1) / 5,   loss = -ln(1/5) = ln 5
#   delta2 = p - y = (3/5, -4/5, 1/5)
#   W2 delta2 = L (2*3/5 + 0 + 1/5,  -4*3/5 - 4*4/5 - 3*1/5) = L (7/5, -31/5)
#   delta1 = L (7/5 * 3/16, -31/5 * 3/16) = L (21/80, -93/80)
#   dW2 = [3/4 * (3/5, -4/5, 1/5)] = [0.45  -0.6  0.15]    db2 = (0.6, -0.8, 0.2)
#         [1/4 * (3/5, -4/5, 1/5)]   [0.15  -0.2  0.05]
#   dW1 = L [21/80  -93/80] = L [0.2625  -1.1625]    db1 = L (0.2625, -1.1625)
#           [42/80 -186/80]     [0.525   -2.325 ]
#
# and the step:
#   W2 = [2L - 0.225   0.3       L - 0.075 ]    b2 = (L/2 - 0.3, -L + 0.4, -0.1)
#        [-4L - 0.075  4L + 0.1  -3L - 0.025]
#   W1 = L [2 - 0.13125  -1 + 0.58125] = L [ 1.86875  -0.41875]
#          [-1 - 0.2625   1 + 1.1625 ]     [-1.2625    2.1625 ]
#   b1 = L (1 - 0.13125, -2 + 0.58125) = L (0.86875, -1.41875)
LOG_LOSS = SimpleNamespace(
    loss=CLASSIFIER_LOSSES["log_loss"][True],
    y=[[False, True, False]],
    W2=np.array([[2 * L, 0, L], [-4 * L, 4 * L, -3 * L]]),
    b2=np.array([L / 2, -L, 0]),
    z2=[[L, 0, 0]],
    p=[[0.6, 0.2, 0.2]],
    value=1.6094379124341003,
    delta2=[[0.6, -0.8, 0.2]],
    delta1=[[0.28838572577537879, -1.2771367855766775]],
    dW1=[
        [0.28838572577537879, -1.2771367855766775],
        [0.57677145155075759, -2.5542735711533550],
    ],
    db1=[0.28838572577537879, -1.2771367855766775],
    dW2=[[0.45, -0.6, 0.15], [0.15, -0.2, 0.05]],
    db2=[0.6, -0.8, 0.2],
    new_W1=[
        [2.0530317144485300, -0.46004389587977094],
        [-1.3869980144434885, 2.3757490742447872],
    ],
    new_b1=[0.95441942578042029, -1.5586561845478806],
    new_W2=[
        [1.9722245773362194, 0.3, 1.0236122886681098],
        [-4.4694491546724388, 4.4944491546724388, -3.3208368660043291],
    ],
    new_b2=[0.2493061443340549, -0.69861228866810969, -0.1],
)


class WatchedActivation:
    """The activation, which records its inputs and results."""

    def __init__(self, part, seen):
        self.part, self.seen = part, seen

    def bind(self, shape, dtype):
        forward, backward = self.part.bind(shape, dtype)

        def watched_forward(z):
            self.seen["z1"] = z.copy()
            forward(z)
            self.seen["a1"] = z.copy()

        def watched_backward(a, delta):
            backward(a, delta)
            self.seen["delta1"] = delta.copy()

        return watched_forward, watched_backward


class WatchedLoss:
    """The loss, which records its inputs and results."""

    def __init__(self, part, seen):
        self.part, self.seen = part, seen
        self.forward, self.value = part.forward, part.value

    def bind(self, shape, dtype):
        forward = self.part.bind(shape, dtype)

        def watched_forward(z):
            self.seen["z2"] = z.copy()
            forward(z)
            self.seen["p"] = z.copy()

        return watched_forward

    def backward(self, p, y, out):
        self.part.backward(p, y, out)
        self.seen["delta2"] = out.copy()


# Sums of at most five terms of size 10 or less: some roundings of 1e-15.
EXACT = {"rtol": 1e-14, "atol": 1e-14}


@pytest.fixture(params=[np.asarray, sparse.csr_matrix], ids=["dense", "csr"])
def x(request):
    return request.param(X)


@pytest.fixture(params=[SQUARED_ERROR, LOG_LOSS], ids=["squared_error", "log_loss"])
def example(request):
    return request.param


@pytest.fixture
def parameters(example):
    return Parameters.pack([W1, example.W2], [b1, example.b2], np.float64)


def watched_network(example):
    seen = {}
    return seen, TwoLayerNetwork(
        WatchedActivation(ACTIVATIONS["logistic"], seen),
        WatchedLoss(example.loss, seen),
    )


def test_intermediates_and_gradients(example, parameters, x):
    seen, network = watched_network(example)
    value, gradient = loss_and_gradient(network, parameters, x, np.array(example.y))
    assert_allclose(seen["z1"], [[L, -L]], **EXACT)
    assert_allclose(seen["a1"], [[0.75, 0.25]], **EXACT)
    assert_allclose(seen["z2"], example.z2, **EXACT)
    assert_allclose(seen["p"], example.p, **EXACT)
    assert_allclose(value, example.value, **EXACT)
    assert_allclose(seen["delta2"], example.delta2, **EXACT)
    assert_allclose(seen["delta1"], example.delta1, **EXACT)
    assert_allclose(gradient.W1, example.dW1, **EXACT)
    assert_allclose(gradient.b1, example.db1, **EXACT)
    assert_allclose(gradient.W2, example.dW2, **EXACT)
    assert_allclose(gradient.b2, example.db2, **EXACT)


def test_one_step(example, parameters, x):
    seen, network = watched_network(example)
    data = Data.weighted(x, np.array(example.y), None, alpha=0.0)
    state = TrainingState(parameters, Patience(1e-4, 10), np.random.RandomState(0))
    plan = Plan(1, -np.inf, validate=None)
    descent = MiniBatches(SGD(0.0, False), Constant(RATE), batch_size=1, shuffle=False)
    result = descent.train(network, data, state, plan)

    assert_allclose(seen["delta1"], example.delta1, **EXACT)
    assert_allclose(result.state.loss_curve, [example.value], **EXACT)
    assert_allclose(result.parameters.W1, example.new_W1, **EXACT)
    assert_allclose(result.parameters.b1, example.new_b1, **EXACT)
    assert_allclose(result.parameters.W2, example.new_W2, **EXACT)
    assert_allclose(result.parameters.b2, example.new_b2, **EXACT)
