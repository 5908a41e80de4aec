"""The audit of small folders of real image files: each fault is found, a sound folder is silent, nothing changes."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from truefit.commands.doctor.data import main
from truefit.data.imageset import ImageSet
from truefit.doctor.audit.check import Result, examine
from truefit.doctor.audit.material import Material, gather
from truefit.errors import InputError

CLASSES = ("cat", "dog")
PER_CLASS = 24


def picture(seed: int, side: int = 48) -> Image.Image:
    """A picture with coarse and fine structure of its own."""
    rng = np.random.default_rng(seed)
    whole = np.zeros((side, side, 3))
    for n, weight in ((3, 0.6), (6, 0.2), (12, 0.1), (24, 0.06), (side, 0.04)):
        part = Image.fromarray(rng.integers(0, 256, (n, n, 3), np.uint8))
        whole += weight * np.asarray(part.resize((side, side), Image.Resampling.BILINEAR))
    return Image.fromarray(whole.astype(np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """train/ and test/ with two classes, all pictures different."""
    root = tmp_path / "pictures"
    seed = 0
    for split in ("train", "test"):
        for name in CLASSES:
            (root / split / name).mkdir(parents=True)
            for number in range(PER_CLASS):
                picture(seed).save(root / split / name / f"{number:03}.png")
                seed += 1
    return root


def audited(folder: Path) -> list[Result]:
    return examine(gather(str(folder)))


def speaking(folder: Path) -> dict[str, Result]:
    """By what the suspects are called, else by code."""
    found: dict[str, Result] = {}
    for result in audited(folder):
        if result.finding.speaks:
            found |= {suspect.what: result for suspect in result.suspects} or {result.finding.code: result}
    return found


def shown(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict[str, object]]:
    code = main([str(folder), "--json", *options])
    return code, json.loads(capsys.readouterr().out)


def test_a_sound_folder_is_silent(folder: Path) -> None:
    assert speaking(folder) == {}


def test_a_copy_across_splits_fails_and_is_proposed_for_removal_from_train(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Another format with the same pixels is the same picture.
    copy = folder / "train/cat/zzz.bmp"
    Image.open(folder / "test/cat/003.png").save(copy)
    code, told = shown(folder, capsys)
    assert code == 3 == told["exit_code"]
    (row,) = [row for row in told["suspects"] if row["what"] == "copy across splits"]
    assert (row["file"], row["action"], row["other_split"]) == (str(copy), "remove", "test")
    assert Path(row["other_file"]) == folder / "test/cat/003.png"


@pytest.mark.parametrize("change", ["re-encoded", "mirrored", "shifted", "brighter"])
def test_a_changed_copy_across_splits_warns(folder: Path, change: str) -> None:
    with Image.open(folder / "test/dog/005.png") as original:
        changed = {
            "re-encoded": lambda: original,
            "mirrored": lambda: ImageOps.mirror(original),
            "shifted": lambda: Image.fromarray(np.pad(original, ((0, 0), (0, 3), (0, 0)), mode="edge")[:, 3:]),
            "brighter": lambda: original.point(lambda value: value * 0.7 + 60),
        }[change]()
        changed.save(folder / "train/cat/zzz.jpg", quality=60)
    found = speaking(folder)
    assert set(found) == {"near-duplicate across splits"}
    result = found["near-duplicate across splits"]
    assert result.finding.outcome == "warn" and result.finding.code == "FIT501"
    assert len(result.suspects) == 1
    assert "different classes" in result.suspects[0].note
    assert ("mirrored" in result.suspects[0].note) == (change == "mirrored")


def test_pictures_that_agree_only_broadly_are_no_pair(folder: Path) -> None:
    # Sea below sky: the same bands of brightness, each time with other waves.
    bands = np.linspace(220, 60, 48)[:, None, None]
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        waves = bands + rng.integers(-20, 21, (48, 48, 3))
        Image.fromarray(waves.astype(np.uint8)).save(folder / split / "cat" / "sea.png")
    assert speaking(folder) == {}


def test_copies_within_a_split_tell_whether_their_classes_agree(folder: Path) -> None:
    content = (folder / "train/cat/001.png").read_bytes()
    (folder / "train/cat/zzz.png").write_bytes(content)
    assert speaking(folder)["copy"].finding.outcome == "tip"
    (folder / "train/dog/zzz.png").write_bytes(content)
    result = speaking(folder)["copy"]
    assert result.finding.outcome == "warn"
    assert [suspect.action for suspect in result.suspects] == ["look", "remove"]


def test_broken_files_are_listed_with_their_reason(folder: Path) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (48, 48, 3), np.uint8)).save(folder / "train/cat/a.jpg")
    whole = (folder / "train/cat/a.jpg").read_bytes()
    (folder / "train/cat/b.jpg").write_bytes(whole[:-2])
    picture(900).save(folder / "train/cat/f.png")
    end = (folder / "train/cat/f.png").read_bytes()
    (folder / "train/cat/f.png").write_bytes(end[:-12])
    (folder / "train/cat/c.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "train/cat/d.jpg").write_bytes(b"")
    (folder / "train/cat/e.jpg").write_text("not an image")
    material = gather(str(folder))
    broken = {Path(material.names[row]).name: reason for row, reason in material.facts.reasons.items()}
    assert set(broken) == {"b.jpg", "c.jpg", "d.jpg", "e.jpg", "f.png"}
    assert "cut short" in broken["f.png"] and "empty" in broken["d.jpg"]
    assert {suspect.action for suspect in speaking(folder)["unreadable"].suspects} == {"remove"}


def test_a_turned_file_is_found(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(900).save(folder / "train/cat/turned.jpg", exif=exif)
    (suspect,) = speaking(folder)["turned"].suspects
    assert (suspect.action, suspect.value) == ("rotate", "90 clockwise")


def test_odd_pictures_are_found(folder: Path) -> None:
    Image.new("RGB", (48, 48), (9, 99, 200)).save(folder / "train/cat/constant.png")
    picture(901).point(lambda value: max(0, value - 130) // 3).save(folder / "train/cat/dark.png")
    picture(902).resize((3, 3)).resize((48, 48), Image.Resampling.BICUBIC).resize((6, 6)).resize(
        (480, 480), Image.Resampling.BICUBIC
    ).save(folder / "train/cat/blurred.png")
    picture(903).resize((200, 40)).save(folder / "train/cat/long.png")
    picture(904).resize((8, 8)).save(folder / "train/cat/tiny.png")
    picture(905).convert("L").save(folder / "train/cat/grey.png")
    found = speaking(folder)
    assert set(found) == {"one colour", "very dark", "very blurred", "odd shape", "tiny", "other mode"}


def test_class_folders_that_differ_fail(folder: Path) -> None:
    (folder / "test/dog").rename(folder / "test/Dog")
    finding = speaking(folder)["FIT502"].finding
    assert finding.outcome == "fail"
    assert "train: no Dog" in finding.message and "test: no dog" in finding.message


def test_a_hidden_folder_with_images_warns(folder: Path) -> None:
    (folder / "train/.cache").mkdir()
    picture(1).save(folder / "train/.cache/a.png")
    finding = speaking(folder)["FIT502"].finding
    assert finding.outcome == "warn" and "train/.cache" in finding.message


def test_numbers_in_the_order_of_text_warn(tmp_path: Path) -> None:
    for at, name in enumerate(("1", "2", "10")):
        (tmp_path / name).mkdir()
        for number in range(20):
            picture(100 * at + number).save(tmp_path / name / f"{number}.png")
    finding = speaking(tmp_path)["FIT502"].finding
    assert finding.outcome == "warn" and "label 1 is class 10" in finding.message


def test_groups_by_file_name_across_splits_warn(folder: Path) -> None:
    for split, patients in (("train", range(8)), ("test", range(6, 12))):
        for name in CLASSES:
            for at, file in enumerate(sorted((folder / split / name).iterdir())):
                patient = patients[at % len(patients)]
                file.rename(file.with_name(f"patient{patient:02}_{at:03}.png"))
    result = speaking(folder)["group in several splits"]
    assert result.finding.code == "FIT501" and result.finding.outcome == "warn"
    assert {suspect.note for suspect in result.suspects} == {"patient06", "patient07"}


def test_tiny_classes_are_a_tip(folder: Path) -> None:
    for file in sorted((folder / "train/cat").iterdir())[2:]:
        file.unlink()
    finding = speaking(folder)["FIT509"].finding
    assert finding.outcome == "tip" and "cat (2)" in finding.message


def test_one_folder_of_classes_and_given_splits(folder: Path) -> None:
    (folder / "train/cat/zzz.png").write_bytes((folder / "test/cat/000.png").read_bytes())
    alone = {r.finding.message: r.finding for r in audited(folder / "train")}
    assert alone["no copies across splits"].outcome == "not applicable"
    results = examine(gather(str(folder / "train"), test=folder / "test"))
    assert any(result.finding.outcome == "fail" for result in results)


def test_files_written_hold_every_suspect_and_nothing_in_the_folder_changes(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "<img src=x onerror=alert(1)>&.png"
    (folder / "train/cat" / evil).write_bytes((folder / "test/cat/000.png").read_bytes())
    before = {file: hashlib.sha256(file.read_bytes()).digest() for file in folder.rglob("*.*")}
    places = [tmp_path / name for name in ("sheet.html", "all.csv", "fix.csv")]
    options = [word for pair in zip(("--sheet", "--csv", "--fix-list"), map(str, places), strict=True) for word in pair]
    code, told = shown(folder, capsys, *options)
    assert code == 3
    assert {file: hashlib.sha256(file.read_bytes()).digest() for file in folder.rglob("*.*")} == before
    page = places[0].read_text()
    assert evil not in page and "&lt;img src=x" in page
    assert "data:image/png;base64," in page and "http:" not in page and "https:" not in page
    with places[1].open() as file:
        assert [row["what"] for row in csv.DictReader(file)] == [row["what"] for row in told["suspects"]]
    with places[2].open() as file:
        (action,) = csv.DictReader(file)
    assert (action["action"], Path(action["file"]).name) == ("remove", evil)


def test_strict_makes_warnings_fail(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "train/cat/empty.png").write_bytes(b"")
    assert shown(folder, capsys)[0] == 0
    assert shown(folder, capsys, "--strict")[0] == 3


def test_a_known_data_set_is_audited_without_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["digits"]) == 0
    assert "no class folders" in capsys.readouterr().out


def test_no_images_and_no_folder_are_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        gather(str(tmp_path / "nowhere"))
    (tmp_path / "cat").mkdir()
    with pytest.raises(InputError, match="no image"):
        gather(str(tmp_path))


def test_label_errors_are_not_looked_for_unless_asked(folder: Path) -> None:
    (finding,) = [result.finding for result in audited(folder) if result.finding.code == "FIT508"]
    assert finding.outcome == "not run" and "--label-errors" in finding.reason
    (asked,) = [r.finding for r in examine(gather(str(folder), label_errors=True)) if r.finding.code == "FIT508"]
    assert asked.outcome == "not applicable"


def test_each_label_is_judged_by_its_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken files are left out: the rows after them must not slip. What the networks say is put in their place."""
    root = tmp_path / "pictures"
    for number, name in enumerate(CLASSES):
        (root / "train" / name).mkdir(parents=True)
        for at in range(260):
            # Red says which class it is, green and blue which file; one of each class says the other one's.
            red = 250 * (number if at != 200 else 1 - number)
            Image.new("RGB", (40, 40), (red, at % 16 * 16, at // 16 * 14)).save(root / "train" / name / f"{at:03}.png")
        (root / "train" / name / "005.png").write_bytes(b"no picture")
    seen: list[tuple[int, ...]] = []

    def network(pixels: np.ndarray, labels: np.ndarray, *rest: object, **more: object) -> np.ndarray:
        return np.full((len(labels), 2), 0.5)

    def features(pictures: ImageSet) -> np.ndarray:
        pixels = pictures.read(range(len(pictures)))
        assert pixels.shape[1:] == (96, 96, 3)
        seen.extend(tuple(pixel) for pixel in pixels[:, 48, 48].tolist())
        return (pixels[:, 48, 48, :1] > 100).astype(np.float32)

    monkeypatch.setattr("truefit.doctor.audit.labels.out_of_fold", network)
    monkeypatch.setattr("truefit.doctor.audit.labels.pretrained_features", features)
    monkeypatch.setattr("truefit.doctor.audit.features.can_see", lambda: True)
    (result,) = [r for r in examine(gather(str(root), label_errors=True)) if r.finding.code == "FIT508"]
    material = gather(str(root))
    assert len(seen) == 518
    for (red, green, blue), path in zip(seen, sound(material), strict=True):
        at = int(Path(path).stem)
        assert (green, blue) == (at % 16 * 16, at // 16 * 14)
        assert (red > 100) == ((Path(path).parent.name == "dog") != (at == 200))
    wrong = [sound_at for suspect in result.suspects for sound_at in suspect.rows]
    assert material.paths is not None
    assert {Path(material.paths[row]).stem for row in wrong} == {"200"}
    assert len(wrong) == 2
    assert result.finding.numbers["pretrained_network"] is True
    monkeypatch.setattr("truefit.doctor.audit.features.can_see", lambda: False)
    (alone,) = [r for r in examine(gather(str(root), label_errors=True)) if r.finding.code == "FIT508"]
    assert alone.finding.numbers["pretrained_network"] is False
    assert len(seen) == 518


def sound(material: Material) -> list[str]:
    """The files that can be read, in their order."""
    assert material.paths is not None
    return [path for path, good in zip(material.paths, material.facts.readable, strict=True) if good]


def test_the_terminal_names_a_few_suspects_and_where_the_others_are(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(7):
        picture(900 + number, 400).crop((0, 0, 400, 20)).save(folder / "train" / "cat" / f"long{number}.png")
    main([str(folder)])
    out = capsys.readouterr().out
    named = [line for line in out.splitlines() if "odd shape: " in line]
    assert named
    assert str(folder / "train" / "cat" / "long0.png") in out
    assert "--sheet suspects.html shows them, --csv suspects.csv lists them" in out
    rows = int(re.findall(r"; (\d+) suspects", out)[0])
    assert f"{rows - 5} more; " in out
    assert len(re.findall(r"^  FIT\d+ ", out, re.MULTILINE)) == 5
