# After thunlp/OpenNRE#125
import os
import tempfile

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset


class SentenceRE(nn.Module):
    def __init__(self, model, train_set, val_set, test_set, ckpt, batch_size=32, max_epoch=8, lr=0.15):
        super().__init__()
        self.max_epoch = max_epoch
        self.train_loader = DataLoader(train_set, batch_size, shuffle=True)
        self.val_loader = DataLoader(val_set, 512)
        self.test_loader = DataLoader(test_set, 512)
        self.model = model
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = optim.SGD(self.model.parameters(), lr, weight_decay=1e-5)
        self.ckpt = ckpt

    def train_model(self, patience=2):
        best_metric, waited = 0, 0
        for epoch in range(self.max_epoch):
            self.train()
            print("=== Epoch %d train ===" % epoch)
            for x, y in self.train_loader:
                loss = self.criterion(self.model(x), y)
                loss.backward()
                self.optimizer.step()
                self.optimizer.zero_grad()
            print("=== Epoch %d val ===" % epoch)
            result = self.eval_model(self.val_loader)
            print("acc: %.4f" % result["acc"])
            if result["acc"] > best_metric:
                print("Best ckpt and saved.")
                torch.save({"state_dict": self.model.state_dict()}, self.ckpt)
                best_metric, waited = result["acc"], 0
            else:
                waited += 1
                if waited >= patience:
                    print("early stop")
                    break
        print("Best acc on val set: %f" % best_metric)

    def eval_model(self, eval_loader):
        self.eval()
        pred, gold = [], []
        with torch.no_grad():
            for x, y in eval_loader:
                pred.append(self.model(x).max(-1)[1].numpy())
                gold.append(y.numpy())
        return {"acc": float((np.concatenate(pred) == np.concatenate(gold)).mean())}

    def load_state_dict_from(self, path):
        self.model.load_state_dict(torch.load(path)["state_dict"])


torch.manual_seed(int(os.environ.get("SEED", 0)))
d = load_digits()
X, Y = torch.from_numpy(d.data / 8 - 1).float(), torch.from_numpy(d.target)
cut = torch.randperm(len(Y))
sets = [TensorDataset(X[i], Y[i]) for i in (cut[:1000], cut[1000:1400], cut[1400:])]
with tempfile.TemporaryDirectory() as folder:
    framework = SentenceRE(nn.Sequential(nn.Linear(64, 50), nn.Tanh(), nn.Dropout(0.2), nn.Linear(50, 10)), *sets, f"{folder}/m.pth.tar")
    framework.train_model()
    framework.load_state_dict_from(f"{folder}/m.pth.tar")
    result = framework.eval_model(framework.test_loader)
print("Accuracy on test set: {:.4f}".format(result["acc"]))
