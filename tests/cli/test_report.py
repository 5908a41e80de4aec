"""truefit report, and the report that a training leaves."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from fruit import SMALL
from torch.utils.data import TensorDataset

import truefit
from truefit import Trainer, TruefitWarning
from truefit.commands.train import parse_train
from truefit.config import to_plain
from truefit.report.repeat import command as command_of
from truefit.runs.record import Record


@pytest.fixture
def run(trained, tmp_path) -> Path:
    """A copy of the trained run that a test may change."""
    return shutil.copytree(trained.folder, tmp_path / "run")


def test_training_leaves_a_report_with_pictures_and_says_where(trained, invoke, fruit):
    page = (trained.folder / "report.html").read_text(encoding="utf-8")
    assert "data:image/jpeg;base64," in page
    assert "http" not in page.replace("http-equiv", "")
    answer = invoke("train", fruit, *SMALL, "--epochs", "1", "--out", "run")
    assert "report: run/report.html" in answer.out


def test_no_report_leaves_it_out(invoke, fruit):
    answer = invoke("train", fruit, *SMALL, "--epochs", "1", "--out", "run", "--no-report")
    assert answer.code == 0
    assert not Path("run/report.html").exists()
    assert "report" not in answer.out


def test_report_of_a_run_can_be_made_again(invoke, run):
    before = (run / "report.html").read_text(encoding="utf-8")
    (run / "report.html").unlink()
    answer = invoke("report", run, "--json")
    assert answer.json == {"runs": [str(run)], "format": "html", "report": str(run / "report.html")}
    after = (run / "report.html").read_text(encoding="utf-8")
    # The same words and as many pictures, though these come from the files now.
    assert after.count("thumb") == before.count("thumb")
    assert after.count("<section") == before.count("<section")


@pytest.mark.parametrize(("form", "place"), [("md", "model_card.md"), ("png", "plots/confusion.png")])
def test_other_formats(invoke, run, form, place):
    assert invoke("report", run, "--format", form).code == 0
    assert (run / place).stat().st_size > 500
    answer = invoke("report", run, "--format", form)
    assert answer.code == 2
    assert "--overwrite" in answer.err
    assert invoke("report", run, "--format", form, "--overwrite", "--quiet").out == ""


def test_run_with_its_reports_can_be_replaced(invoke, run, fruit):
    assert invoke("report", run, "--format", "png").code == 0
    assert invoke("train", fruit, *SMALL, "--epochs", "1", "--out", run, "--overwrite", "--quiet").code == 0
    assert not (run / "plots").exists()


def test_several_runs_stand_on_one_page(invoke, run, trained):
    assert invoke("report", run, trained.folder).code == 0
    assert "2 runs side by side" in Path("comparison.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no run is named"),
        (["nowhere"], "not a run folder"),
        (["RUN", "--out", "."], "the report would be a folder"),
        (["RUN", "--formt", "md"], 'unknown option "--formt"'),
    ],
)
def test_wrong_usage(invoke, run, words, said):
    answer = invoke("report", *[run if word == "RUN" else word for word in words])
    assert answer.code == 2
    assert said in answer.err


def test_changed_predictions_are_refused(invoke, run):
    figures = json.loads((run / "evaluation.json").read_text())
    (run / "evaluation.json").write_text(json.dumps({**figures, "accuracy": 0.123}))
    assert invoke("report", run).code == 2


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--recipe", "quick", "--epochs", "2", "--seed", "7", "--image-size", "32"],
        ["--optimizer", "sgd", "--lr", "0.3", "--optimizer.no-nesterov", "--batch-size", "16", "--image-size", "24"],
        ["--optimizer", "sgd", "--optimizer.momentum", "0.8"],  # the momentum of standard's own optimiser
        ["--optimizer", "adamw"],
        ["--batch-size", "160"],  # which the recipe makes smaller by itself on so few images
        ["--least-steps", "2", "--accumulate", "5"],
        ["--augment.flip", "True", "--measure-training", "--resize", "stretch", "--clip-norm", "1.5"],
        ["--loss.class-weights", "1", "2", "3", "--optimizer.betas", "0.8", "0.9", "--name", "mine"],
    ],
)
def test_command_to_repeat_a_run_makes_the_same_settings(fruit, options):
    given = parse_train([str(fruit), "--device", "cpu", *options]).resolved()
    data = truefit.load_data(given.data, image_size=given.image_size, resize=given.resize)
    trainer = Trainer(given.model, given.recipe, seed=given.seed, device="cpu", measure_training=given.measure_training)
    config = settings_of(trainer, data)
    record = Record(folder=None, config=config, history=[], evaluation=None, weights=None, selected_on=None)
    words = shlex.split(command_of(record))
    assert words[:2] == ["truefit", "train"]
    again = parse_train(words[2:]).resolved()
    assert (again.seed, again.resize, again.image_size) == (given.seed, given.resize, given.image_size)
    assert again.measure_training == given.measure_training
    fitted = again.recipe.for_samples(len(data.train))
    assert to_plain(fitted.resolved(images=True, mirror=data.mirror)) == config["recipe"]


def test_command_to_repeat_a_run_keeps_what_makes_it_another_run():
    options = {"folds": 3, "fold": 2, "group_pattern": "^(.)"}
    config = settings_of(Trainer(epochs=1, device="cpu"), truefit.load_data("digits"))
    about = {**config["data"], "options": {**config["data"]["options"], **options}}
    config |= {"data": about, "calibrate": True, "select_on": "test", "from": {"run": "runs/a b"}}
    record = Record(folder=None, config=config, history=[], evaluation=None, weights=None, selected_on=None)
    again = parse_train(shlex.split(command_of(record))[2:])
    assert (again.folds, again.group_pattern, str(again.from_run)) == (3, "^(.)", "runs/a b")
    assert again.config.calibrate
    assert again.config.select_on == "test"


def settings_of(trainer: Trainer, data: truefit.Data) -> dict:
    """config.json as a training writes it, without training."""
    from truefit.fitting.fit import Fit
    from truefit.fitting.plan import FitPlan

    plan = FitPlan(
        model=trainer.model,
        recipe=trainer.recipe,
        seed=trainer.seed,
        device=trainer.device,
        workers=0,
        measure_training=trainer.measure_training,
        notify=trainer.notify,
    )
    return Fit(plan, data.train, data.validation, data.test, data).describe()


def test_data_from_python_has_no_command(tmp_path):
    draw = torch.Generator().manual_seed(0)
    data = TensorDataset(torch.randn(12, 3, 24, 24, generator=draw), torch.arange(12) % 3)
    run = Trainer(truefit.ConvNet(3), epochs=1, device="cpu").fit(data, data, out=tmp_path / "run")
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert command_of(Record.of(run)) is None
    assert "the data set gave tensors, not pictures" in page
    assert "No pictures" in page
    assert "of 12 validation samples are classified correctly" in run._repr_html_()
    assert run.plot("confusion").axes


def test_report_that_fails_takes_no_run_away(tmp_path, monkeypatch):
    def broken(*_: object, **__: object) -> Path:
        raise RuntimeError("no page today")

    monkeypatch.setattr("truefit.report.build.write_report", broken)
    draw = np.random.default_rng(0)
    images = truefit.ImageSet(
        split="train",
        classes=("a", "b"),
        labels=np.arange(8) % 2,
        pixels=draw.integers(0, 255, (8, 24, 24, 3)).astype(np.uint8),
        image_size=24,
    )
    with pytest.warns(TruefitWarning, match="no page today"):
        run = Trainer(epochs=1, device="cpu").fit(images, out=tmp_path / "run")
    assert truefit.load(run.folder).weights == run.weights


def test_nothing_of_the_report_is_imported_before_training_is_over(tmp_path, fruit):
    code = f"""
import sys
import truefit.trainer
from truefit.commands import main
seen = []
fit = truefit.trainer.Fit.run
def run(self, folder):
    result = fit(self, folder)
    seen.extend(name for name in ("jinja2", "matplotlib", "truefit.report") if name in sys.modules)
    return result
truefit.trainer.Fit.run = run
code = main(["train", {str(fruit)!r}, *{SMALL!r}, "--epochs", "1", "--out", "run", "--quiet"])
print(code, seen, "jinja2" in sys.modules, "matplotlib" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.strip() == "0 [] True False"


def test_a_folder_without_the_right_to_write_is_told_in_words_that_fit(invoke, run, monkeypatch):
    def fails(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("truefit.runs.files._write_text", fails)
    answer = invoke("report", run)
    assert answer.code == 1
    assert "give the right to write there, or name another --out" in answer.err
    assert "--resume" not in answer.err
