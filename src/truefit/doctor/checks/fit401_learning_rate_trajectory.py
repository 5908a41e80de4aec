"""A schedule counted in epochs but stepped in batches (or the other way round), or never stepped."""

import copy

from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR

from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Log, Pass, Scheduled, SchedulerSeen
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT401",
    "learning-rate-trajectory",
    "numerics",
    Severity.FAIL,
    "The learning rate follows its schedule over the whole training, neither in the first epoch nor not at all.",
)
VANISHED = 1e-3


def check(log: Log) -> Finding:
    passes = [one for one in log.passes if one.trains]
    seen_any = [seen for seen in log.schedulers.values() if any(_same(seen, one) for one in log.optimizers.values())]
    if not seen_any:
        return RULE.not_applicable("no scheduler of an optimiser that steps")
    inner = {id(part) for seen in seen_any for part in getattr(seen.scheduler, "_schedulers", ())}
    for seen in seen_any:
        steps = [one for one in log.all(Scheduled) if one.scheduler == seen.key]
        if (
            not steps
            and not log.cut
            and id(seen.scheduler) not in inner
            and len(passes) >= 2
            and log.passes[-1].number > passes[1].number
        ):
            return RULE.warn(
                f"{type(seen.scheduler).__name__} was made, and never stepped in {len(passes)} epochs: the learning "
                "rate stays as it began.",
                where=seen.where,
                numbers={"epochs": len(passes), "scheduler steps": 0},
                fix="scheduler.step()  # after each epoch",
            )
        if len(passes) < 2 or not steps:
            continue
        length = _length(log, passes[0])
        inside = [one for one in steps if one.loader_pass == passes[0].number]
        per_batch = len(inside) >= max(2, passes[0].steps - 1)
        if per_batch and length is not None and type(seen.scheduler) is not OneCycleLR:
            rates = _simulated(seen, length)
            if rates is not None:
                low, last, top = min(rates), rates[-1], max(rates)
                numbers = {
                    "steps in an epoch": length,
                    "rate at the start": f"{top:.3g}",
                    "after one epoch": f"{last:.3g}",
                    "epochs seen": len(passes),
                }
                if type(seen.scheduler) is CosineAnnealingLR and seen.scheduler.T_max * 2 <= length:
                    return RULE.fail(
                        "The cosine schedule is counted in epochs and stepped in batches: it falls and rises again "
                        f"{length / (2 * seen.scheduler.T_max):.0f} times in the first epoch.",
                        where=inside[0].where,
                        numbers=numbers | {"T_max": seen.scheduler.T_max},
                        fix="step it once an epoch, or T_max = epochs * len(loader)",
                    )
                if low < VANISHED * top and last < VANISHED * top:
                    return RULE.fail(
                        "The learning rate is gone after the first epoch, as the schedule is stepped after every "
                        "batch: later epochs teach nothing.",
                        where=inside[0].where,
                        numbers=numbers | {"at least": f"{VANISHED * top:.3g}"},
                        fix="scheduler.step()  # once after each epoch, outside the loop over batches",
                    )
        if type(seen.scheduler) is OneCycleLR and not inside and length and len(steps) <= len(passes) + 1:
            total = seen.scheduler.total_steps
            if total >= 2 * length:
                return RULE.fail(
                    f"OneCycleLR is laid out for {total} steps and stepped once an epoch: its warm-up never ends.",
                    where=steps[0].where,
                    numbers={"total_steps": total, "steps in an epoch": length, "scheduler steps": len(steps)},
                    fix="scheduler.step()  # after every batch",
                )
    return RULE.ok("Schedulers are stepped as they are laid out.")


def _same(seen: SchedulerSeen, optimizer: object) -> bool:
    return seen.optimizer is getattr(optimizer, "optimizer", None)


def _length(log: Log, one: Pass) -> int | None:
    """Optimiser steps of a whole epoch: batches of the loader, by the batches a step took."""
    try:
        batches = len(log.loaders[one.loader].loader)
    except TypeError:
        return None
    return max(1, round(batches * one.steps / max(one.batches, 1)))


def _simulated(seen: SchedulerSeen, length: int) -> list[float] | None:
    """The first rate of each step of an epoch, from a copy of the scheduler that is stepped from its beginning."""
    import torch

    optimizer = torch.optim.SGD(
        [{"params": [torch.zeros(1, requires_grad=True)], "lr": 1.0} for _ in seen.optimizer.param_groups]
    )
    try:
        scheduler = copy.copy(seen.scheduler)
        scheduler.__dict__.pop("step", None)
        scheduler.optimizer = optimizer
        for group, base in zip(optimizer.param_groups, scheduler.base_lrs, strict=True):
            group["lr"] = group["initial_lr"] = base
        scheduler.last_epoch, scheduler._step_count = 0, 1
        rates = [float(optimizer.param_groups[0]["lr"])]
        optimizer._opt_called = True  # type: ignore[attr-defined]
        for _ in range(min(length, 20_000)):
            scheduler.last_epoch += 1
            scheduler._get_lr_called_within_step = True
            for group, rate in zip(optimizer.param_groups, scheduler.get_lr(), strict=True):
                group["lr"] = float(rate)
            rates.append(float(optimizer.param_groups[0]["lr"]))
    except Exception:  # a scheduler that can't be copied is not judged
        return None
    return rates
