"""Images as the model sees them: not scaled, scaled twice, or scaled otherwise in evaluation."""

from typing import Any

from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Forward, Log, ModelSeen
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT504",
    "input-range",
    "data",
    Severity.FAIL,
    "Images reach the model in the same scale in training and evaluation, within a few units of 0.",
)
UNSCALED, TINY, RATIO = 10.0, 0.02, 8.0


def check(log: Log) -> Finding:
    trained, held = log.trained_forwards(), log.trained_models()
    # A call that neither trains nor evaluates (features from a frozen network) may be given anything.
    keys = {seen.key for seen in log.evaluation_loaders()}
    passes = {one.number for one in log.passes if one.loader in keys}
    measured = {
        one.at for one in log.all(Forward) if one.at not in trained and (one.loader_pass in passes or not log.loaders)
    }
    # Several training sets (pretraining, then another task) have no one scale to compare with.
    if len(log.training_loaders()) > 1:
        measured = set()
    looked = False
    for seen in held:
        training = [one for one in _all(seen) if one["at"] in trained]
        evaluation = [one for one in _all(seen) if one["at"] in measured]
        if not training:
            continue
        looked = True
        low, high = _range(training)
        numbers: dict[str, int | float | str] = {
            "lowest in training": round(low, 4),
            "highest in training": round(high, 4),
        }
        if evaluation:
            found = _gap(training, evaluation)
            if found is not None:
                v_low, v_high = _range(evaluation)
                return RULE.fail(
                    f"The images of the evaluation are scaled otherwise than those of training: {found}.",
                    where=evaluation[0]["file"],
                    numbers=numbers
                    | {"lowest in evaluation": round(v_low, 4), "highest in evaluation": round(v_high, 4)},
                    fix="use the same ToTensor and Normalize for both; only the random transforms differ",
                )
        if high > UNSCALED and all(one["whole"] for one in training):
            return RULE.warn(
                "The images reach the model as numbers from 0 to 255.",
                where=training[0]["file"],
                numbers=numbers | {"warned above": UNSCALED},
                fix="images.float() / 255, and subtract the mean",
            )
        if max(abs(low), abs(high)) < TINY and high > low:
            return RULE.warn(
                "The images reach the model as numbers close to 0, as if they had been divided by 255 twice.",
                where=training[0]["file"],
                numbers=numbers | {"warned below": TINY},
                fix="ToTensor() divides by 255 already: remove the other division",
            )
    if not looked:
        return RULE.not_applicable("no model was trained on images (N, C, H, W)")
    return RULE.ok("Images have a usual range, the same in training and evaluation.")


def _all(seen: ModelSeen) -> list[dict[str, Any]]:
    return seen.statistics["train"] + seen.statistics["eval"]


def _range(batches: list[dict[str, Any]]) -> tuple[float, float]:
    return min(one["low"] for one in batches), max(one["high"] for one in batches)


def _spread(batches: list[dict[str, Any]]) -> float:
    stds = [value for one in batches for value in one["std"]]
    return float(sum(stds) / len(stds))


def _mean(batches: list[dict[str, Any]]) -> float:
    means = [value for one in batches for value in one["mean"]]
    return float(sum(means) / len(means))


def _gap(training: list[dict[str, Any]], evaluation: list[dict[str, Any]]) -> str | None:
    """What differs where two splits can't have been prepared alike; pictures alone never make such a gap."""
    (low, high), (v_low, v_high) = _range(training), _range(evaluation)
    one, two = _spread(training), _spread(evaluation)
    if min(one, two) > 0 and (one > RATIO * two or two > RATIO * one):
        return f"their standard deviation is {two / one:.3g} times that of training"
    # Noise that training adds widens the range and leaves the mean; Normalize moves the mean.
    if abs(_mean(training) - _mean(evaluation)) < min(one, two):
        return None
    in_unit = v_low >= 0 and v_high <= 1 and v_high > 0.5
    if low < -0.3 and in_unit and high > 1:
        return "training is normalised, evaluation is not"
    in_unit = low >= 0 and high <= 1 and high > 0.5
    if v_low < -0.3 and in_unit and v_high > 1:
        return "evaluation is normalised, training is not"
    return None
