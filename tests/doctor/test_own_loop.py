"""The doctor sees truefit's own loop, which has no DataLoader; and what really draws a DataLoader's samples."""

from __future__ import annotations

import json

import pytest
import torch
from loops import LOOP, SETUP, alarms
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler, TensorDataset

DOORS = {
    "functions": """
import truefit
model = net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
for epoch in range(2):
    truefit.train(model, data, 16, optimizer, nn.CrossEntropyLoss())
    truefit.validate(model, held, 16, nn.CrossEntropyLoss())
    print(truefit.accuracy(model, held))
""",
    "class": """
import truefit
truefit.ConvolutionalNeuralNet(net(), progress=False).train(nn.CrossEntropyLoss(), 2, 16, data, held)
""",
    "trainer": """
import truefit
data.classes = held.classes = tuple("abcd")
run = truefit.Trainer(net(), truefit.Recipe(epochs=2)).fit(data, held, out=OUT, report=False)
print(truefit.load(OUT, network=net()).evaluation)
""",
}
STEPS = {"functions": 10, "class": 10, "trainer": 3}


@pytest.mark.parametrize("door", DOORS)
def test_healthy_training_through_each_door_is_seen_and_silent(door, watched, tmp_path):
    done = watched(SETUP + f"OUT = {str(tmp_path / 'run')!r}\n" + DOORS[door])
    assert done.script_exit == 0
    assert alarms(done) == {}
    trained = [one for one in done.log.passes if one.trains]
    assert [(one.batches, one.steps, one.ended, len(one.labels)) for one in trained] == [
        (STEPS[door],) * 2 + ("complete", 160)
    ] * 2
    assert trained[0].order != trained[1].order and sorted(trained[0].order) == list(range(160))
    outcomes = {one.code: one.outcome.value for one in done.findings}
    assert {outcomes[code] for code in ("FIT101", "FIT304", "FIT308", "FIT501", "FIT503", "FIT605")} == {"ok"}


@pytest.mark.filterwarnings("ignore:FIT101")
def test_softmax_and_samples_in_both_sets_are_found_in_truefits_own_loop(watched):
    text = SETUP + DOORS["functions"].replace("net()", "net(nn.Softmax(dim=1))").replace(
        "(model, held", "(model, Subset(data, range(40))"
    )
    done = watched(text)
    assert alarms(done) == {"FIT101": "fail", "FIT501": "fail"}
    assert {one.where.line for one in done.findings if one.code == "FIT101"} == {
        text[: text.index("truefit.train(")].count("\n") + 1
    }


def test_cut_training_of_the_trainer_leaves_the_users_run_as_it_was(watched, tmp_path):
    out = tmp_path / "run"
    text = SETUP + f"OUT = {str(out)!r}\n" + DOORS["trainer"]
    assert watched(text).script_exit == 0
    before = (out / "config.json").read_text(), (out / "history.jsonl").read_text()
    text = text.replace("out=OUT,", "out=OUT, overwrite=True,").replace("epochs=2", "epochs=3")
    done = watched(text, full=False, steps=2)
    assert done.script_exit == 0
    # An epoch that ends early is the last one: the trainer takes it for the end of its time.
    assert [one.batches for one in done.log.passes if one.trains] == [2]
    assert done.cut
    assert ((out / "config.json").read_text(), (out / "history.jsonl").read_text()) == before
    assert any(str(out) in note for note in done.notes)
    assert len([json.loads(line) for line in before[1].splitlines()]) == 2


def test_full_watch_leaves_a_training_of_the_trainer_bit_equal(watched, tmp_path):
    text = SETUP + f"OUT = {str(tmp_path / 'run')!r}\n" + DOORS["trainer"]
    text += f"torch.save(run.network.state_dict(), {str(tmp_path / 'NAME.pt')!r})\n"
    watched(text.replace("NAME", "watched").replace("run')", "one')").replace("/run'", "/one'"))
    with torch.random.fork_rng():
        exec(compile(text.replace("NAME", "alone").replace("/run'", "/two'"), "alone", "exec"), {})
    one, two = (torch.load(tmp_path / f"{name}.pt") for name in ("watched", "alone"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_sampler_inside_a_batch_sampler_is_the_one_that_draws(watched):
    from truefit.doctor.datasets import sampler_of

    data = TensorDataset(torch.arange(8))
    for kind in (RandomSampler, SequentialSampler):
        loader = DataLoader(data, batch_sampler=BatchSampler(kind(data), 4, drop_last=False))
        assert type(loader.sampler) is SequentialSampler
        assert type(sampler_of(loader)) is kind
    shuffled = "DataLoader(data, 16, shuffle=True)"
    for kind, wanted in (("Random", {}), ("Sequential", {"FIT308": "warn"})):
        sampler = f"torch.utils.data.{kind}Sampler(data)"
        loader = f"DataLoader(data, batch_sampler=torch.utils.data.BatchSampler({sampler}, 16, False))"
        assert alarms(watched(SETUP.replace(shuffled, loader) + LOOP)) == wanted
