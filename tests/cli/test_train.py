"""truefit train: from images to a run folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from fruit import COLOURS, NO_AVERAGE, SMALL, draw, draw_classes
from safetensors.numpy import load_file

import truefit
from truefit.commands import training
from truefit.config import to_plain
from truefit.events import Measured, PassFinished, PassStarted
from truefit.recipes.recipe import OptimizerConfig

TRUEFIT = Path(sys.executable).with_name("truefit")
FIGURE = re.compile(r"^\d+\.\d %  \[\d+\.\d, \d+\.\d\]  n = [\d,]+ \((test|validation.*)\)$", re.MULTILINE)
RUN_FILES = {
    "config.json",
    "history.jsonl",
    "doctor.json",
    "ledger.jsonl",
    "evaluation.json",
    "predictions.npz",
    "report.html",
    "model/model.json",
    "model/weights.safetensors",
    "model/golden.safetensors",
    "model/last/weights.safetensors",
}


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def history_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


# The run folder


def test_run_folder_has_every_file_and_no_other(trained):
    assert files_of(trained.folder) == RUN_FILES


def test_every_json_file_has_a_schema_version(trained):
    for name in ("config.json", "evaluation.json", "model/model.json"):
        assert trained.read(name)["schema"] == 1
    assert all(record["schema"] == 1 for record in trained.history)


def test_config_holds_all_that_is_needed_to_repeat_the_run(trained, fruit):
    config = trained.read("config.json")
    assert config["data"]["spec"] == str(fruit)
    assert config["data"]["classes"] == list(COLOURS)
    assert {name: part["n"] for name, part in config["data"]["splits"].items()} == {
        "train": 48,
        "validation": 6,
        "test": 6,
    }
    assert config["data"]["options"]["split_seed"] == 0
    assert config["model"]["name"] == "convnet"
    assert config["seed"] == 0
    assert config["recipe"]["epochs"] == 2
    assert config["recipe"]["batch_size"] == 16
    # Nothing is left open: what "by default" came to stands there.
    assert isinstance(config["recipe"]["optimizer"]["lr"], float)
    assert config["recipe"]["augment"]["flip"] is True
    assert config["recipe"]["averaging"] == "flip"
    assert config["settings"]["device"] == "cpu"
    assert config["settings"]["precision"] == "float32"
    assert config["settings"]["threads"] >= 1
    assert {"truefit", "torch", "torchvision", "numpy", "python"} <= set(config["versions"])
    assert "commit" in config
    assert config["hardware"]["cpu"]


def test_history_has_a_line_an_epoch_with_the_keys_of_the_design(trained):
    history = trained.history
    assert [record["epoch"] for record in history] == [1, 2]
    for record in history:
        assert list(record) == [
            "schema",
            "epoch",
            "lr",
            "training_loss",
            "running_accuracy",
            "training_accuracy",
            "validation_loss",
            "validation_accuracy",
            "validation_n",
            "validation_correct",
            "validation_interval",
            "seconds",
            "images_per_second",
        ]
        assert record["training_accuracy"] is None
        assert record["validation_n"] == 6
        assert record["validation_accuracy"] == record["validation_correct"] / 6
        low, high = record["validation_interval"]
        assert 0 <= low <= record["validation_accuracy"] <= high <= 1
        assert record["seconds"] > 0
        assert record["images_per_second"] > 0


def test_evaluation_describes_test_and_how_the_weights_were_chosen(trained):
    figures = trained.read("evaluation.json")
    assert (figures["split"], figures["selected_on"], figures["n"], figures["looks"]) == ("test", "validation", 6, 1)
    assert figures["accuracy"] == figures["correct"] / 6
    assert figures["interval"][0] <= figures["accuracy"] <= figures["interval"][1]
    assert "Wilson" in figures["interval_method"]
    assert figures["loss"] > 0
    assert {"per_class", "confusion", "calibration"} <= set(figures)
    assert np.array(figures["confusion"]).shape == (3, 3)
    best = max(trained.history, key=lambda r: (r["validation_accuracy"], -r["validation_loss"], -r["epoch"]))
    assert figures["weights"] == f"best (epoch {best['epoch']})"


def test_predictions_have_a_row_a_sample_and_give_the_figures(trained):
    figures = trained.read("evaluation.json")
    with np.load(trained.folder / "predictions.npz", allow_pickle=False) as rows:
        assert set(rows.files) == {"index", "label", "predicted", "probabilities", "paths"}
        assert rows["index"].tolist() == list(range(6))
        assert rows["probabilities"].shape == (6, 3)
        assert np.allclose(rows["probabilities"].sum(axis=1), 1, atol=1e-6)
        assert rows["probabilities"].argmax(axis=1).tolist() == rows["predicted"].tolist()
        assert int((rows["predicted"] == rows["label"]).sum()) == figures["correct"]
        names = [Path(path).parent.name for path in rows["paths"].tolist()]
        assert names == [list(COLOURS)[label] for label in rows["label"]]
        assert all(Path(path).is_absolute() for path in rows["paths"].tolist())


def test_model_names_its_architecture_classes_and_preparation(trained):
    model = trained.read("model/model.json")
    assert model["architecture"]["name"] == "convnet"
    assert model["architecture"]["num_classes"] == 3
    predictor = model["predictor"]
    assert predictor["classes"] == list(COLOURS)
    assert (predictor["image_size"], predictor["averaging"], predictor["temperature"]) == (24, "flip", 1.0)
    assert len(predictor["mean"]) == len(predictor["std"]) == 3


def test_best_and_last_weights_have_the_same_tensors(trained):
    best = load_file(trained.folder / "model" / "weights.safetensors")
    last = load_file(trained.folder / "model" / "last" / "weights.safetensors")
    assert {name: value.shape for name, value in best.items()} == {name: value.shape for name, value in last.items()}


# What is printed


def test_json_is_exactly_one_line_on_stdout_and_the_rest_goes_to_stderr(trained):
    line = trained.answer.json
    figures = trained.read("evaluation.json")
    assert (line["run"], line["epochs"]) == ("run", 2)
    assert 0 < line["evaluation_seconds"] < line["fit_seconds"] - line["seconds"] + 0.02
    for name in ("split", "selected_on", "n", "correct", "accuracy", "interval", "loss", "looks"):
        assert line["evaluation"][name] == figures[name]
    assert "Running on the CPU" in trained.answer.err
    assert FIGURE.search(trained.answer.err)


def test_the_time_of_the_last_look_is_told_where_nothing_further_is_measured_too(monkeypatch):
    clock = iter([1.0, 3.0, 10.0, 10.5, 10.75])
    monkeypatch.setattr(training, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    watch = training._Stopwatch()
    assert watch.seconds is None
    for split, seconds in (("validation", 2.0), ("test", 0.5)):
        watch(PassStarted(split=split, epoch=0, steps=1, samples=2))
        watch(PassFinished(split=split, epoch=0))
        assert watch.seconds == seconds
    watch(Measured(split="test", epoch=0, label=np.zeros(2, np.int64), predicted=np.zeros(2, np.int64)))
    assert watch.seconds == 0.75


def test_digits_end_with_the_test_figure_of_360_images(digits):
    figures = digits.read("evaluation.json")
    low, high = figures["interval"]
    wanted = f"{100 * figures['accuracy']:.1f} %  [{100 * low:.1f}, {100 * high:.1f}]  n = 360 (test)"
    assert FIGURE.search(digits.answer.out).group() == wanted
    assert "runs/digits-convnet-1" in digits.answer.out
    # The predictor must not average over mirror images of digits.
    assert figures["averaging"] == "none"
    assert files_of(digits.folder) == RUN_FILES
    with np.load(digits.folder / "predictions.npz", allow_pickle=False) as rows:
        assert "paths" not in rows.files
        assert len(rows["label"]) == 360


def test_table_of_epochs_and_the_figure_are_printed_in_the_next_free_run_folder(invoke, fruit):
    Path("runs/fruit-convnet-1").mkdir(parents=True)
    answer = invoke("train", fruit, *SMALL)
    assert answer.code == 0, answer.err
    assert [path.name for path in Path("runs").iterdir() if any(path.iterdir())] == ["fruit-convnet-2"]
    assert "Running on the CPU" in answer.out
    assert "Epoch 1/2" in answer.out
    assert "Epoch 2/2" in answer.out
    table = answer.out[answer.out.index("running") :]
    rows = [line for line in table.splitlines() if re.match(r"^\s*(\* )?[12]\s+\d", line)]
    assert len(rows) == 2
    assert sum("*" in row for row in rows) == 1
    assert re.search(r"\d+\.\d %  \[\d+\.\d, \d+\.\d\]  n = 6 \(test\)", answer.out)
    assert "runs/fruit-convnet-2" in answer.out


def test_quiet_prints_nothing_at_all(invoke, fruit):
    answer = invoke("train", fruit, *SMALL, "--quiet", "--epochs", "1", "--out", "run")
    assert (answer.code, answer.out, answer.err) == (0, "", "")
    assert Path("run/evaluation.json").is_file()


def test_quiet_with_json_prints_the_one_line(invoke, fruit):
    answer = invoke("train", fruit, *SMALL, "--quiet", "--json", "--epochs", "1", "--out", "run")
    assert answer.err == ""
    assert answer.json["run"] == "run"


# Data


def test_given_splits_are_taken_as_they_lie(invoke, tmp_path):
    folder = tmp_path / "split"
    for split, each, first in (("train", 8, 0), ("val", 3, 100), ("test", 2, 200)):
        draw_classes(folder / split, each, first)
    assert invoke("train", folder, *SMALL, "--epochs", "1", "--out", "run").code == 0
    config = json.loads(Path("run/config.json").read_text())
    assert {name: part["n"] for name, part in config["data"]["splits"].items()} == {
        "train": 24,
        "validation": 9,
        "test": 6,
    }
    with np.load("run/predictions.npz", allow_pickle=False) as rows:
        assert {Path(path).parent.parent.name for path in rows["paths"].tolist()} == {"test"}


def test_without_test_the_figure_is_on_validation_and_says_that_it_was_selected_there(invoke, tmp_path):
    folder = tmp_path / "split"
    draw_classes(folder / "train", 8)
    draw_classes(folder / "valid", 3, 100)
    answer = invoke("train", folder, *SMALL, "--out", "run")
    assert answer.code == 0, answer.err
    assert "n = 9 (validation, selected on validation)" in answer.out
    figures = json.loads(Path("run/evaluation.json").read_text())
    assert (figures["split"], figures["selected_on"]) == ("validation", "validation")
    # Two epochs looked at it, and then the evaluation.
    assert figures["looks"] == 3
    chosen = int(re.fullmatch(r"best \(epoch (\d)\), averaged over steps", figures["weights"]).group(1))
    record = history_of(Path("run"))[chosen - 1]
    assert figures["n"] == record["validation_n"]
    assert figures["correct"] == record["validation_correct"]
    assert figures["loss"] == record["validation_loss"]


def test_val_fraction_0_trains_on_all_and_keeps_the_last_weights(invoke, fruit):
    answer = invoke("train", fruit, *SMALL, *NO_AVERAGE, "--val-fraction", "0", "--out", "run", "--measure-training")
    assert answer.code == 0, answer.err
    config = json.loads(Path("run/config.json").read_text())
    assert {name: part["n"] for name, part in config["data"]["splits"].items()} == {"train": 54, "test": 6}
    for record in history_of(Path("run")):
        assert {value for name, value in record.items() if name.startswith("validation_")} == {None}
        assert 0 <= record["training_accuracy"] <= 1
        assert record["training_accuracy"] * 54 == pytest.approx(round(record["training_accuracy"] * 54))
    figures = json.loads(Path("run/evaluation.json").read_text())
    assert (figures["split"], figures["selected_on"], figures["weights"]) == ("test", None, "last (epoch 2)")
    best, last = Path("run/model/weights.safetensors"), Path("run/model/last/weights.safetensors")
    assert best.read_bytes() == last.read_bytes()
    assert "n = 6 (test)" in answer.out


def test_measured_training_accuracy_is_the_exact_one(invoke, fruit):
    invoke("train", fruit, *SMALL, "--epochs", "1", "--measure-training", "--out", "run")
    again = invoke("evaluate", "run", "--split", "train", "--json").json["evaluation"]
    assert history_of(Path("run"))[0]["training_accuracy"] == again["accuracy"]
    assert again["n"] == 48


def test_unreadable_images_can_be_skipped_and_are_counted(invoke, fruit, tmp_path):
    folder = shutil.copytree(fruit, tmp_path / "copy")
    (folder / "apple" / "0.png").write_bytes(b"")
    (folder / "banana" / "notes.jpg").write_text("no image")
    answer = invoke("train", folder, *SMALL, "--epochs", "1", "--skip-unreadable", "--out", "run")
    assert answer.code == 0, answer.err
    assert "skipped, cannot be read: 2 images" in answer.out
    parts = json.loads(Path("run/config.json").read_text())["data"]["splits"]
    assert sum(part["n"] for part in parts.values()) == 59
    # The run can find the very same data again.
    assert invoke("evaluate", "run", "--quiet").code == 0


# Settings


def test_printed_config_is_read_back_and_gives_the_same(invoke, tmp_path):
    words = ["pics", "--epochs", "3", "--optimizer", "sgd", "--lr", "0.5", "--schedule", "step", "--seed", "7"]
    words += ["--image-size", "40", "--val-fraction", "0.2", "--augment.cutout", "0.25", "--clip-norm", "1.5"]
    words += ["--loss.class-weights", "balanced", "--split-seed", "3", "--measure-training"]
    printed = invoke("train", *words, "--print-config")
    assert (printed.code, printed.err) == (0, "")
    file = tmp_path / "config.yaml"
    file.write_text(printed.out)
    assert invoke("train", "--config", file, "--print-config").out == printed.out
    config = yaml.safe_load(printed.out)
    assert (config["data"], config["seed"], config["split_seed"], config["image_size"]) == ("pics", 7, 3, 40)
    assert (config["val_fraction"], config["measure_training"]) == (0.2, True)
    recipe = config["recipe"]
    assert (recipe["epochs"], recipe["clip_norm"], recipe["augment"]["cutout"]) == (3, 1.5, 0.25)
    assert (recipe["optimizer"]["name"], recipe["optimizer"]["lr"]) == ("sgd", 0.5)
    assert (recipe["schedule"]["name"], recipe["loss"]["class_weights"]) == ("step", "balanced")


def test_printing_the_config_of_defaults_reads_back_too(invoke, tmp_path):
    printed = invoke("train", "--print-config").out
    (tmp_path / "config.yaml").write_text(printed)
    assert invoke("train", f"--config={tmp_path / 'config.yaml'}", "--print-config").out == printed


def test_flags_override_the_config_file(invoke, tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 5\nrecipe:\n  epochs: 4\n  optimizer: {name: sgd, lr: 0.1}\n")
    words = ["--config", tmp_path / "config.yaml", "--epochs", "6", "--lr", "0.2", "--print-config"]
    config = yaml.safe_load(invoke("train", "folder", *words).out)
    assert (config["data"], config["seed"], config["recipe"]["epochs"]) == ("folder", 5, 6)
    assert (config["recipe"]["optimizer"]["name"], config["recipe"]["optimizer"]["lr"]) == ("sgd", 0.2)


def test_config_file_may_name_a_recipe_and_write_numbers_as_1e_3(invoke, tmp_path):
    (tmp_path / "config.yaml").write_text("recipe:\n  optimizer: {lr: 1e-3}\n")
    config = yaml.safe_load(invoke("train", "--config", tmp_path / "config.yaml", "--print-config").out)
    assert config["recipe"]["optimizer"]["lr"] == 0.001
    (tmp_path / "named.yaml").write_text("recipe: standard\n")
    assert invoke("train", "--config", tmp_path / "named.yaml", "--print-config").code == 0


@pytest.mark.parametrize("words", [("--optimizer", "sgd"), ("--optimizer.name", "sgd"), ("--optimizer=sgd",)])
@pytest.mark.parametrize("recipe", ["standard", "quick"])
def test_another_optimizer_comes_with_its_own_usual_settings(invoke, recipe, words):
    answer = invoke("train", "--recipe", recipe, *words, "--optimizer.momentum", "0.7", "--print-config")
    found = yaml.safe_load(answer.out)["recipe"]["optimizer"]
    assert found == {**to_plain(OptimizerConfig(name="sgd")), "momentum": 0.7}


def test_another_optimizer_comes_with_its_own_usual_learning_rate(invoke):
    usual = truefit.find_recipe("standard").optimizer
    same = yaml.safe_load(invoke("train", "--optimizer", usual.name, "--print-config").out)["recipe"]["optimizer"]
    other = yaml.safe_load(invoke("train", "--optimizer", "sgd", "--print-config").out)["recipe"]["optimizer"]
    assert usual.name != "sgd"
    assert same["lr"] == usual.lr
    assert (other["name"], other["lr"]) == ("sgd", None)


def test_short_and_nested_forms_say_the_same(invoke):
    short = invoke("train", "--lr", "0.3", "--schedule", "cosine", "--print-config").out
    nested = invoke("train", "--optimizer.lr", "0.3", "--schedule.name", "cosine", "--print-config").out
    assert short == nested
    assert "lr: 0.3" in short
    assert "name: cosine" in short


def test_settings_reach_the_run(invoke, fruit):
    words = ["--optimizer", "sgd", "--lr", "0.01", "--schedule", "constant", "--schedule.warmup", "0", "--seed", "3"]
    words += ["--image-size", "26", "--model", "convnet", "--resize", "stretch"]
    assert invoke("train", fruit, *SMALL, *words, "--out", "run").code == 0
    config = json.loads(Path("run/config.json").read_text())
    assert config["recipe"]["optimizer"]["name"] == "sgd"
    assert config["seed"] == 3
    assert [record["lr"] for record in history_of(Path("run"))] == [0.01, 0.01]
    predictor = json.loads(Path("run/model/model.json").read_text())["predictor"]
    assert (predictor["image_size"], predictor["resize"]) == (26, "stretch")


# Dry run


@pytest.mark.parametrize("out", [(), ("--out", "place/run")])
def test_dry_run_leaves_nothing_behind(invoke, fruit, out):
    answer = invoke("train", fruit, *SMALL, "--dry-run", *out)
    assert answer.code == 0, answer.err
    assert "48 train, 6 validation, 6 test" in answer.out
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(("words", "size"), [((), 16), (("--batch-size", "32"), 32)])
def test_a_dry_run_takes_one_step_of_the_batch_that_training_would_have(invoke, fruit, monkeypatch, words, size):
    taken, fit = [], truefit.Trainer.fit

    def seen(self, data, **more):
        run = fit(self, data, **more)
        taken.append((run.config["recipe"]["batch_size"], len(data.train)))
        return run

    monkeypatch.setattr(truefit.Trainer, "fit", seen)
    assert invoke("train", fruit, "--device", "cpu", *words, "--dry-run").code == 0
    assert taken == [(size, size)]


def test_dry_run_with_json(invoke, fruit):
    line = invoke("train", fruit, *SMALL, "--dry-run", "--json").json
    assert line == {"dry_run": True, "samples": {"train": 48, "validation": 6, "test": 6}}


def test_dry_run_finds_bad_input(invoke, fruit, tmp_path):
    folder = shutil.copytree(fruit, tmp_path / "copy")
    (folder / "cherry" / "19.png").write_bytes((folder / "cherry" / "19.png").read_bytes()[:200])
    answer = invoke("train", folder, *SMALL, "--dry-run")
    assert answer.code == 2
    assert "cherry/19.png" in answer.err
    assert list(Path.cwd().iterdir()) == []


def test_dry_run_finds_an_output_folder_that_is_not_empty(invoke, fruit):
    Path("full").mkdir()
    Path("full/notes.txt").write_text("mine")
    answer = invoke("train", fruit, *SMALL, "--dry-run", "--out", "full")
    assert answer.code == 2
    assert Path("full/notes.txt").read_text() == "mine"


def test_dry_run_takes_a_folder_of_seeds_that_training_would_go_on_in(invoke, fruit):
    words = ("train", fruit, *SMALL, "--dry-run", "--seeds", "2", "--out", "seeds")
    Path("seeds/seed-0").mkdir(parents=True)
    assert invoke(*words).code == 0
    Path("seeds/notes.txt").write_text("mine")
    assert invoke(*words).code == 2


def test_dry_run_finds_an_output_folder_that_cannot_be_made(invoke, fruit):
    answer = invoke("train", fruit, *SMALL, "--dry-run", "--out", "/proc/nowhere")
    assert answer.code == 2
    assert "can't be written" in answer.err


# Repeating


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file's bytes, the history without what time decides, and without the report, which tells that too."""
    found = {name: (folder / name).read_bytes() for name in files_of(folder) - {"report.html"}}
    lines = []
    for line in found["history.jsonl"].splitlines():
        record = json.loads(line)
        lines.append({k: v for k, v in record.items() if k not in ("seconds", "images_per_second")})
    found["history.jsonl"] = json.dumps(lines).encode()
    return found


