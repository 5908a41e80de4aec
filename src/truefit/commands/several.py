"""One command in several processes: `--nproc`, which starts torchrun."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from truefit import dist
from truefit.commands.repeated import beyond_one_training
from truefit.config import require
from truefit.errors import InputError

if TYPE_CHECKING:
    from truefit.commands.train import TrainCommand


def check_shared(command: TrainCommand) -> None:
    """InputError where the command asks for what only one process does."""
    for option in beyond_one_training(command):
        raise InputError(
            f"{option} works in one process",
            found="several processes",
            wanted="a single training, whose work they share",
            fix=f"leave {option} out, or start it without torchrun and --nproc",
        )


def launch(name: str, arguments: Sequence[str], command: TrainCommand) -> int:
    """Run `truefit NAME ARGUMENTS` in several processes on this machine; gives the exit code of the first that failed.

    A signal that asks to end is passed on to them. Raises InputError for a number of processes that can't be.
    """
    processes = command.nproc or 0
    require(processes >= 1, "nproc", processes, "at least 1")
    check_shared(command)
    if dist.started_together() > 1:
        raise InputError("torchrun has started the processes already", found=f"--nproc {processes}", fix="leave it out")
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # As many threads in all as one process would have.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=f"truefit-{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.1,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "truefit", name, *_without_nproc(arguments))
    except ChildFailedError as error:
        code: int = error.get_first_failure()[1].exitcode
        # Below 0: the number of the signal that ended it.
        return code if code > 0 else 128 - code
    except SignalException as error:
        return 128 + int(error.sigval)
    return 0


def _without_nproc(arguments: Sequence[str]) -> list[str]:
    kept, skip = [], False
    for word in arguments:
        if not skip and word != "--nproc" and not word.startswith("--nproc="):
            kept.append(word)
        skip = word == "--nproc"
    return kept
