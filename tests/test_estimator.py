"""truefit.Classifier in scikit-learn's hands."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import estimator_checks_generator
from torch import nn

from truefit import Classifier, InputError


def small_network(classes: int) -> nn.Module:
    """A network for images of any size."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, classes)
    )


SMALL = {"model": small_network, "epochs": 1, "lr": 1e-2, "device": "cpu"}


def squares(n: int = 40, side: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Grey uint8 images (n, side, side): dark ones and bright ones."""
    draw = np.random.default_rng(0)
    bright = np.arange(n) % 2
    return (draw.integers(0, 120, (n, side, side)) + 130 * bright[:, None, None]).astype(np.uint8), bright


# Checks that do not apply, each with the reason. There is none: `image_shape="row"` takes any table, as they do.
EXPECTED_FAILED_CHECKS: dict[str, str] = {}
ESTIMATOR = Classifier(small_network, epochs=5, batch_size=16, lr=0.03, image_shape="row", image_size=8, device="cpu")


@pytest.mark.parametrize(
    "check",
    [check for _, check in estimator_checks_generator(ESTIMATOR, expected_failed_checks=EXPECTED_FAILED_CHECKS)],
    ids=lambda check: check.func.__name__,
)
def test_check_of_scikit_learn(check):
    check(clone(ESTIMATOR))


def test_digits_in_cross_val_score_reach_97_per_cent():
    X, y = load_digits(return_X_y=True)
    digits = Classifier(recipe="quick", epochs=5, image_size=32, device="cpu")
    assert cross_val_score(digits, X, y, cv=3).mean() >= 0.97


def test_grid_search_over_a_pipeline_finds_the_better_setting():
    X, y = squares()
    pipeline = make_pipeline(FunctionTransformer(lambda images: images), Classifier(**SMALL))
    grid = {"classifier__lr": [1e-9, 3e-2], "classifier__epochs": [6]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(X, y)
    assert search.best_params_["classifier__lr"] == 3e-2
    assert search.best_estimator_.score(X, y) == 1


def test_every_form_of_the_same_images_gives_the_same_probabilities():
    X, y = squares()
    colour = X[..., None].repeat(3, axis=3)
    usual = Classifier(**SMALL).fit(X, y).predict_proba(X)
    forms = {
        "channels last": (colour, {}),
        "channels first": (colour.transpose(0, 3, 1, 2), {}),
        "one channel": (X[:, None], {}),
        "table of squares": (X.reshape(len(X), -1), {}),
        "table with a shape": (colour.reshape(len(X), -1), {"image_shape": (8, 8, 3)}),
    }
    for name, (images, more) in forms.items():
        found = Classifier(**SMALL, **more).fit(images, y).predict_proba(images)
        np.testing.assert_array_equal(found, usual, err_msg=name)


def test_smallest_and_largest_number_of_fit_become_0_and_255():
    X, y = squares()
    X[0, 0, 0], X[0, 0, 1] = 0, 255
    usual = Classifier(**SMALL).fit(X, y)
    scaled = Classifier(**SMALL).fit(X / 255 * 16 - 3, y)
    np.testing.assert_array_equal(scaled.predict_proba(X / 255 * 16 - 3), usual.predict_proba(X))
    # What lies outside is clipped, as a sensor's values are.
    brighter = np.where(X == 255, 99.0, X / 255 * 16 - 3)
    np.testing.assert_array_equal(scaled.predict_proba(brighter), usual.predict_proba(X))


def test_labels_keep_their_type_and_probabilities_their_order():
    X, y = squares()
    words = np.array(["yes", "no"])[y]
    fitted = Classifier(**{**SMALL, "epochs": 6}).fit(X, words)
    assert fitted.classes_.tolist() == ["no", "yes"]
    assert set(fitted.predict(X)) <= {"no", "yes"}
    np.testing.assert_array_equal(fitted.predict(X), fitted.classes_[fitted.predict_proba(X).argmax(axis=1)])
    assert fitted.run_.predict(X[..., None].repeat(3, axis=3))[1].predicted in ("no", "yes")


def test_same_random_state_same_weights_and_none_differs():
    X, y = squares()
    first, again = (Classifier(**SMALL, random_state=3).fit(X, y).predict_proba(X) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other, third = (Classifier(**SMALL, random_state=None).fit(X, y).predict_proba(X) for _ in range(2))
    assert not np.array_equal(other, third)


def test_validation_fraction_chooses_the_best_epoch():
    X, y = squares()
    fitted = Classifier(**{**SMALL, "epochs": 2}, validation_fraction=0.2).fit(X, y)
    assert fitted.run_.weights.startswith("best (epoch ")
    assert fitted.run_.evaluation.n == 8


def test_clone_of_a_fitted_one_is_unfitted_with_the_same_parameters():
    X, y = squares()
    fitted = Classifier(**SMALL).fit(X, y)
    copied = clone(fitted)
    assert copied.get_params() == fitted.get_params()
    assert not hasattr(copied, "run_")


@pytest.mark.parametrize(
    ("parameters", "X", "words"),
    [
        ({}, np.zeros((4, 50)), "image_shape"),
        ({"image_shape": (7, 7, 3)}, np.zeros((4, 50)), "147"),
        ({}, np.zeros((4, 2, 5, 5)), "does not hold images"),
        ({"epochs": 0}, np.zeros((4, 8, 8)), "epochs"),
        ({"model": "convnat"}, np.zeros((4, 8, 8)), "convnet"),
        ({"model": nn.Linear(1, 1)}, np.zeros((4, 8, 8)), "new network"),
        ({"image_size": 0}, np.zeros((4, 8, 8)), "image_size"),
        ({"validation_fraction": 1.0}, np.zeros((4, 8, 8)), "validation_fraction"),
        ({"resize": "krop"}, np.zeros((4, 8, 8)), "resize"),
    ],
)
def test_what_can_not_be_is_an_error_that_says_why(parameters, X, words):
    with pytest.raises(InputError, match=words):
        Classifier(**{**SMALL, **parameters}).fit(X, [0, 1, 0, 1])


def test_other_kind_of_numbers_in_predict_is_an_error():
    X, y = squares()
    with pytest.raises(InputError, match="uint8"):
        Classifier(**SMALL).fit(X, y).predict(X / 255)
