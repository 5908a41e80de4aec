"""DistributedSampler gives some samples twice to make its parts equal, and the figure counts them."""

import re

from truefit.doctor.children import Measured
from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Log
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT702",
    "ddp-padding-counted",
    "distributed",
    Severity.FAIL,
    "Each sample of the evaluation counts once, however many processes measure it.",
)
_NUMBER = re.compile(r"(?<![\w.])\d+\.\d{2,}(?![\w.])")
_COUNT = re.compile(r"(?<![\w.])\d+(?![\w.])")


def check(log: Log) -> Finding:
    ranks = log.ranks
    if len(ranks) < 2:
        return RULE.not_applicable("no processes that evaluate together were seen")
    numbers = sorted({one.number for rank in ranks for one in rank.measured if one.padded})
    if not numbers:
        return RULE.not_applicable("no evaluation whose samples were padded was seen to its end")
    decided = 0
    for number in numbers:
        parts = [one for rank in ranks for one in rank.measured if one.number == number]
        if len(parts) < len(ranks):
            continue
        found = _wrong(parts)
        decided += found is not None
        if found and found[0]:
            _, printed, exact = found
            seen = sum(len(one.right) for one in parts)
            return RULE.fail(
                f"{seen - parts[0].samples} samples are measured twice, as DistributedSampler pads its parts, and the "
                "printed figure counts them.",
                where=parts[0].where,
                numbers={"measured": seen, "samples": parts[0].samples, "printed": printed, "each once": exact},
                fix="give back what is padded: gather predictions, then [:len(dataset)]; or evaluate in one process",
            )
    if not decided:
        return RULE.not_run("no printed figure tells whether padded samples were counted")
    return RULE.ok("Padded samples are not counted.", numbers={"figures recounted": decided})


def _wrong(parts: list[Measured]) -> tuple[bool, str, str] | None:
    """Whether a printed accuracy or number of samples counts padding; None where nothing printed tells."""
    samples = parts[0].samples
    once: dict[int, bool] = {}
    for part in parts:
        once.update(zip(part.order, part.right, strict=False))
    if len(once) != samples:
        return None
    total = sum(len(part.right) for part in parts)
    hits = sum(sum(part.right) for part in parts)
    exact = sum(once.values()) / samples
    padded = {hits / total, hits / samples}
    good = False
    for text in (line for part in parts for line in part.printed):
        for number in _NUMBER.findall(text):
            off = max(0.51 * 10.0 ** -len(number.partition(".")[2]), 2e-6)
            for scale in (1, 100):
                value = float(number) / scale
                wrong = [p for p in padded if abs(value - p) <= off / scale < abs(p - exact) / 3]
                if wrong and abs(value - exact) > off / scale:
                    return True, number, f"{exact * scale:.6g}"
                good = good or abs(value - exact) <= off / scale
        for count in _COUNT.findall(text):
            if int(count) == total:
                return True, count, str(samples)
    return (False, "", "") if good else None
