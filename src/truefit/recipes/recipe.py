"""What a training is made of, as one frozen value: epochs, batch, optimiser, schedule, loss, augmentation."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from truefit.config import check_types, require
from truefit.errors import InputError

OptimizerName = Literal["adam", "adamw", "sgd", "muon"]
ScheduleName = Literal["one-cycle", "cosine", "step", "constant", "reduce-on-plateau"]

# Learning rates that suit each optimiser where none is asked for.
DEFAULT_LR: dict[str, float] = {"adam": 1e-3, "adamw": 2e-3, "sgd": 0.05, "muon": 0.02}

DEFAULT_SHIFT = 0.0625

# `least_steps` makes batches no smaller than this.
SMALLEST_BATCH = 16

# Of "auto" and "auto-crops": whether training mirrors images, and whether crops are averaged over.
_VIEWS: dict[tuple[bool, bool], Literal["none", "flip", "crops", "flip-crops"]] = {
    (False, False): "none",
    (True, False): "flip",
    (False, True): "crops",
    (True, True): "flip-crops",
}


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """The optimiser and its settings; what does not apply to the chosen one is not used.

    lr: peak learning rate; None takes the optimiser's usual one.
    weight_decay: decoupled (adamw, muon) or added to the gradient (adam, sgd); never on biases and norms.
    betas: adam, adamw, and muon for what it steps by Adam, biases and the scales of norm layers; None takes the
    optimiser's usual ones. eps: adam and adamw. momentum, nesterov: sgd and muon. adam_share: muon; Adam's learning
    rate as a share of lr, above 0. fixed_norm: muon; filters are scaled to the norm sqrt(out) before each step, for
    networks with a norm layer after each convolution. iterations: muon; how often the polynomial that orthogonalises
    is applied, at least 1.
    lookahead: every so many steps the weights go back to slow weights, which have come `lookahead_share` (above 0, at
    most 1) of the way to them; None: no slow weights.
    """

    name: OptimizerName = "adamw"
    lr: float | None = None
    weight_decay: float = 0.01
    betas: tuple[float, float] | None = None
    eps: float = 1e-8
    momentum: float = 0.9
    nesterov: bool = True
    adam_share: float = 0.15
    fixed_norm: bool = False
    iterations: int = 5
    lookahead: int | None = None
    lookahead_share: float = 0.5

    def __post_init__(self) -> None:
        check_types(self)
        require(self.lr is None or 0 < self.lr < float("inf"), "lr", self.lr, "a number above 0", "--lr 1e-3")
        require(0 <= self.weight_decay < 1, "optimizer.weight_decay", self.weight_decay, "from 0 to below 1")
        require(
            self.betas is None or all(0 <= b < 1 for b in self.betas),
            "optimizer.betas",
            self.betas,
            "two numbers from 0 to below 1",
        )
        require(self.eps > 0, "optimizer.eps", self.eps, "a number above 0")
        require(0 <= self.momentum < 1, "optimizer.momentum", self.momentum, "from 0 to below 1")
        require(0 < self.adam_share < float("inf"), "optimizer.adam_share", self.adam_share, "a number above 0")
        require(self.iterations >= 1, "optimizer.iterations", self.iterations, "at least 1")
        every = self.lookahead
        require(every is None or every >= 1, "optimizer.lookahead", every, "at least 1", "--optimizer.lookahead 5")
        share = self.lookahead_share
        require(0 < share <= 1, "optimizer.lookahead_share", share, "above 0, at most 1")

    @property
    def peak_lr(self) -> float:
        """The learning rate asked for, or the optimiser's usual one."""
        return DEFAULT_LR[self.name] if self.lr is None else self.lr

    @property
    def adam_betas(self) -> tuple[float, float]:
        """The decay rates of Adam's moments asked for, or the optimiser's usual ones."""
        if self.betas is not None:
            return self.betas
        return (0.9, 0.99) if self.name == "muon" else (0.9, 0.999)


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """How the learning rate moves from the first step to the last.

    warmup: fraction of all steps in which it rises linearly from near 0 to the peak; None is 0.2 for one-cycle, and
    none for the others. one-cycle: then falls linearly to `final` x peak. cosine: falls along a half cosine.
    step: times `gamma` every `step_epochs` epochs. constant: stays.
    reduce-on-plateau: times `gamma` after more than `patience` epochs without a lower validation loss.
    """

    name: ScheduleName = "one-cycle"
    warmup: float | None = None
    final: float = 0.0
    step_epochs: int = 30
    gamma: float = 0.1
    patience: int = 3

    def __post_init__(self) -> None:
        check_types(self)
        require(
            self.warmup is None or 0 <= self.warmup < 1, "schedule.warmup", self.warmup, "a fraction from 0 to below 1"
        )
        require(0 <= self.final <= 1, "schedule.final", self.final, "a fraction from 0 to 1")
        require(self.step_epochs >= 1, "schedule.step_epochs", self.step_epochs, "at least 1")
        require(0 < self.gamma <= 1, "schedule.gamma", self.gamma, "above 0, at most 1")
        require(self.patience >= 0, "schedule.patience", self.patience, "at least 0")

    @property
    def warmup_fraction(self) -> float:
        """The warm-up asked for, or the kind's usual one."""
        usual = 0.2 if self.name == "one-cycle" else 0.0
        return usual if self.warmup is None else self.warmup


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Cross-entropy. label_smoothing: 0 to below 1. class_weights: one for each class, or "balanced":
    n / (classes x samples of the class), from the training labels. focal: the gamma (at least 0) of the focal loss
    (Lin et al. 2017), by which samples that are learnt already count less; 0 is cross-entropy, 2 usual.
    """

    label_smoothing: float = 0.0
    class_weights: Literal["balanced"] | tuple[float, ...] | None = None
    focal: float = 0.0

    def __post_init__(self) -> None:
        check_types(self)
        require(0 <= self.label_smoothing < 1, "loss.label_smoothing", self.label_smoothing, "from 0 to below 1")
        if isinstance(self.class_weights, tuple):
            usable = len(self.class_weights) > 0 and all(0 < weight < float("inf") for weight in self.class_weights)
            require(usable, "loss.class_weights", self.class_weights, "finite numbers above 0")
        require(0 <= self.focal < float("inf"), "loss.focal", self.focal, "a number from 0 on", "--loss.focal 2")


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Random changes of training images; fractions of the image's side or of the pixel range.

    flip: mirror left-right with probability 1/2; None leaves it to the data (digits must not be mirrored).
    shift: largest shift in each direction (0..0.5), the border reflected; None is 0.0625. cutout: side of a
    square set to the mean colour (0..1). brightness, contrast: largest relative change (0..1).
    crop: side of the part that is trained on, at a random place (above 0, at most 1); evaluation and prediction use
    the centre part of this size. shrink: that part's side is then made smaller by this factor (above 0, at most 1),
    in training, evaluation and prediction alike; work falls with its square, and accuracy much less. start_shrink: the
    factor in the first half of the training, where less detail does as well; None is `shrink`.
    policy: randaugment makes `policy_ops` changes of geometry or colour to each image, each of strength
    `policy_magnitude` (0..1); trivialaugment makes one, of any strength. They are for images of bytes.
    erase: how often (0..1) a rectangle of 2 to 33 % of the image is set to the mean colour (Zhong et al. 2020).
    mixup, cutmix: each image is mixed with another of its batch, or has a box of it pasted in, and its target becomes
    that mixture; the alpha of the shares' Beta distribution, 0 is without, 0.2 and 1 are usual. With both each has half
    of the images. Hits in passing are not counted then: running_accuracy is null.
    """

    flip: bool | None = None
    shift: float | None = None
    cutout: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    crop: float = 1.0
    shrink: float = 1.0
    start_shrink: float | None = None
    policy: Literal["none", "randaugment", "trivialaugment"] = "none"
    policy_ops: int = 2
    policy_magnitude: float = 0.3
    erase: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        check_types(self)
        require(
            self.shift is None or 0 <= self.shift <= 0.5,
            "augment.shift",
            self.shift,
            "a fraction from 0 to 0.5",
        )
        for name in ("crop", "shrink", "start_shrink"):
            value = getattr(self, name)
            require(value is None or 0 < value <= 1, f"augment.{name}", value, "a fraction above 0, at most 1")
        for name in ("cutout", "brightness", "contrast", "policy_magnitude", "erase"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"augment.{name}", value, "a fraction from 0 to 1")
        require(self.policy_ops >= 1, "augment.policy_ops", self.policy_ops, "at least 1")
        for name in ("mixup", "cutmix"):
            value = getattr(self, name)
            require(0 <= value < float("inf"), f"augment.{name}", value, "a number from 0 on", f"--augment.{name} 0.2")

    @property
    def mixes(self) -> bool:
        """Whether images are mixed with others, so that targets are no longer single classes."""
        return self.mixup > 0 or self.cutmix > 0


