"""The single path of inference: from images of every kind to class probabilities."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from truefit import ConvNet, InputError, Predictor
from truefit.precision import Settings
from truefit.predictor import PredictorConfig

SIDE = 24
CONFIG = PredictorConfig(
    classes=("a", "b", "c"), image_size=SIDE, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3), averaging="none"
)


@pytest.fixture(autouse=True)
def one_thread():
    """Data as small as this is done sooner by one thread than by two that wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = ConvNet(3)
        # Statistics as after training, so that eval mode and train mode differ.
        network(torch.randn(16, 3, SIDE, SIDE) * 2)
    return network


@pytest.fixture
def predictor(network) -> Predictor:
    return Predictor(network, CONFIG, Settings(device="cpu", threads=1))


@pytest.fixture
def pixels() -> np.ndarray:
    """Four images, uint8 (4, H, W, 3)."""
    return np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, 3)).astype(np.uint8)


def expected(network: nn.Module, pixels: np.ndarray) -> np.ndarray:
    """The probabilities by torch alone."""
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    images = (images - torch.tensor(CONFIG.mean)[:, None, None]) / torch.tensor(CONFIG.std)[:, None, None]
    network.eval()
    with torch.no_grad():
        logits = network(images)
    network.train()
    return logits.softmax(1).numpy()


def test_probabilities_are_those_of_the_network_in_eval_mode(predictor, network, pixels):
    found = predictor.predict(pixels)
    assert found.probabilities.dtype == np.float32
    assert np.allclose(found.probabilities, expected(network, pixels), atol=1e-5)
    assert np.allclose(found.probabilities.sum(axis=1), 1, atol=1e-6)
    assert network.training  # the mode it came with


def test_every_kind_of_image_gives_the_same(predictor, pixels, tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image).save(path)
    tensors = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    wanted = predictor.predict(pixels).probabilities
    kinds = {
        "paths": paths,
        "strings": [str(path) for path in paths],
        "PIL": [Image.fromarray(image) for image in pixels],
        "list of arrays": list(pixels),
        "uint8 tensor": tensors,
        "list of tensors": list(tensors),
        "float tensor": tensors.float() / 255,
        "mixed": [paths[0], Image.fromarray(pixels[1]), pixels[2], tensors[3]],
    }
    for name, images in kinds.items():
        found = predictor.predict(images)
        assert np.array_equal(found.probabilities, wanted), name
        assert len(found) == 4


def test_one_image_is_a_list_of_one(predictor, pixels, tmp_path):
    path = tmp_path / "one.png"
    Image.fromarray(pixels[0]).save(path)
    wanted = predictor.predict(pixels[:1]).probabilities
    for image in (path, str(path), Image.open(path), pixels[0], torch.from_numpy(pixels[0]).permute(2, 0, 1)):
        found = predictor.predict(image)
        assert len(found) == 1
        assert np.array_equal(found.probabilities, wanted)


def test_predictions_name_class_probability_and_path(predictor, pixels, tmp_path):
    path = tmp_path / "one.png"
    Image.fromarray(pixels[0]).save(path)
    found = predictor.predict([path, Image.fromarray(pixels[1])])
    assert found.classes == ("a", "b", "c")
    assert found.paths == (str(path), None)
    for row, prediction in zip(found.probabilities, found, strict=True):
        assert prediction.index == int(row.argmax())
        assert prediction.predicted == "abc"[prediction.index]
        assert prediction.probability == float(row.max())
        assert prediction.probabilities == dict(zip("abc", map(float, row), strict=True))
    assert found[0].path == str(path)
    assert [prediction.predicted for prediction in found[0:2]] == [prediction.predicted for prediction in found]
    assert found[-1].index == found[1].index


def test_images_of_other_sizes_are_resized_and_an_empty_list_is_empty(predictor):
    images = [
        Image.new("RGB", (100, 50), "red"),
        Image.new("L", (7, 90), 30),
        Image.new("RGBA", (24, 24), (0, 0, 0, 0)),
    ]
    assert len(predictor.predict(images)) == 3
    nothing = predictor.predict([])
    assert (len(nothing), nothing.probabilities.shape, nothing.unreadable) == (0, (0, 3), {})


def test_transparent_is_white_and_grey_is_rgb(predictor):
    clear = predictor.predict(Image.new("RGBA", (SIDE, SIDE), (9, 9, 9, 0))).probabilities
    white = predictor.predict(Image.new("RGB", (SIDE, SIDE), "white")).probabilities
    grey = predictor.predict(Image.new("L", (SIDE, SIDE), 77)).probabilities
    rgb = predictor.predict(Image.new("RGB", (SIDE, SIDE), (77, 77, 77))).probabilities
    assert np.array_equal(clear, white)
    assert np.array_equal(grey, rgb)
    assert not np.array_equal(white, rgb)


