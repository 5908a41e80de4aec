"""truefit trains, validates and measures image classifiers in PyTorch.

Functions: train, validate, accuracy. Class: ConvolutionalNeuralNet, ConvNet. Trainer: Trainer, Recipe, evaluate,
load, load_data. Command: truefit --help.

Names are imported when first used, so that `import truefit` is quick and does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from truefit.classifier import ConvolutionalNeuralNet as ConvolutionalNeuralNet
    from truefit.comparison.compare import Comparison as Comparison
    from truefit.comparison.compare import compare as compare
    from truefit.crossval import cross_validate as cross_validate
    from truefit.data.imageset import Data as Data
    from truefit.data.imageset import ImageSet as ImageSet
    from truefit.data.lookup import load_data as load_data
    from truefit.errors import InputError as InputError
    from truefit.errors import NonFiniteError as NonFiniteError
    from truefit.errors import TruefitError as TruefitError
    from truefit.errors import TruefitWarning as TruefitWarning
    from truefit.estimator import Classifier as Classifier
    from truefit.export.export import export_run as export_run
    from truefit.functions import accuracy as accuracy
    from truefit.functions import train as train
    from truefit.functions import validate as validate
    from truefit.learning import learning_curve as learning_curve
    from truefit.loading import calibrate as calibrate
    from truefit.loading import load as load
    from truefit.measure import evaluate as evaluate
    from truefit.models.convnet import ConvNet as ConvNet
    from truefit.plots import plot as plot
    from truefit.plots import plot_learning_curve as plot_learning_curve
    from truefit.predictor import Predictor as Predictor
    from truefit.recipes.lookup import find_recipe as find_recipe
    from truefit.recipes.recipe import Recipe as Recipe
    from truefit.runs.evaluation import Evaluation as Evaluation
    from truefit.runs.run import Run as Run
    from truefit.runs.seeds import SeedRuns as SeedRuns
    from truefit.runs.seeds import load_seeds as load_seeds
    from truefit.trainer import Trainer as Trainer

_WHERE = {
    "Classifier": "estimator",
    "Comparison": "comparison.compare",
    "ConvNet": "models.convnet",
    "ConvolutionalNeuralNet": "classifier",
    "Data": "data.imageset",
    "Evaluation": "runs.evaluation",
    "ImageSet": "data.imageset",
    "InputError": "errors",
    "NonFiniteError": "errors",
    "Predictor": "predictor",
    "Recipe": "recipes.recipe",
    "Run": "runs.run",
    "SeedRuns": "runs.seeds",
    "Trainer": "trainer",
    "TruefitError": "errors",
    "TruefitWarning": "errors",
    "accuracy": "functions",
    "compare": "comparison.compare",
    "calibrate": "loading",
    "cross_validate": "crossval",
    "evaluate": "measure",
    "export_run": "export.export",
    "find_recipe": "recipes.lookup",
    "learning_curve": "learning",
    "load": "loading",
    "load_data": "data.lookup",
    "load_seeds": "runs.seeds",
    "plot": "plots",
    "plot_learning_curve": "plots",
    "train": "functions",
    "validate": "functions",
}

__all__ = sorted([*_WHERE, "__version__"])


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("truefit")
    if name == "doctor":
        # A package with functions of its own: truefit.doctor.check.
        return importlib.import_module("truefit.doctor")
    if name not in _WHERE:
        raise AttributeError(f"module 'truefit' has no attribute {name!r}")
    found = getattr(importlib.import_module(f"truefit.{_WHERE[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return list(__all__)
