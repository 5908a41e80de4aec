"""load_state_dict(strict=False) matched almost no name: the weights are still random."""

from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Loaded, Log
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT803",
    "weights-not-loaded",
    "checkpoint",
    Severity.FAIL,
    "The names in the file are those of the model, but for a replaced head.",
)
LEAST = 0.5


def check(log: Log) -> Finding:
    loads = [one for one in log.all(Loaded) if one.what == "model"]
    if not loads:
        return RULE.not_applicable("no weights were loaded")
    for one in loads:
        matched = one.keys - one.missing
        given = matched + one.unexpected
        # Both sides must fail to match: adapters are few names that all match, a backbone leaves a head over.
        if given and one.keys and matched / one.keys < LEAST and matched / given < LEAST:
            return RULE.fail(
                f"Only {matched} of {one.keys} tensors of the model were loaded, as the names differ"
                + (f" ({one.example})." if one.example else "."),
                where=one.where,
                numbers={
                    "matched": matched,
                    "in the model": one.keys,
                    "in the file": given,
                    "at least": f"{LEAST:.0%}",
                },
                fix='state = {k.removeprefix("module."): v for k, v in state.items()}; leave strict=True',
            )
    return RULE.ok("Loaded names match the model's.", numbers={"times": len(loads)})
