"""What a person sees while training runs: observers for a terminal or notebook, and for the class's log lines."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Any, TextIO

from tqdm import tqdm

from truefit.events import EpochFinished, Event, FitStarted, Note, PassFinished, PassStarted, Progress


class Bar:
    """A progress bar for each pass: epoch, loss, accuracy, images/s and time left.

    Shown on a terminal and in a notebook; elsewhere (a pipe, a log file) nothing is drawn.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream if stream is not None else sys.stderr
        self.epochs = 0
        self.bar: Any = None

    def __call__(self, event: Event) -> None:
        match event:
            case FitStarted():
                self.epochs = event.epochs
            case PassStarted():
                self.close()
                training = event.split == "train"
                name = f"Epoch {event.epoch + 1}/{self.epochs}" if training and self.epochs else event.split
                self.bar = self._draw(desc=name, total=event.samples)
            case Progress() if self.bar is not None:
                figures = {"loss": event.loss, "accuracy": event.accuracy}
                shown = ", ".join(f"{name} {value:.3f}" for name, value in figures.items() if value is not None)
                self.bar.set_postfix_str(shown, refresh=False)
                self.bar.update(event.samples - self.bar.n)
            case PassFinished():
                self.close()
            case _:
                pass

    def reading(self, done: int, total: int) -> None:
        """Files decoded so far: for `load_data(on_progress=...)`."""
        if self.bar is None:
            self.bar = self._draw(desc="Reading", total=total)
        self.bar.update(done - self.bar.n)
        if done >= total:
            self.close()

    def _draw(self, desc: str, total: int | None) -> Any:
        drawn, hidden = _place()
        # There may be no stream at all.
        return drawn(
            desc=desc,
            total=total,
            unit=" images",
            leave=False,
            file=self.stream,
            disable=True if self.stream is None else hidden,
            dynamic_ncols=True,
            miniters=1,
        )

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def _place() -> tuple[Any, bool | None]:
    """tqdm for where this runs, and its `disable`: drawn in a notebook, elsewhere (None) on a terminal alone."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if not hasattr(shell, "kernel"):
        return tqdm, None
    if find_spec("ipywidgets") is None:
        # As text, which a notebook shows too.
        return tqdm, False
    from tqdm.notebook import tqdm as widget

    return widget, False


class Lines:
    """A line for each event that a reader wants to keep: device, notes, epochs."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream
        self.epochs = 0

    def __call__(self, event: Event) -> None:
        match event:
            case FitStarted():
                self.epochs = event.epochs
                self.say(event.device)
            case PassStarted() if event.split == "train" and self.epochs:
                self.say(f"Epoch {event.epoch + 1}/{self.epochs}")
            case Note():
                self.say(f"warning: {event.text}" if event.warning else event.text)
            case EpochFinished():
                self.say("  " + epoch_line(event.record))
            case _:
                pass

    def say(self, text: str) -> None:
        """One line, now."""
        print(text, file=self.stream if self.stream is not None else sys.stdout, flush=True)


def epoch_line(record: dict[str, Any]) -> str:
    """`training_loss: 1.234, training_accuracy: 0.567, ...`: what the record has of these."""
    figures = [
        ("training_loss", ".4f"),
        ("training_accuracy", ".3f"),
        ("validation_loss", ".4f"),
        ("validation_accuracy", ".3f"),
    ]
    found = [(name, record.get(name), form) for name, form in figures]
    line = ", ".join(f"{name}: {value:{form}}" for name, value, form in found if value is not None)
    return line + (" (selected on test)" if record.get("validation_split") == "test" else "")
