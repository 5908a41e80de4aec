"""Which split chooses: what is refused, what is warned about, and what the ledger is told."""

from __future__ import annotations

from typing import Any

from truefit.data.collate import count_samples
from truefit.data.imageset import ImageSet
from truefit.data.overlap import refuse_shared_with_test, shared
from truefit.errors import InputError
from truefit.events import Note
from truefit.fitting.plan import AnySet, FitPlan
from truefit.measure import count_labels
from truefit.recipes.recipe import Recipe
from truefit.runs.ledger import Ledger


def choosing_set(plan: FitPlan, validation_set: AnySet | None, test_set: AnySet | None) -> AnySet | None:
    """The set that chooses: validation; or test in its place, where that is asked for.

    Raises InputError where validation shares samples with test, and where there is nothing to choose on.
    """
    if plan.select_on == "test":
        if test_set is None:
            raise InputError("there is no test set to select on", found="select_on test", wanted="a test set")
        text = "selected on test: the test split chooses, in the place of validation; expect less of new images"
        plan.notify(Note(text=text))
        validation_set = test_set
    elif validation_set is not None and test_set is not None:
        refuse_shared_with_test(validation_set, test_set)
    if plan.calibrate and validation_set is not None and count_labels(validation_set):
        raise InputError(
            "calibration speaks of networks that give one class to each image",
            found="several labels an image",
            wanted="one class an image",
            fix="leave --calibrate out: thresholds are chosen on validation anyway",
        )
    if plan.calibrate and validation_set is None:
        raise InputError(
            "calibration needs a validation set",
            found="none",
            wanted="samples that were not trained on",
            fix="leave --calibrate out, or hold out a part of train: --val-fraction 0.1",
        )
    return validation_set


def training_copies(plan: FitPlan, training_set: AnySet, test_set: AnySet | None) -> int:
    """How many training samples are in test too: exact copies, which make its figures look better. Warns of them."""
    if test_set is None:
        return 0
    count = len(shared(training_set, test_set))
    if count:
        text = f"{count:,} training samples are in the test set too (exact copies): its figures are too good"
        plan.notify(Note(text=text, warning=True))
    return count


def note_training(ledger: Ledger, plan: FitPlan, recipe: Recipe, dataset: AnySet | None, epochs: int) -> None:
    """The looks of so many epochs, and what they chose; those that the ledger has already do not count again."""
    if dataset is None:
        return
    chose = ["best epoch"]
    if recipe.early_stopping is not None:
        chose.append("early stopping")
    if recipe.schedule.name == "reduce-on-plateau":
        chose.append("learning rate")
    new = epochs - ledger.looks(plan.select_on, by="train")
    if new > 0:
        ledger.look(plan.select_on, by="train", times=new, chose=tuple(chose), **in_ledger(dataset))


def in_ledger(dataset: AnySet) -> dict[str, Any]:
    """How a split stands in the ledger."""
    return {
        "n": count_samples(dataset, "data set"),
        "fingerprint": dataset.fingerprint() if isinstance(dataset, ImageSet) else None,
    }
