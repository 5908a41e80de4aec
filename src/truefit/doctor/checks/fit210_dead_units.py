"""Most units of a ReLU layer are zero for every image."""

from functools import partial

import torch

from truefit.doctor.finding import Finding, Severity, Where
from truefit.doctor.log import Log, ModelSeen
from truefit.doctor.operations import never_positive
from truefit.doctor.replay import call, untouched
from truefit.doctor.rule import Rule
from truefit.doctor.samples import BATCH, again
from truefit.precision import device_of

RULE = Rule(
    "FIT210",
    "dead-units",
    "model",
    Severity.WARN,
    "Most units of each layer are above zero for some of the images.",
    follows_from=("FIT208", "FIT30", "FIT401", "FIT402", "FIT403", "FIT504"),
)
SHARE, UNITS, IMAGES, STEPS = 0.9, 8, 100, 50


def check(log: Log) -> Finding:
    models = log.trained_models()
    if not models or log.steps < STEPS:
        return RULE.not_applicable(f"no model was trained for {STEPS} steps")
    looked = 0
    for seen in models:
        for loader in log.training_loaders():
            part = again(log, seen, loader)
            if part is None or len(part.images) < IMAGES:
                continue
            found = _dead(seen, part.images)
            looked += len(found)
            for number, (where, dead) in enumerate(found, 1):
                if len(dead) >= UNITS and float(dead.float().mean()) > SHARE:
                    return RULE.warn(
                        f"{int(dead.sum())} of {len(dead)} units of ReLU number {number} are zero for each of "
                        f"{len(part.images)} training images: they get no gradient, and never come back.",
                        where=where if where.file else seen.where,
                        numbers={"dead units": int(dead.sum()), "of": len(dead), "warned above": SHARE},
                        fix="lower the learning rate, begin with kaiming_normal_, or put BatchNorm before the ReLU",
                    )
    if not looked:
        return RULE.not_run(f"no ReLU was seen, or {IMAGES} training images can't be fetched again")
    return RULE.ok("Most units are active for some images.", numbers={"ReLU layers": looked})


def _dead(seen: ModelSeen, images: torch.Tensor) -> list[tuple[Where, torch.Tensor]]:
    """The ReLUs' lines, and which of their units are zero for all images; none where their calls differ."""
    found: list[tuple[Where, torch.Tensor]] = []
    with untouched(seen.module):
        for part in torch.split(images, BATCH):
            try:
                now = never_positive(partial(call, seen, (part.to(device_of(seen.module)),), training=False))
            except Exception:  # it takes no other batches than those it was called with
                return []
            if found and [len(dead) for _, dead in found] != [len(dead) for _, dead in now]:
                return []
            pairs = zip(found or now, now, strict=True)
            found = [(where, before & dead) for (where, before), (_, dead) in pairs]
    return found
