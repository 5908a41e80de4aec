"""Before the first step a classifier knows nothing: its cross-entropy is near that of the classes' shares."""

import math

from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Loaded, Log, Loss, Step
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT105",
    "loss-at-the-start",
    "loss",
    Severity.WARN,
    "With random weights the loss of K classes begins near ln K.",
)
# Wider than 0.5 to 1.5 of the literature: in train mode alone, sound networks begin at up to 1.6 times ln K.
LOW, HIGH, SAMPLES = 0.5, 3.0, 8


def check(log: Log) -> Finding:
    first = next((one.at for one in log.all(Step)), None)
    if first is None:
        return RULE.not_applicable("no optimiser took a step")
    if any(one.what == "model" and one.at < first for one in log.all(Loaded)):
        return RULE.not_applicable("weights were loaded before the first step")
    calls = [one for one in log.all(Loss) if one.grad and one.name in ("cross_entropy", "nll_loss")]
    begun = [one for one in calls if one.at < first]
    if len(begun) != 1 or begun[0].value is None or not begun[0].labels or len(begun[0].shape) != 2:
        return RULE.not_applicable("the first step follows no single cross-entropy over class indices")
    loss = begun[0]
    if any(one.labels is None for one in calls[:3]) or loss.shape[0] < SAMPLES or loss.shape[1] < 2:
        return RULE.not_applicable("the first batch is small, or its targets are mixed")
    counts = [count for label, count in (loss.labels or {}).items() if label >= 0]
    shares = [count / sum(counts) for count in counts]
    expected, value = math.log(loss.shape[1]), float(loss.value)
    least = min(expected, -sum(share * math.log(share) for share in shares))
    numbers: dict[str, int | float | str] = {
        "first loss": round(value, 4),
        "ln K": round(expected, 4),
        "at most": round(HIGH * expected, 4),
        "at least": round(LOW * least, 4),
    }
    if value > HIGH * expected:
        return RULE.warn(
            "The loss begins far above that of a guess: the outputs are large before anything is learnt.",
            where=loss.where,
            numbers=numbers,
            fix="scale the images (/ 255, minus the mean, by the spread), and leave PyTorch's own initialisation",
        )
    if value < LOW * least and loss.made_by != "softmax":
        return RULE.warn(
            "The loss begins far below that of a guess, with random weights: the inputs may tell the labels.",
            where=loss.where,
            numbers=numbers,
            fix="look at what the network is given beside the images",
        )
    return RULE.ok("The loss begins near that of a guess.", numbers=numbers)
