"""Data sets of the package `datasets`: saved to disk, as Parquet, as an image folder, from a hub on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import datasets
import numpy as np
import pytest
from PIL import Image

from truefit.data.columns import Columns
from truefit.data.imageset import Data
from truefit.data.lookup import load_data
from truefit.errors import InputError

FEATURES = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog", "never"])}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """No bars, as in a pipe."""
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def made(n: int = 40, first: int = 0, **more: Any) -> datasets.Dataset:
    """n pictures whose red channel tells the label and whose green one the number."""
    numbers = range(first, first + n)
    images = [Image.new("RGB", (8, 8), (number % 2 * 50, number, 7)) for number in numbers]
    rows = {"image": images, "label": [number % 2 for number in numbers]}
    more = {name: value(numbers) for name, value in more.items()}
    features = datasets.Features({**FEATURES, **{name: datasets.Value("string") for name in more}})
    return datasets.Dataset.from_dict({**rows, **more}, features=features)


def check(data: Data, n: int = 40) -> None:
    """Compares every label with its image, and that each of n images is there once."""
    numbers = []
    for part in data.splits:
        pixels = part.read(range(len(part)))[:, 0, 0]
        assert [int(pixel[0]) // 50 for pixel in pixels] == part.labels.tolist()
        numbers += [int(pixel[1]) for pixel in pixels]
    assert sorted(numbers) == list(range(n))


def test_a_data_set_that_was_saved_to_disk(tmp_path: Path) -> None:
    made().save_to_disk(tmp_path / "pets")
    data = load_data(tmp_path / "pets")
    assert (data.name, data.classes) == ("pets", ("cat", "dog"))
    assert len(data.drawn) == 2
    check(data)
    check(load_data(data.spec, **data.options))


def test_splits_as_they_are_named(tmp_path: Path) -> None:
    hidden = made(4).map(lambda row: {"label": -1})
    parts = {"train": made(20), "validation": made(10, 20), "unsupervised": made(5), "test": hidden}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "pets")
    data = load_data(tmp_path / "pets")
    assert [len(part) for part in data.splits] == [20, 10]
    assert data.drawn == ()
    check(data, 30)
    assert any("unsupervised, 5 samples" in note for note in data.notes)
    assert any("labels are hidden" in note for note in data.notes)


def test_images_that_do_not_fit_in_memory_are_read_from_arrow(tmp_path: Path) -> None:
    made().save_to_disk(tmp_path / "pets")
    data = load_data(tmp_path / "pets", memory_share=0.0)
    assert data.train.pixels is None
    check(data)


def test_groups_and_labels_that_are_text(tmp_path: Path) -> None:
    def group(numbers: range) -> list[str]:
        return [f"patient {number // 4}" for number in numbers]

    def kind(numbers: range) -> list[str]:
        return [("ant", "bee")[number % 2] for number in numbers]

    made(group=group, kind=kind).save_to_disk(tmp_path / "pets")
    data = load_data(tmp_path / "pets", columns=Columns(label=("kind",)))
    assert data.classes == ("ant", "bee")
    check(data)
    inside = [set(part.groups or ()) for part in data.splits]
    assert sum(map(len, inside)) == 10


def test_a_list_of_classes_gives_several_labels(tmp_path: Path) -> None:
    names = datasets.ClassLabel(names=["red", "odd"])
    features = datasets.Features({"image": datasets.Image(), "labels": datasets.List(names)})
    images = [Image.new("RGB", (8, 8), (number % 3 * 50, number, 7)) for number in range(40)]
    labels = [[0] * (number % 3 > 0) + [1] * (number % 2) for number in range(40)]
    datasets.Dataset.from_dict({"image": images, "labels": labels}, features=features).save_to_disk(tmp_path / "pets")
    data = load_data(tmp_path / "pets")
    assert data.classes == ("red", "odd")
    for part in data.splits:
        numbers = part.read(range(len(part)))[:, 0, 0, 1].astype(int)
        assert part.labels.tolist() == np.stack([numbers % 3 > 0, numbers % 2], axis=1).astype(int).tolist()


def test_a_folder_of_parquet_files(tmp_path: Path) -> None:
    for split, (first, n) in {"train": (0, 30), "test": (30, 10)}.items():
        place = tmp_path / "pets" / "data" / f"{split}-00000-of-00001.parquet"
        place.parent.mkdir(parents=True, exist_ok=True)
        made(n, first).to_parquet(place)
    data = load_data(tmp_path / "pets", root=tmp_path / "cache")
    assert data.drawn == ("validation",)
    check(data)


def test_a_folder_of_classes_with_a_parquet_file_beside_them_stays_a_folder(tmp_path: Path) -> None:
    made(4).to_parquet(tmp_path / "extra.parquet")
    for label, name in enumerate(("ant", "bee")):
        (tmp_path / name).mkdir()
        for number in range(10):
            Image.new("RGB", (8, 8), (label * 50, number, 7)).save(tmp_path / name / f"{number}.png")
    assert load_data(tmp_path).classes == ("ant", "bee")


def test_an_image_folder_with_a_metadata_file(tmp_path: Path) -> None:
    lines = []
    (tmp_path / "pets").mkdir()
    for number in range(40):
        Image.new("RGB", (8, 8), (number % 2 * 50, number, 7)).save(tmp_path / "pets" / f"{number}.png")
        lines.append(json.dumps({"file_name": f"{number}.png", "kind": ("cat", "dog")[number % 2]}))
    (tmp_path / "pets" / "metadata.jsonl").write_text("\n".join(lines))
    data = load_data(f"hf:{tmp_path / 'pets'}", columns=Columns(label=("kind",)), root=tmp_path / "cache")
    assert data.classes == ("cat", "dog")
    check(data)


def test_what_can_not_be_loaded_is_refused(tmp_path: Path) -> None:
    made(without=lambda numbers: ["x" for _ in numbers]).save_to_disk(tmp_path / "pets")
    for columns, said in ((Columns(image="without"), "holds no images"), (Columns(label=("lable",)), 'mean "label"')):
        with pytest.raises(InputError, match=said):
            load_data(tmp_path / "pets", columns=columns)
    made(4).map(lambda row, at: {"label": -1 if at == 2 else 0}, with_indices=True).save_to_disk(tmp_path / "some")
    with pytest.raises(InputError, match="samples have no label"):
        load_data(tmp_path / "some")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="can't be loaded"):
        load_data(f"hf:{tmp_path / 'empty'}", root=tmp_path / "cache")
    with pytest.raises(InputError, match="no name on the hub"):
        load_data("hf:@main")


COMMIT = "1" * 40
LOAD = """
import sys
from truefit.data.lookup import load_data
from truefit.errors import InputError
for spec in sys.argv[1:]:
    try:
        data = load_data(spec)
        numbers = sorted(map(int, data.test.read(range(10))[:, 0, 0, 1]))
        print(data.name, data.spec, [len(part) for part in data.splits], numbers)
    except InputError as error:
        print(error.what, error.details["found"])
