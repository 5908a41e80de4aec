"""Dynamic batching: images that come in at the same time are classified together, by one thread."""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field

from truefit.data.images import Pixels
from truefit.predictor import Prediction, Predictor
from truefit.serve.limits import Limits
from truefit.serve.metrics import Metrics


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """An image (uint8 H, W, 3, of the model's size) and where its answer goes."""

    pixels: Pixels
    answer: Future[Prediction] = field(default_factory=Future)


class Full(Exception):
    """So many images wait already that one more is refused."""


class Batcher:
    """Classifies what is put in. Only its own thread uses the network.

    A batch is closed when it holds `limits.batch` images, or `limits.wait` milliseconds after its first. Images of
    different shapes (of a model that takes each as it is) are classified one shape after the other.
    """

    def __init__(self, predictor: Predictor, limits: Limits, metrics: Metrics, sure: float | None = None) -> None:
        self.predictor, self.limits, self.metrics, self.sure = predictor, limits, metrics, sure
        self._queue: queue.Queue[Waiting | None] = queue.Queue(limits.queue)
        self._thread = threading.Thread(target=self._work, name="truefit-batcher")

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """Answer what is waiting, then end."""
        self._queue.put(None)
        self._thread.join()

    def put(self, pixels: Pixels) -> Future[Prediction]:
        """An image to classify; raises Full where too many wait."""
        waiting = Waiting(pixels)
        try:
            self._queue.put_nowait(waiting)
        except queue.Full:
            raise Full from None
        return waiting.answer

    @property
    def waiting(self) -> int:
        """How many images wait."""
        return self._queue.qsize()

    def _work(self) -> None:
        going_on = True
        while going_on:
            first = self._queue.get()
            if first is None:
                return
            batch = [first]
            closes = time.monotonic() + self.limits.wait / 1000
            while len(batch) < self.limits.batch:
                try:
                    following = self._queue.get(timeout=max(0.0, closes - time.monotonic()))
                except queue.Empty:
                    break
                if following is None:
                    going_on = False
                    break
                batch.append(following)
            self._classify(batch)

    def _classify(self, batch: list[Waiting]) -> None:
        # Whoever asked may have given up meanwhile.
        batch = [waiting for waiting in batch if waiting.answer.set_running_or_notify_cancel()]
        shapes = {waiting.pixels.shape for waiting in batch}
        for shape in shapes:
            same = [waiting for waiting in batch if waiting.pixels.shape == shape]
            try:
                found = self.predictor.predict([waiting.pixels for waiting in same], sure=self.sure)
            except Exception as error:
                for waiting in same:
                    waiting.answer.set_exception(error)
                continue
            self.metrics.batch_size.observe(len(same))
            for waiting, prediction in zip(same, found, strict=True):
                # Each label by itself: of their combinations there may be any number.
                for answer in prediction.labels or [prediction.answer]:
                    self.metrics.predictions.add(answer)
                waiting.answer.set_result(prediction)
