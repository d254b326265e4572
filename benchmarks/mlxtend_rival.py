"""mlxtend's perceptron of several layers.

Not quite the same work: sigmoids instead of relu, float64 always, plain momentum.
"""

from mlxtend.classifier import MultiLayerPerceptron

from benchmarks.problems import ALPHA, MOMENTUM, RATE, Contender


def perceptron(problem):
    if problem.kind == "regressor" or problem.solver != "sgd":
        return None
    X, y = problem.load()
    n = len(X)

    def work():
        return MultiLayerPerceptron(
            eta=RATE,
            epochs=problem.epochs,
            hidden_layers=[problem.hidden],
            momentum=MOMENTUM,
            l2=ALPHA,
            minibatches=-(-n // problem.batch),
            random_seed=0,
        ).fit(X, y)

    return Contender(work)
