"""Processes that a watched script starts to train in (torch.multiprocessing.spawn, Process): each is watched too, and
hands back what it found and what can only be judged by comparing processes."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from truefit.doctor.finding import Finding, Outcome, Where

if TYPE_CHECKING:
    from truefit.doctor.log import Log

# Which of several processes' outcomes of one check is told.
_TOLD = (Outcome.FAIL, Outcome.WARN, Outcome.TIP, Outcome.OK, Outcome.NOT_RUN, Outcome.NOT_APPLICABLE)
ENDED = "ended"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """An evaluation in one process: which samples (indices into the data set), which were classified rightly, and
    what was printed after it."""

    number: int
    where: Where
    samples: int
    order: tuple[int, ...]
    right: tuple[bool, ...]
    padded: bool
    printed: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Rank:
    """What one process hands back. digests: for each (optimiser, step) that was looked at a number that is the same
    where all its weights are."""

    rank: int
    world: int
    findings: list[Finding]
    digests: dict[tuple[int, int], tuple[float, ...]]
    step_at: Where
    replicated: bool
    measured: list[Measured] = field(default_factory=list)
    cut: bool = False


class Child:
    """A process's function, to be called there in the place of the user's own."""

    def __init__(self, function: Callable[..., Any], folder: Path, number: int, declared: dict[str, str], limits: Any):
        self.function, self.folder, self.number = function, folder, number
        self.declared, self.limits = declared, limits

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if "torch" not in sys.modules:
            return self.function(*args, **kwargs)
        from truefit.doctor.log import Log
        from truefit.doctor.watch import Ended, Watch

        log = Log(declared=dict(self.declared))
        scratch = self.folder / f"files-{self.number}" if self.limits is not None else None
        try:
            with Watch(log, limits=self.limits, scratch=scratch):
                return self.function(*args, **kwargs)
        except Ended:
            log.cut = True
            (self.folder / ENDED).touch()
        except Exception:
            # Where one process was ended by its limit, those that wait for it break off.
            if not (self.folder / ENDED).exists():
                raise
            log.cut = True
        finally:
            (self.folder / f"{self.number}.pickle").write_bytes(pickle.dumps(_rank(log)))


def _rank(log: Log) -> Rank:
    from truefit.doctor.checks import run_checks
    from truefit.doctor.log import Step

    steps = list(log.all(Step))
    rank, world = log.rank or (0, 1)
    order = {key: number for number, key in enumerate(log.optimizers)}
    return Rank(
        rank=rank,
        world=world,
        findings=run_checks(log) if steps else [],
        digests={(order[one.optimizer], one.number): one.digest for one in steps if one.digest is not None},
        step_at=steps[0].where if steps else Where(),
        replicated=log.replicated,
        measured=_measured(log),
        cut=log.cut,
    )


def _measured(log: Log) -> list[Measured]:
    from torch.utils.data.distributed import DistributedSampler

    from truefit.doctor.datasets import sampler_of
    from truefit.doctor.log import Printed

    found = []
    for number, one in enumerate(one for one in log.passes if one.evaluates and one.ended == "complete"):
        loader = log.loaders[one.loader].loader
        sampler = sampler_of(loader)
        if not isinstance(sampler, DistributedSampler) or len(one.hits) != one.batches:
            continue
        right = [bool(hit) for batch in range(one.batches) for hit in one.hits[batch].tolist()]
        until = min((other.begin for other in log.passes if other.begin > one.end), default=10**12)
        printed = tuple(p.text for p in log.all(Printed) if one.end < p.at < until)
        samples = len(loader.dataset)
        found.append(
            Measured(
                number=number,
                where=log.loaders[one.loader].where,
                samples=samples,
                order=tuple(one.order),
                right=tuple(right),
                padded=sampler.total_size > samples,
                printed=printed,
            )
        )
    return found


def hand_backs(folder: Path) -> list[Rank]:
    """What the processes of a script have handed back, by rank."""
    found = [pickle.loads(path.read_bytes()) for path in sorted(folder.glob("*.pickle"))]
    return sorted(found, key=lambda one: one.rank)


def merged(findings: Sequence[Finding], ranks: Sequence[Rank]) -> list[Finding]:
    """For each check the worst that any process came to."""
    others = [finding for one in ranks for finding in one.findings]
    return [
        min([finding, *(f for f in others if f.code == finding.code)], key=lambda f: _TOLD.index(f.outcome))
        for finding in findings
    ]
