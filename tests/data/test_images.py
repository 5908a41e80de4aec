"""Every kind of image comes out as upright RGB, and everything else with a reason."""

from __future__ import annotations

import io
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from truefit.data.images import (
    MixedSizes,
    UnreadableImage,
    decode_files,
    fit_image,
    is_image_name,
    read_image,
    resize_pixels,
)


def gradient(width: int = 24, height: int = 16) -> np.ndarray:
    """uint8 (height, width, 3), different in every corner and channel."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // (width - 1), y * 255 // (height - 1), np.full_like(x, 60)], axis=2).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels_of(source: bytes | Path | Image.Image) -> np.ndarray:
    image = read_image(source)
    assert image.mode == "RGB"
    return np.asarray(image)


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True})])
def test_lossless_rgb_is_exact(kind: str, options: dict[str, object]) -> None:
    np.testing.assert_array_equal(pixels_of(encoded(Image.fromarray(gradient()), kind, **options)), gradient())


def test_jpeg_and_path_and_str_agree(tmp_path: Path) -> None:
    file = tmp_path / "a photo 🦊.JPG"
    file.write_bytes(encoded(Image.fromarray(gradient()), "JPEG", quality=95))
    np.testing.assert_allclose(pixels_of(file).astype(int), gradient(), atol=12)
    np.testing.assert_array_equal(pixels_of(file), np.asarray(read_image(str(file))))


def test_grey_is_repeated_in_all_channels() -> None:
    grey = gradient()[..., 0]
    np.testing.assert_array_equal(pixels_of(encoded(Image.fromarray(grey), "PNG")), np.stack([grey] * 3, axis=2))


def test_one_bit_is_black_and_white() -> None:
    bits = gradient()[..., 0] > 127
    expected = np.repeat(bits[..., None], 3, axis=2).astype(np.uint8) * 255
    np.testing.assert_array_equal(pixels_of(encoded(Image.fromarray(bits), "PNG")), expected)


def test_16_bit_grey_is_scaled_and_not_clipped() -> None:
    grey = np.linspace(0, 65535, 256).reshape(16, 16).astype(np.uint16)
    out = pixels_of(encoded(Image.fromarray(grey), "PNG"))
    np.testing.assert_array_equal(out[..., 0], np.round(grey / 257).astype(np.uint8))


def test_32_bit_integers_are_taken_as_16_bit_and_floats_refused() -> None:
    assert pixels_of(Image.fromarray(np.full((2, 2), 65535, np.int32)))[0, 0, 0] == 255
    with pytest.raises(UnreadableImage, match="mode F"):
        read_image(Image.fromarray(np.ones((2, 2), np.float32)))


def test_palette_shows_its_colours() -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    assert (pixels_of(encoded(image, "PNG")) == (10, 200, 30)).all()


@pytest.mark.parametrize("transparency", [0, b"\x00\xff"], ids=["one index", "alpha for each"])
def test_transparent_palette_is_laid_on_white(transparency: int | bytes) -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    image.putpixel((0, 0), 0)
    out = pixels_of(encoded(image, "PNG", transparency=transparency))
    assert tuple(out[0, 0]) == (255, 255, 255)
    assert tuple(out[1, 1]) == (10, 200, 30)


def test_alpha_is_laid_on_white() -> None:
    rgba = np.zeros((2, 3, 4), np.uint8)
    rgba[:, 1] = (255, 0, 0, 128)
    rgba[:, 2] = (1, 2, 3, 255)
    out = pixels_of(encoded(Image.fromarray(rgba), "PNG"))
    assert [tuple(map(int, pixel)) for pixel in out[0]] == [(255, 255, 255), (255, 127, 127), (1, 2, 3)]


def test_grey_with_alpha_and_rgb_with_a_transparent_colour() -> None:
    assert (pixels_of(encoded(Image.new("LA", (2, 2), (0, 0)), "PNG")) == 255).all()
    assert (pixels_of(encoded(Image.new("RGB", (2, 2), (9, 9, 9)), "PNG", transparency=(9, 9, 9))) == 255).all()


def test_cmyk_jpeg_keeps_its_colours() -> None:
    white = Image.new("CMYK", (16, 16), (0, 0, 0, 0))
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    np.testing.assert_allclose(pixels_of(encoded(white, "JPEG"))[8, 8], (255, 255, 255), atol=4)
    np.testing.assert_allclose(pixels_of(encoded(cyan, "JPEG"))[8, 8], (0, 255, 255), atol=4)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_comes_out_upright(orientation: int, kind: str) -> None:
    back = {  # how a camera held that way stores the upright scene
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(back[orientation](gradient())))
    image = read_image(encoded(stored, kind, exif=exif.tobytes(), quality=95))
    np.testing.assert_allclose(np.asarray(image).astype(int), gradient(), atol=16)
    np.testing.assert_array_equal(pixels_of(image), np.asarray(image))  # not turned a second time


def test_a_broken_exif_block_leaves_the_image_as_it_is() -> None:
    content = encoded(Image.fromarray(gradient()), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    assert pixels_of(content).shape == (16, 24, 3)


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_first_frame_of_an_animation(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    options = {"save_all": True, "append_images": frames[1:]} | ({"lossless": True} if kind == "WEBP" else {})
    assert (pixels_of(encoded(frames[0], kind, **options)) == (255, 0, 0)).all()


def test_a_given_image_is_not_changed() -> None:
    given = Image.open(io.BytesIO(encoded(Image.fromarray(gradient()), "PNG")))
    read_image(given).putpixel((0, 0), (1, 2, 3))
    np.testing.assert_array_equal(np.asarray(given), gradient())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "WEBP"])
def test_a_truncated_file_is_unreadable(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    content = encoded(Image.fromarray(noise), kind)
    read_image(content)
    with pytest.raises(UnreadableImage):
        read_image(content[: len(content) // 2])


def test_what_is_no_image_says_why(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match="0 bytes"):
        read_image(b"")
    with pytest.raises(UnreadableImage, match="not a JPEG"):
        read_image(b"just some text, named .jpg by mistake")
    with pytest.raises(UnreadableImage, match="not a JPEG"):
        read_image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(UnreadableImage, match="No such file"):
        read_image(tmp_path / "absent.png")


@pytest.mark.parametrize("limit", [100, 300], ids=["error of Pillow", "warning of Pillow"])
def test_a_decompression_bomb_is_unreadable(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    content = encoded(Image.fromarray(gradient()), "PNG")
    with warnings.catch_warnings(record=True) as heard, pytest.raises(UnreadableImage, match="bomb"):
        warnings.simplefilter("always")
        read_image(content)
    assert not heard


def test_warning_filters_are_given_back_also_by_threads() -> None:
    content = encoded(Image.fromarray(gradient()), "JPEG")
    before = list(warnings.filters)
    threads = [threading.Thread(target=lambda: [read_image(content) for _ in range(100)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before


def test_fit_keeps_what_fits_bit_for_bit() -> None:
    square = gradient(16, 16)
    for resize in ("crop", "stretch"):
        np.testing.assert_array_equal(fit_image(Image.fromarray(square), 16, resize), square)
    np.testing.assert_array_equal(fit_image(Image.fromarray(gradient()), None), gradient())
    assert resize_pixels(square[None], 16) is not None
    assert resize_pixels(square[None], 8).shape == (1, 8, 8, 3)


def test_crop_of_an_image_with_one_fitting_side_cuts_and_does_not_interpolate() -> None:
    for width in (24, 25):
        wide = gradient(width, 16)
        left = (width - 16) // 2
        np.testing.assert_array_equal(fit_image(Image.fromarray(wide), 16, "crop"), wide[:, left : left + 16])


def test_crop_takes_the_middle_and_stretch_takes_all() -> None:
    bars = np.zeros((30, 90, 3), np.uint8)
    bars[:, 30:60] = 255
    assert fit_image(Image.fromarray(bars), 10, "crop").min() > 200
    stretched = fit_image(Image.fromarray(bars), 10, "stretch")
    assert stretched[:, 0].max() < 30
    assert stretched[:, 5].min() > 200


def test_shrinking_is_antialiased() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    middle = fit_image(Image.fromarray(stripes), 8)[:, 2:-2]
    assert 120 <= middle.min() <= middle.max() <= 135


@pytest.mark.parametrize("threads", [None, 1, 3])
def test_decode_files_collects_every_unreadable_file(tmp_path: Path, threads: int | None) -> None:
    files = [tmp_path / f"{number}.png" for number in range(150)]
    for number, file in enumerate(files):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(file)
    files[3].write_bytes(b"")
    files[149].write_bytes(b"text")
    calls: list[tuple[int, int]] = []
    pixels, unreadable = decode_files(
        files, size=8, threads=threads, on_progress=lambda done, total: calls.append((done, total))
    )
    assert pixels is not None
    assert sorted(unreadable) == [3, 149]
    readable = [n for n in range(150) if n not in unreadable]
    assert pixels[readable, 0, 0, 0].tolist() == readable
    assert calls[-1] == (150, 150)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    assert decode_files(files, size=8, keep=False) == (None, unreadable)


@pytest.mark.parametrize("threads", [1, 2])
def test_decode_files_of_their_own_size_stops_at_another(tmp_path: Path, threads: int) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    Image.new("RGB", (9, 8)).save(tmp_path / "b.png")
    with pytest.raises(MixedSizes, match="9 x 8"):
        decode_files([tmp_path / "a.png", tmp_path / "b.png"], size=8, own_size=True, threads=threads)


def test_decode_no_files() -> None:
    pixels, unreadable = decode_files([], size=8)
    assert pixels is not None
    assert pixels.shape == (0, 8, 8, 3)
    assert not unreadable


def test_suffixes_in_any_case() -> None:
    assert all(is_image_name(name) for name in ("a.JPG", "b.jpeg", "c.d.Png", "e.WEBP", "f.bmp", "g.gif"))
    assert not any(is_image_name(name) for name in ("a.txt", "jpg", "b.tiff", "c.png.txt"))
