"""Training is resumed from a checkpoint, but part of the training state is left behind."""

from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Loaded, Log, Read, Step
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT802",
    "resume-incomplete",
    "checkpoint",
    Severity.FAIL,
    "A resumed training restores model, optimiser, scheduler and scaler.",
)


def check(log: Log) -> Finding:
    reads = {one.number: one for one in log.all(Read)}
    last = max((one.at for one in log.all(Step)), default=0)
    loads = [one for one in log.all(Loaded) if one.checkpoint in reads and one.at < last]
    weights = [one for one in loads if one.what == "model" and one.missing == 0]
    if not weights:
        return RULE.not_applicable("no training was resumed from a file")
    for one in weights:
        assert one.checkpoint is not None
        file: Read = reads[one.checkpoint]
        restored = {other.what for other in loads if other.checkpoint == one.checkpoint} - {"model"}
        left = sorted(set(file.states) - restored)
        numbers = {"in the file": ", ".join(file.states), "restored": ", ".join(sorted(restored)) or "model only"}
        if left and restored:
            return RULE.fail(
                f"Training is resumed without the state of the {' and '.join(left)}, which stands in the file.",
                where=one.where,
                numbers=numbers,
                fix=f'{left[0]}.load_state_dict(checkpoint["{left[0]}"])',
            )
        if left and file.epoch:
            return RULE.warn(
                f"The weights of a checkpoint are loaded and trained on, but the state of its {' and '.join(left)} is "
                "not: a resumed training then starts with cold momenta or a wrong rate.",
                where=one.where,
                numbers=numbers,
                fix=f'{left[0]}.load_state_dict(checkpoint["{left[0]}"])',
            )
    return RULE.ok("All training state in the file was restored.", numbers={"files": len(weights)})
