"""Weights that were saved after an evaluation give another figure once they are loaded again."""

from truefit.doctor.datasets import same_samples
from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Forward, Loaded, Log, Pass, Read, Saved, Step
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT804",
    "reloaded-differs",
    "checkpoint",
    Severity.FAIL,
    "Saved weights give the same figure when they are loaded again and measured on the same images.",
    # These say why the figure is another one.
    follows_from=("FIT207", "FIT503", "FIT601", "FIT801"),
)
LEAST, SHARE = 2, 0.005


def check(log: Log) -> Finding:
    saves = {one.path: one for one in log.all(Saved)}
    reads = {one.number: one for one in log.all(Read) if one.path in saves}
    loads = [one for one in log.all(Loaded) if one.what == "model" and one.checkpoint in reads]
    if not loads:
        return RULE.not_applicable("no weights were saved, and loaded again")
    decided = 0
    for one in loads:
        assert one.checkpoint is not None
        path = reads[one.checkpoint].path
        saved = [other for other in log.all(Saved) if other.path == path and other.at < one.at]
        before = _measured(log, until=saved[-1].at) if saved else None
        after = _measured(log, since=one.at, model=one.target)
        if before is None or after is None:
            continue
        seen, other = log.loaders[before.loader], log.loaders[after.loader]
        if not (before.loader == after.loader or same_samples(seen, other)):
            continue
        decided += 1
        hits, again = (sum(int(part.sum()) for part in each.hits.values()) for each in (before, after))
        count = sum(before.sizes)
        if abs(hits - again) > max(LEAST, SHARE * count):
            return RULE.fail(
                f"The weights saved in {path} had {hits} of {count} right when they were saved, and have {again} right "
                "after they were loaded.",
                where=one.where,
                numbers={
                    "right when saved": hits,
                    "right when loaded": again,
                    "of": count,
                    "missing keys": one.missing,
                    "at most apart": max(LEAST, int(SHARE * count)),
                },
                fix="load with strict=True, all of state_dict() with its buffers, into the same architecture",
            )
    if not decided:
        return RULE.not_run("no evaluation right before the saving and right after the loading was seen to its end")
    return RULE.ok("Loaded weights give the figure they had.", numbers={"compared": decided})


def _measured(log: Log, *, until: int = 0, since: int = 0, model: int | None = None) -> Pass | None:
    """The last whole evaluation before `until`, or the first one since, with no step taken in between."""
    whole = [
        one
        for one in log.passes
        if one.evaluates and one.ended == "complete" and one.hits and set(one.hits) == set(range(one.batches))
    ]
    steps = [one.at for one in log.all(Step)]
    if until:
        before = [one for one in whole if one.end < until]
        return before[-1] if before and not any(before[-1].begin < at < until for at in steps) else None
    after = [one for one in whole if one.begin > since]
    if not after or any(since < at < after[0].end for at in steps):
        return None
    loads = [one for one in log.all(Loaded) if one.what == "model" and since < one.at < after[0].end]
    ran = {one.model for one in log.all(Forward) if one.loader_pass == after[0].number}
    return after[0] if ran == {model} and not loads else None