def test_same_seed_gives_the_same_folder_byte_for_byte(invoke, fruit):
    torch.set_num_threads(2)
    for out in ("one", "two"):
        assert invoke("train", fruit, *SMALL, "--quiet", "--out", out, "--seed", "4", "--epochs", "1").code == 0
    one, two = snapshot(Path("one")), snapshot(Path("two"))
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == []


def test_another_process_gives_the_same_folder_byte_for_byte(invoke, trained, fruit):
    assert invoke("train", fruit, *SMALL, *NO_AVERAGE, "--quiet", "--out", "again").code == 0
    one, two = snapshot(trained.folder), snapshot(Path("again"))
    assert one["model/weights.safetensors"] == two["model/weights.safetensors"]
    # Where one stands (its commit) may differ; nothing else does.
    configs = [{**json.loads(found["config.json"]), "commit": None} for found in (one, two)]
    assert configs[0] == configs[1]
    assert [name for name in one if name != "config.json" and one[name] != two[name]] == []


def splits_of(folder: Path) -> dict[str, str]:
    parts = json.loads((folder / "config.json").read_text())["data"]["splits"]
    return {name: part["fingerprint"] for name, part in parts.items()}


def test_another_seed_gives_other_weights_on_the_same_splits(invoke, trained, fruit):
    assert invoke("train", fruit, *SMALL, "--quiet", "--out", "other", "--seed", "1").code == 0
    assert splits_of(Path("other")) == splits_of(trained.folder)
    weights = "model/last/weights.safetensors"
    assert (Path("other") / weights).read_bytes() != (trained.folder / weights).read_bytes()
    with np.load("other/predictions.npz") as here, np.load(trained.folder / "predictions.npz") as there:
        assert here["paths"].tolist() == there["paths"].tolist()


