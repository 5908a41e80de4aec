"""What loggers write, read back from the real stores, is what history.jsonl says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers import image_set, tiny_network
from truefit import InputError, Recipe, Trainer
from truefit.events import Note
from truefit.loggers import logger_names

EPOCHS = 2
# wandb changes much in the process that it is imported into: its training and its reader have one of their own.
WITH_WANDB = """
import json, sys
from pathlib import Path
from helpers import image_set, tiny_network
from truefit import Recipe, Trainer

out = Path(sys.argv[1])
trainer = Trainer(
    tiny_network(), Recipe(epochs=int(sys.argv[2])), device="cpu", loggers=["wandb"], observers=[lambda event: None]
)
trainer.fit(image_set(), image_set(seed=1), out=out, report=False)
# What the end of a process does: wandb's own process has then written everything.
import wandb
wandb.teardown()
(place,) = (out / "logs" / "wandb").glob("wandb/offline-run-*/run-*.wandb")

# A file is blocks of 32 KiB, in them records: checksum (4 bytes), length (2), kind (1: whole, 2-4: its parts), bytes.
from wandb.proto.wandb_internal_pb2 import Record

content, at, whole, figures, about = place.read_bytes(), 7, b"", [], None
while at < len(content):
    if -at % 32768 < 7:
        at += -at % 32768
    length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
    whole, at = whole + content[at + 7 : at + 7 + length], at + 7 + length
    if kind in (1, 4):
        record, whole = Record.FromString(whole), b""
        if record.HasField("run"):
            settings = {item.key: json.loads(item.value_json) for item in record.run.config.update}
            about = [record.run.project, record.run.display_name, settings["recipe"]["epochs"]]
        if record.HasField("history"):
            figures.append({item.nested_key[0]: json.loads(item.value_json) for item in record.history.item})
print(json.dumps([about, figures]))
"""
Figures = dict[tuple[str, int], float]


def history(run: Path) -> Figures:
    """(name, epoch) -> number, as the run has them."""
    found = {}
    for line in (run / "history.jsonl").read_text().splitlines():
        record = json.loads(line)
        for name, value in record.items():
            if isinstance(value, int | float) and not isinstance(value, bool) and name != "schema":
                found[name, record["epoch"]] = value
    return found


def read_tensorboard(folder: Path) -> Figures:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), {"tensors": 0, "scalars": 0}).Reload()
    return {(tag, item.step): item.value for tag in events.Tags()["scalars"] for item in events.Scalars(tag)}


def read_mlflow(folder: Path) -> Figures:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("truefit")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["recipe.epochs"] == str(EPOCHS)
    assert run.info.run_name == "run"
    return {
        (name, item.step): item.value
        for name in run.data.metrics
        for item in client.get_metric_history(run.info.run_id, name)
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_what_is_read_back_equals_the_history(name, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    trainer = Trainer(
        tiny_network(), Recipe(epochs=EPOCHS), device="cpu", loggers=[name], observers=[lambda event: None]
    )
    trainer.fit(image_set(), image_set(seed=1), out=tmp_path / "run", report=False)
    found = globals()[f"read_{name}"](tmp_path / "run" / "logs" / name)
    wanted = history(tmp_path / "run")
    assert {epoch for _, epoch in wanted} == {1, 2}
    if name == "tensorboard":
        wanted = {key: float(np.float32(value)) for key, value in wanted.items()}
    assert found == wanted


def test_offline_run_of_wandb_equals_the_history(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    done = subprocess.run(
        [sys.executable, "-c", WITH_WANDB, tmp_path / "run", str(EPOCHS)],
        cwd=Path(__file__).parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    about, lines = json.loads(done.stdout)
    assert about == ["truefit", "run", EPOCHS]
    own = ("_step", "_timestamp", "_runtime")
    found = {(name, line["_step"]): value for line in lines for name, value in line.items() if name not in own}
    assert found == history(tmp_path / "run")


def test_every_logger_is_tested():
    assert logger_names() == ["mlflow", "tensorboard", "wandb"]


class Broken:
    """A real logger's file, whose Log fails where it is told to."""

    EXTRA, PACKAGES = "loggers", ("json",)

    def __init__(self, where: str) -> None:
        self.where, self.written = where, []

    def Log(self, folder, config):
        if self.where == "begin":
            raise OSError("no begin")
        return self

    def write(self, epoch, figures):
        if self.where == "write" and epoch == 2:
            raise OSError("no write")
        self.written.append(epoch)

    def close(self):
        if self.where == "close":
            raise OSError("no close")


@pytest.fixture
def broken(monkeypatch):
    def make(where):
        made = Broken(where)
        monkeypatch.setitem(sys.modules, "truefit.loggers.tensorboard", made)
        return made

    return make


def trained(out: Path, **options):
    told = []
    trainer = Trainer(
        tiny_network(), Recipe(epochs=4), device="cpu", loggers=["tensorboard"], observers=[told.append], **options
    )
    run = trainer.fit(image_set(), image_set(seed=1), out=out, report=False)
    return run, [event.text for event in told if isinstance(event, Note) and "logger" in event.text and event.warning]


def test_logger_that_can_not_begin_is_an_error_that_leaves_nothing(broken, tmp_path):
    broken("begin")
    with pytest.raises(InputError, match="tensorboard can't begin") as caught:
        trained(tmp_path / "run")
    assert "no begin" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_logger_that_fails_in_the_middle_is_told_once_and_at_the_end_and_costs_nothing(broken, tmp_path):
    logger = broken("write")
    run, told = trained(tmp_path / "run")
    assert len(run.history) == 4
    assert (tmp_path / "run" / "evaluation.json").is_file()
    # Later figures alone would look like the whole.
    assert logger.written == [1]
    assert len(told) == 2
    assert "failed in epoch 2" in told[0]
    assert "no write" in told[0]
    assert "nothing from epoch 2 on" in told[1]


def test_logger_that_can_not_be_ended_is_told_and_costs_nothing(broken, tmp_path):
    broken("close")
    run, told = trained(tmp_path / "run")
    assert len(run.history) == 4
    assert len(told) == 1
    assert "could not be ended" in told[0]


def test_unknown_logger_names_the_nearest_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match='did you mean "tensorboard"'):
        Trainer(tiny_network(), Recipe(epochs=1), loggers=["tensorbord"])


def test_loggers_need_a_folder():
    with pytest.raises(InputError, match="folder of a run"):
        Trainer(tiny_network(), Recipe(epochs=1), device="cpu", loggers=["mlflow"]).fit(image_set())


def test_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(InputError, match=r"truefit\[loggers\]"):
        Trainer(tiny_network(), Recipe(epochs=1), loggers=["mlflow"])
