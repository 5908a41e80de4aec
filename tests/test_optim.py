"""Learning-rate schedules against torch's, optimisers from their settings, Muon."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from itertools import pairwise, zip_longest
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from helpers import CLASSES, assert_same_weights, image_set, tiny_network, weights
from truefit import InputError, NonFiniteError, Recipe, train
from truefit.optim.muon import Muon, orthogonalised
from truefit.optim.optimizers import build_optimizer
from truefit.optim.schedules import Schedule
from truefit.optim.step import GradientStep
from truefit.precision import Precision
from truefit.recipes.recipe import EmaConfig, OptimizerConfig, OptimizerName, ScheduleConfig, SwaConfig

PEAK = 0.4


def optimizer(groups: int = 1) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": [nn.Parameter(torch.zeros(1))], "lr": PEAK / (i + 1)} for i in range(groups)])


def schedule(steps_per_epoch: int = 5, epochs: int = 4, **settings: Any) -> Schedule:
    return Schedule(optimizer(), ScheduleConfig(**settings), steps_per_epoch=steps_per_epoch, epochs=epochs)


def rates(made: Schedule, losses: list[float | None] | None = None) -> list[float]:
    """The learning rate of every step, with the validation loss of each epoch."""
    found = []
    for epoch in range(made.total // made.steps_per_epoch):
        for _ in range(made.steps_per_epoch):
            found.append(made.optimizer.param_groups[0]["lr"])
            made.step()
            assert made.last_lr == found[-1]
        made.end_epoch(None if losses is None else losses[epoch])
    return found


def torch_rates(make: Any, steps: int = 20) -> list[float]:
    steps_taken = optimizer()
    scheduler, found = make(steps_taken), []
    for _ in range(steps):
        found.append(steps_taken.param_groups[0]["lr"])
        steps_taken.step()
        scheduler.step()
    return found


def test_constant_stays() -> None:
    assert rates(schedule(name="constant", warmup=0.0)) == [PEAK] * 20


@pytest.mark.parametrize("warmup", [0.1, 0.25, 0.5])
def test_warm_up_is_torchs_linear_lr(warmup: float) -> None:
    warm = round(20 * warmup)
    wanted = torch_rates(lambda o: torch.optim.lr_scheduler.LinearLR(o, start_factor=1 / (warm + 1), total_iters=warm))
    assert rates(schedule(name="constant", warmup=warmup)) == pytest.approx(wanted)
    for name in ("one-cycle", "cosine", "step", "reduce-on-plateau"):
        found = rates(schedule(name=name, warmup=warmup))
        assert found[: warm + 1] == pytest.approx(wanted[: warm + 1])


@pytest.mark.parametrize("final", [0.0, 0.1, 1.0])
def test_cosine_is_torchs_cosine_annealing(final: float) -> None:
    wanted = torch_rates(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 20, eta_min=final * PEAK))
    assert rates(schedule(name="cosine", warmup=0.0, final=final)) == pytest.approx(wanted)


def test_cosine_after_warm_up_is_torchs_sequence_of_both() -> None:
    def both(o: torch.optim.Optimizer) -> Any:
        s = torch.optim.lr_scheduler
        return s.SequentialLR(o, [s.LinearLR(o, 1 / 6, total_iters=5), s.CosineAnnealingLR(o, 15)], milestones=[5])

    assert rates(schedule(name="cosine", warmup=0.25)) == pytest.approx(torch_rates(both))


def test_step_is_torchs_step_lr_by_epochs() -> None:
    wanted = torch_rates(lambda o: torch.optim.lr_scheduler.StepLR(o, 2 * 5, gamma=0.3))
    assert rates(schedule(name="step", warmup=0.0, step_epochs=2, gamma=0.3)) == pytest.approx(wanted)


@pytest.mark.parametrize("final", [0.0, 0.2])
def test_one_cycle_rises_to_the_peak_and_falls_in_a_line(final: float) -> None:
    found = rates(schedule(name="one-cycle", warmup=0.25, final=final))
    assert max(found) == found[5] == PEAK
    rising, falling = found[:6], found[5:]
    assert all(b - a == pytest.approx(rising[1] - rising[0]) for a, b in pairwise(rising))
    assert all(a - b == pytest.approx((PEAK - final * PEAK) / 15) for a, b in pairwise(falling))
    assert found[-1] > final * PEAK
    assert all(rate > 0 for rate in found)


@pytest.mark.parametrize("patience", [0, 1, 2])
def test_reduce_on_plateau_is_torchs_without_a_threshold(patience: int) -> None:
    losses = [3.0, 2.0, 2.0, 2.5, 1.9, 1.95, 1.9, 1.91, 1.92, 1.0, 1.1, 1.2, 1.3]
    steps = optimizer()
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(steps, factor=0.5, patience=patience, threshold=0.0)
    wanted = []
    for loss in losses:
        wanted += [steps.param_groups[0]["lr"]] * 2
        plateau.step(loss)
    made = schedule(2, len(losses), name="reduce-on-plateau", warmup=0.0, gamma=0.5, patience=patience)
    assert rates(made, list(losses)) == pytest.approx(wanted)
    assert len(set(wanted)) > 1


def test_only_one_cycle_warms_up_unless_it_is_asked_for() -> None:
    for name in ("cosine", "step", "constant", "reduce-on-plateau"):
        assert rates(schedule(name=name))[0] == PEAK
    found = rates(schedule(name="one-cycle"))
    assert found.index(max(found)) == 4


def test_every_group_keeps_its_own_peak() -> None:
    steps = optimizer(groups=3)
    made = Schedule(steps, ScheduleConfig(name="cosine", warmup=0.2), steps_per_epoch=5, epochs=2)
    for _ in range(6):
        made.step()
        ratios = [group["lr"] * (i + 1) for i, group in enumerate(steps.param_groups)]
        assert ratios == pytest.approx([ratios[0]] * 3)


@pytest.mark.parametrize("name", ["one-cycle", "cosine", "step", "constant", "reduce-on-plateau"])
def test_a_schedule_goes_on_from_its_state(name: str) -> None:
    def made() -> Schedule:
        return schedule(3, 6, name=name, step_epochs=1, gamma=0.5, patience=0)

    losses: list[float | None] = [2.0, 2.5, 2.4, 1.0, 1.1, 1.2]
    whole, first, second = made(), made(), made()
    wanted = rates(whole, losses)
    for epoch in range(3):
        for _ in range(3):
            first.step()
        first.end_epoch(losses[epoch])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    found = []
    for epoch in range(3, 6):
        for _ in range(3):
            found.append(second.optimizer.param_groups[0]["lr"])
            second.step()
        second.end_epoch(losses[epoch])
    assert found == wanted[9:]


# --- optimisers

NAMES: list[OptimizerName] = ["adam", "adamw", "sgd", "muon"]


@pytest.mark.parametrize("name", NAMES)
def test_weights_decay_and_biases_and_norms_do_not(name: OptimizerName) -> None:
    network = tiny_network(batchnorm=True)
    network[0].bias.requires_grad_(False)
    made = build_optimizer(network, OptimizerConfig(name=name, weight_decay=0.1))
    decays = {id(p): group["weight_decay"] for group in made.param_groups for p in group["params"]}
    assert len(decays) == 5
    assert all(decays[id(p)] == (0.1 if p.ndim > 1 else 0.0) for p in network.parameters() if p.requires_grad)
    # With gradients of nothing only decay moves anything.
    before = weights(network)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    made.step()
    moved = {name for name, p in network.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"0.weight", "6.weight"}


def test_settings_reach_the_optimizer() -> None:
    network = tiny_network()
    adam = build_optimizer(network, OptimizerConfig(name="adamw", lr=0.3, betas=(0.8, 0.9), eps=1e-5))
    assert type(adam) is torch.optim.AdamW
    assert (adam.defaults["lr"], adam.defaults["betas"], adam.defaults["eps"]) == (0.3, (0.8, 0.9), 1e-5)
    momentum = build_optimizer(network, OptimizerConfig(name="sgd", momentum=0.5))
    assert (momentum.defaults["momentum"], momentum.defaults["nesterov"]) == (0.5, True)
    assert momentum.defaults["lr"] == OptimizerConfig(name="sgd").peak_lr
    plain = build_optimizer(network, OptimizerConfig(name="sgd", momentum=0.0))
    assert plain.defaults["nesterov"] is False


@pytest.mark.parametrize("name", NAMES)
def test_every_optimizer_learns(name: OptimizerName) -> None:
    network, dataset = tiny_network(batchnorm=True), image_set(48)
    made = build_optimizer(network, OptimizerConfig(name=name, lr={"sgd": 0.05, "muon": 0.05}.get(name, 0.02)))
    torch.manual_seed(0)
    losses = [train(network, dataset, 12, made, nn.CrossEntropyLoss()) for _ in range(6)]
    assert sum(losses[-1]) < 0.85 * sum(losses[0])


# --- Muon


def muon(network: nn.Module, **more: Any) -> Muon:
    return Muon(network.parameters(), **{"lr": 0.02, "momentum": 0.9, "nesterov": True, **more})


@pytest.mark.parametrize("shape", [(16, 16), (8, 40), (40, 8), (4, 27), (128, 288)])
def test_an_orthogonalised_matrix_has_singular_values_near_one_and_the_same_singular_vectors(
    shape: tuple[int, int],
) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = orthogonalised(matrix)
    assert found.shape == shape
    values = torch.linalg.svdvals(found)
    assert float(values.min()) > (0.2 if shape[0] == shape[1] else 0.6)
    assert float(values.max()) < 1.3
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    aligned = u.T @ found @ v.T
    assert float((aligned - aligned.diag().diag()).abs().max()) < 1e-3
    assert (aligned.diag() > 0).all()


def test_orthogonalising_does_not_depend_on_the_scale_and_takes_nothing_as_nothing() -> None:
    matrix = torch.randn(6, 9)
    assert torch.allclose(orthogonalised(matrix * 1e3), orthogonalised(matrix), atol=1e-4)
    assert torch.equal(orthogonalised(torch.zeros(3, 4)), torch.zeros(3, 4))


def test_muons_first_step_is_the_orthogonalised_gradient_times_the_rate() -> None:
    layer = nn.Conv2d(3, 8, 3)
    before, gradient = layer.weight.detach().clone(), torch.randn(8, 3, 3, 3)
    layer.weight.grad, layer.bias.grad = gradient.clone(), torch.tensor([1.0, -2.0] * 4)
    bias = layer.bias.detach().clone()
    muon(layer, lr=0.1).step()
    wanted = orthogonalised(gradient.flatten(1)).view_as(gradient)
    assert torch.allclose(before - layer.weight, 0.1 * wanted, atol=1e-5)
    # Adam's first step: the sign of the gradient, at its share of the rate.
    assert torch.allclose(bias - layer.bias, 0.1 * 0.15 * layer.bias.grad.sign(), atol=1e-6)


@pytest.mark.parametrize("steps_before", [0, 2])
def test_muon_leaves_weights_alone_where_found_inf_is_set(steps_before: int) -> None:
    network, dataset = tiny_network(batchnorm=True), image_set(12)
    made = muon(network, weight_decay=0.1)
    for _ in range(steps_before):
        train(network, dataset, 12, made, nn.CrossEntropyLoss())
    before = weights(network)
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, math.nan)
    made.found_inf = torch.ones(())
    made.step()
    assert_same_weights(network, before)


@pytest.mark.parametrize("steps_before", [0, 2])
def test_training_with_muon_goes_on_after_a_nan_as_if_it_had_not_been(steps_before: int) -> None:
    networks = [tiny_network(batchnorm=True), tiny_network(batchnorm=True)]
    for network, hurt in zip(networks, (False, True), strict=True):
        made = muon(network)
        torch.manual_seed(0)
        for _ in range(steps_before):
            train(network, image_set(12), 12, made, nn.CrossEntropyLoss())
        if hurt:
            before = weights(network)
            with pytest.raises(NonFiniteError):
                train(network, [(torch.full((3, 6, 6), math.nan), 0)] * 2, 2, made, nn.CrossEntropyLoss())
            assert_same_weights(network, before)
        torch.manual_seed(1)
        train(network, image_set(12), 12, made, nn.CrossEntropyLoss())
    assert_same_weights(*networks)


@pytest.mark.parametrize(
    ("config", "rate", "betas"),
    [
        (OptimizerConfig(name="muon", lr=0.1), 0.015, (0.9, 0.99)),
        (OptimizerConfig(name="muon", lr=0.1, adam_share=0.5, betas=(0.8, 0.9)), 0.05, (0.8, 0.9)),
    ],
)
def test_muon_steps_biases_and_norms_by_adam(config: OptimizerConfig, rate: float, betas: tuple[float, float]) -> None:
    ours, theirs = tiny_network(batchnorm=True), tiny_network(batchnorm=True)
    vectors = [parameter for parameter in theirs.parameters() if parameter.ndim < 2]
    made, adam = build_optimizer(ours, config), torch.optim.Adam(vectors, lr=rate, betas=betas, fused=True)
    for _ in range(3):
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            mine.grad = torch.randn_like(mine)
            other.grad = mine.grad.clone()
        made.step()
        adam.step()
    found = [parameter for parameter in ours.parameters() if parameter.ndim < 2]
    assert len(found) > 2
    for mine, other in zip(found, vectors, strict=True):
        assert torch.allclose(mine, other, rtol=1e-6, atol=1e-7)


def test_a_parameter_without_a_gradient_is_left_alone() -> None:
    network = tiny_network()
    before = weights(network)
    network[6].weight.grad = torch.randn(CLASSES, 20)
    muon(network).step()
    moved = {name for name, p in network.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"6.weight"}


def test_gradients_are_clipped_to_the_norm_that_torch_gives() -> None:
    ours, raw = tiny_network(), tiny_network()
    images, labels = image_set(8).tensors
    step = GradientStep(ours, torch.optim.SGD(ours.parameters(), lr=1.0), clip_norm=0.01, precision=Precision())
    step.clear()
    loss = F.cross_entropy(ours(images), labels)
    step.backward(loss)
    step.take(loss.detach())
    F.cross_entropy(raw(images), labels).backward()
    assert float(nn.utils.clip_grad_norm_(raw.parameters(), 0.01)) > 0.01
    torch.optim.SGD(raw.parameters(), lr=1.0).step()
    assert_same_weights(ours, raw)


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon"])
def test_lookahead_goes_part_of_the_way_every_few_steps(name: OptimizerName) -> None:
    fast, slow = tiny_network(), {n: p.clone() for n, p in tiny_network().state_dict().items()}
    ours, plain = tiny_network(), build_optimizer(fast, OptimizerConfig(name=name))
    looking = build_optimizer(ours, OptimizerConfig(name=name, lookahead=3, lookahead_share=0.25))
    images, labels = image_set(8).tensors
    for step in range(1, 8):
        for network, made in ((fast, plain), (ours, looking)):
            made.zero_grad()
            F.cross_entropy(network(images), labels).backward()
            made.step()
        if step % 3 == 0:
            with torch.no_grad():
                for parameter_name, weight in fast.named_parameters():
                    slow[parameter_name].lerp_(weight, 0.25)
                    weight.copy_(slow[parameter_name])
    assert_same_weights(ours, fast)


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon"])
def test_lookahead_leaves_weights_alone_after_a_step_that_was_not_finite(name: OptimizerName) -> None:
    network = tiny_network()
    made = build_optimizer(network, OptimizerConfig(name=name, lookahead=2))
    train(network, image_set(8), 8, made, nn.CrossEntropyLoss())
    before = weights(network)
    with pytest.raises(NonFiniteError):
        train(network, [(torch.full((3, 6, 6), math.nan), 0)] * 6, 2, made, nn.CrossEntropyLoss())
    assert_same_weights(network, before)


def test_the_rate_stays_where_weights_are_averaged() -> None:
    made = Schedule(
        optimizer(),
        ScheduleConfig(name="cosine"),
        steps_per_epoch=5,
        epochs=4,
        swa=SwaConfig(start=0.75, lr=0.3),
    )
    plain = schedule(name="cosine")
    assert [made.factor(step) for step in range(20)] == [plain.factor(step) if step < 15 else 0.3 for step in range(20)]


def test_two_averages_at_once_are_an_error() -> None:
    with pytest.raises(InputError, match="both say"):
        Recipe(ema=EmaConfig(decay=0.9), swa=SwaConfig(start=0.5))


SHORT_WAY = """
import functools, os, sys, torch
from torch import nn
from truefit.optim import uncompiled