def test_another_split_seed_gives_other_splits(invoke, trained, fruit):
    words = ["--epochs", "1", "--quiet", "--out", "other", "--split-seed", "1"]
    assert invoke("train", fruit, *SMALL, *words).code == 0
    mine, theirs = splits_of(Path("other")), splits_of(trained.folder)
    assert all(mine[name] != theirs[name] for name in ("train", "validation", "test"))


# Replacing


def test_overwrite_replaces_a_run_and_nothing_else(invoke, fruit):
    words = ["train", fruit, *SMALL, "--quiet", "--epochs", "1", "--out"]
    assert invoke(*words, "run").code == 0
    Path("run/evaluations/old").mkdir(parents=True)
    refused = invoke(*words, "run")
    assert refused.code == 2
    assert "--overwrite" in refused.err
    assert Path("run/evaluations/old").is_dir()
    assert invoke(*words, "run", "--overwrite", "--seed", "2").code == 0
    assert not Path("run/evaluations").exists()
    assert json.loads(Path("run/config.json").read_text())["seed"] == 2
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("all of it")
    assert invoke(*words, "mine", "--overwrite").code == 2
    assert Path("mine/thesis.txt").read_text() == "all of it"


# Interrupts


def interrupted(words: list[object], here: Path, ready) -> tuple[int, str, str]:
    """Start, wait until ready() is true, send SIGINT, and give exit code, stdout and stderr."""
    out, err = here / "out.txt", here / "err.txt"
    with out.open("w") as to_out, err.open("w") as to_err:
        process = subprocess.Popen(
            [TRUEFIT, *map(str, words)],
            cwd=here,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=to_out,
            stderr=to_err,
        )
        try:
            end = time.monotonic() + 100
            while process.poll() is None and not ready(out.read_text()) and time.monotonic() < end:
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            code = process.wait(60)
        finally:
            process.kill()
            process.wait()
    return code, out.read_text(), err.read_text()


