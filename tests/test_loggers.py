"""What loggers write, read back from the real stores, is what history.jsonl says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from helpers import image_set, tiny_network
from truefit import InputError, Recipe, Trainer
from truefit.loggers import logger_names

EPOCHS = 2
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


def test_every_logger_is_tested():
    assert logger_names() == ["mlflow", "tensorboard"]


def test_unknown_logger_names_the_nearest_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match='did you mean "tensorboard"'):
        Trainer(tiny_network(), Recipe(epochs=1), loggers=["tensorbord"])


def test_loggers_need_a_folder():
    with pytest.raises(InputError, match="folder of a run"):
        Trainer(tiny_network(), Recipe(epochs=1), device="cpu", loggers=["mlflow"]).fit(image_set())


def test_missing_package_names_the_extra(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(InputError, match=r"truefit\[loggers\]"):
        Trainer(tiny_network(), Recipe(epochs=1), loggers=["mlflow"])