@dataclass(frozen=True, kw_only=True)
class EmaConfig:
    """An exponential moving average of the weights, which is then what is measured and kept.

    decay: part of the average that stays at each update (0 to below 1); such as 0.999. None: no average.
    every: optimiser steps between updates, at least 1.
    """

    decay: float | None = None
    every: int = 1

    def __post_init__(self) -> None:
        check_types(self)
        require(
            self.decay is None or 0 <= self.decay < 1, "ema.decay", self.decay, "from 0 to below 1", "--ema.decay 0.999"
        )
        require(self.every >= 1, "ema.every", self.every, "at least 1")


@dataclass(frozen=True, kw_only=True)
class SwaConfig:
    """The plain mean of the weights from a point of the training on (stochastic weight averaging), which is then what
    is measured and kept, with statistics of BatchNorm that are computed for it.

    start: the part of all steps after which averaging begins (0 to below 1), such as 0.75; None: no mean. every:
    optimiser steps between the weights that are averaged; None: an epoch. lr: the learning rate from there on, as a
    part of the peak (above 0, at most 1); None: as the schedule has it.
    """

    start: float | None = None
    every: int | None = None
    lr: float | None = None

    def __post_init__(self) -> None:
        check_types(self)
        require(
            self.start is None or 0 <= self.start < 1, "swa.start", self.start, "from 0 to below 1", "--swa.start 0.75"
        )
        require(self.every is None or self.every >= 1, "swa.every", self.every, "at least 1")
        require(self.lr is None or 0 < self.lr <= 1, "swa.lr", self.lr, "a part of the peak, above 0, at most 1")


