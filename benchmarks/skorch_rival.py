"""skorch: PyTorch behind scikit-learn's interface."""

import numpy as np
import torch
from skorch import NeuralNetClassifier

from benchmarks.problems import Contender
from benchmarks.torch_rival import network, optimizer_for


def net(problem):
    if problem.kind == "regressor":
        return None
    X, y = problem.load()
    y = y.astype(np.int64)
    shape = X.shape[1], problem.hidden, int(y.max()) + 1
    dtype = torch.from_numpy(X[:1]).dtype

    def work():
        classifier = NeuralNetClassifier(
            network(*shape, dtype),
            criterion=torch.nn.CrossEntropyLoss,
            optimizer=lambda groups, **_: optimizer_for(classifier.module_, problem),
            max_epochs=problem.epochs,
            batch_size=problem.batch,
            iterator_train__shuffle=True,
            train_split=None,
            verbose=0,
        )
        return classifier.fit(X, y)

    return Contender(work, lambda fitted: {"loss": fitted.history[-1]["train_loss"]})
