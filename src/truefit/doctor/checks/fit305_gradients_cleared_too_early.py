"""Gradients are cleared between backward and step: steps without a gradient, or batches thrown away."""

from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Clear, Log, Step
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT305",
    "gradients-cleared-too-early",
    "loop",
    Severity.FAIL,
    "zero_grad stands before the first backward of a step, never between backward and step.",
)
IN_A_ROW = 3


def check(log: Log) -> Finding:
    if log.steps < IN_A_ROW:
        return RULE.not_applicable(f"fewer than {IN_A_ROW} optimiser steps were taken")
    clears = list(log.all(Clear))
    for key in log.optimizers:
        steps = [one for one in log.all(Step) if one.optimizer == key]
        empty = [one for one in steps if one.empty and one.dropped > 0]
        if len(empty) >= IN_A_ROW and len(empty) * 2 > len(steps):
            before = [one for one in clears if one.at < empty[0].at]
            return RULE.fail(
                "The gradients are cleared between backward and step: the steps have no gradient.",
                where=before[-1].where if before else empty[0].where,
                numbers={"steps without gradient": len(empty), "of": len(steps)},
                fix="optimizer.zero_grad(); loss.backward(); optimizer.step()  # in this order",
            )
        # A backward that measures something (a gradient norm, SAM's first half) shares its batch with another one;
        # where each backward has a batch of its own, batches are thrown away.
        lost = [one for one in steps if one.dropped and one.fetches >= 2 and one.backwards == one.fetches]
        if len(log.optimizers) == 1 and len(lost) >= IN_A_ROW and len(lost) * 2 > len(steps):
            before = [one for one in clears if one.at < lost[0].at]
            return RULE.fail(
                "Gradients of some batches are cleared before any step has used them: these batches teach nothing.",
                where=before[-1].where if before else lost[0].where,
                numbers={
                    "batches thrown away": sum(one.dropped for one in lost),
                    "of": sum(one.backwards for one in steps),
                    "wanted": 0,
                },
                fix="call zero_grad right after step, not in every batch",
            )
    return RULE.ok("No gradient was cleared before it was used.", numbers={"steps": log.steps})
