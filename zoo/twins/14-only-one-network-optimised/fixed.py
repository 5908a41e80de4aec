# After zjunlp/HVPNeT#5
import os

import torch
import torch.nn.functional as F
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset


class BasicBlock(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.c1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.b1 = nn.BatchNorm2d(cout)
        self.c2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.b2 = nn.BatchNorm2d(cout)
        self.short = nn.Conv2d(cin, cout, 1, stride, bias=False)

    def forward(self, x):
        y = F.relu(self.b1(self.c1(x)))
        return F.relu(self.b2(self.c2(y)) + self.short(x))


class PromptModel(nn.Module):
    def __init__(self, n_label):
        super().__init__()
        self.image_model = nn.Sequential(BasicBlock(3, 12, 2), BasicBlock(12, 24, 2), nn.Flatten())
        self.encoder_conv = nn.Sequential(nn.Linear(24 * 16, 32), nn.Tanh(), nn.Linear(32, 32))
        self.fc = nn.Linear(32, n_label)

    def forward(self, images):
        feats = self.image_model(images)
        prompts = self.encoder_conv(feats)
        return self.fc(prompts)


class Trainer:
    def __init__(self, train_data, dev_data, model, lr=2e-3, num_epochs=4):
        self.train_data, self.dev_data, self.model = train_data, dev_data, model
        self.lr, self.num_epochs = lr, num_epochs

    def before_train(self):
        params = {"lr": self.lr, "weight_decay": 1e-2, "params": []}
        for name, param in self.model.named_parameters():
            if "image_model" in name:
                params["params"].append(param)
        parameters = [params]
        params = {"lr": 5e-3, "weight_decay": 1e-2, "params": []}
        for name, param in self.model.named_parameters():
            if "encoder_conv" in name or name.startswith("fc"):
                params["params"].append(param)
        parameters.append(params)
        self.optimizer = optim.AdamW(parameters)

    def train(self):
        self.before_train()
        for epoch in range(1, self.num_epochs + 1):
            self.model.train()
            avg_loss, seen = 0.0, 0
            for images, labels in self.train_data:
                logits = self.model(images)
                loss = F.cross_entropy(logits, labels)
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                avg_loss += loss.item() * len(labels)
                seen += len(labels)
            print(f"Epoch {epoch}/{self.num_epochs} loss {avg_loss / seen:.4f}", end="  ")
            self.evaluate()

    def evaluate(self):
        self.model.eval()
        with torch.no_grad():
            hits = sum((self.model(i).argmax(-1) == t).sum().item() for i, t in self.dev_data)
        print(f"dev acc {hits / len(self.dev_data.dataset):.4f}")


def pictures(n, g):
    y = torch.randint(0, 6, (n,), generator=g)
    x = torch.randn(n, 3, 16, 16, generator=g)
    for i, k in enumerate(y.tolist()):
        half = k % 2
        x[i, k // 2, :, 8 * half : 8 * half + 8] += 0.5
    return TensorDataset(x, y)


if __name__ == "__main__":
    seed = int(os.environ.get("SEED", 0))
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(100 + seed)
    train = DataLoader(pictures(960, gen), batch_size=32, shuffle=True)
    dev = DataLoader(pictures(300, gen), batch_size=100)
    Trainer(train, dev, PromptModel(6)).train()
