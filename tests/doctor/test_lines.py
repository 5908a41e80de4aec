# ruff: noqa: E501  scripts are written as they would stand in a file
"""A finding points at the line that is to blame: the one that ends in `# here`."""

from __future__ import annotations

import pytest
from loops import LOOP, SETUP

DETACHED = """
class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU())
    def forward(self, x):
        return self.body(x)
class Whole(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.head = Encoder(), nn.Linear(216, 4)
    def forward(self, x):
        FEATURES
        return self.head(features.flatten(1))
def net():
    return Whole()
"""
CUTS = {
    "detach": "features = self.encoder(x).detach()  # here",
    "data": "features = self.encoder(x); note = features.mean().detach()\n        features = features.data  # here",
    "no_grad": "with torch.no_grad():  # here\n            features = self.encoder(x)",
    "numpy": "features = torch.from_numpy(self.encoder(x).detach().numpy())  # here",
}
MIXES = {
    "norm over the batch": "x = self.body(x).flatten(1)\n        return self.head(x) / (1 + x.norm(dim=0).sum())  # here",
    "softmax over the batch": "x = self.body(x).flatten(1)\n        x = torch.softmax(x, 0)  # here\n        return self.head(x)",
    "attention over the batch": "x = self.body(x).flatten(2).transpose(1, 2)  # N, 36, 6\n        x = self.attention(x)  # here\n        return self.head(x.flatten(1))",
    "view for permute": "x = self.body(x).flatten(2)\n        x = x.view(36, len(x), 6)  # here\n        return self.head(self.line(x)[0].permute(1, 0, 2).flatten(1))",
}
MIXING = """
class Whole(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU()), nn.Linear(216, 4)
        self.attention = nn.TransformerEncoderLayer(6, 2, 12, 0.0)
        self.line = nn.GRU(6, 6)
    def forward(self, x):
        BODY
def net():
    return Whole()
"""


def blamed(text: str) -> int:
    """The number of the line that ends in `# here`."""
    return next(number for number, line in enumerate(text.splitlines(), 1) if line.endswith("# here"))


@pytest.mark.parametrize("how", CUTS)
def test_a_cut_graph_is_blamed_on_the_line_that_cuts_it(how, watched):
    text = SETUP + DETACHED.replace("FEATURES", CUTS[how]) + LOOP
    finding = next(one for one in watched(text).findings if one.code == "FIT203")
    assert finding.outcome.value == "fail"
    assert finding.where.line == blamed(text)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("how", MIXES)
def test_mixed_samples_are_blamed_on_the_line_that_mixes_them(how, watched):
    text = SETUP + MIXING.replace("BODY", MIXES[how]) + LOOP
    finding = next(one for one in watched(text).findings if one.code == "FIT206")
    assert finding.outcome.value == "fail"
    assert finding.where.line == blamed(text)


STOPPING = """
class Experiment:
    def __init__(self):
        self.train_loader, self.test_loader = DataLoader(data, 16, shuffle=True), DataLoader(held, 16)
        self.model = net()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05)
    def measure(self, batches):
        self.model.eval()
        with torch.no_grad():
            hits = sum((self.model(a).argmax(1) == b).sum().item() for a, b in batches)
        return {"hits": hits}
    def run(self):
        most = -1
        for epoch in range(3):
            self.model.train()
            for a, b in self.train_loader:
                self.optimizer.zero_grad()
                F.cross_entropy(self.model(a), b).backward()
                self.optimizer.step()
            now = self.measure(self.test_loader)
            if now["hits"] > most:  # here
                most = now["hits"]
                kept = {k: v.clone() for k, v in self.model.state_dict().items()}
Experiment().run()
"""


def test_a_choice_on_test_is_found_by_the_name_of_an_attribute(watched):
    text = SETUP + STOPPING
    found = {one.code: one for one in watched(text).findings if one.speaks}
    assert set(found) == {"FIT604"}
    assert found["FIT604"].where.line == blamed(text)
    assert not [one for one in watched(text.replace("test_loader", "held_out")).findings if one.speaks]


FROZEN_LATER = """
for p in list(model.parameters())[:-2]:
    p.requires_grad_(False)
optimizer = torch.optim.SGD(model[-1].parameters(), lr=0.05)
for epoch in range(2):
    model.train()
    for images, labels in train_loader:
        optimizer.zero_grad()
        loss_function(model(images), labels).backward()  # here
        optimizer.step()
"""


def test_statistics_of_layers_frozen_after_a_first_training_are_watched(watched):
    text = SETUP + LOOP + FROZEN_LATER
    found = {one.code: one for one in watched(text).findings if one.speaks}
    assert set(found) == {"FIT205"}
    assert found["FIT205"].where.line == blamed(text)
    still = text.replace(
        "    model.train()\n    for images, labels in train_loader:\n        optimizer.zero_grad()\n        loss_function",
        "    model.train(); model[1].eval()\n    for images, labels in train_loader:\n        optimizer.zero_grad()\n        loss_function",
    )
    assert still != text
    assert not [one for one in watched(still).findings if one.speaks]