def test_ctrl_c_keeps_what_complete_epochs_gave(fruit, tmp_path, invoke):
    run = tmp_path / "run"
    code, _, err = interrupted(
        ["train", fruit, "--epochs", "5000", "--batch-size", "16", "--device", "cpu", "--out", run],
        tmp_path,
        lambda text: "Epoch 3/" in text,
    )
    assert code == 130
    assert "Traceback" not in err
    history = history_of(run)
    assert len(history) >= 2
    assert [record["epoch"] for record in history] == list(range(1, len(history) + 1))
    loaded = truefit.load(run)
    assert loaded.evaluation is None
    assert len(loaded.history) == len(history)
    # The kept weights are those of the best epoch: measured again they give that epoch's line.
    answer = invoke("evaluate", run, "--split", "validation", "--json")
    assert answer.code == 0, answer.err
    figures = answer.json["evaluation"]
    best = max(history, key=lambda r: (r["validation_accuracy"], -r["validation_loss"], -r["epoch"]))
    assert (figures["correct"], figures["loss"]) == (best["validation_correct"], best["validation_loss"])
    assert figures["weights"] == f"best (epoch {best['epoch']}), averaged over steps"
    assert figures["selected_on"] == "validation"


@pytest.mark.parametrize("every", ["never", "60s"])
def test_ctrl_c_in_the_first_epoch_leaves_what_can_be_gone_on_with_or_nothing(tmp_path, every):
    words = ["train", "digits", "--epochs", "2", "--batch-size", "2", "--device", "cpu", "--out", "run"]
    code, out, err = interrupted([*words, "--checkpoint-every", every], tmp_path, lambda text: "Epoch 1/2" in text)
    assert code == 130, out + err
    assert "Traceback" not in err
    if every == "never":
        assert not (tmp_path / "run").exists()
    else:
        assert "--resume goes on from epoch 1, step" in err
        assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["checkpoints", "config.json"]


