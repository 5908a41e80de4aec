"""What was observed of a training: typed records in the order they happened, and the objects they speak of.

Checks read a Log and nothing else. Every record has `at`, its number in one sequence shared by all records, so that
"before" and "after" are comparisons of numbers. Objects (models, optimisers, loaders) are kept for replays that run
after the script has ended.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from truefit.doctor.children import Rank
from truefit.doctor.finding import Where

Kind = TypeVar("Kind")


@dataclass(frozen=True, kw_only=True, slots=True)
class Forward:
    """A call of an outermost module. `on` and `off`: layers that depend on the mode (BatchNorm, active dropout) that
    ran in train and in eval mode. `functional_dropout`: F.dropout drew although its owner was in eval mode."""

    at: int
    model: int
    where: Where
    training: bool
    grad: bool
    on: int
    off: int
    functional_dropout: bool
    samples: int
    loader_pass: int | None
    half: bool
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """A call of a loss function. `made_by`: what the graph says produced its input (softmax, log_softmax, None).
    `probabilities`: rows were non-negative and summed to 1 (None: not looked at)."""

    at: int
    name: str
    where: Where
    grad: bool
    shape: tuple[int, ...]
    target_shape: tuple[int, ...]
    made_by: str | None
    probabilities: bool | None
    above_zero: bool | None
    forward: int | None
    loader_pass: int | None
    model_training: bool | None
    owner: Where | None = None
    # Of the first training calls with a mean over samples: the loss itself, on its device.
    value: Any = None
    # How often each class index stood in the targets, of the first training calls.
    labels: dict[int, int] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Backward:
    """Gradients were computed. `value`: the loss, None where it is not one number. `forwards`: the calls of models
    since the last one. `bad_input`: the model's input held NaN or infinity (looked at when the value did)."""

    at: int
    where: Where
    value: float | None
    finite: bool
    bad_input: bool
    loader_pass: int | None
    forwards: tuple[int, ...]
    # The graphs of so many of the last backwards before this one were still alive.
    graphs_alive: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """An optimiser's step. Between the last step and this one: `backwards`, `fetches` of batches, `dropped`
    backwards whose gradients were cleared unused, `clean` whether gradients were empty at the start of one of the
    backwards (None: none ran), `stale` the norm of what was there instead. `empty`: no gradient at all at the step."""

    at: int
    optimizer: int
    number: int
    where: Where
    rates: tuple[float, ...]
    backwards: int
    fetches: int
    dropped: int
    clean: bool | None
    stale: float
    empty: bool
    changed: bool | None
    loader_pass: int | None
    # Norm of the gradient after the last of several backwards, and at the step (None: not looked at).
    norms: tuple[float, float] | None = None
    code: int = 0
    # A number that is the same in all processes whose weights are (None: not looked at, or one process).
    digest: tuple[float, ...] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Clear:
    """zero_grad of an optimiser or a model."""

    at: int
    where: Where


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """Gradients were clipped. `fresh`: a backward had run since the last step. `scaled`: they still carried the
    scale of a gradient scaler."""

    at: int
    where: Where
    parameters: frozenset[int]
    fresh: bool
    scaled: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Scaled:
    """A gradient scaler scaled a loss."""

    at: int
    where: Where


@dataclass(frozen=True, kw_only=True, slots=True)
class Scheduled:
    """A scheduler's step, with the learning rate after it."""

    at: int
    scheduler: int
    where: Where
    rate: float
    loader_pass: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Initialised:
    """A function of torch.nn.init wrote a tensor. `trained`: an optimiser had stepped it before."""

    at: int
    where: Where
    name: str
    storage: int
    trained: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Seeded:
    """torch.manual_seed."""

    at: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """load_state_dict of a model (outermost), optimiser, scheduler or scaler. For a model: how many keys it has, how
    many of them were given, how many given ones it does not know; `alias`: what was given was the living weights,
    taken `age` optimiser steps ago."""

    at: int
    where: Where
    what: str
    target: int
    keys: int = 0
    missing: int = 0
    unexpected: int = 0
    alias: bool = False
    age: int = 0
    example: str = ""
    checkpoint: int | None = None
    parameters: frozenset[int] = frozenset()
    # The same for two loads of the same weights.
    digest: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Saved:
    """torch.save. `alias_age`: it held living weights under a name taken that many optimiser steps ago."""

    at: int
    where: Where
    path: str
    alias_age: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A model's weights were taken by state_dict(), or copied by copy.deepcopy."""

    at: int
    where: Where
    model: int


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedBest:
    """At the beginning of a pass a variable whose name says best held the living weights of a model, or the model."""

    at: int
    where: Where
    name: str
    model: int
    whole: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Replaced:
    """An attribute of a data set was set to something else."""

    at: int
    where: Where
    dataset: Any
    name: str
    before: Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Read:
    """torch.load: which states of optimisers, schedulers and scalers stood in the file, and whether an epoch did."""

    at: int
    where: Where
    number: int
    states: tuple[str, ...]
    epoch: bool
    path: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Printed:
    """A number that the script printed, as text."""

    at: int
    text: str
    where: Where = field(default_factory=Where)


@dataclass(kw_only=True)
class Pass:
    """One iteration over a DataLoader. `ended`: "complete", "cut" by the doctor, "left" by the script, "" running."""

    number: int
    loader: int
    where: Where
    begin: int
    end: int = 0
    ended: str = ""
    batches: int = 0
    steps: int = 0
    backwards: int = 0
    labels: list[int] = field(default_factory=list)
    order: list[int] = field(default_factory=list)
    # The first samples of the first batch, as they came.
    first: Any = None
    # For each batch of an evaluation: samples, the loss and the hits where they were seen.
    sizes: list[int] = field(default_factory=list)
    losses: dict[int, Any] = field(default_factory=dict)
    hits: dict[int, Any] = field(default_factory=dict)

    @property
    def trains(self) -> bool:
        return self.steps > 0

    @property
    def evaluates(self) -> bool:
        return self.backwards == 0 and self.batches > 0


