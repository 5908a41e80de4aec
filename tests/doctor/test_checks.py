# ruff: noqa: E501  scripts are written as they would stand in a file
"""Each check against a training loop with one mistake; the same loop without it is silent."""

from __future__ import annotations

import pytest
from loops import LOOP, SETUP, alarms


def changed(*pairs: tuple[str, str], more: str = "") -> str:
    text = SETUP + LOOP + more
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text


HEAL = "    model.train()\n"
BUGS = {
    "FIT101": changed(("model, loss_function = net()", "model, loss_function = net(nn.Softmax(dim=1))")),
    "FIT102": changed(
        ("net(), nn.CrossEntropyLoss()", "net(nn.Softmax(dim=1)), nn.NLLLoss()"),
    ),
    "FIT103": changed(
        ("loss_function(model(images), labels)", "F.mse_loss(model(images)[:, :1], labels.float())"),
    ),
    "FIT104": changed(("y = torch.randint(4,", "y = torch.randint(1, 4,")),
    "FIT106": changed(("model, loss_function = net()", "model, loss_function = net(nn.LogSoftmax(dim=1))")),
    "FIT201": changed(
        ("model, loss_function = net()", "model, loss_function = Hidden()"),
    ).replace(
        "\nmodel, loss",
        """
class Hidden(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.rest = nn.Conv2d(3, 6, 3), [nn.Linear(216, 8), nn.Linear(8, 4)]
    def forward(self, x):
        x = self.first(x).flatten(1)
        for layer in self.rest:
            x = torch.relu(layer(x))
        return x
model, loss""",
        1,
    ),
    "FIT203": changed(("model, loss_function = net()", "model, loss_function = Cut()")).replace(
        "\nmodel, loss",
        """
class Cut(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 6, 3), nn.Linear(216, 4)
    def forward(self, x):
        return self.last(self.first(x).detach().flatten(1))
model, loss""",
        1,
    ),
    "FIT204": changed(
        ("optimizer = ", "model[6].requires_grad_(False)\noptimizer = "),
        ("SGD(model.parameters()", "SGD([p for p in model.parameters() if p.requires_grad]"),
    ),
    "FIT205": changed(
        ("train_loader, valid", "model[0].requires_grad_(False); model[1].requires_grad_(False)\ntrain_loader, valid")
    ),
    "FIT206": changed(("net(), nn", "Mix(), nn")).replace(
        "\nmodel, loss",
        """
class Mix(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = net()
    def forward(self, x):
        out = self.inner(x)
        return out - out.mean(0)
model, loss""",
        1,
    ),
    "FIT207": changed(("net(), nn", "Drop(), nn")).replace(
        "\nmodel, loss",
        """
class Drop(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = net()
    def forward(self, x):
        return F.dropout(self.inner(x), 0.5)
model, loss""",
        1,
    ),
    "FIT209": changed(
        ("nn.Dropout(0.1), ", ""),
        ("train_loader, valid", "[nn.init.constant_(p, 0.1) for p in model.parameters()]\ntrain_loader, valid"),
    ),
    "FIT301": changed(("    model.train()\n", ""), ("for epoch in range(2)", "model.train()\nfor epoch in range(2)")),
    "FIT302": changed(("train_loader, valid", "model[6] = nn.Linear(24, 4)\ntrain_loader, valid")),
    "FIT303": changed(("lr=0.05", "lr=0.0")),
    "FIT304": changed(("        optimizer.zero_grad()\n", "")),
    "FIT305": changed(("        optimizer.step()", "        optimizer.zero_grad()\n        optimizer.step()")),
    "FIT306": changed(
        ("        optimizer.zero_grad()\n", ""),
        ("in train_loader:", "in train_loader:\n        n = globals().get('n', 0) + 1"),
        (
            "        optimizer.step()",
            "        if n % 2 == 0:\n            optimizer.step()\n            optimizer.zero_grad()",
        ),
    ),
    "FIT307": changed(
        (
            "        optimizer.step()",
            "        optimizer.step()\n        nn.utils.clip_grad_norm_(model.parameters(), 1.0)",
        )
    ),
    "FIT308": changed(
        ("shuffle=True", "shuffle=False"),
        ("x = torch.rand", "y = y.sort()[0]\nx = torch.rand"),
        ("x[:160], y[:160]", "x[::2], y[::2]"),
        ("x[160:], y[160:]", "x[1::2], y[1::2]"),
    ),
    "FIT309": changed(
        (
            HEAL,
            "    model.train()\n    nn.init.xavier_uniform_(model[0].weight)\n    nn.init.xavier_uniform_(model[6].weight)\n",
        )
    ),
    "FIT401": changed(
        ("train_loader, valid", "scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.1)\ntrain_loader, valid"),
        ("        optimizer.step()", "        optimizer.step()\n        scheduler.step()"),
    ),
    "FIT402": changed(("x = torch.rand", "x = torch.full((240, 1, 1, 1), float('nan')) + torch.rand")),
    "FIT404": changed(
        (
            "        loss = loss_function(model(images), labels)",
            "        with torch.autocast('cpu', dtype=torch.float16):\n            loss = loss_function(model(images), labels)",
        )
    ),
    "FIT405": changed(
        ("for epoch in range(2):", "for epoch in range(3):\n    running = 0.0"),
        ("        optimizer.step()", "        optimizer.step()\n        running += loss"),
        ("SGD(model.parameters(), lr=0.05", "SGD(model.parameters(), lr=0.02"),
        ("DataLoader(data, 16", "DataLoader(data, 8"),
    ),
    "FIT501": changed(
        ("data = TensorDataset(x[:160], y[:160])", "every = TensorDataset(x, y)\ndata = Subset(every, range(160))"),
        ("held = TensorDataset(x[160:], y[160:])", "held = Subset(every, range(150, 230))"),
    ),
    "FIT502": changed(
        (
            "train_loader, valid",
            "data.class_to_idx = {'a': 0, 'c': 1}; held.class_to_idx = {'a': 0, 'b': 1, 'c': 2}\ntrain_loader, valid",
        )
    ),
    "FIT503": changed(
        (
            "held = TensorDataset(x[160:], y[160:])",
            (
                "class Noisy(TensorDataset):\n    def __getitem__(self, i):\n        a, b = super().__getitem__(i)\n"
                "        return a + torch.rand(()), b\nheld = Noisy(x[160:], y[160:])"
            ),
        ),
    ),
    "FIT504": changed(("held = TensorDataset(x[160:]", "held = TensorDataset(x[160:] * 255")),
    "FIT511": changed(
        (
            "DataLoader(data, 16, shuffle=True)",
            "DataLoader(data, 16, sampler=torch.utils.data.WeightedRandomSampler([.5, 1, 1, 1], 160))",
        )
    ),
    "FIT601": changed(("    model.eval()\n", "")),
    "FIT602": changed(
        ("DataLoader(held, 16)", "DataLoader(held, 31)"),
        (".item() * len(images)", ".item()"),
        ("{total / 80:.6f}", "{total / len(valid_loader):.6f}"),
    ),
    "FIT604": changed(("held", "test_set")),
    "FIT605": changed(("DataLoader(held, 16)", "DataLoader(held, 31, drop_last=True)")),
    "FIT701": changed(
        (
            "DataLoader(data, 16, shuffle=True)",
            "DataLoader(data, 16, sampler=torch.utils.data.DistributedSampler(data, num_replicas=2, rank=0))",
        )
    ),
    "FIT801": changed(
        ("    model.eval()", "    if epoch == 0:\n        best = model.state_dict()\n    model.eval()"),
        more="\nmodel.load_state_dict(best)\n",
    ),
    "FIT802": changed(
        (
            "train_loader, valid",
            (
                "import io; f = io.BytesIO(); torch.save({'epoch': 3, 'model': model.state_dict(), 'optimizer': "
                "optimizer.state_dict()}, f); f.seek(0); model.load_state_dict(torch.load(f)['model'])\ntrain_loader, valid"
            ),
        )
    ),
    "FIT803": changed(
        (
            "train_loader, valid",
            "model.load_state_dict({'module.' + k: v for k, v in model.state_dict().items()}, strict=False)\ntrain_loader, valid",
        )
    ),
}
BUGS["FIT805"] = changed(
    ("train_loader, valid", "import copy; average = copy.deepcopy(model).eval()\ntrain_loader, valid"),
    (
        "        optimizer.step()",
        (
            "        optimizer.step()\n"
            "        with torch.no_grad():\n"
            "            for e, p in zip(average.parameters(), model.parameters()):\n"
            "                e.lerp_(p, 0.1)"
        ),
    ),
    ("            outputs = model(images)", "            average(images)\n            outputs = model(images)"),
)
BUGS["FIT105"] = changed(("train_loader, valid", "model[6].weight.data.mul_(200)\ntrain_loader, valid"))
AUGMENTED = """
class Augmented(TensorDataset):
    def __init__(self, *tensors):
        super().__init__(*tensors)
        self.transform = lambda image: image + torch.rand(())
    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return self.transform(image) if self.transform else image, label
every = Augmented(x, y)
data, held = Subset(every, range(160)), Subset(every, range(160, 240))
held.dataset.transform = None
"""
BUGS["FIT510"] = SETUP + AUGMENTED + LOOP
OWN_GENERATOR = """
import numpy as np
class Noisy(TensorDataset):
    def __init__(self, *tensors):
        super().__init__(*tensors)
        self.draw = np.random.default_rng(0)
    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return image + float(self.draw.random()), label
data = Noisy(x[:160], y[:160])
def loaders():
    return DataLoader(data, 16, shuffle=True, num_workers=2), DataLoader(held, 16)
"""
BUGS["FIT506"] = SETUP + OWN_GENERATOR + LOOP
# What else the same mistake truly causes.
ALSO = {"FIT701": {"FIT308"}, "FIT305": {"FIT202", "FIT203", "FIT302"}}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("code", BUGS)
def test_check_finds_its_mistake_and_no_other(code, watched):
    found = alarms(watched(BUGS[code]))
    assert code in found
    assert set(found) - {code} <= ALSO.get(code, set())


