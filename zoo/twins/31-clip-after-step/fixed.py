# After jongwook/onsets-and-frames#24
import os
from collections import defaultdict

import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm


class ToneDataset(Dataset):
    """Short mel-like pictures of one of five notes."""

    def __init__(self, n, seed):
        g = torch.Generator().manual_seed(seed)
        self.label = torch.randint(0, 5, (n,), generator=g)
        self.mel = torch.randn(n, 1, 20, 16, generator=g)
        for i in range(n):
            start = int(torch.randint(0, 8, (1,), generator=g))
            self.mel[i, 0, 4 * self.label[i] : 4 * self.label[i] + 2, start : start + 8] += 1.1

    def __len__(self):
        return len(self.label)

    def __getitem__(self, i):
        return dict(mel=self.mel[i], label=self.label[i])


class ConvStack(nn.Module):
    def __init__(self, output_features):
        super().__init__()
        self.cnn = nn.Sequential(
            nn.Conv2d(1, 8, (3, 3), padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d((1, 2)),
            nn.Conv2d(8, 16, (3, 3), padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d((1, 2)), nn.Dropout(0.25),
        )  # fmt: skip
        self.fc = nn.Sequential(nn.Linear(16 * 20 * 4, output_features), nn.Dropout(0.2))
        self.out = nn.Linear(output_features, 5)

    def forward(self, mel):
        return self.out(self.fc(self.cnn(mel).flatten(1)))

    def run_on_batch(self, batch):
        return {"loss/onset": nn.functional.cross_entropy(self(batch["mel"]), batch["label"])}


def train(iterations=120, batch_size=24, learning_rate=6e-4, clip_gradient_norm=3, validation_interval=40):
    loader = DataLoader(ToneDataset(900, seed + 1), batch_size, shuffle=True, drop_last=True)
    validation_dataset = DataLoader(ToneDataset(300, seed + 2), 100)
    model = ConvStack(48)
    optimizer = torch.optim.Adam(model.parameters(), learning_rate)

    def cycle(iterable):
        while True:
            yield from iterable

    loop = tqdm(range(1, iterations + 1), disable=None)
    for i, batch in zip(loop, cycle(loader)):
        model.train()
        losses = model.run_on_batch(batch)
        loss = sum(losses.values())
        optimizer.zero_grad()
        loss.backward()
        if clip_gradient_norm:
            clip_grad_norm_(model.parameters(), clip_gradient_norm)
        optimizer.step()
        if i % validation_interval == 0:
            model.eval()
            metrics = defaultdict(list)
            with torch.no_grad():
                for v in validation_dataset:
                    metrics["accuracy"] += (model(v["mel"]).argmax(1) == v["label"]).tolist()
            print(i, "validation accuracy", sum(metrics["accuracy"]) / len(metrics["accuracy"]))


if __name__ == "__main__":
    seed = int(os.environ.get("SEED", 0))
    torch.manual_seed(seed)
    train()
