"""A copy of the model can't learn a handful of samples by heart."""

import copy
import time
from collections.abc import Generator

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.dropout import _DropoutNd

from truefit import loop, rng
from truefit.data.batch import Batch
from truefit.doctor.finding import Finding, Severity
from truefit.doctor.log import Log, Loss, ModelSeen
from truefit.doctor.replay import call, outputs_of, untouched
from truefit.doctor.rule import Rule
from truefit.doctor.samples import first_batch
from truefit.errors import NonFiniteError
from truefit.precision import device_of
from truefit.tasks.given_loss import GivenLoss

RULE = Rule(
    "FIT107",
    "cannot-fit-one-batch",
    "loss",
    Severity.WARN,
    "A network learns sixteen samples by heart within 200 steps.",
    follows_from=("FIT10", "FIT2", "FIT302", "FIT402", "FIT504"),
)
ACCURACY, STEPS, RATES, SECONDS = 0.9, 200, (3e-3, 1e-2), 4.0
# Steps between two looks.
CHUNK = 25


def check(log: Log) -> Finding:
    losses = {one.name for one in log.all(Loss) if one.grad and one.loader_pass is not None}
    if losses != {"cross_entropy"}:
        return RULE.not_applicable("the training's loss is not cross-entropy alone")
    for seen in log.trained_models():
        free = sum(p.numel() for p in seen.module.parameters() if p.requires_grad)
        found = first_batch(log, seen) if 2 * free > sum(p.numel() for p in seen.module.parameters()) else None
        if found is None:
            continue
        images, labels = (one.to(device_of(seen.module)) for one in found)
        if len(labels) < 8 or len(set(labels.tolist())) < 2 or _contradicts(images, labels):
            return RULE.not_run("the first batch of the training has too few samples, or one image with two labels")
        with untouched(seen.module):
            outputs = call(seen, (images,), training=True)
            if len(outputs) != 1 or outputs[0].ndim != 2 or outputs[0].shape[1] <= int(labels.max()):
                continue
            best = _hits(outputs[0], labels)
            if best >= ACCURACY:
                return RULE.ok("The first samples of the training are learnt by heart.", numbers={"accuracy": best})
            best, loss, steps, decided = _learnt(seen, images, labels)
        numbers: dict[str, int | float | str] = {
            "accuracy on the samples": round(best, 3),
            "at least": ACCURACY,
            "lowest cross-entropy": round(loss, 3),
            "steps": steps,
        }
        if best >= ACCURACY:
            return RULE.ok("A copy of the model learns a batch by heart.", numbers=numbers)
        if not decided:
            return RULE.not_run(f"{SECONDS:.0f} s of computing were not enough for {STEPS} steps")
        return RULE.warn(
            f"A copy of the model doesn't learn {len(labels)} samples by heart: {100 * best:.0f} % after {STEPS} steps "
            f"at the best of {len(RATES)} learning rates.",
            where=seen.where,
            numbers=numbers,
            fix="look at what forward does between the last layer and the loss, and at layers without a gradient",
        )
    return RULE.not_run("most of the model is frozen, or the loop changes images or labels before it gets them")


def _contradicts(images: Tensor, labels: Tensor) -> bool:
    same = torch.cdist(images.flatten(1).double(), images.flatten(1).double()) == 0
    return bool((same & (labels[:, None] != labels[None, :])).any())


def _hits(outputs: Tensor, labels: Tensor) -> float:
    return float((outputs.argmax(1) == labels).float().mean())


class _Repeated:
    """One batch, so many times."""

    samples = steps = None

    def __init__(self, images: Tensor, labels: Tensor, times: int) -> None:
        self.images, self.targets, self.times, self.batch_size = images, labels, times, len(labels)

    def epoch(self, epoch: int, first: int = 0) -> Generator[Batch, None, None]:
        distinct = tuple(sorted(set(self.targets.tolist())))
        for _ in range(self.times):
            yield Batch(self.images, self.targets, distinct)

    def indices(self, epoch: int, step: int) -> list[int] | None:
        return None

    def damaged(self, epoch: int, step: int) -> list[int]:
        return []


def _learnt(seen: ModelSeen, images: Tensor, labels: Tensor) -> tuple[float, float, int, bool]:
    """The best accuracy and loss in train mode of copies that are trained, all steps, and whether there was time."""
    best, lowest, steps = 0.0, float("inf"), 0
    begin = time.thread_time()
    wrapped = isinstance(seen.module, nn.parallel.DistributedDataParallel)
    for rate in RATES:
        network = copy.deepcopy(seen.module.module if wrapped else seen.module)
        for module in network.modules():
            if isinstance(module, _DropoutNd):
                module.p = 0.0
        optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=rate)
        rng.seed_all(0)
        for _ in range(STEPS // CHUNK):
            try:
                loop.train_epoch(network, _Repeated(images, labels, CHUNK), GivenLoss(F.cross_entropy), optimizer)
            except NonFiniteError:
                break
            steps += CHUNK
            with torch.no_grad():
                outputs = outputs_of(network.train()(images))[0]
            best, lowest = max(best, _hits(outputs, labels)), min(lowest, float(F.cross_entropy(outputs, labels)))
            if best >= ACCURACY:
                return best, lowest, steps, True
            if time.thread_time() - begin > SECONDS:
                return best, lowest, steps, False
    return best, lowest, steps, True
