"""A run read back from its folder, measured once more, or calibrated."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

from torch import nn

from truefit import dist
from truefit.calibrating import Calibration, calibrate_predictor
from truefit.config import from_plain, to_plain
from truefit.data.imageset import ImageSet
from truefit.data.lookup import load_data, load_images
from truefit.data.overlap import shared
from truefit.errors import InputError, TruefitError
from truefit.events import Note, Observer, nobody
from truefit.golden import check_golden, golden_confidence
from truefit.measure import evaluate_and_note
from truefit.models.lookup import build_model
from truefit.precision import Settings, find_device
from truefit.predictor import Predictor, PredictorConfig
from truefit.runs.evaluation import Evaluation
from truefit.runs.folder import RunFolder
from truefit.runs.run import Run


def load(run_dir: str | Path, *, network: nn.Module | None = None, device: str | None = None) -> Run:
    """Read a run: `truefit.load("runs/digits-convnet-1").predict("photo.jpg")`.

    network: needed where the run's model is not one that truefit builds by name. device: None takes the best.
    Raises InputError where files are missing, damaged or changed, where the network does not fit the weights, and
    where the stored golden batch does not give its stored outputs.
    """
    folder = RunFolder.open(run_dir)
    try:
        return _load(folder, network, device)
    except InputError:
        raise
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RuntimeError, MemoryError) as error:
        raise InputError("the run's files are incomplete or changed", where=run_dir, found=repr(error)) from error


def _load(folder: RunFolder, network: nn.Module | None, device: str | None) -> Run:
    config, history = folder.read_config(), folder.read_history()
    description, weights, golden = folder.read_model()
    settings = from_plain(Settings, config["settings"], where="config.json: settings")
    settings = replace(settings, device=str(find_device(device)))
    predictor_config = from_plain(PredictorConfig, description["predictor"], where="model.json: predictor")
    # What calibration adds stands in model.json alone.
    stated = description["predictor"]
    added = {name: stated[name] for name in ("classes", "temperature", "sure", "thresholds") if name in stated}
    said = {**config["predictor"], **added}
    if said != description["predictor"] or config["predictor"]["classes"] not in ([], said["classes"]):
        raise InputError(
            "model.json was changed", where=folder.path, found=description["predictor"], wanted=config["predictor"]
        )
    architecture = description["architecture"]
    if network is None:
        if architecture["name"] is None:
            raise InputError(
                f"this run's network is a class of its own, {architecture['class']}, which only you can supply",
                where=folder.path,
                fix=f"truefit.load({str(folder.path)!r}, network=YourNetwork()), or --model package.module:callable",
            )
        network = build_model(architecture["name"], architecture["num_classes"])
    # Some modules ask for the version of their state, which stands in the metadata of a fresh one.
    state = OrderedDict(weights)
    state._metadata = getattr(network.state_dict(), "_metadata", {})  # type: ignore[attr-defined]
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise InputError("the network does not fit the weights", where=folder.path, found=error) from None
    network.to(settings.device, memory_format=settings.memory_format)  # type: ignore[call-overload]
    splits = config["data"]["splits"]
    predictor = Predictor(
        network,
        predictor_config,
        settings,
        weights=str(description["weights"]),
        selected_on=description["selected_on"],
        own_splits={about["fingerprint"]: name for name, about in splits.items() if "fingerprint" in about},
        ledger=folder.ledger,
    )
    check_golden(predictor, golden, description["golden_confidence"], config["versions"], folder.path)
    return Run(
        folder=folder.path,
        config=config,
        history=history,
        evaluation=folder.read_evaluation() if (folder.path / "evaluation.json").is_file() else None,
        predictor=predictor,
        weights=str(description["weights"]),
        selected_on=description["selected_on"],
        ledger=predictor.ledger,
        doctor=folder.read_doctor(),
    )


def evaluate_run(
    run: Run,
    data: str | Path | None = None,
    *,
    split: str | None = None,
    name: str | None = None,
    skip_unreadable: bool = False,
    observe: Observer = nobody,
) -> tuple[Evaluation, Path]:
    """Measure a run once more, and write the result into its folder, under evaluations/NAME.

    data: a folder of images; None takes the run's own data, which must be what it was. split: which split; None
    takes test, or validation where there is no test. Images that are a split of the run's own, by whatever way they
    were found, are measured as that split: their looks are counted, and a selection on them is named. Returns the
    evaluation and where it was written.
    """
    predictor = run.predictor
    if run.folder is None or not isinstance(predictor, Predictor):
        raise InputError("this run has no folder", fix="use truefit.evaluate(run.predictor, dataset)")
    folder = RunFolder(run.folder)
    if name is not None and (name in ("", ".", "..") or Path(name).name != name):
        raise InputError("--name must be a plain name", found=name, wanted="a name without slashes")
    images = own_images(run, split) if data is None else labelled_images(run, data, split, skip_unreadable)
    if images.fingerprint() not in predictor.own_splits:
        _tell_of_seen(run, images, observe)
    evaluation = evaluate_and_note(predictor, images, split=images.split, observe=observe)
    default = evaluation.split if data is None else f"{Path(data).resolve().name}-{images.split}"
    return evaluation, dist.from_first(lambda: folder.add_evaluation(name or default, evaluation))


def _tell_of_seen(run: Run, images: ImageSet, observe: Observer) -> None:
    """Warn where images are exact copies of some that the run was trained or chosen on, if these are still there.

    Data that is found by a name may have to be downloaded for it, and is not looked at.
    """
    about = run.config["data"]
    found: dict[str, int] = {}
    # Where it is no longer what it was, or can't be read, nothing can be said.
    with suppress(TruefitError, OSError):
        if "options" in about and Path(about["spec"]).is_absolute() and Path(about["spec"]).exists():
            for part in load_data(about["spec"], **about["options"]).splits:
                if part.split != "test" or "test" in (run.selected_on or ""):
                    found[part.split] = len(shared(images, part))
    for split, count in found.items():
        if count:
            done = "trained" if split == "train" else "chosen"
            text = (
                f"{count:,} of these {len(images):,} images are among those that the run was {done} on "
                f"({split}): figures on new images will be lower"
            )
            observe(Note(text=text, warning=True))


def calibrate(
    run: Run, *, select_on: Literal["validation", "test"] = "validation", observe: Observer = nobody
) -> tuple[Run, Calibration]:
    """Fit a temperature, and thresholds for `predict(..., sure=0.95)`, on the run's own validation split.

    No predicted class changes. The run's model.json is replaced in one move; its evaluation stays what it was, of
    the network at its earlier temperature: `truefit evaluate` gives the new figures. select_on: "test" fits them on
    the test split, and every figure of the run on test is from then on labelled "selected on test".

    Returns the run as it is now, and what was found. Raises InputError where the run has no such split, no folder,
    or data that can't be found again (use `Trainer(calibrate=True)` then).
    """
    predictor = run.predictor
    if run.folder is None or not isinstance(predictor, Predictor):
        raise InputError("this run has no folder", fix="use Trainer(calibrate=True)")
    if select_on not in ("validation", "test"):
        raise InputError("select_on is unknown", found=select_on, wanted="validation or test")
    if predictor.config.multi_label:
        raise InputError(
            "calibration speaks of networks that give one class to each image", found="several labels an image"
        )
    images = own_images(run, select_on)
    found = calibrate_predictor(predictor, images, split=select_on, observe=observe)
    chosen_by = set(run.selected_on.split(" and ") if run.selected_on is not None else ()) | {select_on}
    selected_on = " and ".join(sorted(chosen_by, reverse=True))
    calibrated = Predictor(
        predictor.network,
        found.applied(predictor.config),
        predictor.settings,
        weights=predictor.weights,
        selected_on=selected_on,
        own_splits=predictor.own_splits,
        ledger=predictor.ledger,
    )
    folder = RunFolder(run.folder)
    _, _, golden = folder.read_model()
    folder.rewrite_model(
        {
            "predictor": to_plain(calibrated.config),
            "selected_on": selected_on,
            "calibration": to_plain(found),
            "golden_confidence": golden_confidence(calibrated, golden["images"]),
        }
    )
    return replace(run, predictor=calibrated, selected_on=selected_on), found


def own_images(run: Run, split: str | None) -> ImageSet:
    """A split of the run's own data, which must be what it was; None: test, else validation, else train."""
    about = run.config["data"]
    if "options" not in about:
        raise InputError(
            "this run's data was given in Python and can't be found by name",
            where=run.folder,
            fix="name a folder, or use truefit.evaluate(run.predictor, dataset)",
        )
    data = load_data(about["spec"], **about["options"])
    splits = {part.split: part for part in data.splits}
    wanted = split or next((name for name in ("test", "validation") if name in splits), "train")
    if wanted not in splits or wanted not in about["splits"]:
        raise InputError(f"this run has no {wanted} split", where=about["spec"], found=", ".join(about["splits"]))
    before, now = about["splits"][wanted]["fingerprint"], splits[wanted].fingerprint()
    if before != now:
        raise InputError(
            f"the {wanted} images are not those that the run was made with",
            where=about["spec"],
            found=now,
            wanted=before,
            fix="bring the data back, or name the folder to measure on what is there now",
        )
    return splits[wanted]


def labelled_images(run: Run, data: str | Path, split: str | None, skip_unreadable: bool = False) -> ImageSet:
    """A folder of images of the run's classes, read as the run reads them; split as for `load_images`."""
    assert isinstance(run.predictor, Predictor)
    config = run.predictor.config
    if config.images == "tensors" or config.image_size is None:
        raise InputError(
            "this network was trained on a data set of tensors, which alone knows how to prepare an image",
            fix="use truefit.evaluate(run.predictor, dataset)",
        )
    return load_images(
        data,
        config.classes,
        image_size=config.image_size,
        resize=config.resize,
        interpolation=config.interpolation,
        split=split,
        skip_unreadable=skip_unreadable,
        columns=run.config["data"].get("options", {}).get("columns"),
    )