@pytest.mark.parametrize(
    "pairs",
    [
        [],
        [("SGD(model.parameters(), lr=0.05, momentum=0.9)", "AdamW(model.parameters())")],
        [("optimizer.zero_grad()", "optimizer.zero_grad(set_to_none=False)")],
        [
            (
                "        optimizer.step()",
                "        nn.utils.clip_grad_norm_(model.parameters(), 1.0)\n        optimizer.step()",
            )
        ],
        [
            ("        optimizer.zero_grad()\n", ""),
            ("        optimizer.step()", "        optimizer.step()\n        model.zero_grad()"),
        ],
        [
            (
                "        loss = loss_function(model(images), labels)",
                "        with torch.autocast('cpu', dtype=torch.bfloat16):\n            loss = loss_function(model(images), labels)",
            )
        ],
    ],
)
def test_healthy_loop_is_silent(pairs, watched):
    done = watched(changed(*pairs))
    assert alarms(done) == {}
    assert sum(finding.outcome.value == "ok" for finding in done.findings) > 15


def test_silenced_code_is_not_applicable_with_the_reason(watched):
    done = watched("# truefit: ignore FIT101 (a study of this very mistake)\n" + BUGS["FIT101"])
    finding = next(one for one in done.findings if one.code == "FIT101")
    assert finding.outcome.value == "not applicable"
    assert "a study of this very mistake" in finding.reason


