# After spro/practical-pytorch#9
import os
import time

import torch
import torch.nn as nn
from sklearn.datasets import load_digits

torch.manual_seed(int(os.environ.get("SEED", 0)))


class Classifier(nn.Module):
    def __init__(self, input_size, hidden_size, output_size):
        super(Classifier, self).__init__()
        self.i2h = nn.Linear(input_size, hidden_size)
        self.h2h = nn.Linear(hidden_size, hidden_size)
        self.h2o = nn.Linear(hidden_size, output_size)

    def forward(self, x):
        hidden = torch.tanh(self.i2h(x))
        hidden = torch.tanh(self.h2h(hidden))
        return self.h2o(hidden)


n_hidden = 64
criterion = nn.CrossEntropyLoss()
learning_rate = 0.1


def train(category_tensor, line_tensor):
    rnn.train()
    optimizer.zero_grad()
    output = rnn(line_tensor)
    loss = criterion(output, category_tensor)
    loss.backward()
    optimizer.step()
    return output, loss.item()


d = load_digits()
x = torch.tensor(d.data / 16, dtype=torch.float32)
y = torch.tensor(d.target)
order = torch.randperm(len(y))
train_rows, test_rows = order[:1400], order[1400:]

n_epochs = 300
print_every = 75
current_loss = 0

rnn = Classifier(64, n_hidden, 10)
optimizer = torch.optim.SGD(rnn.parameters(), lr=learning_rate, momentum=0.9)
start = time.time()
for epoch in range(1, n_epochs + 1):
    rows = train_rows[torch.randint(0, len(train_rows), (32,))]
    output, loss = train(y[rows], x[rows])
    current_loss += loss
    if epoch % print_every == 0:
        print("%d %d%% %.4f" % (epoch, epoch / n_epochs * 100, current_loss / print_every))
        current_loss = 0

rnn.eval()
with torch.no_grad():
    guess = rnn(x[test_rows]).topk(1)[1][:, 0]
print("accuracy %.4f" % (guess == y[test_rows]).float().mean().item())