def test_unreadable_files_are_listed_and_the_others_keep_their_order(predictor, pixels, tmp_path):
    for number in (0, 2):
        Image.fromarray(pixels[number]).save(tmp_path / f"{number}.png")
    (tmp_path / "1.png").write_text("text")
    found = predictor.predict([tmp_path / "0.png", tmp_path / "1.png", tmp_path / "2.png", tmp_path / "3.png"])
    assert found.paths == (str(tmp_path / "0.png"), str(tmp_path / "2.png"))
    assert set(found.unreadable) == {str(tmp_path / "1.png"), str(tmp_path / "3.png")}
    assert np.array_equal(found.probabilities, predictor.predict(pixels[[0, 2]]).probabilities)


def test_many_images_are_taken_in_parts_with_the_same_result(network, pixels):
    many = np.tile(pixels, (10, 1, 1, 1))
    small = Predictor(network, CONFIG, Settings(device="cpu", threads=1, evaluation_batch_size=7))
    found = small.predict(many).probabilities
    assert np.allclose(found, np.tile(expected(network, pixels), (10, 1)), atol=1e-5)


def test_temperature_divides_the_logits(network, pixels):
    cold = Predictor(network, CONFIG, Settings(device="cpu", threads=1))
    hot = Predictor(network, replace(CONFIG, temperature=2.5), Settings(device="cpu", threads=1))
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    assert torch.allclose(hot.logits(images), cold.logits(images) / 2.5, atol=1e-6)
    assert np.array_equal(hot.predict(pixels).probabilities.argmax(1), cold.predict(pixels).probabilities.argmax(1))
    assert (hot.predict(pixels).probabilities.max(1) < cold.predict(pixels).probabilities.max(1)).all()


def test_flip_averaging_gives_an_image_and_its_mirror_image_the_same(network, pixels):
    averaged = Predictor(network, replace(CONFIG, averaging="flip"), Settings(device="cpu", threads=1))
    mirrored = np.ascontiguousarray(pixels[:, :, ::-1])
    one, two = averaged.predict(pixels).probabilities, averaged.predict(mirrored).probabilities
    assert np.allclose(one, two, atol=1e-6)
    plain = Predictor(network, CONFIG, Settings(device="cpu", threads=1))
    assert not np.allclose(plain.predict(pixels).probabilities, plain.predict(mirrored).probabilities, atol=1e-4)


def test_prediction_leaves_no_trace(predictor, network, pixels):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    predictor.predict(pixels)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert all(parameter.grad is None for parameter in network.parameters())


WRONG = {
    "float array": np.zeros((SIDE, SIDE, 3), np.float32),
    "grey array": np.zeros((SIDE, SIDE), np.uint8),
    "array with the channels first": np.zeros((3, SIDE, SIDE), np.uint8),
    "array of four channels": np.zeros((SIDE, SIDE, 4), np.uint8),
    "int64 tensor": torch.zeros(3, SIDE, SIDE, dtype=torch.int64),
    "bool tensor": torch.zeros(3, SIDE, SIDE, dtype=torch.bool),
    "float tensor above 1": torch.full((3, SIDE, SIDE), 1.5),
    "float tensor below 0": torch.full((3, SIDE, SIDE), -0.5),
    "normalised tensor": torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)),
    "NaN": torch.full((3, SIDE, SIDE), float("nan")),
    "grey tensor": torch.zeros(1, SIDE, SIDE),
    "tensor with the channels last": torch.zeros(SIDE, SIDE, 3),
    "float tensor of two dimensions": torch.zeros(SIDE, SIDE),
    "uint8 tensor of two dimensions": torch.zeros(SIDE, SIDE, dtype=torch.uint8),
    "uint8 tensor of five dimensions": torch.zeros(1, 1, 3, SIDE, SIDE, dtype=torch.uint8),
    "a number": 7,
    "nothing": None,
    "a list of numbers": [3.5],
    "a list of nothing": [None],
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_image_is_an_input_error(predictor, name):
    with pytest.raises(InputError):
        predictor.predict(WRONG[name])


class Flat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer(images.flatten(1))


def test_network_trained_on_tensors_takes_them_as_they_are(tmp_path):
    network = Flat()
    tensors = Predictor(network, PredictorConfig(classes=("a", "b"), images="tensors"), Settings(threads=1))
    images = torch.randn(5, 3, 2, 2) * 9
    with torch.no_grad():
        wanted = network(images).softmax(1).numpy()
    assert np.allclose(tensors.predict(images).probabilities, wanted, atol=1e-6)
    assert np.allclose(tensors.predict(list(images)).probabilities, wanted, atol=1e-6)
    assert np.allclose(tensors.predict(images[0]).probabilities, wanted[:1], atol=1e-6)
    for other in (Path("x.png"), Image.new("RGB", (2, 2)), np.zeros((2, 2, 3), np.uint8)):
        with pytest.raises(InputError, match="data set of tensors"):
            tensors.predict(other)
    with pytest.raises(InputError):
        tensors.predict([torch.zeros(3, 2, 2), torch.zeros(3, 4, 4)])
