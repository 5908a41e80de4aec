"""Gradients clipped after the step, before backward, or while a gradient scaler's scale is on them."""

from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Clip, Log
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT307",
    "clipping-out-of-order",
    "loop",
    Severity.FAIL,
    "Clipping stands between backward and step; with a gradient scaler after scaler.unscale_(optimizer).",
)
LEAST = 3


def check(log: Log) -> Finding:
    clips = list(log.all(Clip))
    if not clips:
        return RULE.not_applicable("gradients are not clipped")
    if log.steps < LEAST:
        return RULE.not_applicable(f"fewer than {LEAST} optimiser steps were taken")
    late = [one for one in clips if not one.fresh]
    if len(late) >= LEAST and len(late) * 2 > len(clips):
        return RULE.fail(
            "Gradients are clipped when no step will use them: clipping does nothing.",
            where=late[0].where,
            numbers={"calls with no backward since the last step": len(late), "of": len(clips)},
            fix="loss.backward(); clip_grad_norm_(model.parameters(), 1.0); optimizer.step()",
        )
    scaled = [one for one in clips if one.fresh and one.scaled]
    if len(scaled) >= LEAST and len(scaled) * 2 > len(clips):
        return RULE.fail(
            "Gradients are clipped while they carry the gradient scaler's scale (65536 at the start): the limit is "
            "that many times too small.",
            where=scaled[0].where,
            numbers={"calls on scaled gradients": len(scaled), "of": len(clips)},
            fix="scaler.unscale_(optimizer)  # before clip_grad_norm_",
        )
    return RULE.ok("Gradients are clipped between backward and step.", numbers={"calls": len(clips)})
