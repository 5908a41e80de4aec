"""Measuring a network on a data set: every figure of truefit comes from here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import nn
from torch.utils.data import Dataset

from truefit import loop, rng
from truefit.config import require
from truefit.data.batch import Batches
from truefit.data.batches import make_batches
from truefit.data.collate import count_samples
from truefit.data.imageset import ImageSet
from truefit.data.watched import Watched
from truefit.events import Measured, Note, Observer, nobody
from truefit.models.traits import wants_channels_last
from truefit.precision import Precision, Settings, device_of, resolve, threads
from truefit.predictor import Predictor, PredictorConfig
from truefit.runs.evaluation import Evaluation
from truefit.runs.multi_label import MultiLabelEvaluation
from truefit.tasks import Task
from truefit.tasks.multi_label import USUAL, MultiLabel
from truefit.tasks.single_label import SingleLabel

USUAL_SIZE = (32, 32)


def measure(
    module: nn.Module,
    batches: Batches,
    *,
    classes: Sequence[str] | None,
    split: str,
    selected_on: str | None = None,
    weights: str = "as given",
    averaging: str = "none",
    temperature: float = 1.0,
    looks: int = 1,
    epoch: int = 0,
    precision: Precision | None = None,
    paths: tuple[str, ...] | None = None,
    thresholds: tuple[float, ...] = (),
    observe: Observer = nobody,
) -> Evaluation:
    """One pass, and the evaluation that follows from its outputs. `classes`: None names them 0, 1, 2...

    module gives logits at temperature 1; `temperature` is what they are then divided by. thresholds: of a network that
    gives any number of labels to an image (a `MultiLabelEvaluation` then); empty where there is one class.
    """
    many = len(classes) if classes is not None else None
    task: Task = MultiLabel(many, thresholds=thresholds) if thresholds else SingleLabel(many)
    result = loop.evaluate(
        module,
        batches,
        task,
        split=split,
        epoch=epoch,
        precision=precision,
        keep_outputs=True,
        observe=observe,
    )
    assert result.outputs is not None and result.targets is not None
    names = tuple(classes or map(str, range(result.outputs.shape[1])))
    if thresholds:
        return MultiLabelEvaluation.from_label_logits(
            result.outputs.numpy(),
            result.targets.numpy(),
            thresholds=thresholds,
            classes=names,
            split=split,
            selected_on=selected_on,
            weights=weights,
            averaging=averaging,
            looks=looks,
            paths=paths,
        )
    evaluation = Evaluation.from_logits(
        result.outputs.numpy(),
        result.targets.numpy(),
        classes=names,
        split=split,
        selected_on=selected_on,
        weights=weights,
        averaging=averaging,
        looks=looks,
        paths=paths,
        temperature=temperature,
    )
    observe(Measured(split=split, epoch=epoch, label=evaluation.label, predicted=evaluation.predicted))
    return evaluation


def evaluate_predictor(
    predictor: Predictor,
    dataset: Dataset[Any] | ImageSet,
    *,
    split: str,
    selected_on: str | None = None,
    weights: str = "as given",
    looks: int = 1,
    epoch: int = 0,
    observe: Observer = nobody,
) -> Evaluation:
    """Measure a predictor with the settings that it was made with."""
    settings = predictor.settings
    batches = batches_for(predictor, dataset, split)
    watched = None if isinstance(dataset, ImageSet) else Watched(batches)
    # The number of threads decides the last bits of a sum.
    with threads(settings.threads):
        evaluation = measure(
            predictor.uncalibrated,
            watched or batches,
            classes=predictor.config.classes or None,
            split=split,
            selected_on=selected_on,
            weights=weights,
            averaging=predictor.config.averaging,
            temperature=predictor.config.temperature,
            looks=looks,
            epoch=epoch,
            precision=predictor.precision,
            paths=dataset.paths if isinstance(dataset, ImageSet) else None,
            thresholds=predictor.config.thresholds,
            observe=observe,
        )
    seen = dataset.fingerprint() if isinstance(dataset, ImageSet) else watched.fingerprint() if watched else None
    return replace(evaluation, fingerprint=seen)


def batches_for(predictor: Predictor, dataset: Dataset[Any] | ImageSet, split: str) -> Batches:
    """A data set in its order, prepared as the predictor wants it."""
    return make_batches(
        dataset,
        batch_size=predictor.settings.evaluation_batch_size,
        device=device_of(predictor.network),
        role=f"{split} set",
        pipeline=predictor.pipeline,
        workers=predictor.settings.workers,
    )


def evaluate(
    network: nn.Module | Predictor,
    dataset: Dataset[Any] | ImageSet,
    *,
    split: str | None = None,
    batch_size: int | None = None,
    workers: int = 0,
    observe: Observer = nobody,
) -> Evaluation:
    """Measure any network on any data set of (image tensor, label): one pass, every figure.

    The network is taken as it is, where it is, and gets the images as the data set gives them (those of an ImageSet
    scaled to 0..1, lying in memory as its filters do); it must give logits (N, K). A network that was trained on
    prepared images belongs in its `Predictor` (`run.predictor`), which prepares them in the same way, and whose run's
    ledger counts the look where the images are a split of that run. split: how the data set is called in the result;
    None takes an ImageSet's own name, and "data" for others. batch_size: None chooses one.

    Raises InputError: empty data set, labels outside the outputs, outputs that are not finite.
    """
    if split is None:
        split = dataset.split if isinstance(dataset, ImageSet) else "data"
    if isinstance(network, Predictor):
        return evaluate_and_note(network, dataset, split=split, observe=observe)
    require(batch_size is None or batch_size >= 1, "batch_size", batch_size, "at least 1")
    settings: Settings = resolve(
        device=str(device_of(network)),
        precision="float32",
        image_size=image_size_of(dataset),
        workers=workers,
    )
    settings = replace(settings, channels_last=settings.channels_last and wants_channels_last(network))
    if batch_size is not None:
        settings = replace(settings, evaluation_batch_size=batch_size)
    images = isinstance(dataset, ImageSet)
    names = class_names(dataset)
    config = PredictorConfig(
        classes=names or (), images="files" if images else "tensors", thresholds=(USUAL,) * count_labels(dataset)
    )
    return evaluate_predictor(Predictor(network, config, settings), dataset, split=split, observe=observe)


def evaluate_and_note(
    predictor: Predictor, dataset: Dataset[Any] | ImageSet, *, split: str, observe: Observer = nobody
) -> Evaluation:
    """Measure a predictor; where the images are a split of its run, by whatever way they were found, name that split
    and the selection on it, and count the look."""
    fingerprint = dataset.fingerprint() if isinstance(dataset, ImageSet) else None
    own = predictor.own_splits.get(fingerprint) if fingerprint is not None else None
    evaluation = evaluate_predictor(
        predictor,
        dataset,
        split=own or split,
        # Of other data, a split that happens to have the same name has chosen nothing.
        selected_on=predictor.selected_on if own is not None else None,
        weights=predictor.weights,
        observe=observe,
    )
    if own is None:
        return evaluation
    if own == "train":
        text = "these are the images that the run was trained on: its figures on new ones will be lower"
        observe(Note(text=text, warning=True))
    looks = predictor.ledger.look(own, by="evaluate", n=evaluation.n, fingerprint=fingerprint)
    return replace(evaluation, looks=looks)


def class_names(dataset: Any) -> tuple[str, ...] | None:
    """The class names that a data set states, looking inside a Subset; None where it states none."""
    while dataset is not None:
        names = getattr(dataset, "classes", None)
        if isinstance(names, list | tuple) and names:
            return tuple(map(str, names))
        dataset = getattr(dataset, "dataset", None)
    return None


def count_labels(dataset: Any) -> int:
    """How many labels each image may have at once; 0 where it has one class. Looks at the first sample, as below."""
    if isinstance(dataset, ImageSet):
        return dataset.labels.shape[1] if dataset.multi_label else 0
    if not count_samples(dataset, "data set"):
        return 0
    with rng.preserved():
        sample = dataset[0]
    target = sample[1] if isinstance(sample, tuple | list) and len(sample) == 2 else None
    shape = tuple(getattr(target, "shape", ())) if not isinstance(target, list | tuple) else (len(target),)
    return shape[0] if len(shape) == 1 else 0


def image_size_of(dataset: Any) -> tuple[int, int]:
    """Height and width of a data set's images: looks at the first sample, and leaves no trace of it."""
    if isinstance(dataset, ImageSet) and dataset.image_size is not None:
        return dataset.image_size, dataset.image_size
    if count_samples(dataset, "data set") is None:
        return USUAL_SIZE
    with rng.preserved():
        image = dataset[0][0]
    shape = tuple(getattr(image, "shape", ()))
    return (shape[1], shape[2]) if len(shape) == 3 else USUAL_SIZE
