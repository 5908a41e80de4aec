"""WeightedRandomSampler is given a weight for each class instead of one for each sample."""

from torch.utils.data import WeightedRandomSampler

from truefit.doctor.datasets import sampler_of
from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Log
from truefit.doctor.rule import Rule

RULE = Rule(
    "FIT511",
    "sampler-weights",
    "data",
    Severity.FAIL,
    "WeightedRandomSampler has one weight for each sample.",
)


def check(log: Log) -> Finding:
    samplers = [(seen, sampler_of(seen.loader)) for seen in log.training_loaders()]
    weighted = [(seen, sampler) for seen, sampler in samplers if isinstance(sampler, WeightedRandomSampler)]
    if not weighted:
        return RULE.not_applicable("no WeightedRandomSampler")
    for seen, sampler in weighted:
        weights, samples = len(sampler.weights), len(seen.loader.dataset)
        if weights < samples:
            return RULE.fail(
                f"WeightedRandomSampler has {weights} weights for {samples} samples: only the first {weights} samples "
                "are ever drawn.",
                where=seen.where,
                numbers={"weights": weights, "samples": samples, "wanted": samples},
                fix="weights = class_weights[labels]  # one for each sample",
            )
    return RULE.ok("There is one weight for each sample.")