def made(kind):
    weight = nn.Parameter(torch.ones(1))
    weight.grad = torch.ones(1)
    with uncompiled.uncompiled():
        return weight, kind([weight], lr=0.5)

called = []
"""


WAYS = {
    "torch's own": ("weight, it = made(torch.optim.SGD)", "[0.5] [] False"),
    "a hook": (
        "weight, it = made(torch.optim.SGD)\nit.register_step_post_hook(lambda *_: called.append(1))",
        "[0.5] [1] True",
    ),
    "a class of one's own": (
        (
            "class Own(torch.optim.SGD):\n"
            "    def step(self, closure=None):\n        called.append(2)\n        super().step()\n"
            "weight, it = made(Own)"
        ),
        "[0.5] [2] True",
    ),
    "a step put into the class": (
        (
            "before = torch.optim.SGD.step\n"
            "@functools.wraps(before)\ndef step(self, closure=None):\n    called.append(3)\n    before(self)\n"
            "torch.optim.SGD.step = step\nweight, it = made(torch.optim.SGD)"
        ),
        "[0.5] [3] True",
    ),
    "a step put into the object": (
        "weight, it = made(torch.optim.SGD)\nit.step = lambda: called.append(4)",
        "[1.0] [4] False",
    ),
    "no optimiser of torch's": (
        "weight = nn.Parameter(torch.ones(1))\nclass It:\n    def step(self): called.append(5)\nit = It()",
        "[1.0] [5] False",
    ),
}


def test_the_first_step_goes_past_torchs_wrappers_only_where_nothing_else_hangs_on_it() -> None:
    """The weight, what was called, is the compiler loaded? It stays once it is, so that each case is a process."""
    code = (
        SHORT_WAY
        + """