"""


class Hub(BaseHTTPRequestHandler):
    """Answers as the hub does, for one data set of files in `root`; `asked` lists the files that were downloaded."""

    root: Path
    asked: list[str]

    def answer(self) -> None:
        address = urlparse(self.path)
        api, files = "/api/datasets/someone/pets", "/datasets/someone/pets/resolve/"
        path, status, content, headers = unquote(address.path), 404, b"{}", {"X-Error-Code": "RepoNotFound"}
        names = [str(file.relative_to(self.root)) for file in self.root.rglob("*.parquet")]
        if path in (api, f"{api}/revision/{COMMIT}"):
            about = {"id": "someone/pets", "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}
            status, content, headers = 200, json.dumps({**about, "private": False, "tags": []}).encode(), {}
        elif path.startswith(f"{api}/tree/{COMMIT}"):
            listed = [{"type": "file", "path": name, "size": 1, "oid": COMMIT} for name in names]
            if not path.endswith("/data"):
                listed = [{"type": "directory", "path": "data", "size": 0, "oid": COMMIT}]
            status, content, headers = 200, json.dumps(listed).encode(), {}
        elif path.startswith(files):
            headers = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}
            name = path.removeprefix(files).partition("/")[2]
            if name in names:
                status, content = 200, (self.root / name).read_bytes()
                headers = {"ETag": f'"{name}"', "X-Repo-Commit": COMMIT}
                if self.command == "GET":
                    self.asked.append(name)
        self.send_response(status)
        for header, value in headers.items():
            self.send_header(header, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = answer

    def log_message(self, *_: object) -> None:
        pass


def test_a_data_set_on_the_hub(tmp_path: Path) -> None:
    """The real client, in a process of its own, against a hub on this machine."""
    for split, (first, n) in {"train": (0, 30), "test": (30, 10)}.items():
        place = tmp_path / "files" / "data" / f"{split}-00000-of-00001.parquet"
        place.parent.mkdir(parents=True, exist_ok=True)
        made(n, first).to_parquet(place)
    hub = type("OneHub", (Hub,), {"root": tmp_path / "files", "asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), hub) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        environment = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "home"), "no_proxy": "127.0.0.1"}
        environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        try:
            words = [sys.executable, "-c", LOAD, "hf:someone/pets", "hf:someone/pets", "hf:someone/none"]
            done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120, check=True)
            answers = done.stdout.splitlines()
        finally:
            server.shutdown()
            thread.join()
    assert answers[0] == f"pets hf:someone/pets [27, 3, 10] {list(range(30, 40))}"
    assert answers[1] == answers[0]
    assert len(hub.asked) == 2
    assert answers[2].startswith("the data set can't be loaded DatasetNotFoundError")
