"""Weights & Biases, offline: a run in a folder, that `wandb sync OUT/logs/wandb/wandb/offline-run-*` can send later.

$WANDB_MODE=online sends at once, $WANDB_PROJECT names the project; other variables of wandb hold too.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

EXTRA, PACKAGES = "wandb", ("wandb",)
PROJECT = "truefit"


class Log:
    """Metrics under their names, the step is the epoch; the settings as the run's config."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        import wandb

        # The figures of epochs alone: not what is printed, nor the machine, its packages or the code.
        settings = wandb.Settings(
            silent=True,
            console="off",
            save_code=False,
            disable_code=True,
            disable_git=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
        )
        self._run: Any = wandb.init(
            # wandb's own default is to send.
            mode=os.environ.get("WANDB_MODE", "offline"),  # type: ignore[arg-type]
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=str(config["run"]),
            dir=folder,
            config=config,
            # Whatever run of wandb the caller has open stays theirs.
            reinit="create_new",
            settings=settings,
        )

    def write(self, epoch: int, figures: dict[str, float]) -> None:
        self._run.log(figures, step=epoch)

    def close(self) -> None:
        # wandb's own process writes the last bytes a moment later, and at the end of this process it is waited for.
        self._run.finish()
