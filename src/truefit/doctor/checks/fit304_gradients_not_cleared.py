"""Gradients of earlier steps are still there when the next backward adds to them: zero_grad is missing."""

from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Log, Step
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT304",
    "gradients-not-cleared",
    "loop",
    Severity.FAIL,
    "Gradients are cleared between two steps of an optimiser, before the first backward of the second.",
)
IN_A_ROW = 3


def check(log: Log) -> Finding:
    if log.steps <= IN_A_ROW:
        return RULE.not_applicable(f"at most {IN_A_ROW} optimiser steps were taken")
    for key, seen in log.optimizers.items():
        steps = [one for one in log.all(Step) if one.optimizer == key and one.clean is not None and one.number > 0]
        run: list[Step] = []
        for one in steps:
            if one.clean:
                run = []
                continue
            run.append(one)
            if len(run) >= IN_A_ROW:
                dirty = sum(not other.clean for other in steps)
                return RULE.fail(
                    "Gradients are not cleared between steps: each step goes along the sum of all gradients before it.",
                    where=run[0].where,
                    numbers={
                        "steps with gradients left over": dirty,
                        "of steps looked at": len(steps),
                        "norm left over": f"{run[0].stale:.3g}",
                        "wanted": 0,
                    },
                    fix="optimizer.zero_grad()  # before loss.backward(), in every step",
                )
        wanted = log.declared.get("accumulate")
        if wanted and wanted.isdigit():
            counts = [one.backwards for one in log.all(Step) if one.optimizer == key]
            if sum(count == int(wanted) for count in counts) * 2 < len(counts):
                return RULE.warn(
                    f"accumulate={wanted} is declared, but most steps follow another number of backwards.",
                    where=seen.where,
                    numbers={"declared": int(wanted), "seen most": max(set(counts), key=counts.count)},
                    fix="step once in every so many batches, or mend the declaration",
                )
    return RULE.ok("Gradients are cleared between steps.", numbers={"steps": log.steps})
