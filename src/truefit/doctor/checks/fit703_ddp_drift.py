"""The replicas of a model have other weights in each process."""

from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Log
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT703",
    "ddp-replicas-differ",
    "distributed",
    Severity.FAIL,
    "After each step all processes have the same weights.",
)
LEAST = 3


def check(log: Log) -> Finding:
    ranks = [one for one in log.ranks if one.world > 1 and one.digests]
    if len(ranks) < 2:
        return RULE.not_applicable("no processes that train together were seen")
    common = sorted(set.intersection(*(set(one.digests) for one in ranks)))
    if len(common) < LEAST:
        return RULE.not_run(f"fewer than {LEAST} steps were seen in all processes")
    if len({len(one.digests[key]) for one in ranks for key in common}) > 1:
        return RULE.not_applicable("processes hold different parameters, as in model parallel training")
    apart = [key for key in common if len({one.digests[key] for one in ranks}) > 1]
    # Averaging now and then, as local SGD does, brings them together again.
    if len(apart) < LEAST or common[-1] not in apart or len(apart) < len([k for k in common if k >= apart[0]]):
        return RULE.ok("All processes have the same weights.", numbers={"steps compared": len(common)})
    details = {
        "where": ranks[0].step_at,
        "numbers": {
            "first step that differs": apart[0][1] + 1,
            "steps that differ": len(apart),
            "of": len(common),
            "processes": len(ranks),
        },
        "fix": "call the DistributedDataParallel wrapper, not model.module; let every process take every step",
    }
    message = "The processes' weights differ after their steps: each trains a model of its own."
    return RULE.fail(message, **details) if any(one.replicated for one in ranks) else RULE.warn(message, **details)
