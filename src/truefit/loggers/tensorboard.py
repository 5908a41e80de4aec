"""TensorBoard: an event file (`tensorboard --logdir runs`). It stores numbers in single precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

EXTRA, PACKAGES = "loggers", ("tensorboard",)


class Log:
    """Scalars under their names, the step is the epoch; the settings as a text."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder))
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        self._writer.add_text("config", "".join(f"    {line}\n" for line in text.splitlines()))

    def write(self, epoch: int, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
