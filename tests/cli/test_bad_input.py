"""Bad input through the command: a clear error, exit code 2, and no run folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from fruit import COLOURS, SMALL, draw, draw_classes


def files() -> list[Path]:
    """What lies below here, but for what python compiled."""
    return sorted(path for path in Path.cwd().rglob("*") if "__pycache__" not in path.parts)


def refused(invoke, *words: object) -> str:
    """The message of `truefit train ... --out run`, which must fail by exit code 2 and leave nothing."""
    before = files()
    answer = invoke("train", *words, *(() if "--out" in words else ("--out", "run")))
    assert answer.code == 2, answer.err
    assert answer.err
    assert "Traceback" not in answer.err
    assert files() == before
    return " ".join(answer.err.replace("│", " ").split())


# The folder


def missing(folder: Path) -> None:
    shutil.rmtree(folder)


def emptied(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def only_files(folder: Path) -> None:
    emptied(folder)
    draw(folder / "lonely.png", COLOURS["apple"], 0)


def one_class(folder: Path) -> None:
    shutil.rmtree(folder / "banana")
    shutil.rmtree(folder / "cherry")


def class_without_images(folder: Path) -> None:
    shutil.rmtree(folder / "banana")
    (folder / "banana").mkdir()
    (folder / "banana" / "notes.txt").write_text("to do")


def class_too_small(folder: Path) -> None:
    shutil.rmtree(folder / "banana")
    draw(folder / "banana" / "0.png", COLOURS["banana"], 0)


def truncated(folder: Path) -> None:
    file = folder / "apple" / "3.png"
    file.write_bytes(file.read_bytes()[:300])


def zero_bytes(folder: Path) -> None:
    (folder / "banana" / "4.png").write_bytes(b"")


def text_as_jpg(folder: Path) -> None:
    (folder / "cherry" / "letter.jpg").write_text("Dear Sir or Madam")


def many_unreadable(folder: Path) -> None:
    truncated(folder)
    zero_bytes(folder)
    text_as_jpg(folder)


def file_instead(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_bytes(b"PK an archive")


FOLDERS = [
    (missing, ["does not exist", "nothing there"]),
    (emptied, ["the folder is empty", "wanted:"]),
    (only_files, ["no class folders", "lonely.png"]),
    (one_class, ["only one class", "apple", "at least two"]),
    (class_without_images, ["a class has no images", "banana", "fix:"]),
    (class_too_small, ["too few images", "banana (1)"]),
    (truncated, ["1 of 30 images", "apple/3.png", "--skip-unreadable"]),
    (zero_bytes, ["1 of 30 images", "banana/4.png", "0 bytes"]),
    (text_as_jpg, ["1 of 31 images", "cherry/letter.jpg"]),
    (many_unreadable, ["3 of 31 images", "apple/3.png", "banana/4.png", "cherry/letter.jpg"]),
    (file_instead, ["a file, not a folder", "13 bytes"]),
]


@pytest.mark.parametrize(("spoil", "words"), FOLDERS, ids=[spoil.__name__ for spoil, _ in FOLDERS])
def test_folder_that_is_no_data_set(invoke, tmp_path, spoil, words):
    folder = draw_classes(tmp_path / "data", 10)
    spoil(folder)
    message = refused(invoke, folder, *SMALL)
    assert str(folder) in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("split", ["val", "test"])
def test_split_with_other_classes_lists_them(invoke, tmp_path, split):
    folder = tmp_path / "data"
    draw_classes(folder / "train", 6)
    draw_classes(folder / split, 2, 100)
    (folder / split / "banana").rename(folder / split / "plantain")
    message = refused(invoke, folder, *SMALL)
    for word in ("other classes than train", "banana", "plantain", split):
        assert word in message


@pytest.mark.parametrize(
    ("size", "wanted"), [(20, "24 to 47"), (48, "24 to 47"), (0, "at least 1"), (-3, "at least 1")]
)
def test_wrong_size_for_the_model(invoke, fruit, size, wanted):
    message = refused(invoke, fruit, *SMALL, "--image-size", size)
    assert str(size) in message
    assert wanted in message


# Names


def test_unknown_data_model_recipe_name_the_nearest(invoke, fruit):
    message = refused(invoke, "digts")
    assert 'unknown data set "digts"' in message
    assert 'did you mean "digits"?' in message
    assert 'did you mean "convnet"?' in refused(invoke, fruit, "--model", "convnett")
    assert 'did you mean "resnet18"?' in refused(invoke, fruit, "--model", "resnet81")
    assert 'did you mean "standard"?' in refused(invoke, fruit, "--recipe", "standart")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["--epoch", "3"], "--epochs"),
        (["--batchsize", "3"], "--batch-size"),
        (["--sede", "3"], "--seed"),
        (["--optimizer.lrr", "3"], "--optimizer.lr"),
        (["--mesure-training"], "--measure-training"),
        (["-epochs", "3"], "--epochs"),
    ],
)
def test_unknown_flag_names_the_nearest(invoke, fruit, words, meant):
    message = refused(invoke, fruit, *words)
    assert f'unknown option "{words[0]}"' in message
    assert f'did you mean "{meant}"?' in message


@pytest.mark.parametrize(
    ("words", "found", "wanted", "fix"),
    [
        ("--optimizer adamm", "adamm", "adam, adamw, muon, sgd or None", 'did you mean "adam"?'),
        (
            "--schedule=cosin",
            "cosin",
            "constant, cosine, one-cycle, reduce-on-plateau, step or None",
            'did you mean "cosine"?',
        ),
        ("--doctor maybe", "maybe", "full, off or on", None),
        ("--epochs 1.5 --seed 3", "1.5", "a whole number", "truefit train --help describes --epochs"),
        ("--lr=fast", "fast", "a number or None", "truefit train --help describes --lr"),
        ("--lr 0.1 --lr fast", "fast", "a number or None", "truefit train --help describes --lr"),
        ("--optimizer.betas 0.9", "0.9", "2 numbers or None", "truefit train --help describes --optimizer.betas"),
        ("--optimizer.betas 0.9 x --seed 3", "0.9, x", "2 numbers or None", "describes --optimizer.betas"),
        (
            "--loss.class_weights a b",
            "a, b",
            "balanced, any number of numbers or None",
            "describes --loss.class-weights",
        ),
        ("--seed", "nothing after it", "--seed VALUE", "truefit train --help describes --seed"),
        ("--epochs 1.5 fruit", "1.5 wanted:", "a whole number", "truefit train --help describes --epochs"),
        ("--optimizer.nesterov=no", "--optimizer.nesterov=no", "--optimizer.nesterov or --optimizer.no-nesterov", None),
        ("--no-report=mnist", "--no-report=mnist", "--report or --no-report", None),
        ("fruit more", "more", None, "truefit train --help lists what it takes"),
        ("fruit 1 2 3 4 5 6 7", "1, 2, 3, 4, 5 and 2 more", None, "leave it out"),
        ("fruit -x.jpg", "-x.jpg", None, "./-x.jpg, where a file of this name is meant"),
    ],
)
def test_a_wrong_value_says_what_was_found_and_what_is_wanted(invoke, fruit, words, found, wanted, fix):
    answer = refused(invoke, *words.split()) if "fruit" in words else refused(invoke, fruit, *words.split())
    assert answer.startswith("error: ")
    assert "where: truefit train" in answer
    assert f"found: {found}" in answer
    for label, said in (("wanted", wanted), ("fix", fix)):
        assert (f"{label}:" in answer) == (said is not None)
        assert (said or "") in answer
    assert "NoneType" not in answer
    assert "parsing" not in answer


def test_what_is_not_understood_of_a_refusal_is_shown_as_it_is(invoke, fruit, monkeypatch):
    monkeypatch.setattr("truefit.commands.refused.REFUSALS", {})
    assert "invalid choice 'adamm'" in refused(invoke, fruit, "--optimizer", "adamm")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "--augment.shrink 7",
            "error: augment.shrink is out of range where: augment.shrink found: 7.0 wanted: a fraction",
        ),
        (
            "--ema.decay 2",
            "error: ema.decay is out of range where: ema.decay found: 2.0 wanted: from 0 to below 1 fix:",
        ),
        ("-x", 'error: unknown option "-x" where: truefit train fix: truefit train --help lists them'),
    ],
)
def test_settings_out_of_range_say_so_themselves(invoke, fruit, words, said):
    assert refused(invoke, fruit, *words.split()).startswith(said)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("cache foo", "error: an unknown word\n  where:  truefit cache\n  found:  foo\n  wanted: ls or rm\n"),
        ("cache -x", 'error: unknown option "-x"\n  where:  truefit cache\n  fix:    known: --all, '),
        ("serve r --port 99999", "error: port is out of range\n"),
        (
            "doctor run --steps x s.py",
            "error: argument --steps: invalid int value: 'x'\n  where:  truefit doctor run\n",
        ),
    ],
)
def test_other_commands_refuse_in_the_same_way(invoke, words, said):
    answer = invoke(*words.split())
    assert answer.code == 2
    assert answer.err.startswith(said)


@pytest.mark.parametrize("command", ["evaluate", "predict", "export", "calibrate", "serve", "demo"])
def test_a_missing_run_is_asked_for(invoke, command):
    answer = invoke(command)
    assert answer.code == 2
    assert answer.err.startswith("error: RUN is missing\n")
    assert f"where:  truefit {command}\n" in answer.err
    assert "wanted: A folder that truefit train wrote." in answer.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epoch: 3", ['unknown key "epoch"', "fix:"]),
        ("batch_size: 32", ['unknown key "batch_size"', "it stands deeper: recipe.batch_size"]),
        ("lr: 0.1", ['unknown key "lr"', "it stands deeper: recipe.optimizer.lr"]),
        ("sead: 3", ['unknown key "sead"', 'did you mean "seed"?']),
        ("recipe: {epoch: 3}", ['unknown key "epoch"', 'did you mean "epochs"?', "recipe"]),
        ("recipe: {optimizer: {lrr: 3}}", ['unknown key "lrr"', 'did you mean "lr"?', "recipe.optimizer"]),
        ("recipe: {epochs: many}", ["recipe.epochs", "many", "int"]),
        ("recipe: {epochs: 0}", ["epochs", "at least 1"]),
        ("recipe: {optimizer: {name: adamm}}", ["recipe.optimizer.name", "adamm", "adam"]),
        ("recipe: standart", ["standart", 'did you mean "standard"?']),
        ("seed: true", ["seed", "True", "int"]),
        ("- a\n- b", ["mapping"]),
        ("a: [", ["can't be read", "YAML"]),
    ],
)
def test_config_file_with_a_mistake(invoke, fruit, tmp_path, text, words):
    file = tmp_path / "config.yaml"
    file.write_text(text)
    message = refused(invoke, fruit, "--config", file)
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("epoch: 3", "{file}"),
        ("seed: true", "{file}"),
        ("seed: -1", "{file}: seed"),
        ("- a", "{file}"),
        ("recipe: {epoch: 3}", "{file}: recipe"),
        ("recipe: {epochs: 0}", "{file}: epochs"),
        ("recipe: standart", "{file}: recipe"),
    ],
)
def test_a_mistake_in_a_config_file_names_the_file(invoke, fruit, tmp_path, text, where):
    file = tmp_path / "config.yaml"
    file.write_text(text)
    answer = invoke("train", fruit, "--config", file)
    assert answer.code == 2
    assert f"\n  where:  {where.format(file=file)}\n" in answer.err
    assert "TrainConfig" not in answer.err


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ("seed: 1\nseed: 2\n", "seed", 2),
        ("recipe:\n  optimizer:\n    lr: 0.1\n    name: sgd\n    lr: 0.2\n", "lr", 5),
        ("recipe: {epochs: 1, batch_size: 8, epochs: 2}", "epochs", 1),
    ],
)
def test_a_key_that_stands_twice_in_a_config_file(invoke, fruit, tmp_path, text, key, line):
    file = tmp_path / "config.yaml"
    file.write_text(text)
    message = refused(invoke, fruit, "--config", file)
    assert f'the key "{key}" stands twice' in message
    assert f"where: {file}, line {line} " in message


def test_merged_keys_of_a_config_file_are_no_duplicates(invoke, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("recipe: {<<: {epochs: 3}, epochs: 4}\n")
    answer = invoke("train", "--config", file, "--print-config")
    assert answer.code == 0, answer.err
    assert "\n  epochs: 4\n" in answer.out


def test_config_file_that_is_not_there(invoke, fruit):
    message = refused(invoke, fruit, "--config", "nowhere.yaml")
    assert "nowhere.yaml" in message


def test_config_and_recipe_together(invoke, fruit, tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    assert "--recipe" in refused(invoke, fruit, "--config", tmp_path / "config.yaml", "--recipe", "standard")


# Numbers


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--batch-size", "0"], "batch_size"),
        (["--batch-size", "-1"], "batch_size"),
        (["--epochs", "0"], "epochs"),
        (["--epochs", "-1"], "epochs"),
        (["--lr", "0"], "lr"),
        (["--lr", "-0.1"], "lr"),
        (["--lr", "nan"], "lr"),
        (["--lr", "inf"], "lr"),
        (["--val-fraction", "1"], "val_fraction"),
        (["--val-fraction", "-0.1"], "val_fraction"),
        (["--seed", "-1"], "seed"),
        (["--workers", "-1"], "workers"),
        (["--accumulate", "0"], "accumulate"),
        (["--clip-norm", "0"], "clip_norm"),
        (["--loss.label-smoothing", "1"], "label_smoothing"),
        (["--optimizer.weight-decay", "1"], "weight_decay"),
        (["--early-stopping", "0"], "early_stopping"),
    ],
)
def test_number_out_of_range_is_named_with_what_was_found_and_wanted(invoke, fruit, words, named):
    message = refused(invoke, fruit, *words)
    assert named in message.replace("-", "_")
    assert "found:" in message
    assert words[1] in message
    assert "wanted:" in message


@pytest.mark.parametrize("option", ["--seed", "--split-seed"])
def test_a_seed_that_no_generator_takes(invoke, fruit, option):
    message = refused(invoke, fruit, *SMALL, option, "9" * 23)
    assert f"{option[2:].replace('-', '_')} is out of range" in message
    assert "wanted: from 0 to below 2^63" in message


@pytest.mark.parametrize(("option", "usual"), [("--accumulate", 1), ("--batch-size", 64), ("--epochs", 10)])
def test_zero_where_some_are_wanted_suggests_the_usual(invoke, fruit, option, usual):
    assert refused(invoke, fruit, option, "0").endswith(f"fix: {option} {usual}")


@pytest.mark.parametrize("words", [["--epochs", "ten"], ["--epochs", "2.5"], ["--lr", "fast"], ["--batch-size"]])
def test_what_is_no_number(invoke, fruit, words):
    assert words[0] in refused(invoke, fruit, *words)


def test_val_fraction_that_leaves_nothing_to_train_on(invoke, fruit):
    assert "val_fraction" in refused(invoke, fruit, "--val-fraction", "0.95")


@pytest.mark.parametrize("words", [["--schedule", "reduce-on-plateau"], ["--early-stopping", "2"]])
def test_what_needs_validation_where_there_is_none(invoke, fruit, words):
    message = refused(invoke, fruit, *SMALL, *words, "--val-fraction", "0")
    assert "validation" in message


def test_class_weights_of_another_number_than_the_classes(invoke, fruit):
    message = refused(invoke, fruit, *SMALL, "--loss.class-weights", "1.0", "2.0")
    assert "2 weights" in message
    assert "wanted: 3" in message


# Devices


@pytest.mark.parametrize(
    "device",
    [
        pytest.param("cuda", marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")),
        pytest.param("mps", marks=pytest.mark.skipif(torch.backends.mps.is_available(), reason="there is a GPU")),
        "cuda:99",
        "nonsense",
    ],
)
def test_unavailable_device(invoke, fruit, device):
    message = refused(invoke, fruit, "--device", device)
    assert f'device "{device}" is not available' in message
    assert "cpu" in message


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_unavailable_device_for_a_run_to_be_gone_on_with(invoke, trained, fruit):
    before = (trained.folder / "config.json").read_bytes()
    message = refused(invoke, fruit, *SMALL, "--device", "cuda", "--out", trained.folder, "--resume")
    assert 'device "cuda" is not available' in message
    assert "wanted: cpu" in message
    assert (trained.folder / "config.json").read_bytes() == before


# The output folder


def test_output_folder_that_holds_something(invoke, fruit):
    Path("full").mkdir()
    Path("full/notes.txt").write_text("mine")
    message = refused(invoke, fruit, *SMALL, "--out", "full")
    assert "not empty" in message
    assert "notes.txt" in message
    assert "--out" in message


def test_output_folder_that_is_a_file(invoke, fruit):
    Path("file").write_text("mine")
    assert "is a file" in refused(invoke, fruit, *SMALL, "--out", "file")


@pytest.mark.parametrize("place", ["file/run", "file/deep/run", "/proc/nowhere/run"])
def test_output_folder_that_cannot_be_written(invoke, fruit, place):
    Path("file").write_text("mine")
    message = refused(invoke, fruit, *SMALL, "--out", place)
    assert "can't be written" in message
    assert place in message
    assert "fix:" in message
    if place.startswith("file"):
        assert "file is a file, not a folder" in message
        assert "no right" not in message


def test_default_output_folder_below_a_file(invoke, fruit):
    Path("runs").write_text("a file where the folder would be")
    assert "runs" in refused(invoke, fruit, *SMALL, "--out", "runs/x")
    answer = invoke("train", fruit, *SMALL)
    assert answer.code == 2
    assert "can't be written" in answer.err


# Models and weights


@pytest.fixture
def broken_models(invoke) -> None:
    """models.py beside the user, with callables that are wrong in one way each; `invoke` starts in that folder."""
    Path("broken_models.py").write_text(
        "from torch import nn\n"
        "def raises():\n    raise RuntimeError('no licence')\n"
        "def number():\n    return 3\n"
        "def maps():\n    return nn.Conv2d(3, 3, 3)\n"
        "def many():\n    return nn.Sequential(nn.Flatten(), nn.Linear(24 * 24 * 3, 7))\n"
    )
    Path("wont_import.py").write_text("import no_such_module_at_all\n")


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("broken_models:raises", "no licence"),
        ("broken_models:number", "gives no network"),
        ("broken_models:maps", "output has the wrong shape"),
        ("broken_models:many", "7 outputs wanted: 3"),
        ("broken_models:absent", "absent"),
        ("wont_import:net", "no_such_module_at_all"),
        ("no_such_file:net", "no_such_file"),
        ("timm:resnet18x", "did you mean"),
    ],
)
def test_a_model_that_is_no_classifier_of_this_data_is_refused(invoke, broken_models, fruit, model, said):
    assert said in refused(invoke, fruit, *SMALL, "--model", model, "--image-size", "24")


def test_weights_that_match_nothing_are_refused(invoke, fruit, tmp_path):
    torch.save({"a": torch.zeros(3), "b": torch.zeros(2, 2)}, tmp_path / "other.pth")
    message = refused(invoke, fruit, *SMALL, "--weights", tmp_path / "other.pth")
    assert "the weights match no tensor of the network" in message
    assert "a (3,)" in message