@dataclass(frozen=True, kw_only=True)
class TransferConfig:
    """What is learnt of a pretrained network, and in which order.

    probe: fit the layer of the classes first, by logistic regression on features of the frozen network. strengths: of
    its regularisation (C of scikit-learn: larger is weaker), from which cross-validation within the training set
    chooses; folds: of that, at least 2. The recipe's epochs come after it; with 0 there are none.
    In them the network is thawed stage by stage from its end: `stages` before the layer of the classes (None: all), in
    equal parts of the epochs, each with `rate_decay` (above 0, at most 1) of the learning rate of the one after it.
    """

    probe: bool = False
    strengths: tuple[float, ...] = (0.1, 1.0, 10.0, 100.0, 1000.0)
    folds: int = 5
    stages: int | None = 2
    rate_decay: float = 0.3

    def __post_init__(self) -> None:
        check_types(self)
        usable = len(self.strengths) > 0 and all(0 < strength < float("inf") for strength in self.strengths)
        require(usable, "transfer.strengths", self.strengths, "finite numbers above 0")
        require(self.folds >= 2, "transfer.folds", self.folds, "at least 2")
        require(self.stages is None or self.stages >= 0, "transfer.stages", self.stages, "at least 0")
        require(0 < self.rate_decay <= 1, "transfer.rate_decay", self.rate_decay, "above 0, at most 1")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that decides a training but the data, the model and the seed.

    epochs: passes over the training set, at least 1. max_steps: optimiser steps after which training ends, in the
    middle of an epoch too, where `epochs` would be more; the schedule is laid out over them. stop_at_step: training
    ends after so many steps of a schedule that is laid out over more. (Both are recorded where `max_time` decided.)
    batch_size: samples for each optimiser step, at least 1. least_steps: where an epoch would have fewer steps, as the
    data is small, batches are made smaller until it has as many, but not smaller than 16 samples; 0 takes batch_size
    as it is. What was taken is recorded as batch_size. accumulate: parts that a step is cut into, each weighted by
    its samples, to save memory. With class weights each part's mean is over its own weights, so the step differs
    slightly from that of the whole batch.
    clip_norm: largest gradient norm (L2, over all parameters), or None.
    early_stopping: epochs without a better one (higher validation accuracy, or the same with a lower loss) after
    which training ends, or None.
    averaging: "flip" averages the logits of each image and its mirror image when predicting and evaluating; "auto"
    does so where training mirrors images too. "crops" averages over three crops, moved by a 32nd of the side, and
    "flip-crops" over these and their mirror images: three and six times the work. "auto-crops" is "flip-crops" where
    training mirrors images, else "crops".
    precision: "auto" is float32; bfloat16 and float16 use autocast. "fastest" trains a
    model that is given by name in bfloat16 where the device's units for it pay (on a CPU: and no convolution is
    grouped), else in float32, on a CPU with fewer multiplications in 3 x 3 convolutions (Winograd's), whose rounding
    differs; it evaluates in float32 in any case.
    execution: how steps run on a CUDA device. "graph" records a step once as a CUDA graph and replays it; "compile"
    puts the network through torch.compile first, which takes up to a minute at the start; "eager" does neither. "auto"
    records the steps of models that are given by name. On other devices all are eager, as are steps of several
    processes; in float16 and with lookahead none is recorded.
    zero_head: the last layer of a model that is built by its name begins at 0 instead of at random: every class is
    equally probable at first. It suits muon, whose first steps move that layer at once. Of networks that do not end in
    a linear layer, only ConvNet's does.
    sampling: "balanced" shows equally many images of each class in an epoch, which is as long as ever: images of small
    classes several times, of large ones a part that changes from epoch to epoch. The numbers stand in config.json.
    augment: changes training images. The tensors of a data set of your own are changed only where it is said.
    """

    name: str = "custom"
    epochs: int = 10
    max_steps: int | None = None
    stop_at_step: int | None = None
    batch_size: int = 64
    least_steps: int = 0
    accumulate: int = 1
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    ema: EmaConfig = field(default_factory=EmaConfig)
    swa: SwaConfig = field(default_factory=SwaConfig)
    transfer: TransferConfig = field(default_factory=TransferConfig)
    clip_norm: float | None = None
    early_stopping: int | None = None
    averaging: Literal["auto", "auto-crops", "none", "flip", "crops", "flip-crops"] = "auto"
    precision: Literal["auto", "fastest", "float32", "bfloat16", "float16"] = "auto"
    execution: Literal["auto", "eager", "graph", "compile"] = "auto"
    sampling: Literal["all", "balanced"] = "all"
    zero_head: bool = False

    def __post_init__(self) -> None:
        check_types(self)
        for name, usual in (("epochs", 10), ("batch_size", 64), ("accumulate", 1)):
            value = getattr(self, name)
            fewest = 0 if name == "epochs" and self.transfer.probe else 1
            require(
                isinstance(value, int) and not isinstance(value, bool) and value >= fewest,
                name,
                value,
                f"a whole number, at least {fewest}",
                f"--{name.replace('_', '-')} {usual}",
            )
        for name in ("max_steps", "stop_at_step"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, value, "at least 1")
        require(self.least_steps >= 0, "least_steps", self.least_steps, "at least 0")
        if self.accumulate > self.batch_size:
            raise InputError(
                "accumulate is larger than batch_size",
                found=f"{self.accumulate} parts of {self.batch_size} samples",
                wanted="at least one sample a part",
            )
        if self.ema.decay is not None and self.swa.start is not None:
            raise InputError(
                "ema and swa both say which average of the weights is kept",
                found=f"ema.decay {self.ema.decay} and swa.start {self.swa.start}",
                wanted="one of them",
                fix="--ema.decay None, or --swa.start None",
            )
        if self.sampling == "balanced" and self.loss.class_weights == "balanced":
            raise InputError(
                "sampling and loss.class_weights both make up for the sizes of the classes",
                found="balanced for both: small classes would count twice",
                wanted="one of them",
            )
        require(self.clip_norm is None or self.clip_norm > 0, "clip_norm", self.clip_norm, "a number above 0")
        require(
            self.early_stopping is None or self.early_stopping >= 1,
            "early_stopping",
            self.early_stopping,
            "at least 1",
        )

    @property
    def averaging_resolved(self) -> Literal["none", "flip", "crops", "flip-crops"]:
        """The averaging of a recipe with nothing left open."""
        return "none" if self.averaging == "auto" or self.averaging == "auto-crops" else self.averaging

    def with_optimizer(self, name: OptimizerName) -> Recipe:
        """By another optimiser, which comes with its own usual settings: the recipe's are not meant for it."""
        return self if name == self.optimizer.name else replace(self, optimizer=OptimizerConfig(name=name))

    def with_batch_size(self, size: int) -> Recipe:
        """In batches of this size, however small the data."""
        return replace(self, batch_size=size, least_steps=0)

    def for_samples(self, samples: int | None) -> Recipe:
        """With the batch size that suits so many training samples; the recipe's own where their number is not known."""
        size = self.batch_size
        if samples is not None and samples < self.least_steps * size:
            size = min(size, max(SMALLEST_BATCH, samples // self.least_steps // 8 * 8))
        # Parts of a batch stay as large as they were meant to be: that is what memory has room for.
        part = -(-self.batch_size // self.accumulate)
        return replace(self, batch_size=size, least_steps=0, accumulate=-(-size // part))

    def resolved(self, *, images: bool, mirror: bool) -> Recipe:
        """The recipe with nothing left open. images: uint8 images, not tensors made by a data set of the user's.
        mirror: whether a mirror image belongs to the same class.
        """
        augment = self.augment
        flip = mirror if augment.flip is None else augment.flip
        averaging = self.averaging
        if averaging in ("auto", "auto-crops"):
            crops = averaging == "auto-crops"
            averaging = "none" if not images else _VIEWS[flip, crops]
        return replace(
            self,
            optimizer=replace(self.optimizer, lr=self.optimizer.peak_lr, betas=self.optimizer.adam_betas),
            schedule=replace(self.schedule, warmup=self.schedule.warmup_fraction),
            augment=replace(
                augment,
                flip=flip,
                shift=(DEFAULT_SHIFT if images else 0.0) if augment.shift is None else augment.shift,
            ),
            averaging=averaging,
        )
