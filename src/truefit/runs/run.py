"""A training that is over: its settings, its history, its figures, and the network to use."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from truefit.errors import InputError
from truefit.runs import words
from truefit.runs.evaluation import Evaluation
from truefit.runs.ledger import Ledger

if TYPE_CHECKING:
    from torch import nn


class CanPredict(Protocol):
    """What a run needs of its predictor, which stands in a layer above."""

    network: nn.Module

    def predict(self, images: Any, *, sure: float | None = None) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class Run:
    """What `Trainer.fit` returns and `truefit.load` reads.

    Its network wants prepared images: use `predict`, or `truefit.evaluate(run.predictor, dataset)`.

    folder: where it was written, or None. config: all that is needed to repeat it. history: a mapping for each
    epoch. evaluation: on test, else on validation; None where there is neither. predictor: the best weights, or
    the last where there is no validation. weights: which these are, in words. selected_on: the split on which they
    were chosen, or None. ledger: which split was looked at how often, and what it chose. doctor: the findings of the
    doctor's monitors, as in doctor.json; None where they were off.
    """

    folder: Path | None
    config: dict[str, Any]
    history: list[dict[str, Any]]
    evaluation: Evaluation | None
    predictor: CanPredict
    weights: str
    selected_on: str | None
    ledger: Ledger = field(default_factory=Ledger, repr=False)
    doctor: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def network(self) -> nn.Module:
        """The trained network."""
        return self.predictor.network

    def predict(self, images: Any, *, sure: float | None = None) -> Any:
        """Class probabilities for one image or many: see `Predictor.predict`."""
        return self.predictor.predict(images, sure=sure)

    def plot(self, kind: str = "curves") -> Any:
        """A matplotlib figure, such as `run.plot("confusion")`: see `truefit.plot`."""
        # The one look upwards: through the public door, as a user would.
        import truefit

        return truefit.plot(self, kind)

    def show_report(self) -> ShownPage:
        """The report within a notebook: make it the last line of a cell. InputError where the run has none."""
        place = None if self.folder is None else self.folder / "report.html"
        if place is None or not place.is_file():
            raise InputError(
                "this run has no report", where=self.folder, wanted="report.html", fix=f"truefit report {self.folder}"
            )
        return ShownPage(place.read_text(encoding="utf-8"))

    def _repr_html_(self) -> str:
        """What a notebook shows: the figure and its sentence, the epochs, and where the report lies."""
        name = self.folder.name if self.folder is not None else str(self.config.get("data", {}).get("name") or "run")
        parts = [words.small_html(self.evaluation, name), words.history_html(self.history)]
        if self.folder is not None and (self.folder / "report.html").is_file():
            parts.append("<div><code>show_report()</code> shows its report</div>")
        return "".join(parts)


@dataclass(frozen=True)
class ShownPage:
    """A page of HTML that a notebook shows in a frame of its own."""

    html: str = field(repr=False)

    def _repr_html_(self) -> str:
        style = "width:100%;height:44rem;border:1px solid #8884"
        return f'<iframe title="report" sandbox="allow-scripts" style="{style}" srcdoc="{escape(self.html)}"></iframe>'
