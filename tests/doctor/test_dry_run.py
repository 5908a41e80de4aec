"""`truefit.doctor.check`: the findings of `doctor run` from a dry run that leaves no trace."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import truefit
from truefit.doctor.replay import digests, untouched

draw = torch.Generator().manual_seed(1)
LABELS = torch.randint(4, (240,), generator=draw)
IMAGES = torch.rand(240, 3, 8, 8, generator=draw) + LABELS[:, None, None, None] * 0.1
TRAINING, VALIDATION = TensorDataset(IMAGES[:160], LABELS[:160]), TensorDataset(IMAGES[160:], LABELS[160:])


def network(*tail: nn.Module) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Dropout(0.1), nn.Linear(216, 4), *tail
        )


def spoken(checkup: truefit.doctor.Checkup) -> dict[str, str]:
    assert not any("itself broke" in one.reason for one in checkup.findings)
    return {one.code: one.outcome.value for one in checkup.findings if one.speaks}


@pytest.mark.parametrize("loaders", [False, True])
def test_healthy_model_is_silent(loaders):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    training = DataLoader(TRAINING, 16, shuffle=True) if loaders else TRAINING
    validation = DataLoader(VALIDATION, 16) if loaders else VALIDATION
    checkup = truefit.doctor.check(
        model, nn.CrossEntropyLoss(), optimizer=optimizer, training_set=training, validation_set=validation
    )
    assert checkup.ok and spoken(checkup) == {}
    outcomes = {one.code: one.outcome.value for one in checkup.findings}
    assert {outcomes[code] for code in ("FIT101", "FIT203", "FIT304", "FIT308", "FIT501", "FIT503", "FIT601")} == {"ok"}


def test_faults_of_model_loader_and_optimizer_are_found_with_this_line():
    model = network(nn.Softmax(dim=1))
    optimizer = torch.optim.Adam(list(model.parameters())[:-2])
    checkup = truefit.doctor.check(
        model, nn.CrossEntropyLoss(), optimizer=optimizer, training_set=DataLoader(TRAINING, 16)
    )
    assert spoken(checkup) == {"FIT101": "fail", "FIT302": "fail", "FIT308": "warn"}
    assert not checkup.ok
    assert str(checkup.findings[0].where.file) == __file__
    assert "FAIL FIT101" in str(checkup)
    told = json.loads(json.dumps(checkup.to_json(), allow_nan=False))
    assert told["ok"] is False and told["findings"][0]["code"] == "FIT101"
    declared = truefit.doctor.check(
        model, nn.CrossEntropyLoss(), training_set=TRAINING, declare=["ignore FIT101 (shown on purpose)"]
    )
    assert spoken(declared) == {}


def test_function_of_torch_as_loss_is_watched_too():
    checkup = truefit.doctor.check(network(nn.Softmax(dim=1)), nn.functional.cross_entropy, training_set=TRAINING)
    assert spoken(checkup) == {"FIT101": "fail"}


class Restless(TensorDataset):
    """A data set whose own code draws from every generator."""

    def __getitem__(self, index):
        random.random()
        np.random.rand()  # noqa: NPY002
        torch.rand(1)
        return super().__getitem__(index)


@pytest.mark.parametrize("stepped", [False, True])
def test_everything_is_given_back(stepped):
    model = network()
    model[1].eval()
    model[0].bias.requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(IMAGES[:8]).square().mean().backward()
    if stepped:
        optimizer.step()
    gradient = model[5].weight.grad
    before = digests(model, optimizer)
    state = [t.clone() for values in optimizer.state.values() for t in values.values()]
    truefit.doctor.check(
        model,
        nn.CrossEntropyLoss(),
        optimizer=optimizer,
        training_set=Restless(*TRAINING.tensors),
        validation_set=Restless(*VALIDATION.tensors),
    )
    assert digests(model, optimizer) == before
    assert model[5].weight.grad is gradient
    assert not model[1].training and model[0].training and not model[0].bias.requires_grad
    after = [t for values in optimizer.state.values() for t in values.values()]
    assert len(after) == len(state) == (4 + 1) * 3 * stepped
    assert all(torch.equal(a, b) for a, b in zip(state, after, strict=True))


def test_everything_is_given_back_after_an_error_of_the_users_own():
    model = network()
    before = digests(model)

    def loss(outputs, targets):
        if len(targets) != 16 or not hasattr(loss, "calls"):
            loss.calls = 0
        loss.calls += 1
        if loss.calls == 4:
            raise KeyError("mine")
        return nn.functional.cross_entropy(outputs, targets)

    with pytest.raises(KeyError, match="mine"):
        truefit.doctor.check(model, loss, training_set=TRAINING, batch_size=16)
    assert digests(model) == before


@pytest.mark.parametrize("part", ["parameters", "buffers", "gradients", "modes", "generators", "optimizer"])
def test_each_part_is_under_its_hash(part):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = digests(model, optimizer)
    with torch.random.fork_rng():
        match part:
            case "parameters":
                model[0].weight.data[0, 0, 0, 0] += 1
            case "buffers":
                model[1].running_mean[0] += 1
            case "gradients":
                model[0].weight.grad = torch.zeros_like(model[0].weight)
            case "modes":
                model[4].training = False
            case "generators":
                torch.rand(1)
            case "optimizer":
                optimizer.param_groups[0]["lr"] = 0.2
        after = digests(model, optimizer)
    assert [name for name in before if before[name] != after[name]] == [part]


def test_what_can_not_be_given_back_is_said():
    model = network()
    with pytest.raises(RuntimeError, match="buffers"), untouched(model):
        model.register_buffer("grown", torch.zeros(1))


@pytest.mark.parametrize(("options", "text"), [({"steps": 2}, "steps"), ({"declare": ["nonsense"]}, "nonsense")])
def test_bad_options_are_refused(options, text):
    with pytest.raises(truefit.InputError, match=text):
        truefit.doctor.check(network(), nn.CrossEntropyLoss(), training_set=TRAINING, **options)


def test_batches_that_are_no_images_and_targets_are_refused():
    with pytest.raises(truefit.InputError, match="images, targets"):
        truefit.doctor.check(network(), nn.CrossEntropyLoss(), training_set=DataLoader(TensorDataset(IMAGES), 16))


def test_train_with_doctor_full_tries_out_first_and_ends_with_3(tmp_path, monkeypatch, capsys):
    from truefit.commands.train import main

    (tmp_path / "softmaxed.py").write_text(
        "from torch import nn\nfrom truefit import ConvNet\n"
        "def make():\n    return nn.Sequential(ConvNet(), nn.Softmax(dim=1))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["digits", "--model", "softmaxed:make", "--doctor", "full", "--out", "run", "--json"]) == 3
    told = capsys.readouterr()
    assert "FAIL FIT101" in told.err
    said = json.loads(told.out)
    assert said["run"] is None
    assert [one["code"] for one in said["doctor"]["findings"] if one["outcome"] == "fail"] == ["FIT101"]
    assert not (tmp_path / "run").exists()


def test_what_the_dry_run_found_stands_beside_what_the_monitors_find(tmp_path, capsys):
    from truefit.commands.train import main

    words = ["digits", "--model", "convnet", "--doctor", "full", "--max-steps", "3", "--no-report", "--json", "--quiet"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    said = json.loads(capsys.readouterr().out)["doctor"]["findings"]
    assert {"FIT101", "FIT901"} <= {one["code"] for one in said}
    assert json.loads((tmp_path / "run" / "doctor.json").read_text())["findings"] == said


@pytest.mark.parametrize("words", [["--seeds", "2"], ["--folds", "3"], ["--learning-curve"], ["--dry-run"]])
def test_train_with_doctor_full_says_where_it_would_do_nothing(words, capsys, tmp_path):
    from truefit.commands import main

    assert main(["train", "digits", "--doctor", "full", "--out", str(tmp_path / "run"), *words]) == 2
    told = capsys.readouterr().err
    assert "--doctor full" in told and words[0] in told
    assert not (tmp_path / "run").exists()


def test_named_model_passes_on_bytes(capsys):
    from truefit.commands.tried import try_out

    state = torch.get_rng_state()
    assert try_out("convnet", truefit.load_data("digits"), 0, None).ok
    assert torch.equal(torch.get_rng_state(), state)
    assert capsys.readouterr() == ("", "")
