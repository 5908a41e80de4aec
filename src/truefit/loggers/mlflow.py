"""MLflow: the store that $MLFLOW_TRACKING_URI names, else one of the run's own, a file of SQLite.

`mlflow ui --backend-store-uri sqlite:///runs/mine/logs/mlflow/mlflow.db` shows the latter.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from truefit.loggers import parameters

EXTRA, PACKAGES = "loggers", ("sqlalchemy", "alembic", "mlflow")
EXPERIMENT = "truefit"
# MLflow takes so many parameters at a time.
MOST = 100


class Log:
    """Metrics under their names, the step is the epoch; the settings as parameters."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        place = folder.resolve() / "mlflow.db"
        self._client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{place}")
        experiment = self._client.get_experiment_by_name(EXPERIMENT)
        number = experiment.experiment_id if experiment else self._client.create_experiment(EXPERIMENT)
        self._run = self._client.create_run(number, run_name=str(config["run"])).info.run_id
        given = [Param(name, str(value)) for name, value in parameters(config).items()]
        for at in range(0, len(given), MOST):
            self._client.log_batch(self._run, params=given[at : at + MOST])

    def write(self, epoch: int, figures: dict[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self._run, [Metric(name, value, now, epoch) for name, value in figures.items()])

    def close(self) -> None:
        self._client.set_terminated(self._run)
