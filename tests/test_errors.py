"""Errors say what, where, what was found, what was wanted and how to fix it."""

from __future__ import annotations

import pytest

from truefit import InputError, NonFiniteError, TruefitError, TruefitWarning
from truefit.errors import nearest, shorten


def test_an_error_lists_its_circumstances_in_order() -> None:
    error = InputError("the thing is wrong", where="there", found=3, wanted="4", fix="add 1")
    assert str(error).splitlines() == [
        "the thing is wrong",
        "  where:  there",
        "  found:  3",
        "  wanted: 4",
        "  fix:    add 1",
    ]
    assert error.what == "the thing is wrong"
    assert error.details == {"where": "there", "found": "3", "wanted": "4", "fix": "add 1"}


def test_what_is_not_known_is_left_out() -> None:
    assert str(InputError("wrong", found=0)) == "wrong\n  found:  0"


def test_wrong_input_ends_a_command_with_2_and_other_failures_with_1() -> None:
    assert TruefitError("x").exit_code == 1
    assert InputError("x").exit_code == 2


def test_kinds_can_be_caught_by_their_usual_types() -> None:
    assert issubclass(InputError, TruefitError)
    assert issubclass(InputError, ValueError)
    assert issubclass(NonFiniteError, InputError)
    assert issubclass(TruefitWarning, UserWarning)


def test_a_non_finite_error_carries_its_place() -> None:
    error = NonFiniteError("the loss is not finite", epoch=2, step=7, indices=[4, 5], found="loss nan")
    assert (error.epoch, error.step, error.indices) == (2, 7, [4, 5])
    assert "loss nan" in str(error)


@pytest.mark.parametrize(
    ("name", "says"), [("batchsize", 'did you mean "batch_size"?'), ("zzz", "known: batch_size, epochs, lr")]
)
def test_the_nearest_known_name_or_all_of_them(name: str, says: str) -> None:
    assert nearest(name, ["lr", "epochs", "batch_size"]) == says


def test_long_lists_are_shortened_and_the_rest_counted() -> None:
    assert shorten(range(3)) == "0, 1, 2"
    assert shorten(range(20)).endswith("18, 19")
    assert shorten(range(25), 4) == "0, 1, 2, 3 and 21 more"
    assert shorten([]) == ""
