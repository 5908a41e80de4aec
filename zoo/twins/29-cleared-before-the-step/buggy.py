# After bytetriper/RAE#67
import os

import torch
import torch.nn as nn
import torch.nn.functional as F


def one_sided_data(num, gen):
    labels = torch.randint(0, 4, (num,), generator=gen)
    pics = torch.randn(num, 1, 12, 12, generator=gen) * 0.8
    for k in range(4):
        rows = torch.where(labels == k)[0]
        block = pics[rows]
        r, c = 6 * (k // 2), 6 * (k % 2)
        block[:, :, r : r + 6, c : c + 6] += 0.5
        pics[rows] = block
    return pics, labels


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1 = nn.Conv2d(1, 8, 3, padding=1)
        self.c2 = nn.Conv2d(8, 16, 3, padding=1)
        self.fc = nn.Linear(16 * 9, 4)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.c1(x)), 2)
        x = F.max_pool2d(F.relu(self.c2(x)), 2)
        return self.fc(x.flatten(1))


def train_step(model, optimizer, images, labels, clip=1.0):
    loss = F.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.zero_grad()
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    return loss.item()


def main():
    seed = int(os.environ.get("SEED", 0))
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed)
    train_x, train_y = one_sided_data(1000, gen)
    test_x, test_y = one_sided_data(400, gen)
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    step = 0
    for epoch in range(4):
        model.train()
        for rows in torch.randperm(1000).split(25):
            loss = train_step(model, optimizer, train_x[rows], train_y[rows])
            step += 1
            if step % 40 == 0:
                print(f"step {step} loss {loss:.4f}")
    model.eval()
    with torch.no_grad():
        print("test accuracy", (model(test_x).argmax(1) == test_y).float().mean().item())


main()