def test_divergence_names_epoch_step_and_samples_and_leaves_no_run(invoke, fruit):
    words = ["--optimizer", "sgd", "--lr", "1e20", "--schedule", "constant", "--schedule.warmup", "0"]
    answer = invoke("train", fruit, *SMALL, *words, "--out", "run")
    assert answer.code == 2
    assert "is not finite" in answer.err
    found = re.search(r"epoch 1, step (\d), samples ([\d, ]+)", answer.err)
    samples = [int(number) for number in found.group(2).split(",")]
    assert int(found.group(1)) in (1, 2, 3)
    assert len(samples) == len(set(samples)) == 16
    assert all(0 <= sample < 48 for sample in samples)
    assert "lower the learning rate" in answer.err
    assert not Path("run").exists()


def test_a_dry_run_with_much_too_large_a_learning_rate_names_it(invoke, fruit):
    words = ["--optimizer", "sgd", "--lr", "1e38", "--schedule", "constant", "--schedule.warmup", "0", *NO_AVERAGE]
    answer = invoke("train", fruit, *SMALL, *words, "--dry-run", "--out", "run")
    assert answer.code == 2
    assert "outputs are not finite" in answer.err
    assert "fix:    lower the learning rate" in answer.err
    assert not Path("run").exists()


def test_images_that_differ_in_size_are_brought_to_one_and_said(invoke, tmp_path):
    folder = draw_classes(tmp_path / "mixed", 10)
    draw(folder / "apple" / "large.png", COLOURS["apple"], 1, side=50)
    answer = invoke("train", folder, *SMALL, "--epochs", "1", "--out", "run")
    assert answer.code == 0, answer.err
    assert "brought to 32 x 32 pixels" in answer.out
    assert json.loads(Path("run/model/model.json").read_text())["predictor"]["image_size"] == 32
