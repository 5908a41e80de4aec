"""A printed figure is the mean of batch means, or divided by full batches, although the last batch is smaller."""

import re

from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Log, Pass, Printed
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT602",
    "metric-arithmetic",
    "evaluation",
    Severity.FAIL,
    "A figure over a split is a sum over samples, divided once by their number.",
)
LEAST = 2
_NUMBER = re.compile(r"(?<![\w.])\d+\.\d{2,}(?![\w.])")


def check(log: Log) -> Finding:
    passes = [one for one in log.passes if one.evaluates and one.batches >= 2]
    if not passes:
        return RULE.not_applicable("no evaluation of several batches")
    whole = [one for one in passes if one.ended == "complete"]
    if not whole:
        return RULE.not_run("cut short: no evaluation was seen to its end")
    uneven = [one for one in whole if len(set(one.sizes)) > 1]
    if not uneven:
        return RULE.not_applicable("all batches of the evaluation have the same size")
    printed = list(log.all(Printed))
    wrong = []
    decided = 0
    for one in uneven:
        texts = [p for p in printed if one.end < p.at < _next(log, one)]
        for figure, how, means, exact in _figures(one):
            verdict = _verdict("\n".join(p.text for p in texts), means, exact)
            decided += verdict is not None
            if verdict:
                place = next((p.where for p in texts if _verdict(p.text, means, exact)), one.where)
                wrong.append((one, place, figure, how, means, exact))
    if len(wrong) >= LEAST:
        one, place, figure, how, means, exact = wrong[0]
        return RULE.fail(
            f"The printed {figure} is {how}.",
            where=place,
            numbers={
                "printed": round(means, 6),
                "over all samples": round(exact, 6),
                "times seen": len(wrong),
                "sizes": f"{one.sizes[0]} and {one.sizes[-1]}",
            },
            fix="total += loss.item() * len(images); at the end total / len(dataset)",
        )
    if not decided:
        return RULE.not_run("no printed figure is precise enough to tell")
    return RULE.ok("Printed figures are sums over samples.", numbers={"figures recounted": decided})


def _next(log: Log, one: Pass) -> int:
    following = [other.begin for other in log.passes if other.begin > one.end]
    return min(following, default=10**12)


def _figures(one: Pass) -> list[tuple[str, str, float, float]]:
    """Figure, how it goes wrong, its value then, and its value over all samples."""
    found = []
    total = sum(one.sizes)
    full = one.batches * one.sizes[0]
    mean_of_means = "the mean of the batches' means, and the last batch is smaller: its samples count for more"
    full_batches = f"a sum divided by {full}, as if each batch were full: {total} samples were measured"
    if set(one.losses) == set(range(one.batches)):
        values = [float(one.losses[n][0]) for n in range(one.batches)]
        exact = sum(v * s for v, s in zip(values, one.sizes, strict=True)) / total
        found.append(("loss", mean_of_means, sum(values) / len(values), exact))
        found.append(("loss", full_batches, exact * total / full, exact))
    if set(one.hits) == set(range(one.batches)):
        hits = [int(one.hits[n].sum()) for n in range(one.batches)]
        means = sum(h / s for h, s in zip(hits, one.sizes, strict=True)) / len(hits)
        for how, value in ((mean_of_means, means), (full_batches, sum(hits) / full)):
            found.append(("accuracy", how, value, sum(hits) / total))
            found.append(("accuracy in %", how, 100 * value, 100 * sum(hits) / total))
    return found


def _verdict(text: str, means: float, exact: float) -> bool | None:
    """True where a printed number is the mean of means and not the exact one, False the other way; else None."""
    verdicts = set()
    for number in _NUMBER.findall(text):
        # Half a unit of the last decimal, or float32's own rounding where more decimals are printed.
        off = max(0.51 * 10.0 ** -len(number.partition(".")[2]), 2e-6 * abs(exact))
        if abs(means - exact) < 6 * off:
            continue
        value = float(number)
        if abs(value - means) <= off:
            verdicts.add(True)
        elif abs(value - exact) <= off:
            verdicts.add(False)
    return None if not verdicts else False not in verdicts
