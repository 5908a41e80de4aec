"""Checks that fetch samples again, or train a copy, each against a script with one mistake and its healthy twin."""

from __future__ import annotations

import numpy as np
import pytest
from loops import LOOP, SETUP, alarms
from PIL import Image


def changed(text: str, *pairs: tuple[str, str]) -> str:
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text


def outcome(watched, code):
    return next(one for one in watched.findings if one.code == code).outcome.value


LONGER = changed(SETUP + LOOP, ("range(2)", "range(12)"))

# The last layer is bounded: no loss near zero can be reached, and sixteen samples are not learnt.
WEAK = changed(
    SETUP + LOOP,
    ("model, loss_function = net()", "model, loss_function = Weak()"),
).replace(
    "\nmodel, loss",
    """
class Weak(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(1, 4)
    def forward(self, x):
        return self.last(torch.sigmoid(x.flatten(1).mean(1, keepdim=True)))
model, loss""",
    1,
)


def test_a_model_that_cannot_learn_a_batch_warns(watched):
    assert alarms(watched(WEAK)) == {"FIT107": "warn"}


def test_a_model_that_learns_a_batch_by_heart_is_silent(watched):
    done = watched(SETUP + LOOP)
    assert outcome(done, "FIT107") == "ok"


POSITION = """
class Position(nn.Module):
    def __init__(self):
        super().__init__()
        self.place = nn.Embedding(160, 4)
    def forward(self, x):
        return self.place(torch.arange(len(x)))
model, loss"""


def test_outputs_that_are_not_made_from_the_images_fail(watched):
    text = changed(SETUP + LOOP, ("model, loss_function = net()", "model, loss_function = Position()"))
    done = watched(text.replace("\nmodel, loss", POSITION, 1))
    assert alarms(done) == {"FIT108": "fail"}


def test_labels_that_have_nothing_to_do_with_the_images_warn(watched):
    # So many images that they can't be learnt by heart, and labels drawn anew.
    text = changed(
        LONGER,
        ("(240,)", "(2080,)"),
        ("torch.rand(240,", "torch.rand(2080,"),
        ("x[:160], y[:160]", "x[:2000], torch.randint(4, (2000,), generator=g)"),
        ("x[160:], y[160:]", "x[2000:], y[2000:]"),
        ("data, 16", "data, 100"),
        ("lr=0.05, momentum=0.9", "lr=0.005"),
    )
    assert alarms(watched(text)) == {"FIT108": "warn"}


PICTURES = """
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 64))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
pictures = TensorDataset(torch.rand(1200, 1, 8, 8), torch.randint(10, (1200,)))
train_loader = DataLoader(pictures, 32, shuffle=True)
for epoch in range(4):
    for images, labels in train_loader:
        optimizer.zero_grad()
        F.mse_loss(model(images), images.flatten(1)).backward()
        optimizer.step()
"""


def test_outputs_that_are_not_classes_are_not_compared_with_labels(watched):
    assert alarms(watched(SETUP + PICTURES)) == {}


MLP = """
def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 32), nn.ReLU(), nn.Linear(32, 4))
"""


def test_a_layer_of_dead_units_warns_with_its_number(watched):
    text = changed(
        SETUP + MLP + LONGER[len(SETUP) :],
        ("lr=0.05, momentum=0.9)", "lr=0.005)\nwith torch.no_grad():\n    model[1].bias[:30] = -50.0"),
    )
    done = watched(text)
    assert alarms(done) == {"FIT210": "warn"}
    assert next(one for one in done.findings if one.code == "FIT210").numbers["dead units"] >= 30
    healthy = changed(text, ("[:30] = -50.0", "[:30] += 0.0"))
    assert outcome(watched(healthy), "FIT210") == "ok"