@dataclass(kw_only=True)
class ModelSeen:
    """An outermost module. `examples`: inputs of a few of its calls, at most 16 samples each, by mode."""

    key: int
    module: Any
    where: Where
    called: dict[int, Any] = field(default_factory=dict)
    unregistered: dict[int, tuple[Any, Where]] = field(default_factory=dict)
    examples: dict[str, list[tuple[Any, ...]]] = field(default_factory=lambda: {"train": [], "eval": []})
    statistics: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {"train": [], "eval": []})
    # Where frozen BatchNorm layers first ran in train mode with gradients on.
    moving_norms: dict[int, Where] = field(default_factory=dict)
    trained_forwards: int = 0
    # How many of its parameters are frozen, and calls for training since that number changed.
    frozen: int = 0
    detailed: int = 0
    last_called: Any = None
    # Where it was called first, innermost first; its BatchNorm statistics and one of its weights at that time.
    chain: tuple[tuple[int, Where], ...] = ()
    norms_at_first: list[tuple[Any, Any, Any]] = field(default_factory=list)
    weight_at_first: tuple[str, Any] | None = None


@dataclass(kw_only=True)
class OptimizerSeen:
    """An optimiser that stepped. `without_gradient`: for each parameter, steps at which it had none.
    `moved_frozen`: frozen parameters that a step changed."""

    key: int
    optimizer: Any
    where: Where
    steps: int = 0
    without_gradient: dict[int, int] = field(default_factory=dict)
    moved_frozen: dict[int, int] = field(default_factory=dict)


@dataclass(kw_only=True)
class LoaderSeen:
    """A DataLoader that was iterated. `where`: it was made there. `name`: what the script calls it, where found."""

    key: int
    loader: Any
    where: Where
    name: str = ""


@dataclass(kw_only=True)
class SchedulerSeen:
    """A learning rate scheduler."""

    key: int
    scheduler: Any
    where: Where
    optimizer: Any


@dataclass(kw_only=True)
class Log:
    """Everything observed. `cut`: passes or the script were ended early by the doctor. `declared`: what the user
    stated in the script or on the command line (see declarations.py)."""

    events: list[Any] = field(default_factory=list)
    passes: list[Pass] = field(default_factory=list)
    models: dict[int, ModelSeen] = field(default_factory=dict)
    optimizers: dict[int, OptimizerSeen] = field(default_factory=dict)
    loaders: dict[int, LoaderSeen] = field(default_factory=dict)
    schedulers: dict[int, SchedulerSeen] = field(default_factory=dict)
    # Parameters (by id) that were seen with a gradient that was not zero, with one of them kept alive.
    with_gradient: dict[int, Any] = field(default_factory=dict)
    cut: bool = False
    # Where functions of torch.nn.init last wrote a tensor, by the tensor's address.
    initialised_at: dict[int, Where] = field(default_factory=dict)
    # Optimisers that were made, whether they stepped or not.
    optimizers_made: int = 0
    declared: dict[str, str] = field(default_factory=dict)
    # This process's rank and the number of processes, where torch.distributed trains; what others have handed back.
    rank: tuple[int, int] | None = None
    replicated: bool = False
    ranks: list[Rank] = field(default_factory=list)
    # Samples that checks have fetched again, by loader and model.
    fetched: dict[tuple[int, int], Any] = field(default_factory=dict)

    def all(self, kind: type[Kind]) -> Iterator[Kind]:
        """The records of one kind, in order."""
        return (event for event in self.events if isinstance(event, kind))

    @property
    def steps(self) -> int:
        """Optimiser steps taken."""
        return sum(seen.steps for seen in self.optimizers.values())

    def optimized(self) -> set[int]:
        """The ids of all parameters that some optimiser that stepped holds."""
        return {
            id(p) for seen in self.optimizers.values() for group in seen.optimizer.param_groups for p in group["params"]
        }

    def trained_models(self) -> list[ModelSeen]:
        """Models with a parameter that an optimiser stepped, outermost ones that were called for training."""
        held = self.optimized()
        return [
            seen
            for seen in self.models.values()
            if seen.trained_forwards and any(id(p) in held for p in seen.module.parameters())
        ]

    def trained_forwards(self) -> set[int]:
        """`at` of the calls whose loss was followed by gradients, in a program that takes steps."""
        if not self.steps:
            return set()
        # Calls of an evaluation without no_grad() wait for the next backward, which is another pass's.
        apart = {one.number for one in self.passes if one.evaluates and one.ended}
        outside = {one.at for one in self.all(Forward) if one.loader_pass in apart}
        return {
            number
            for event in self.all(Backward)
            for number in event.forwards
            if event.loader_pass in apart or number not in outside
        }

    def training_loaders(self) -> list[LoaderSeen]:
        keys = {one.loader for one in self.passes if one.trains}
        return [seen for key, seen in self.loaders.items() if key in keys]

    def evaluation_loaders(self) -> list[LoaderSeen]:
        """Loaders whose passes never train."""
        trains = {one.loader for one in self.passes if one.backwards}
        keys = {one.loader for one in self.passes if one.evaluates} - trains
        return [seen for key, seen in self.loaders.items() if key in keys]

    def passes_of(self, loader: LoaderSeen) -> list[Pass]:
        return [one for one in self.passes if one.loader == loader.key]