for case in sys.argv[1:]:
    sys.stdout.flush()
    if os.fork() == 0:
        exec(case)
        uncompiled.step(it)
        print(weight.tolist(), called, "torch._dynamo" in sys.modules)
        break
    os.wait()
"""
    )
    cases = [case for case, _ in WAYS.values()]
    words = [sys.executable, "-W", "error", "-c", code, *cases]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    found = dict(zip_longest(WAYS, done.stdout.splitlines()))
    assert found == {name: wanted for name, (_, wanted) in WAYS.items()}, done.stderr


def test_muon_leaves_a_bank_of_zeros_with_a_fixed_norm_finite() -> None:
    bank = nn.Parameter(torch.zeros(2, 3, 3, 3))
    bank.grad = torch.ones_like(bank)
    Muon([bank], lr=0.1, momentum=0.9, nesterov=True, fixed_norm=True).step()
    assert bank.isfinite().all()
    assert bank.abs().sum() > 0


@pytest.mark.parametrize("bad", [False, True])
def test_muon_scales_banks_to_the_fixed_norm_before_a_step_that_is_taken(bad: bool) -> None:
    """The step itself moves a filter by at most about the rate, which here is next to nothing."""
    draw = torch.Generator().manual_seed(0)
    banks = [nn.Parameter(scale * torch.randn(out, 3, 3, 3, generator=draw)) for out, scale in ((2, 5.0), (8, 0.1))]
    before = [bank.detach().clone() for bank in banks]
    for bank in banks:
        bank.grad = torch.randn(bank.shape, generator=draw)
    muon = Muon(banks, lr=1e-9, momentum=0.9, nesterov=True, fixed_norm=True)
    muon.found_inf = torch.tensor(float(bad))
    muon.step()
    for bank, was in zip(banks, before, strict=True):
        wanted = was if bad else was * len(was) ** 0.5 / was.norm()
        assert torch.allclose(bank, wanted, atol=1e-6)
