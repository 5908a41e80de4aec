"""truefit predict: classes of images."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fruit import COLOURS, SIDE, draw
from PIL import Image

from truefit import load


@pytest.fixture
def stored(trained) -> dict[str, tuple[str, np.ndarray]]:
    """What the evaluation gave for each file: class and probabilities."""
    with np.load(trained.folder / "predictions.npz", allow_pickle=False) as rows:
        names = [list(COLOURS)[index] for index in rows["predicted"]]
        return dict(zip(rows["paths"].tolist(), zip(names, rows["probabilities"], strict=True), strict=True))


def test_each_file_gets_the_class_that_evaluate_gave_it(invoke, trained, stored):
    answer = invoke("predict", trained.folder, *stored, "--json")
    assert answer.code == 0, answer.err
    rows = answer.json["predictions"]
    assert [row["path"] for row in rows] == list(stored)
    for row in rows:
        predicted, probabilities = stored[row["path"]]
        assert row["predicted"] == predicted
        assert list(row["probabilities"]) == list(COLOURS)
        assert list(row["probabilities"].values()) == pytest.approx(probabilities.tolist(), abs=1e-5)
        assert row["probability"] == max(row["probabilities"].values())


def test_a_file_by_itself_in_a_new_process_gets_that_class_too(command, trained, stored, tmp_path):
    path, (predicted, probabilities) = next(iter(stored.items()))
    answer = command("predict", trained.folder, path, cwd=tmp_path)
    assert answer.code == 0, answer.err
    assert answer.out.splitlines() == [f"{path}\t{predicted}\t{probabilities.max():.3f}"]
    assert answer.err == ""


def test_a_folder_is_searched_in_depth_in_natural_order(invoke, trained, fruit):
    answer = invoke("predict", trained.folder, fruit)
    assert answer.code == 0
    names = [Path(line.split("\t")[0]).relative_to(fruit).as_posix() for line in answer.out.splitlines()]
    assert names == [f"{name}/{number}.png" for name in COLOURS for number in range(20)]
    assert all(line.split("\t")[1] in COLOURS for line in answer.out.splitlines())


def test_unreadable_files_among_good_ones_are_listed_on_stderr(invoke, trained, tmp_path):
    good = draw(tmp_path / "good.png", COLOURS["apple"], 1)
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("text")
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:100])
    answer = invoke("predict", trained.folder, tmp_path)
    assert answer.code == 0
    assert [line.split("\t")[0] for line in answer.out.splitlines()] == [str(good)]
    assert len([line for line in answer.err.splitlines() if line.startswith("unreadable: ")]) == 3
    for name in ("empty.png", "text.jpg", "cut.png"):
        assert str(tmp_path / name) in answer.err


def test_only_unreadable_files_end_with_1(invoke, trained, tmp_path):
    (tmp_path / "text.jpg").write_text("text")
    answer = invoke("predict", trained.folder, tmp_path / "text.jpg")
    assert (answer.code, answer.out) == (1, "")
    assert "text.jpg" in answer.err
    answer = invoke("predict", trained.folder, tmp_path / "text.jpg", "--json")
    assert answer.code == 1
    assert answer.json["predictions"] == []
    assert list(answer.json["unreadable"]) == [str(tmp_path / "text.jpg")]


@pytest.mark.parametrize(
    ("mode", "size", "name"),
    [
        ("L", (SIDE, SIDE), "grey.png"),
        ("RGBA", (SIDE, SIDE), "clear.png"),
        ("P", (SIDE, SIDE), "palette.gif"),
        ("CMYK", (SIDE, SIDE), "print.jpg"),
        ("I;16", (SIDE, SIDE), "deep.png"),
        ("RGB", (200, 31), "wide.webp"),
        ("RGB", (5, 300), "tall.bmp"),
        ("RGB", (1, 1), "dot.png"),
    ],
)
def test_images_of_every_mode_and_size_are_classified(invoke, trained, tmp_path, mode, size, name):
    Image.new(mode, size, 100 if mode in ("L", "P", "I;16") else None).save(tmp_path / name)
    answer = invoke("predict", trained.folder, tmp_path / name, "--json")
    assert answer.code == 0, answer.err
    (row,) = answer.json["predictions"]
    assert row["predicted"] in COLOURS
    assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("what", ["nowhere.png", "empty"])
def test_nothing_there_is_an_error(invoke, trained, what):
    Path("empty").mkdir()
    answer = invoke("predict", trained.folder, what)
    assert answer.code == 2
    assert what in answer.err
    assert answer.out == ""


def test_no_image_named_is_an_error(invoke, trained):
    answer = invoke("predict", trained.folder)
    assert answer.code == 2
    assert answer.err


def test_no_run_is_an_error(invoke, fruit):
    answer = invoke("predict", fruit, fruit)
    assert answer.code == 2
    assert "not a run folder" in answer.err
    assert str(fruit) in answer.err


def test_supplied_network_that_does_not_fit_is_an_error(invoke, trained, fruit):
    for name, word in (("nocolon", "package.module:callable"), ("torch:nope", "nope"), ("math:pi", "--model")):
        answer = invoke("predict", trained.folder, fruit, "--model", name)
        assert answer.code == 2, answer.err
        assert word in answer.err
    answer = invoke("predict", trained.folder, fruit, "--model", "truefit.models.convnet:ConvNet")
    assert answer.code == 2
    assert "does not fit the weights" in answer.err


def test_a_line_a_file_whatever_its_name_holds(invoke, trained, stored, tmp_path):
    content = Path(next(iter(stored))).read_bytes()
    for name in ("two\nlines.png", "a\ttab.png", "an \x1b[31mescape.png", "a space and 🍎.png"):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "bro\nken.png").write_bytes(b"no image")
    answer = invoke("predict", trained.folder, tmp_path)
    assert answer.code == 0
    assert [len(line.split("\t")) for line in answer.out.splitlines()] == [3] * 4
    assert "two\\nlines.png" in answer.out
    assert "a space and 🍎.png" in answer.out
    assert "\x1b" not in answer.out
    assert len(answer.err.splitlines()) == 1


def test_top_k_names_the_most_probable_first_in_every_format(invoke, trained, stored):
    path, (predicted, probabilities) = next(iter(stored.items()))
    wanted = sorted(zip(COLOURS, probabilities.tolist(), strict=True), key=lambda pair: -pair[1])
    assert wanted[0][0] == predicted
    cells = [cell for name, probability in wanted[:2] for cell in (name, f"{probability:.3f}")]
    assert invoke("predict", trained.folder, path, "--top", "2").out == "\t".join([path, *cells]) + "\n"
    (row,) = invoke("predict", trained.folder, path, "--top", "9", "--json").json["predictions"]
    assert [(each["class"], pytest.approx(each["probability"], abs=1e-5)) for each in row["top"]] == wanted
    answer = invoke("predict", trained.folder, path, "--top", "3", "--csv")
    header, line = csv.reader(io.StringIO(answer.out))
    assert header == [
        *("path", "predicted", "probability", "predicted_2", "probability_2", "predicted_3", "probability_3"),
    ]
    assert line[0::2][:1] == [path]
    assert line[1::2] == [name for name, _ in wanted]
    assert [float(value) for value in line[2::2]] == pytest.approx([value for _, value in wanted], abs=1e-5)


def test_names_with_line_ends_survive_csv(invoke, trained, stored, tmp_path):
    content = Path(next(iter(stored))).read_bytes()
    names = ["two\nlines.png", 'a, "quoted".png']
    for name in names:
        (tmp_path / name).write_bytes(content)
    answer = invoke("predict", trained.folder, tmp_path, "--csv")
    assert answer.code == 0
    rows = list(csv.DictReader(io.StringIO(answer.out, newline="")))
    assert sorted(row["path"] for row in rows) == sorted(str(tmp_path / name) for name in names)


def test_a_pattern_is_expanded(invoke, trained, fruit):
    answer = invoke("predict", trained.folder, f"{fruit}/*/1*.png")
    assert answer.code == 0
    assert len(answer.out.splitlines()) == 3 * 11
    answer = invoke("predict", trained.folder, f"{fruit}/**/nothing*.png")
    assert answer.code == 2
    assert "nothing*.png" in answer.err


@pytest.mark.parametrize("end", ["\n", "\r\n", "\0"])
def test_paths_from_standard_input(invoke, trained, stored, tmp_path, monkeypatch, end):
    odd = tmp_path / "two\nlines.png"
    odd.write_bytes(Path(next(iter(stored))).read_bytes())
    files = [*list(stored)[:3], str(tmp_path / "gone.png"), *([str(odd)] if end == "\0" else [])]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(end.join([*files, ""]).encode())))
    answer = invoke("predict", trained.folder, "-", "--json")
    assert answer.code == 0, answer.err
    assert [row["path"] for row in answer.json["predictions"]] == [f for f in files if "gone" not in f]
    assert list(answer.json["unreadable"]) == [str(tmp_path / "gone.png")]


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "BMP"])
def test_one_image_from_standard_input(invoke, trained, tmp_path, monkeypatch, form):
    image = Image.open(draw(tmp_path / "x.png", COLOURS["cherry"], 1))
    image.save(tmp_path / "image", form)
    content = (tmp_path / "image").read_bytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    answer = invoke("predict", trained.folder, "-")
    assert answer.code == 0, answer.err
    wanted = invoke("predict", trained.folder, tmp_path / "image").out
    assert answer.out.split("\t")[1:] == wanted.split("\t")[1:]
    assert answer.out.split("\t")[0] == "-"


def test_half_an_image_from_a_real_pipe_is_unreadable(trained, stored, tmp_path):
    content = Path(next(iter(stored))).read_bytes()[:100]
    words = [Path(sys.executable).with_name("truefit"), "predict", trained.folder, "-"]
    done = subprocess.run(words, input=content, capture_output=True, cwd=tmp_path, timeout=200, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stdout == b""
    assert done.stderr.startswith(b"unreadable: -: ")


def test_closed_standard_input_is_an_error(trained, tmp_path):
    ask = f"'{Path(sys.executable).with_name('truefit')}' predict '{trained.folder}' - <&-"
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, cwd=tmp_path, timeout=200, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: standard input is closed\n")


def test_wrong_ways_to_ask(invoke, trained, fruit, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
    for words, says in [
        (("-",), "no image is named"),
        ((fruit, "--top", "0"), "top"),
        ((fruit, "--threads", "0"), "threads"),
        ((fruit, "--csv", "--json"), "opposites"),
    ]:
        answer = invoke("predict", trained.folder, *words)
        assert (answer.code, answer.out) == (2, ""), answer
        assert says in answer.err


def test_any_number_of_threads_and_batches_gives_the_same_answers_in_order(trained, fruit):
    predictor = load(trained.folder).predictor
    predictor.settings = replace(predictor.settings, evaluation_batch_size=7)
    files = sorted(fruit.rglob("*.png"))
    seen: list[tuple[int, int]] = []
    whole = predictor.predict(files)
    for threads in (1, 3):
        parts = list(predictor.predict_files(files, threads=threads, on_progress=lambda *at: seen.append(at)))
        assert max(map(len, parts)) <= 7
        assert [path for part in parts for path in part.paths] == [str(file) for file in files]
        assert np.concatenate([part.probabilities for part in parts]) == pytest.approx(whole.probabilities, abs=1e-6)
    assert seen[-1] == (60, 60)


def test_explanations_are_written_for_each_image_and_change_no_figure(invoke, trained, fruit, tmp_path):
    folders = [fruit / "apple" / "1.png", fruit / "cherry" / "1.png"]
    (tmp_path / "broken.png").write_bytes(b"")
    plain = invoke("predict", trained.folder, *folders, "--json")
    answer = invoke(
        "predict", trained.folder, *folders, tmp_path / "broken.png", "--explain", tmp_path / "why", "--json"
    )
    assert answer.code == 0, answer.err
    rows = answer.json["predictions"]
    places = [Path(row.pop("explanation")) for row in rows]
    assert rows == plain.json["predictions"]
    assert places == [tmp_path / "why" / "1.png", tmp_path / "why" / "1-2.png"]
    assert sorted(places) == sorted((tmp_path / "why").iterdir())
    shown = [np.asarray(Image.open(place)) for place in places]
    assert all(image.shape == (240, 240, 3) for image in shown)
    assert not np.array_equal(*shown)


def test_explanations_never_go_among_other_files(invoke, trained, fruit, tmp_path):
    (tmp_path / "mine.png").write_bytes(b"")
    answer = invoke("predict", trained.folder, fruit / "apple" / "1.png", "--explain", tmp_path)
    assert answer.code == 2
    assert "has something in it" in answer.err
    assert not (tmp_path / "1.png").exists()
