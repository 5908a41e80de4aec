"""One training from beginning to end: epochs, calibration, the final evaluation, the run folder."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import Any

import torch

from truefit import dist, rng, sharding
from truefit.calibrating import calibrate_predictor
from truefit.config import to_plain
from truefit.data.imageset import Data
from truefit.events import Note
from truefit.fitting.batch_size import choose_batch_size
from truefit.fitting.description import describe_model, golden_images
from truefit.fitting.epochs import Epochs, rate_named
from truefit.fitting.keeping import Keeping
from truefit.fitting.memory import is_out_of_memory, out_of_memory
from truefit.fitting.plan import AnySet, FitPlan
from truefit.fitting.probe import describe, fit_probe
from truefit.fitting.quickest import choose_settings
from truefit.fitting.selection import in_ledger, note_training
from truefit.fitting.setup import Setup
from truefit.fitting.timing import fit_into_time
from truefit.golden import golden_confidence, make_golden
from truefit.measure import evaluate_predictor
from truefit.models.outputs import logits_alone
from truefit.precision import threads
from truefit.predictor import Predictor
from truefit.runs.evaluation import Evaluation
from truefit.runs.folder import RunFolder
from truefit.runs.ledger import Ledger
from truefit.runs.run import Run
from truefit.thresholds import choose_thresholds


class Fit:
    """One training: everything resolved and checked when made, then run once."""

    def __init__(
        self,
        plan: FitPlan,
        training_set: AnySet,
        validation_set: AnySet | None,
        test_set: AnySet | None,
        data: Data | None,
    ) -> None:
        self.setup = Setup(plan, training_set, validation_set, test_set, data)
        self.epochs = Epochs(self.setup)
        # How the network is used; calibration adds to it.
        self.config = self.setup.config
        self.ledger = Ledger()
        self.calibration: dict[str, Any] | None = None

    def run(self, keeping: Keeping | None = None) -> Run:
        """Train, measure, write. keeping: the folder, and how state is saved there; None writes nothing.

        Goes on from `keeping.found` where there is one.
        """
        setup = self.setup
        folder = None if keeping is None else keeping.folder
        if folder is not None:
            self.ledger = folder.ledger
        try:
            with (
                rng.seeded(setup.plan.seed, setup.device),
                logits_alone(setup.network, lambda text: setup.plan.notify(Note(text=text))),
                # Chosen here, where the network can be tried out.
                threads(choose_settings(setup).threads),
            ):
                choose_batch_size(setup)
                clock = fit_into_time(setup)
                torch.default_generator.set_state(setup.rng_after_building)
                rng.seed_apart(setup.plan.seed, dist.rank())
                if folder is not None:
                    folder.write_config(self.describe())
                if setup.recipe.transfer.probe and (keeping is None or keeping.found is None):
                    self.epochs.probe = describe(fit_probe(setup, self.ledger))
                self.epochs.run(keeping, clock)
                if folder is not None and not self.epochs.history:
                    folder.without_epochs()
                last = sharding.weights(setup.network)
                setup.put_together(last)
                self.epochs.restore_best()
                self._note_training()
                self._calibrate()
                if folder is not None:
                    self._save_model(folder)
                    folder.write_last(last)
                evaluation = self._evaluate()
                if folder is not None and evaluation is not None:
                    folder.write_evaluation(evaluation)
                if folder is not None and self.epochs.findings is not None:
                    folder.write_doctor(self.epochs.findings)
                if keeping is not None:
                    keeping.complete(setup.recipe.schedule)
        except BaseException as error:
            self.epochs.leave()
            if folder is not None:
                self._leave(folder)
            if is_out_of_memory(error):
                raise out_of_memory(error, setup.network, setup.training_set, setup.recipe, setup.device) from error
            raise
        return Run(
            folder=folder.path if folder is not None else None,
            config=self.describe(),
            history=self.epochs.history,
            evaluation=evaluation,
            predictor=self.predictor(),
            weights=self.epochs.weights,
            selected_on=self.epochs.selected_on,
            ledger=self.ledger,
            doctor=self.epochs.findings,
        )

    def _note_training(self) -> None:
        setup = self.setup
        note_training(self.ledger, setup.plan, setup.recipe, setup.validation_set, len(self.epochs.history))

    def _calibrate(self) -> None:
        setup = self.setup
        if self.config.multi_label and setup.validation_set is not None:
            chosen = choose_thresholds(
                self.predictor(),
                setup.validation_set,
                split=setup.plan.select_on,
                by=f"train: thresholds after epoch {len(self.epochs.history)}",
                observe=setup.plan.notify,
            )
            self.config = chosen.applied(self.config)
            setup.plan.notify(Note(text=str(chosen)))
        if setup.plan.calibrate and setup.validation_set is not None:
            found = calibrate_predictor(
                self.predictor(),
                setup.validation_set,
                split=setup.plan.select_on,
                by=f"train: calibration after epoch {len(self.epochs.history)}",
                observe=setup.plan.notify,
            )
            self.config = found.applied(self.config)
            self.calibration = to_plain(found)
            setup.plan.notify(Note(text=str(found)))

    def _evaluate(self) -> Evaluation | None:
        split, dataset = self.measured_on()
        if dataset is None:
            return None
        with rate_named() if self.epochs.history else nullcontext():
            return evaluate_predictor(
                self.predictor(),
                dataset,
                split=split,
                selected_on=self.epochs.selected_on,
                weights=self.epochs.weights,
                looks=self._look(split, dataset),
                observe=self.setup.plan.notify,
            )

    def measured_on(self) -> tuple[str, AnySet | None]:
        """The split of the final evaluation: test, else validation; None where there is neither."""
        setup = self.setup
        return ("test", setup.test_set) if setup.test_set is not None else ("validation", setup.validation_set)

    def _look(self, split: str, dataset: AnySet) -> int:
        """Count the look at the split, once for each length of the training, however often it was broken off here."""
        by = f"train: final evaluation after epoch {len(self.epochs.history)}"
        if self.ledger.looks(split, by=by):
            return self.ledger.looks(split)
        return self.ledger.look(split, by=by, **in_ledger(dataset))

    def predictor(self) -> Predictor:
        """The network as it stands, with everything that belongs to its use."""
        setup = self.setup
        classes = setup.classes or tuple(map(str, range(setup.task.classes or 0)))
        splits = setup.describe_data()["splits"]
        return Predictor(
            setup.network,
            replace(self.config, classes=classes),
            setup.settings,
            weights=self.epochs.weights,
            selected_on=self.epochs.selected_on,
            own_splits={about["fingerprint"]: name for name, about in splits.items() if "fingerprint" in about},
            ledger=self.ledger,
        )

    def _leave(self, folder: RunFolder) -> None:
        """Training broke off: keep what complete epochs and checkpoints have, and nothing half-written."""
        if not self.epochs.history:
            if not any(folder.checkpoints.glob("*.checkpoint")):
                folder.remove()
            return
        best = self.epochs.best.weights
        if self.setup.shards is not None and best is None:
            # The others are not there any more to put the network together with.
            return
        # What made training break off is what the user must see.
        with suppress(Exception):
            if best is not None:
                self.setup.put_together(best)
            self._note_training()
            self.epochs.restore_best()
            self._save_model(folder)

    def _save_model(self, folder: RunFolder) -> None:
        setup = self.setup
        predictor = self.predictor()
        shown = setup.validation_set if setup.validation_set is not None else setup.training_set
        images = golden_images(shown, setup.plan.seed)
        added = {
            "calibration": self.calibration,
            "probe": self.epochs.probe,
            "golden_confidence": golden_confidence(predictor, images),
        }
        folder.write_model(
            {**describe_model(setup.plan, predictor), **added},
            setup.network.state_dict(),
            make_golden(predictor, images),
        )

    def describe(self) -> dict[str, Any]:
        """config.json: all that is needed to repeat the run."""
        return self.setup.describe()
