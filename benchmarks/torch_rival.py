"""PyTorch, eager: the usual loop, on tensors that hold the whole data."""

import torch
from torch import nn

from benchmarks.problems import ALPHA, MOMENTUM, RATE, Contender


def network(n_features, n_hidden, n_outputs, dtype):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(n_features, n_hidden, dtype=dtype),
        nn.ReLU(),
        nn.Linear(n_hidden, n_outputs, dtype=dtype),
    )


def optimizer_for(net, problem, fused=None):
    """MLPClassifier's; its penalty is on the weights alone, alpha / batch size."""
    weights = [p for p in net.parameters() if p.ndim == 2]
    biases = [p for p in net.parameters() if p.ndim == 1]
    groups = [
        {"params": weights, "weight_decay": ALPHA / problem.batch},
        {"params": biases},
    ]
    if problem.solver == "sgd":
        return torch.optim.SGD(
            groups, lr=RATE, momentum=MOMENTUM, nesterov=True, fused=fused
        )
    return torch.optim.Adam(groups, lr=RATE, fused=fused)


def eager(problem):
    X, y = problem.load()
    X, n = torch.from_numpy(X), len(X)
    if problem.kind == "regressor":
        y, criterion = torch.from_numpy(y.reshape(n, -1)), nn.MSELoss()
        n_outputs = y.shape[1]
    else:
        y, n_outputs = torch.from_numpy(y).long(), int(y.max()) + 1
        criterion = nn.CrossEntropyLoss()

    def work():
        net = network(X.shape[1], problem.hidden, n_outputs, X.dtype)
        optimizer = optimizer_for(net, problem, fused=True)  # the fastest there is
        for _ in range(problem.epochs):
            total = torch.zeros((), dtype=X.dtype)
            for rows in torch.randperm(n).split(problem.batch):
                optimizer.zero_grad()
                loss = criterion(net(X[rows]), y[rows])
                loss.backward()
                optimizer.step()
                total += loss.detach() * len(rows)
        return total.item() / n

    return Contender(work, lambda loss: {"loss": loss})
