"""skorch in a scikit-learn pipeline."""
import os

import numpy as np
import torch
from skorch import NeuralNetClassifier
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from torch import nn


class Module(nn.Module):
    def __init__(self, hidden=64):
        super().__init__()
        self.seq = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Dropout(0.3), nn.Linear(hidden, 10))

    def forward(self, X):
        return self.seq(X)


if __name__ == "__main__":
    torch.manual_seed(int(os.environ.get("SEED", 0)))
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X.astype(np.float32), y.astype(np.int64), random_state=0)
    net = NeuralNetClassifier(Module, criterion=nn.CrossEntropyLoss, max_epochs=6, lr=0.1, iterator_train__shuffle=True, verbose=0)
    pipe = make_pipeline(FunctionTransformer(lambda a: a / 16), net)
    pipe.fit(X_train, y_train)
    print("accuracy", pipe.score(X_test, y_test))
