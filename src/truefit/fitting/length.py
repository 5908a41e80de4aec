"""How long a training is, in epochs and steps."""

from __future__ import annotations

from dataclasses import dataclass

from truefit.errors import InputError
from truefit.recipes.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Length:
    """per_epoch: steps of a whole epoch. steps: those that the schedule is laid out over. end: those that are taken.

    All three are None for a training set whose length is not known.
    """

    epochs: int
    per_epoch: int | None
    steps: int | None
    end: int | None

    @classmethod
    def of(cls, recipe: Recipe, per_epoch: int | None) -> Length:
        """The length by the recipe. InputError where it counts steps, and the training set has no length."""
        if per_epoch is None:
            if recipe.max_steps is not None or recipe.stop_at_step is not None:
                raise InputError(
                    "max_steps needs a training set that has a length",
                    found="an iterable one",
                    wanted="a number of epochs",
                )
            return cls(epochs=recipe.epochs, per_epoch=None, steps=None, end=None)
        steps = recipe.epochs * per_epoch
        if recipe.max_steps is not None:
            steps = min(steps, recipe.max_steps)
        end = steps if recipe.stop_at_step is None else min(steps, recipe.stop_at_step)
        return cls(epochs=-(-end // per_epoch), per_epoch=per_epoch, steps=steps, end=end)

    @property
    def laid_out(self) -> float:
        """The epochs that the schedule is laid out over; the last need not be whole."""
        return self.epochs if self.steps is None or self.per_epoch is None else self.steps / self.per_epoch

    def of_epoch(self, epoch: int) -> int | None:
        """The steps of this epoch (from 0): fewer in the last, where the training ends within it."""
        if self.end is None or self.per_epoch is None:
            return None
        return min(self.per_epoch, self.end - epoch * self.per_epoch)
