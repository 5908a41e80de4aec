# After ipolharvard/ethos-ares#20
import os

import torch
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, f1_score
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class TinyTransformer(nn.Module):
    """Each row of the picture is a token."""

    def __init__(self, d_model=64, n_layer=2, n_head=4, dropout=0.3):
        super().__init__()
        self.wte = nn.Linear(8, d_model)
        self.wpe = nn.Embedding(8, d_model)
        self.drop = nn.Dropout(dropout)
        self.h = nn.ModuleList(
            nn.TransformerEncoderLayer(d_model, n_head, 128, dropout, batch_first=True, norm_first=True)
            for _ in range(n_layer)
        )
        self.ln_f = nn.LayerNorm(d_model)
        self.lm_head = nn.Linear(8 * d_model, 10)

    def forward(self, idx):
        x = self.drop(self.wte(idx) + self.wpe.weight)
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x).flatten(1))


def get_loaders(batch_size=64):
    d = load_digits()
    x, y = torch.tensor(d.images / 16.0).float(), torch.tensor(d.target)
    i = torch.randperm(len(y), generator=torch.Generator().manual_seed(3))
    train = TensorDataset(x[i[:1300]], y[i[:1300]])
    test = TensorDataset(x[i[1300:]], y[i[1300:]])
    return DataLoader(train, batch_size, shuffle=True), DataLoader(test, 250)


def fit(model, loader, epochs):
    optim = torch.optim.AdamW(model.parameters(), lr=2e-3)
    model.train()
    for ep in range(epochs):
        for xb, yb in loader:
            loss = nn.functional.cross_entropy(model(xb), yb)
            optim.zero_grad(set_to_none=True)
            loss.backward()
            optim.step()
        print(f"iter {ep}: loss {loss.item():.4f}")
    return model


@torch.no_grad()
def infer(model, loader):
    model.eval()
    y_true, y_pred = [], []
    for xb, yb in loader:
        y_pred.extend(model(xb).argmax(dim=-1).tolist())
        y_true.extend(yb.tolist())
    return y_true, y_pred


def main():
    torch.manual_seed(int(os.environ.get("SEED", 0)))
    train_loader, test_loader = get_loaders()
    model = fit(TinyTransformer(), train_loader, epochs=5)
    y_true, y_pred = infer(model, test_loader)
    print("accuracy:", round(accuracy_score(y_true, y_pred), 4), "macro F1:", round(f1_score(y_true, y_pred, average="macro"), 4))


if __name__ == "__main__":
    main()
