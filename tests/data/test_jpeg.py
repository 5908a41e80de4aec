"""JPEG files that need nothing but decoding give the very pixels that Pillow gives; all others are left to it."""

from __future__ import annotations

import io
import random
import tarfile
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from truefit.data import images
from truefit.data.images import TooManyPixels, UnreadableImage, decode_files, read_image, read_pixels
from truefit.data.jpeg import decode_plain

CIFAR10 = Path(__file__).parents[3] / "shared" / "data" / "cifar10-jpeg.tar.xz"
SIDE = 17  # in no kind of file a multiple of the blocks
KINDS: list[dict[str, Any]] = [
    {},
    {"quality": 100, "subsampling": 0},
    {"quality": 75, "subsampling": 1},
    {"quality": 20, "subsampling": 2, "optimize": True},
    {"progressive": True},
    {"restart_marker_rows": 1},
    {"keep_rgb": True},
    {"comment": b"a comment", "dpi": (72, 72)},
]


def saved(kind: dict[str, Any], mode: str = "RGB", seed: int = 0, side: int = SIDE, format: str = "JPEG") -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(out, format, **kind)
    return out.getvalue()


def by_pillow(content: bytes) -> np.ndarray:
    return np.asarray(read_image(content))


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("side", [1, 8, 16, SIDE])
def test_the_pixels_are_those_of_pillow(kind: dict[str, Any], side: int) -> None:
    content = saved(kind, side=side)
    found = decode_plain(content, side)
    assert found is not None
    assert found.dtype == np.uint8
    assert np.array_equal(found, by_pillow(content))


def test_grey_is_given_in_three_channels() -> None:
    content = saved({}, "L")
    found = decode_plain(content, SIDE)
    assert found is not None
    assert np.array_equal(found, by_pillow(content))
    assert found.shape == (SIDE, SIDE, 3)


@pytest.mark.skipif(not CIFAR10.is_file(), reason=f"{CIFAR10.name} is not in ../shared/data")
def test_real_images() -> None:
    with tarfile.open(CIFAR10) as tar:
        files = islice((member for member in tar if member.isfile() and member.name.endswith((".jpg", ".jpeg"))), 500)
        contents = [file.read() for member in files if (file := tar.extractfile(member)) is not None]
    assert len(contents) == 500
    for content in contents:
        found = decode_plain(content, 32)
        assert found is not None
        assert np.array_equal(found, by_pillow(content))


def test_what_says_how_it_is_turned_is_left_to_pillow() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = saved({"exif": exif.tobytes()})
    described = saved({"xmp": b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6"/>'})
    for content in (turned, described):
        assert decode_plain(content, SIDE) is None
        pixels, _ = read_pixels(content, SIDE)
        assert np.array_equal(pixels, np.rot90(np.asarray(Image.open(io.BytesIO(content))), -1))


@pytest.mark.parametrize(
    "content",
    [
        saved({}, "CMYK"),
        saved({}, format="PNG"),
        saved({})[:-40],
        saved({})[:20],
        saved({}, side=SIDE - 1),
        b"",
        b"\xff\xd8\xff",
        b"no image",
    ],
    ids=["cmyk", "png", "truncated", "header", "size", "empty", "start", "text"],
)
def test_all_else_is_left_to_pillow(content: bytes) -> None:
    assert decode_plain(content, SIDE) is None


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2, "big") + content


@pytest.mark.parametrize(
    "first",
    [
        segment(0xE0, b"JFIF\0"),
        segment(0xEE, b"Adobe"),
        segment(0xE2, b"ICC_PROFILE\0"),
        segment(0xE1, b"Exif\0\0"),
        b"\xff\x01",
        b"\xff",
    ],
    ids=["jfif", "adobe", "icc", "exif", "tem", "fill"],
)
def test_headers_that_pillow_may_refuse_are_left_to_it(first: bytes) -> None:
    content = saved({})
    assert decode_plain(content[:2] + first + content[2:], SIDE) is None


def test_subsampling_without_a_name_is_left_to_pillow() -> None:
    """4:4:1, as a lossless turn of 4:1:1 makes it: simplejpeg fails on these."""
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    content = simplejpeg.encode_jpeg(noise, colorsubsampling="411")
    at = content.index(b"\xff\xc0") + 11
    assert content[at] == 0x41
    content = content[:at] + b"\x14" + content[at + 1 :]
    assert decode_plain(content, SIDE) is None or np.array_equal(decode_plain(content, SIDE), by_pillow(content))
    assert np.array_equal(read_pixels(content, SIDE)[0], by_pillow(content))


def test_odd_paths_are_told_of(tmp_path: Path) -> None:
    for path in (str(tmp_path / "a\0b.jpg"), str(tmp_path / "\ud800.jpg"), tmp_path):
        with pytest.raises(UnreadableImage):
            read_pixels(path, SIDE)


def test_a_look_whether_files_can_be_read_resizes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("resized")

    monkeypatch.setattr(images, "fit_image", never)
    assert decode_files([saved({}), saved({}, format="PNG"), b""], size=9, keep=False)[1].keys() == {2}


def test_damaged_files_are_judged_by_pillow() -> None:
    """Whatever is decoded here would have been taken there, and gives the same."""
    draw = random.Random(0)
    whole = decoded = 0
    for number in range(600):
        content = bytearray(saved(draw.choice(KINDS), seed=number))
        if number % 3:
            content[draw.randrange(len(content))] = draw.randrange(256)
        else:
            del content[draw.randrange(len(content)) :]
        found = decode_plain(bytes(content), SIDE)
        if found is not None:
            assert np.array_equal(found, by_pillow(bytes(content)))
            decoded += 1
        whole += found is not None and number % 3 == 0
    assert decoded > 100
    assert whole == 0, "none that was cut off"


def test_the_shorter_way_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a path and for bytes, where the size fits; otherwise Pillow's."""
    file = tmp_path / "a.jpg"
    file.write_bytes(saved({}))
    wanted = by_pillow(saved({}))
    smaller, before = read_pixels(file, 9)
    assert smaller.shape == (9, 9, 3)
    assert before == (SIDE, SIDE)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("Pillow was asked")

    monkeypatch.setattr(images, "read_image", never)
    for source in (file, str(file), file.read_bytes()):
        pixels, before = read_pixels(source, SIDE)
        assert np.array_equal(pixels, wanted)
        assert before == (SIDE, SIDE)
    with pytest.raises(AssertionError, match="Pillow was asked"):
        read_pixels(file, 9)


def test_limits_and_reasons_are_those_of_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TooManyPixels):
        read_pixels(saved({}), SIDE, max_pixels=SIDE * SIDE - 1)
    with pytest.raises(UnreadableImage, match="No such file"):
        read_pixels(tmp_path / "gone.jpg", SIDE)
    with pytest.raises(UnreadableImage, match="empty"):
        read_pixels(b"", SIDE)
    with pytest.raises(UnreadableImage, match="truncated"):
        read_pixels(saved({})[:-40], SIDE)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(TooManyPixels):
        read_pixels(saved({}), SIDE)