def test_pretraining_then_a_probe_on_the_frozen_network_is_silent(watched):
    probe = """
model.requires_grad_(False)
model.eval()
head = nn.Linear(4, 4)
optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
for images, labels in train_loader:
    optimizer.zero_grad()
    loss_function(head(model(images)), labels).backward()
    optimizer.step()
"""
    assert alarms(watched(SETUP + LOOP + probe)) == {}


def test_state_of_a_watched_scheduler_can_be_saved(watched, tmp_path):
    text = changed(
        (
            "train_loader, valid",
            "scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 2)\ntrain_loader, valid",
        ),
        ("    model.eval()", "    scheduler.step()\n    model.eval()"),
        more=f"\ntorch.save(scheduler.state_dict(), {str(tmp_path / 'state.pt')!r})\n",
    )
    done = watched(text)
    assert done.script_exit == 0
    assert alarms(done) == {}


def test_noise_in_training_alone_is_no_other_scale(watched):
    noisy = changed(
        (
            "        optimizer.zero_grad()",
            "        images = images + 0.3 * torch.randn_like(images)\n        optimizer.zero_grad()",
        )
    )
    assert alarms(watched(noisy)) == {}


def test_normalised_training_and_plain_evaluation_fail(watched):
    plain = changed(
        ("data = TensorDataset(x[:160]", "data = TensorDataset((x[:160] - 0.6) / 0.3"),
        ("held = TensorDataset(x[160:]", "held = TensorDataset(x[160:].clamp(0, 1)"),
    )
    assert alarms(watched(plain))["FIT504"] == "fail"


def finding(done, code):
    return next(one for one in done.findings if one.code == code)


def line_of(text: str, part: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if part in line)


