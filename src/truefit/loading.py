"""A run read back from its folder, and measured once more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import nn

from truefit.data.imageset import ImageSet
from truefit.data.lookup import load_data, load_images
from truefit.errors import InputError
from truefit.events import Observer, nobody
from truefit.measure import evaluate_predictor
from truefit.models.lookup import build_model
from truefit.precision import Settings, find_device
from truefit.predictor import Predictor, PredictorConfig
from truefit.runs.evaluation import Evaluation
from truefit.runs.folder import RunFolder
from truefit.runs.run import Run

# Outputs of the golden batch may differ by this much on another machine.
GOLDEN_TOLERANCE = 1e-2


def load(run_dir: str | Path, *, network: nn.Module | None = None, device: str | None = None) -> Run:
    """Read a run: `truefit.load("runs/digits-convnet-1").predict("photo.jpg")`.

    network: needed where the run's model is not one that truefit builds by name. device: None takes the best.
    Raises InputError where files are missing or damaged, where the network does not fit the weights, and where
    the stored golden batch does not give its stored outputs.
    """
    folder = RunFolder.open(run_dir)
    config, history = folder.read_config(), folder.read_history()
    description, weights, golden = folder.read_model()
    architecture = description["architecture"]
    if network is None:
        if architecture["name"] is None:
            raise InputError(
                f"this run's network is a class of its own, {architecture['class']}, which only you can supply",
                where=run_dir,
                fix=f"truefit.load({str(run_dir)!r}, network=YourNetwork()), or --model package.module:callable",
            )
        network = build_model(architecture["name"], architecture["num_classes"])
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError("the network does not fit the weights", where=run_dir, found=error) from None
    stored = description["predictor"]
    predictor_config = PredictorConfig(
        **{**stored, **{name: tuple(stored[name]) for name in ("classes", "mean", "std")}}
    )
    settings = Settings(**config["settings"])
    settings = replace(settings, device=str(find_device(device)))
    network.to(settings.device, memory_format=settings.memory_format)  # type: ignore[call-overload]
    predictor = Predictor(network, predictor_config, settings)
    difference = float((predictor.logits(golden["images"]) - golden["logits"]).abs().max())
    if not difference <= GOLDEN_TOLERANCE:
        raise InputError(
            "the model does not give the outputs that were stored with it",
            where=run_dir,
            found=f"logits of the golden batch differ by up to {difference:.3g}",
            wanted=f"at most {GOLDEN_TOLERANCE}",
            fix="supply the very network that was trained",
        )
    evaluation = folder.read_evaluation() if (folder.path / "evaluation.json").is_file() else None
    return Run(folder=folder.path, config=config, history=history, evaluation=evaluation, predictor=predictor)


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
    takes the one that the run was measured on. Returns the evaluation and where it was written.
    """
    folder, predictor = run.folder, run.predictor
    if folder is None or not isinstance(predictor, Predictor):
        raise InputError("this run has no folder", fix="use truefit.evaluate(run.predictor, dataset)")
    images = _own_images(run, split) if data is None else _other_images(run, data, split, skip_unreadable)
    measured_on = run.evaluation
    same_data = data is None
    evaluation = evaluate_predictor(
        predictor,
        images,
        split=images.split,
        selected_on=measured_on.selected_on if measured_on is not None and same_data else None,
        weights=measured_on.weights if measured_on is not None else "last",
        looks=RunFolder(folder).looks(images.split) + 1 if same_data else 1,
        observe=observe,
    )
    chosen_name = name or (images.split if same_data else f"{Path(str(data)).resolve().name}-{images.split}")
    return evaluation, RunFolder(folder).add_evaluation(chosen_name, evaluation)


def _own_images(run: Run, split: str | None) -> ImageSet:
    about = run.config["data"]
    if "options" not in about:
        raise InputError(
            "this run's data was given in Python and can't be found by name",
            where=run.folder,
            fix="name a folder, or use truefit.evaluate(run.predictor, dataset)",
        )
    data = load_data(about["spec"], **about["options"])
    splits = {part.split: part for part in data.splits}
    wanted = split or (run.evaluation.split if run.evaluation is not None else "train")
    if wanted not in splits:
        raise InputError(f"this run has no {wanted} split", where=about["spec"], found=", ".join(splits))
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


def _other_images(run: Run, data: str | Path, split: str | None, skip_unreadable: bool) -> ImageSet:
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
        split=split,
        skip_unreadable=skip_unreadable,
    )