def test_an_evaluation_on_easier_images_warns(watched):
    # Half of the training labels are drawn at random, and none of the evaluation's.
    text = changed(
        LONGER,
        (
            "data = TensorDataset(x[:160], y[:160])",
            (
                "wrong = y[:160].clone(); wrong[::2] = torch.randint(4, (80,), generator=g)\n"
                "data = TensorDataset(x[:160], wrong)"
            ),
        ),
        ("* 0.1", "* 1.0"),
        ("lr=0.05", "lr=0.01"),
    )
    assert alarms(watched(text)) == {"FIT603": "warn"}
    assert outcome(watched(LONGER), "FIT603") == "ok"
    # The same where samplers part one data set.
    parted = changed(
        text,
        ("TensorDataset(x[:160], wrong)", "TensorDataset(x, torch.cat([wrong, y[160:]]))"),
        (
            "return DataLoader(data, 16, shuffle=True), DataLoader(held, 16)",
            (
                "own = torch.utils.data.SubsetRandomSampler\n"
                "    parts = range(160), range(160, 240)\n"
                "    return [DataLoader(data, 16, sampler=own(part)) for part in parts]"
            ),
        ),
    )
    assert alarms(watched(parted)) == {"FIT603": "warn"}


RELOADED = """
torch.save(model.state_dict(), "best.pt")
fresh = net()
state = torch.load("best.pt")
CHANGE
fresh.load_state_dict(state, strict=False)
fresh.eval()
with torch.no_grad():
    for images, labels in valid_loader:
        fresh(images)
"""


def test_weights_that_give_another_figure_when_loaded_fail(watched, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good = changed(LONGER, ("* 0.1", "* 1.0")) + RELOADED
    lost = good.replace("CHANGE", "del state['1.running_mean'], state['1.running_var']")
    assert alarms(watched(lost))["FIT804"] == "fail"
    done = watched(good.replace("CHANGE", ""))
    assert alarms(done) == {}
    assert outcome(done, "FIT804") == "ok"


OTHER = """
other = net()
other.eval()
with torch.no_grad():
    for images, labels in valid_loader:
        other(images)
"""


@pytest.mark.parametrize(
    "text",
    [
        # Another model was measured last, and the weights of an earlier epoch were kept in memory until then.
        changed(LONGER, ("* 0.1", "* 1.0")) + OTHER + RELOADED.replace("CHANGE", ""),
        changed(
            LONGER,
            ("* 0.1", "* 1.0"),
            (
                "    model.eval()\n",
                "    if epoch == 0:\n        kept = copy.deepcopy(model.state_dict())\n    model.eval()\n",
            ),
        )
        + RELOADED.replace("CHANGE", "").replace("torch.save(model.state_dict()", "torch.save(kept"),
    ],
)
def test_the_figure_of_other_weights_than_those_saved_is_not_compared(text, watched, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = watched("import copy\n" + text)
    assert alarms(done) == {}
    assert outcome(done, "FIT804") == "not run"


FOLDERS = """
import numpy as np
from pathlib import Path
from PIL import Image
class Pictures(torch.utils.data.Dataset):
    def __init__(self, folder, flip):
        self.paths, self.flip = sorted(Path(folder).glob("*.png")), flip
    def __len__(self):
        return len(self.paths)
    def __getitem__(self, index):
        image = np.asarray(Image.open(self.paths[index]).convert("RGB"))
        image = image[..., ::-1].copy() if self.flip else image
        return torch.from_numpy(image.copy()).permute(2, 0, 1) / 255, int(self.paths[index].name[0])
data, held = Pictures("train", FLIP), Pictures("held", False)
"""


@pytest.mark.parametrize(("flip", "found"), [("True", {"FIT505": "fail"}), ("False", {})])
def test_blue_first_in_training_alone_fails(flip, found, watched, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for split, count in (("train", 80), ("held", 24)):
        (tmp_path / split).mkdir()
        for number in range(count):
            pixels = rng.integers(0, 256, (8, 8, 3)) // 2 + rng.integers(0, 128, 3)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / split / f"{number % 4}-{number}.png")
    done = watched(SETUP + FOLDERS.replace("FLIP", flip) + LOOP.replace("/ 80", "/ 24"))
    assert {code: how for code, how in alarms(done).items() if code == "FIT505"} == found
