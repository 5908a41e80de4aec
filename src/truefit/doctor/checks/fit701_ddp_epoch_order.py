"""DistributedSampler without set_epoch: the same order in every epoch."""

from torch.utils.data.distributed import DistributedSampler

from truefit.doctor.datasets import sampler_of
from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Log
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT701",
    "ddp-epoch-order",
    "distributed",
    Severity.FAIL,
    "sampler.set_epoch(epoch) before each epoch gives each its own order.",
)


def check(log: Log) -> Finding:
    found = [seen for seen in log.training_loaders() if isinstance(sampler_of(seen.loader), DistributedSampler)]
    found = [seen for seen in found if sampler_of(seen.loader).shuffle]
    if not found:
        return RULE.not_applicable("no shuffling DistributedSampler")
    for seen in found:
        orders = [one.order for one in log.passes_of(seen) if one.trains and len(one.order) > 8]
        if len(orders) < 2:
            return RULE.not_run("fewer than two epochs were seen")
        length = min(map(len, orders))
        if all(order[:length] == orders[0][:length] for order in orders[1:]):
            return RULE.fail(
                "DistributedSampler gives the same order in every epoch, as set_epoch is never called.",
                where=seen.where,
                numbers={"epochs with the same order": len(orders), "samples compared": length},
                fix="loader.sampler.set_epoch(epoch)  # first line of each epoch",
            )
    return RULE.ok("Each epoch has its own order.")
