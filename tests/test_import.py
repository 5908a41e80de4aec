"""What `import truefit` costs, and what it offers."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import truefit

PUBLIC = {
    "ConvNet",
    "ConvolutionalNeuralNet",
    "Evaluation",
    "InputError",
    "Recipe",
    "Run",
    "Trainer",
    "TruefitWarning",
    "accuracy",
    "evaluate",
    "load",
    "plot",
    "train",
    "validate",
}


def test_import_brings_no_torch_until_something_needs_it():
    code = """
import sys, truefit
heavy = ("torch", "torchvision", "numpy", "sklearn", "matplotlib", "PIL", "tyro", "rich")
print([name for name in heavy if name in sys.modules])
truefit.__version__, truefit.InputError, truefit.Recipe, dir(truefit)
print([name for name in heavy if name in sys.modules])
truefit.ConvNet
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "[]", "True"]


def test_the_first_step_imports_neither_scikit_learn_nor_scipy_nor_a_compiler():
    """Each of these takes longer than all that truefit does until then."""
    code = """
import sys, torch, truefit
from torch.optim import Optimizer
heavy = ("torch._dynamo", "torchvision", "sklearn", "scipy", "pandas", "matplotlib", "jinja2", "tyro", "rich")
def watch(event):
    if type(event).__name__ == "StepFinished":
        print([name for name in heavy if name in sys.modules])
        raise KeyboardInterrupt
from truefit.recipes.recipe import OptimizerConfig
for name in ("muon", "adam", "adamw", "sgd"):
    recipe = truefit.Recipe(epochs=1, optimizer=OptimizerConfig(name=name))
    trainer = truefit.Trainer("convnet", recipe, observers=[watch])
    try:
        trainer.fit("digits")
    except KeyboardInterrupt:
        print(name)
names = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
print([name for name in names if hasattr(getattr(Optimizer, name).__wrapped__, "__dynamo_disable")])
torch.optim.SGD(torch.nn.Linear(1, 1).parameters()).zero_grad()
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # What torch does otherwise is as it was.
    wanted = ["[]", "muon", "[]", "adam", "[]", "adamw", "[]", "sgd", "[]", "True"]
    assert done.stdout.splitlines() == wanted


def test_the_names_of_the_design_are_public():
    assert set(truefit.__all__) >= PUBLIC


@pytest.mark.parametrize("name", [name for name in truefit.__all__ if name != "__version__"])
def test_public_name_resolves_and_is_documented(name):
    found = getattr(truefit, name)
    assert found.__name__ == name
    text = inspect.getdoc(found)
    assert text
    # Not the signature that a dataclass makes up where nothing is written.
    assert not text.startswith(f"{name}(")
    for method, member in vars(found).items() if inspect.isclass(found) else ():
        if not method.startswith("_") and inspect.isfunction(member) and method != "forward":
            assert inspect.getdoc(member), f"{name}.{method} has no docstring"


def test_public_functions_state_their_types():
    for name in truefit.__all__:
        found = getattr(truefit, name)
        if inspect.isfunction(found):
            signature = inspect.signature(found)
            assert signature.return_annotation is not inspect.Signature.empty, name
            assert all(p.annotation is not p.empty for p in signature.parameters.values()), name


def test_all_is_sorted_and_is_what_dir_shows():
    assert truefit.__all__ == sorted(truefit.__all__)
    assert dir(truefit) == truefit.__all__


def test_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        _ = truefit.trian
