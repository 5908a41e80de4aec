# After ultralytics/yolov5#2582
import os

import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import load_digits

seed = int(os.environ.get("SEED", 0))
np.random.seed(seed)
torch.manual_seed(seed)

# %% load, one class after the other, every fifth image is held out
raw = load_digits()
X_train, y_train, X_val, y_val = [], [], [], []
for digit in range(10):
    imgs = raw.images[raw.target == digit] / 16.0
    for i, im in enumerate(imgs):
        (X_val if i % 5 == 0 else X_train).append(im)
        (y_val if i % 5 == 0 else y_train).append(digit)
X_train = torch.tensor(np.array(X_train), dtype=torch.float32).unsqueeze(1)
y_train = torch.tensor(y_train)
X_val = torch.tensor(np.array(X_val), dtype=torch.float32).unsqueeze(1)
y_val = torch.tensor(y_val)
print(X_train.shape, X_val.shape)

# %% model
model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(128, 10),
)
loss_function = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=0.002)

# %% train
BATCH_SIZE = 50
EPOCHS = 5
for epoch in range(EPOCHS):
    model.train()
    perm = torch.randperm(len(X_train))
    for i in range(0, len(X_train), BATCH_SIZE):
        batch_X = X_train[perm[i : i + BATCH_SIZE]]
        batch_y = y_train[perm[i : i + BATCH_SIZE]]
        model.zero_grad()
        outputs = model(batch_X)
        loss = loss_function(outputs, batch_y)
        loss.backward()
        optimizer.step()
    print(f"Epoch: {epoch}. Loss: {loss.item():.4f}")

# %% check
model.eval()
correct = 0
total = 0
with torch.no_grad():
    for i in range(len(X_val)):
        net_out = model(X_val[i].view(-1, 1, 8, 8))[0]
        if torch.argmax(net_out) == y_val[i]:
            correct += 1
        total += 1
print("Accuracy: ", round(correct / total, 3))