def test_divided_accumulation_is_ok(watched):
    text = BUGS["FIT306"].replace("loss.backward()", "(loss / 2).backward()")
    done = watched(text)
    assert alarms(done) == {}
    assert finding(done, "FIT306").outcome.value == "ok"


def test_the_line_that_keeps_graphs_is_named(watched):
    assert finding(watched(BUGS["FIT405"]), "FIT405").where.line == line_of(BUGS["FIT405"], "running += loss")


def test_an_average_with_statistics_of_its_own_is_ok(watched):
    text = BUGS["FIT805"].replace(
        "                e.lerp_(p, 0.1)",
        "                e.lerp_(p, 0.1)\n"
        "            for e, b in zip(average.buffers(), model.buffers()):\n                e.copy_(b)",
    )
    assert text != BUGS["FIT805"]
    done = watched(text)
    assert alarms(done) == {}
    assert finding(done, "FIT805").outcome.value == "ok"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("code", "pair"),
    [
        ("FIT511", ("data, 16, shuffle=True", "torch.utils.data.WeightedRandomSampler([.5, 1, 1, 1], 160)")),
        ("FIT701", ("data, 16, shuffle=True", "torch.utils.data.DistributedSampler(data, num_replicas=2, rank=0)")),
        ("FIT605", ("held, 16", "torch.utils.data.SequentialSampler(held)")),
    ],
)
def test_sampler_inside_of_a_batch_sampler_is_looked_at(code, pair, watched):
    """The `sampler` of such a DataLoader is another one, which nothing asks."""
    arguments, sampler = pair
    data, size = arguments.split(",")[0], 31 if code == "FIT605" else 16
    made = f"DataLoader({data}, batch_sampler=torch.utils.data.BatchSampler({sampler}, {size}, {code == 'FIT605'}))"
    assert code in alarms(watched(changed((f"DataLoader({arguments})", made))))


def test_a_loader_is_named_by_the_line_that_makes_it(watched):
    assert finding(watched(BUGS["FIT605"]), "FIT605").where.line == line_of(BUGS["FIT605"], "return DataLoader")


FOLDS = """
model = net()
for fold in range(2):
    keep = torch.arange(240) % 2 != fold
    train_loader = DataLoader(TensorDataset(x[keep], y[keep]), 16, shuffle=True)
    valid_loader = DataLoader(TensorDataset(x[~keep], y[~keep]), 16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    model.train()
    for images, labels in train_loader:
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        hits = sum((model(a).argmax(1) == b).sum().item() for a, b in valid_loader)
"""


def test_one_network_for_all_folds_fails_and_one_for_each_does_not(watched):
    assert alarms(watched(SETUP + FOLDS)) == {"FIT501": "fail"}
    each = FOLDS.replace("model = net()\n", "", 1).replace("    keep =", "    model = net()\n    keep =", 1)
    assert alarms(watched(SETUP + each)) == {}


def test_copies_made_before_the_split_fail(watched):
    text = changed(
        ("data = TensorDataset(x[:160]", "x[160:200] = x[:40]; y[160:200] = y[:40]\ndata = TensorDataset(x[:160]")
    )
    assert alarms(watched(text)) == {"FIT501": "fail"}


def test_best_weights_by_the_test_split_warn_at_the_comparison(watched):
    text = changed(
        ("held", "test_set"),
        ("valid_loader = loaders()", "test_loader = loaders()"),
        ("in valid_loader", "in test_loader"),
        (
            '    print(f"{total',
            (
                "    test_accuracy = hits / len(test_loader)\n"
                "    if epoch == 0 or test_accuracy > best:\n"
                "        best = test_accuracy\n"
                "        torch.save(model.state_dict(), '/dev/null')\n"
                '    print(f"{total'
            ),
        ),
    )
    found = finding(watched(text), "FIT604")
    assert found.outcome.value == "warn"


PROCESSES = """
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.utils.data import DistributedSampler
held = TensorDataset(x[160:239], y[160:239])
def worker(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.manual_seed(0)
    model = net()
    wrapped = nn.parallel.DistributedDataParallel(model)
    sampler = DistributedSampler(data)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for epoch in range(2):
        sampler.set_epoch(epoch)
        wrapped.train()
        for images, labels in DataLoader(data, 16, sampler=sampler):
            optimizer.zero_grad()
            F.cross_entropy(wrapped(images), labels).backward()
            optimizer.step()
        wrapped.eval()
        hits = 0
        loader = DataLoader(held, 16, sampler=DistributedSampler(held, shuffle=False))
        with torch.no_grad():
            for images, labels in loader:
                hits += (model(images).argmax(1) == labels).sum()
        dist.all_reduce(hits)
        if rank == 0:
            print(f"{hits.item() / 80:.6f}", flush=True)
    dist.destroy_process_group()
mp.start_processes(worker, (FOLDER,), nprocs=2, start_method="fork")
"""


