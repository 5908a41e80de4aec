"""Counts of the service, in Prometheus' text format (version 0.0.4)."""

from __future__ import annotations

import threading
from collections import Counter as Counts
from collections.abc import Iterable, Sequence
from pathlib import Path

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
# The status of a request whose client has gone before its answer.
NO_STATUS = "none"
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Counter:
    """Counts that only rise, one for each combination of label values."""

    def __init__(self, name: str, about: str, labels: tuple[str, ...]) -> None:
        self.name, self.about, self.labels = name, about, labels
        self._lock = threading.Lock()
        self._counts: Counts[tuple[str, ...]] = Counts()

    def add(self, *values: str) -> None:
        """One more with these label values."""
        with self._lock:
            self._counts[values] += 1

    def total(self, leaving_out: str) -> int:
        """The sum of all counts without this label value."""
        with self._lock:
            return sum(n for values, n in self._counts.items() if leaving_out not in values)

    def lines(self) -> list[str]:
        """The metric as Prometheus reads it."""
        with self._lock:
            counts = sorted(self._counts.items())
        rows = [f"{self.name}{_labels(zip(self.labels, values, strict=True))} {n}" for values, n in counts]
        return [*_head(self.name, self.about, "counter"), *rows]


class Histogram:
    """How often a value was at most each of some bounds; with sum and count."""

    def __init__(self, name: str, about: str, bounds: Sequence[float]) -> None:
        self.name, self.about, self.bounds = name, about, tuple(bounds)
        self._lock = threading.Lock()
        self._counts, self._sum = [0] * (len(self.bounds) + 1), 0.0

    def observe(self, value: float) -> None:
        """One more value."""
        place = next((at for at, bound in enumerate(self.bounds) if value <= bound), len(self.bounds))
        with self._lock:
            self._counts[place] += 1
            self._sum += value

    def lines(self) -> list[str]:
        """The metric as Prometheus reads it."""
        with self._lock:
            counts, total = list(self._counts), self._sum
        rows, so_far = [], 0
        for bound, count in zip([*map(str, self.bounds), "+Inf"], counts, strict=True):
            so_far += count
            rows.append(f'{self.name}_bucket{{le="{bound}"}} {so_far}')
        rows += [f"{self.name}_sum {total}", f"{self.name}_count {so_far}"]
        return [*_head(self.name, self.about, "histogram"), *rows]


class Metrics:
    """All that /metrics tells, but for what is read off at that moment."""

    def __init__(self) -> None:
        # Only the event loop's thread writes it.
        self.accepted = 0
        self.requests = Counter("truefit_requests_total", "Requests answered.", ("path", "status"))
        self.predictions = Counter("truefit_predictions_total", "Images classified, by answer.", ("answer",))
        self.seconds = Histogram("truefit_request_seconds", "From a request's first byte to its answer.", SECONDS)
        self.batch_size = Histogram("truefit_batch_size", "Images classified at a time.", SIZES)

    def summary(self) -> str:
        """How many requests were accepted and answered."""
        return f"{self.accepted} requests accepted, {self.requests.total(NO_STATUS)} answered"

    def text(self, *, waiting: int) -> str:
        """The page. waiting: images that wait now."""
        gauges = [("truefit_waiting", "Images that wait to be classified.", waiting)]
        resident = resident_bytes()
        if resident is not None:
            gauges.append(("process_resident_memory_bytes", "Memory of the process.", resident))
        metrics = (self.requests, self.predictions, self.seconds, self.batch_size)
        lines = [line for metric in metrics for line in metric.lines()]
        for name, about, value in gauges:
            lines += [*_head(name, about, "gauge"), f"{name} {value}"]
        return "\n".join(lines) + "\n"


def resident_bytes() -> int | None:
    """Memory of this process that is in RAM; None where the system has no /proc."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def _head(name: str, about: str, kind: str) -> list[str]:
    return [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]


def _labels(pairs: Iterable[tuple[str, str]]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
