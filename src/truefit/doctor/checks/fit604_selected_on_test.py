"""The test split is looked at during training, and chooses what is kept."""

from truefit.doctor.datasets import says_test, validation_loaders
from truefit.doctor.finding import Finding, Severity, Where
from truefit.doctor.log import Kept, LoaderSeen, Log, Pass, Saved, Scheduled, Step
from truefit.doctor.rule import Rule
from truefit.doctor.source import chosen_by

RULE = Rule(
    "FIT604",
    "selected-on-test",
    "evaluation",
    Severity.WARN,
    "Epochs, rates and weights are chosen on a validation split; the test split is looked at once, at the end.",
)


def check(log: Log) -> Finding:
    loaders = validation_loaders(log)
    steps = list(log.all(Step))
    if not loaders or not steps:
        return RULE.not_applicable("no training with an evaluation beside it")
    during = {
        seen.key: [one for one in log.passes_of(seen) if steps[0].at < one.begin < steps[-1].at] for seen in loaders
    }
    beside = [seen for seen in loaders if during[seen.key]]
    tests = [(seen, sign) for seen in beside if (sign := says_test(seen))]
    if not tests:
        return RULE.ok("No split that is called test was looked at during training.")
    seen, sign = tests[0]
    numbers: dict[str, int | str] = {"looks during training": len(during[seen.key]), "wanted": 0, "sign": sign}
    fix = "training, validation = random_split(training_set, [0.9, 0.1]); keep the test split for the end"
    kept = _epochs_kept(log, seen)
    others = [records for one in beside if one.key != seen.key for records in _records(log, one)]
    # Kept in just those epochs in which this split was better than ever, and not those of any other split.
    chosen = bool(kept) and len(kept) < len(_epochs(log)) and kept in _records(log, seen) and kept not in others
    line = _compared(log, seen)
    if len(tests) < len(beside) and not chosen and line is None:
        return RULE.ok("A split other than test is evaluated during training too.")
    saved = [one for one in log.all(Saved) if any(p.end and p.end < one.at for p in during[seen.key])]
    plateau = [one for one in log.all(Scheduled) if "ReduceLROnPlateau" in str(one.where.subject)]
    if chosen:
        numbers["weights were kept after epochs"] = ", ".join(str(epoch + 1) for epoch in sorted(kept))
    if chosen or line is not None or (saved and len(saved) < len(during[seen.key])) or plateau:
        return RULE.warn(
            "Weights, epochs or learning rates are chosen on the test split: its figure is then too good.",
            where=line or seen.where,
            numbers=numbers,
            fix=fix,
        )
    return RULE.tip(
        "The test split serves as validation split: whatever is chosen by its figures makes them too good.",
        where=seen.where,
        numbers=numbers,
        fix=fix,
    )


def _compared(log: Log, seen: LoaderSeen) -> Where | None:
    """The line that compares a figure of this split with the best so far, by names that no other loader has."""
    shared = {name for other in log.loaders.values() if other.key != seen.key for name in other.name.split(", ")}
    names = set(seen.name.split(", ")) - shared - {""}
    files = {one.where.file for one in log.all(Step) if one.where.file} | {seen.where.file or ""}
    return next((found for file in sorted(files) if names and file and (found := chosen_by(file, names))), None)


def _epochs(log: Log) -> list[tuple[int, int]]:
    """Begin and end of the time after each pass that trains, until the next one."""
    trains = [one for one in log.passes if one.trains and one.end]
    ends = [*(one.begin for one in trains[1:]), 10**12]
    return [(one.end, end) for one, end in zip(trains, ends, strict=True)]


def _measured(log: Log, seen: LoaderSeen) -> list[Pass | None]:
    """The first evaluation on this split after each epoch."""
    passes = [one for one in log.passes_of(seen) if one.evaluates and one.end]
    return [next((one for one in passes if begin <= one.begin < end), None) for begin, end in _epochs(log)]


def _epochs_kept(log: Log, seen: LoaderSeen) -> frozenset[int]:
    """Epochs after whose evaluation weights were kept or saved."""
    kept = [one.at for one in log.all(Kept)] + [one.at for one in log.all(Saved)]
    found = set()
    for number, (one, (_, end)) in enumerate(zip(_measured(log, seen), _epochs(log), strict=True)):
        if one is not None and any(one.end < at < end for at in kept):
            found.add(number)
    return frozenset(found)


def _records(log: Log, seen: LoaderSeen) -> list[frozenset[int]]:
    """Epochs with the best accuracy so far, and those with the lowest loss so far, with and without ties."""
    passes = _measured(log, seen)
    series: list[list[float]] = []
    if all(one is not None and len(one.hits) == one.batches for one in passes):
        series.append([float(sum(int(h.sum()) for h in one.hits.values())) for one in passes if one is not None])
    if all(one is not None and len(one.losses) == one.batches for one in passes):
        series.append([-sum(float(v) * n for v, n in one.losses.values()) for one in passes if one is not None])
    found = []
    for values in series:
        found.append(frozenset(n for n, v in enumerate(values) if all(v > other for other in values[:n])))
        found.append(frozenset(n for n, v in enumerate(values) if all(v >= other for other in values[:n])))
    return found
