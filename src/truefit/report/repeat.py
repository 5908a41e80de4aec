"""The command that makes a run once more, from what its config.json says."""

from __future__ import annotations

import shlex
from typing import Any

from truefit.config import flat, to_plain
from truefit.recipes.lookup import find_recipe, recipe_names
from truefit.runs.record import Record

# Options that have a short form.
SHORT = {"optimizer.name": "optimizer", "optimizer.lr": "lr", "schedule.name": "schedule"}
# Options of the data with the values that they have when not given.
DATA_OPTIONS = {
    "image_size": None,
    "resize": "crop",
    "val_fraction": None,
    "split_seed": 0,
    "skip_unreadable": False,
    "folds": None,
    "group_pattern": None,
}


def command(record: Record) -> str | None:
    """`truefit train DATA ...`, of the named recipe only what differs. None where data or network came from Python.

    Of a fold's run it is the command that makes all folds.
    """
    config = record.config
    about, model = config.get("data", {}), config.get("model", {}).get("name")
    if "options" not in about or model is None:
        return None
    words = ["truefit", "train", str(about["spec"])]
    given: dict[str, Any] = {"model": (model, "convnet"), "seed": (config["seed"], 0)}
    given |= {name: (about["options"].get(name, usual), usual) for name, usual in DATA_OPTIONS.items()}
    given |= {"workers": (config["settings"]["workers"], 0), "measure_training": (config["measure_training"], False)}
    given |= {"calibrate": (config.get("calibrate", False), False)}
    given |= {"select_on": (config.get("select_on", "validation"), "validation")}
    given |= {"from": ((config.get("from") or {}).get("run"), None)}
    given |= {f"columns.{name}": (value, []) for name, value in (about["options"].get("columns") or {}).items()}
    given |= {"weights": ((config.get("weights") or {}).get("place"), None)}
    for name, (value, usual) in given.items():
        if value != usual and value is not None:
            words += _option(name, value)
    words += ["--device", str(config["settings"]["device"]), *_recipe(config["recipe"], _samples(config))]
    return shlex.join(words)


def _samples(config: dict[str, Any]) -> int | None:
    n: int | None = config.get("data", {}).get("splits", {}).get("train", {}).get("n")
    return n


def _recipe(wanted: dict[str, Any], samples: int | None) -> list[str]:
    """The named recipe, and each setting that a training with it on so many samples would not have by itself."""
    name = wanted["name"] if wanted["name"] in recipe_names() else "standard"
    named = find_recipe(name)
    # As the command has it: another optimiser than the recipe's begins with its own settings.
    recipe = named.with_optimizer(wanted["optimizer"]["name"])
    said = flat(wanted)
    # What a recipe leaves open follows the data: whether a mirror image belongs to the same class.
    differences = []
    for mirror in (False, True):
        usual = flat(to_plain(recipe.resolved(images=True, mirror=mirror).for_samples(samples)))
        differences.append({key: value for key, value in said.items() if usual.get(key, value) != value})
    # Said even where it is the usual one: without it the command chooses by the data.
    words = ["--recipe", name]
    if recipe is not named:
        words += _option("optimizer.name", recipe.optimizer.name)
    for key, value in min(differences, key=len).items():
        words += _option(key, value)
    return words


def _option(name: str, value: Any) -> list[str]:
    path = SHORT.get(name, name).replace("_", "-")
    # Of a setting that is on or off, and nothing else, there are two options; `flip` may also be left open.
    if isinstance(value, bool) and name != "augment.flip":
        parent, dot, last = path.rpartition(".")
        return [f"--{path}" if value else f"--{parent}{dot}no-{last}"]
    values = value if isinstance(value, list) else [value]
    return [f"--{path}", *map(str, values)]
