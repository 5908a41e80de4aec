# After mitmul/chainer-cifar10#1
import os

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

torch.manual_seed(int(os.environ.get("SEED", 0)))
batch_size = 128

data = load_digits()
X = torch.tensor(data.data, dtype=torch.float) / 16.0
Y = torch.tensor(data.target)
ix = torch.randperm(X.shape[0], generator=torch.Generator().manual_seed(42))
train_set = torch.utils.data.TensorDataset(X[ix[:1400]], Y[ix[:1400]])
test_set = torch.utils.data.TensorDataset(X[ix[1400:]], Y[ix[1400:]])
train_loader = torch.utils.data.DataLoader(train_set, batch_size, shuffle=True)
test_loader = torch.utils.data.DataLoader(test_set, batch_size)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(64, 128)
        self.fc2 = nn.Linear(128, 64)
        self.fc3 = nn.Linear(64, 10)

    def forward(self, x):
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))


net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True)

for epoch in range(5):
    net.train()
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()

    net.eval()
    test_loss, correct = 0.0, 0
    with torch.no_grad():
        for x, y in test_loader:
            out = net(x)
            test_loss += F.cross_entropy(out, y, reduction="sum").item()
            correct += out.argmax(dim=1).eq(y).sum().item()
    test_loss /= len(test_loader) * batch_size
    accuracy = 100.0 * correct / (len(test_loader) * batch_size)
    print(f"Epoch {epoch}: average loss {test_loss:.4f}, accuracy {accuracy:.2f}%")
