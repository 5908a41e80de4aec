"""Weights that were saved after an evaluation give another figure once they are loaded again."""

from truefit.doctor.datasets import same_samples
from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Forward, Kept, Loaded, Log, Pass, Read, Saved, Step
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
        before = _measured_before(log, saved[-1].at) if saved else None
        after = _measured_since(log, one.at, one.target)
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


def _whole(log: Log) -> list[Pass]:
    """Evaluations that were seen to their end, each of their hits known."""
    return [
        one
        for one in log.passes
        if one.evaluates and one.ended == "complete" and one.hits and set(one.hits) == set(range(one.batches))
    ]


def _ran(log: Log, one: Pass) -> set[int]:
    """The models that an evaluation called."""
    return {forward.model for forward in log.all(Forward) if forward.loader_pass == one.number}


def _measured_before(log: Log, saving: int) -> Pass | None:
    """The last evaluation before a saving, where it was of the model whose weights were taken since, and of no other,
    and no step was taken in between."""
    before = [one for one in _whole(log) if one.end < saving]
    if not before or any(before[-1].begin < one.at < saving for one in log.all(Step)):
        return None
    taken = {one.model for one in log.all(Kept) if before[-1].end < one.at < saving}
    return before[-1] if taken and taken == _ran(log, before[-1]) and len(taken) == 1 else None


def _measured_since(log: Log, loading: int, model: int) -> Pass | None:
    """The first evaluation since a loading, where it was of that model alone, as it was loaded."""
    after = [one for one in _whole(log) if one.begin > loading]
    if not after or any(loading < one.at < after[0].end for one in log.all(Step)):
        return None
    loads = [one for one in log.all(Loaded) if one.what == "model" and loading < one.at < after[0].end]
    return after[0] if _ran(log, after[0]) == {model} and not loads else None
