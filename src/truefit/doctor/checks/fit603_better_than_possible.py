"""The evaluation comes out better than on the very images that were trained on."""

from truefit.doctor.datasets import validation_loaders
from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Log
from truefit.doctor.rule import Rule
from truefit.doctor.samples import again, answers

RULE = Rule(
    "FIT603",
    "better-than-possible",
    "evaluation",
    Severity.WARN,
    "A model is at least as good on the images that it was trained on as on others.",
    # These say what makes the two incomparable.
    follows_from=("FIT501", "FIT502", "FIT503", "FIT504", "FIT601", "FIT605"),
)
LEAST, ERRORS = 0.02, 3.0


def check(log: Log) -> Finding:
    training, validation = log.training_loaders(), validation_loaders(log)
    models = log.trained_models()
    if not training or not validation or not models:
        return RULE.not_applicable("no training with an evaluation beside it")
    reason = "the loop changes images before the model gets them, or they can't be fetched again"
    looked = 0
    for model in models:
        for seen in validation:
            held = again(log, model, seen)
            learnt = again(log, model, training[0])
            if held is None or learnt is None:
                continue
            if not learnt.fixed:
                reason = "training images are augmented: on them a model is worse"
                continue
            figures = []
            for part in (learnt, held):
                outputs = answers(model, part.images)
                if outputs is None or outputs.shape[1] <= int(part.labels.max()):
                    break
                hits = outputs.argmax(1) == part.labels[: len(outputs)]
                figures.append((float(hits.float().mean()), len(hits)))
            if len(figures) < 2:
                continue
            looked += 1
            (own, n), (other, m) = figures
            error = (own * (1 - own) / n + other * (1 - other) / m + 0.25 / n**2 + 0.25 / m**2) ** 0.5
            numbers = {
                "on training images": round(own, 3),
                "of": n,
                "on the evaluation's": round(other, 3),
                "of its": m,
            }
            if other - own > max(LEAST, ERRORS * error):
                return RULE.warn(
                    f"The model gets {100 * other:.1f} % of the evaluation's images right and {100 * own:.1f} % of "
                    "those that it was trained on.",
                    where=seen.where,
                    numbers=numbers | {"warned from": f"{ERRORS:.0f} standard errors ({ERRORS * error:.3f})"},
                    fix="compare how both sets were made: other labels, easier images, or images from training in both",
                )
    if not looked:
        return RULE.not_run(reason)
    return RULE.ok("The evaluation is not better than the training images.")
