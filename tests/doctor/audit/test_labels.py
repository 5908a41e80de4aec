"""Labels that were swapped on purpose are found by networks that did not see them."""

from __future__ import annotations

import numpy as np
import pytest

from truefit.doctor.audit.labels import calibrated, find_label_errors


def test_swapped_labels_are_found() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    colours = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200]])
    noise = rng.integers(-50, 51, (300, 32, 32, 3))
    pixels = np.clip(colours[labels][:, None, None] + noise, 0, 255).astype(np.uint8)
    swapped = rng.choice(300, 6, replace=False)
    given = labels.copy()
    given[swapped] = (labels[swapped] + 1) % 3
    found = find_label_errors(pixels, given.astype(np.int64), ("red", "green", "blue"), epochs=6)
    # All found are real; a short training may leave one out.
    assert {error.row for error in found} <= set(swapped.tolist())
    assert len(found) >= 5
    assert all(error.predicted == labels[error.row] and error.given == given[error.row] for error in found)


def test_certainty_is_believed_as_far_as_it_was_right() -> None:
    """A network that calls every cat of ten a dog rules nothing out by saying dog; with trucks it is always right."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 3000)
    said = labels.copy()
    cats = np.flatnonzero(labels == 0)
    said[cats[::5]] = 1
    sure = np.full((3000, 3), 0.0005)
    sure[np.arange(3000), said] = 0.999
    believed = calibrated(sure, labels)
    assert believed.sum(1) == pytest.approx(1)
    assert believed[said == 1, 0].mean() == pytest.approx((labels[said == 1] == 0).mean(), abs=0.02)
    assert believed[said == 2, 0].max() < 0.01
