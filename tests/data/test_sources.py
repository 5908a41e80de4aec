"""Data sets by name: digits, and torchvision's downloads against a server on this machine."""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import struct
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from torchvision import datasets

from truefit.data import sources
from truefit.data.lookup import load_data
from truefit.data.sources.torchvision_sets import cache_folder
from truefit.errors import InputError


@dataclass
class Server:
    """Files by path; the next `cut` downloads stop half-way. `asked` lists the downloads."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    cut: int = 0
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = state.files.get(self.path.lstrip("/"))
            if content is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.headers.get("Method") == "HEAD":  # torchvision looks for a redirection first
                return
            state.asked.append(self.path.lstrip("/"))
            if state.cut > 0:
                state.cut -= 1
                content = content[: len(content) // 2]
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    state.url = f"http://127.0.0.1:{http.server_port}/"
    yield state
    http.shutdown()
    http.server_close()
    thread.join()


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes())


def images(n: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (n, *shape), np.uint8)


def serve_mnist(server: Server, monkeypatch: pytest.MonkeyPatch, kind: type = datasets.MNIST) -> None:
    resources = []
    for part, n in (("train", 200), ("t10k", 30)):
        for name, array in (
            ("images-idx3", images(n, 28, 28)),
            ("labels-idx1", np.arange(n) % 10),
        ):
            file = f"{part}-{name}-ubyte.gz"
            server.files[file] = idx(array)
            resources.append((file, md5(server.files[file])))
    monkeypatch.setattr(kind, "mirrors", [server.url])
    monkeypatch.setattr(kind, "resources", resources)


def serve_cifar(server: Server, monkeypatch: pytest.MonkeyPatch, kind: type) -> None:
    fine = kind is datasets.CIFAR100
    classes = 100 if fine else 10
    names = [f"class {label}" for label in range(classes)]
    files = {"train": 4 * classes, "test": classes} if fine else {"data_batch_1": 100, "test_batch": 20}
    entries = {
        name: pickle.dumps(
            {
                "data": images(n, 3, 32, 32).reshape(n, -1),
                "fine_labels" if fine else "labels": [i % classes for i in range(n)],
            }
        )
        for name, n in files.items()
    }
    meta = dict(kind.meta)  # type: ignore[attr-defined]
    entries[meta["filename"]] = pickle.dumps({meta["key"]: names})
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, content in entries.items():
            member = tarfile.TarInfo(f"{kind.base_folder}/{name}")  # type: ignore[attr-defined]
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    server.files["cifar.tar.gz"] = archive.getvalue()
    train, test = files
    monkeypatch.setattr(kind, "url", server.url + "cifar.tar.gz")
    monkeypatch.setattr(kind, "tgz_md5", md5(archive.getvalue()))
    monkeypatch.setattr(kind, "train_list", [[train, md5(entries[train])]])
    monkeypatch.setattr(kind, "test_list", [[test, md5(entries[test])]])
    monkeypatch.setattr(kind, "meta", {**meta, "md5": md5(entries[meta["filename"]])})


def serve_svhn(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {}
    for split, n in (("train", 100), ("test", 20)):
        file = f"{split}_32x32.mat"
        buffer = io.BytesIO()
        labels = (np.arange(n) % 10 + 1).reshape(-1, 1)  # 10 stands for the digit 0
        scipy.io.savemat(buffer, {"X": images(n, 32, 32, 3).transpose(1, 2, 3, 0), "y": labels})
        server.files[file] = buffer.getvalue()
        parts[split] = [server.url + file, file, md5(buffer.getvalue())]
    monkeypatch.setattr(datasets.SVHN, "split_list", parts)


def test_digits() -> None:
    data = load_data("digits")
    assert (data.name, data.mirror, data.classes) == ("digits", False, tuple("0123456789"))
    assert [(part.split, len(part)) for part in data.splits] == [
        ("train", 1293),
        ("validation", 144),
        ("test", 360),
    ]
    assert data.test is not None
    assert data.test.pixels is not None
    assert data.test.pixels.shape == (360, 32, 32, 3)
    assert (data.test.pixels.min(), data.test.pixels.max()) == (0, 255)
    assert data.test.counts().min() >= 34
    assert data.train.fingerprint() == load_data("digits").train.fingerprint()
    assert data.test.fingerprint() != load_data("digits", split_seed=1).test.fingerprint()  # type: ignore[union-attr]


def test_digits_options() -> None:
    data = load_data("digits", val_fraction=0, image_size=24)
    assert data.validation is None
    assert len(data.train) == 1437
    assert data.train.image_size == 24
    assert data.train[0][0].shape == (3, 24, 24)


def test_a_folder_called_like_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert any("./digits" in note for note in load_data("digits").notes)
    with pytest.raises(InputError, match="empty"):
        load_data("./digits")


def test_every_source_is_found_by_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {*sources.sources()} == {"digits", "cifar10", "cifar100", "mnist", "fashion-mnist", "svhn"}
    (tmp_path / "extra_for_test.py").write_text(
        "from truefit.data.sources import digits\n"
        "NAMES = ('more-digits',)\n"
        "def load(name, options):\n"
        "    return digits.load(name, options)\n"
    )
    monkeypatch.setattr(sources, "__path__", [*sources.__path__, str(tmp_path)])
    assert load_data("more-digits").name == "more-digits"


def test_images_that_would_fill_the_memory_are_refused() -> None:
    with pytest.raises(InputError, match="memory"):
        load_data("digits", image_size=100_000)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_mnist(name: str, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = datasets.MNIST if name == "mnist" else datasets.FashionMNIST
    serve_mnist(server, monkeypatch, kind)
    data = load_data(name, root=tmp_path)
    assert [len(part) for part in data.splits] == [180, 20, 30]
    assert data.mirror is (name != "mnist")
    assert data.classes[1] == ("1" if name == "mnist" else "Trouser")
    assert data.test is not None
    assert data.test.labels.tolist() == [number % 10 for number in range(30)]
    np.testing.assert_array_equal(data.test.pixels, np.stack([images(30, 28, 28)] * 3, axis=3))
    load_data(name, root=tmp_path)
    assert len(server.asked) == 4, "the second time nothing is downloaded"


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar(name: str, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    serve_cifar(server, monkeypatch, datasets.CIFAR10 if name == "cifar10" else datasets.CIFAR100)
    data = load_data(name, root=tmp_path, split_seed=3)
    n_test = 20 if name == "cifar10" else 100
    assert data.test is not None
    assert len(data.test) == n_test
    assert data.mirror
    assert data.classes[1] == "class 1"
    np.testing.assert_array_equal(data.test.pixels, images(n_test, 3, 32, 32).transpose(0, 2, 3, 1))


def test_svhn(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    serve_svhn(server, monkeypatch)
    data = load_data("svhn", root=tmp_path)
    assert data.test is not None
    assert data.test.labels[:10].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    assert not data.mirror
    np.testing.assert_array_equal(data.test.pixels, images(20, 32, 32, 3))


@pytest.mark.parametrize("name", ["mnist", "cifar10", "svhn"])
def test_an_interrupted_download_starts_again(
    name: str, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "mnist":
        serve_mnist(server, monkeypatch)
    elif name == "cifar10":
        serve_cifar(server, monkeypatch, datasets.CIFAR10)
    else:
        serve_svhn(server, monkeypatch)
    server.cut = 1
    data = load_data(name, root=tmp_path)
    assert data.test is not None
    assert server.cut == 0
    assert server.asked[0] == server.asked[1]


def test_a_download_that_always_breaks_leaves_nothing_behind(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_cifar(server, monkeypatch, datasets.CIFAR10)
    server.cut = 99
    with pytest.raises(InputError, match="could not be downloaded"):
        load_data("cifar10", root=tmp_path)
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


@pytest.mark.parametrize("part", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
@pytest.mark.parametrize("length", [0, 3, 9, 20])
def test_unpacking_that_was_interrupted_earlier_is_done_again(
    part: str, length: int, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_mnist(server, monkeypatch)
    right = load_data("mnist", root=tmp_path)
    file = tmp_path / "MNIST" / "raw" / part
    file.write_bytes(file.read_bytes()[:length])
    again = load_data("mnist", root=tmp_path)
    assert again.train.fingerprint() == right.train.fingerprint()
    assert len(server.asked) == 4, "the archives were whole"


@pytest.mark.parametrize("name", ["mnist", "cifar10", "svhn"])
def test_no_network_says_what_to_put_where(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = "http://127.0.0.1:9/"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(datasets.MNIST, "mirrors", [nowhere])
    monkeypatch.setattr(datasets.CIFAR10, "url", nowhere + "cifar-10-python.tar.gz")
    parts = {split: [f"{nowhere}{split}_32x32.mat", f"{split}_32x32.mat", ""] for split in ("train", "test")}
    monkeypatch.setattr(datasets.SVHN, "split_list", parts)
    with pytest.raises(InputError) as caught:
        load_data(name, root=tmp_path)
    file = {
        "mnist": "train-images-idx3-ubyte.gz",
        "cifar10": "cifar-10-python.tar.gz",
        "svhn": "test_32x32.mat",
    }[name]
    assert file in caught.value.details["fix"]
    assert "127.0.0.1:9" in caught.value.details["where"]
    assert str(tmp_path) in str(caught.value)


def test_where_downloads_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRUEFIT_DATA", raising=False)
    assert cache_folder() == Path.home() / ".cache" / "truefit" / "data"
    monkeypatch.setenv("TRUEFIT_DATA", str(tmp_path))
    assert cache_folder() == tmp_path
    assert cache_folder(tmp_path / "given") == tmp_path / "given"