@pytest.mark.filterwarnings("ignore")
def test_processes_of_a_script_are_watched_and_compared(watched, tmp_path):
    text = SETUP + PROCESSES.replace("FOLDER", repr(str(tmp_path)))
    assert alarms(watched(text)) == {"FIT702": "fail"}
    (tmp_path / "meet").unlink(missing_ok=True)
    apart = text.replace("F.cross_entropy(wrapped(images)", "F.cross_entropy(model(images)").replace(
        "{hits.item() / 80:.6f}", ""
    )
    assert alarms(watched(apart)) == {"FIT703": "fail"}


SAME_WEIGHTS = changed(
    ("for epoch in range(2):", "begin = {k: v.clone() for k, v in model.state_dict().items()}\nfor epoch in range(4):"),
    ("    model.train()", "    model.load_state_dict(begin)\n    model.train()"),
)


def test_the_same_weights_loaded_in_every_epoch_fail(watched):
    done = watched(SAME_WEIGHTS)
    assert alarms(done) == {"FIT309": "fail"}
    assert finding(done, "FIT309").where.line == line_of(SAME_WEIGHTS, "    model.load_state_dict(begin)")
    once = SAME_WEIGHTS.replace("    model.load", "    if epoch == 1: model.load")
    assert alarms(watched(once)) == {}


def test_an_evaluation_in_train_mode_with_gradients_on_fails(watched):
    text = changed(("    model.eval()\n", ""), ("    with torch.no_grad():", "    if True:"))
    assert alarms(watched(text)) == {"FIT601": "fail"}


SLICES = (
    "    for images, labels in train_loader:",
    "    for i in range(0, 160, 16):\n        images, labels = x[i : i + 16], y[i : i + 16]",
)


def test_labels_from_one_are_found_without_a_data_set(watched):
    text = changed(("y = torch.randint(4,", "y = torch.randint(1, 4,"), SLICES)
    assert alarms(watched(text))["FIT104"] == "fail"


@pytest.mark.parametrize(("kept", "outcome"), [("model.state_dict()", "fail"), ("model", "warn")])
def test_best_that_is_no_copy_is_found_before_it_is_used(kept, outcome, watched):
    text = changed(("    model.eval()", f"    best_one = {kept}\n    model.eval()"))
    done = watched(text)
    assert alarms(done) == {"FIT801": outcome}
    assert finding(done, "FIT801").where.line == line_of(text, "best_one =")
    copied = text.replace(f"best_one = {kept}", f"import copy; best_one = copy.deepcopy({kept})")
    assert alarms(watched(copied)) == {}


def test_draws_from_a_generator_that_pytorch_seeds_are_ok(watched):
    done = watched(BUGS["FIT506"].replace("float(self.draw.random())", "float(np.random.rand())"))
    assert alarms(done) == {}
    assert finding(done, "FIT506").outcome.value == "ok"


def test_augmentation_that_stays_is_ok(watched):
    text = BUGS["FIT510"].replace(
        "held.dataset.transform = None",
        "every.transform = lambda image: image + 2 * torch.rand(())\nheld = TensorDataset(x[160:], y[160:])",
    )
    done = watched(text)
    assert alarms(done) == {}
    assert finding(done, "FIT510").outcome.value == "ok"


def test_the_line_that_replaces_the_transform_is_named(watched):
    assert finding(watched(BUGS["FIT510"]), "FIT510").where.line == line_of(BUGS["FIT510"], "held.dataset.transform")


def test_a_network_that_dies_of_another_mistake_is_not_a_second_finding(watched):
    dying = (
        BUGS["FIT306"]
        .replace("lr=0.05, momentum=0.9", "lr=100.0")
        .replace("nn.BatchNorm2d(6)", "nn.Identity()")
        .replace("data, 16", "data, 4")
    )
    done = watched(dying)
    assert alarms(done) == {"FIT306": "warn"}
    assert "FIT306" in finding(done, "FIT208").reason
    # What its author meant to do explains nothing away.
    assert alarms(watched("# truefit: ignore FIT306 (a study)\n" + dying)) == {"FIT208": "fail"}
