"""Decoding: every mode and format, orientation, fitting, and what must be refused."""

import contextlib
import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
from PIL import Image

from striate.data import ImageError, Preprocessing, decode_image, fit_array
from striate.data import _decode as decoding

RNG = np.random.default_rng(0)


def encode(image, form="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def rgb(height, width):
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(height, width):
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 / width, y * 255 / height, (x + y) * 255 / (width + height)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_lossless_formats_come_through_exactly(form, tmp_path):
    pixels = rgb(5, 8)
    path = tmp_path / f"picture.{form.lower()}"
    Image.fromarray(pixels).save(path, form, **({"lossless": True} if form == "WEBP" else {}))
    decoded = decode_image(path, Preprocessing(3, (5, 8)))
    assert (decoded.dtype, decoded.shape, decoded.flags.c_contiguous) == (np.uint8, (3, 5, 8), True)
    np.testing.assert_array_equal(decoded, pixels.transpose(2, 0, 1))


def test_jpeg_is_close():
    pixels = smooth(16, 24)
    decoded = decode_image(encode(Image.fromarray(pixels), "JPEG", quality=95), Preprocessing(3, (16, 24)))
    assert np.abs(decoded.astype(int) - pixels.transpose(2, 0, 1)).max() < 12


def test_the_first_frame_of_an_animation_counts():
    frames = [Image.new("L", (4, 4), value) for value in (200, 10)]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (decode_image(data, Preprocessing(1, (4, 4))) == 200).all()


def test_grey_becomes_colour_and_colour_grey():
    grey = RNG.integers(0, 256, (6, 4), dtype=np.uint8)
    np.testing.assert_array_equal(
        decode_image(encode(Image.fromarray(grey)), Preprocessing(3, (6, 4))), np.stack([grey] * 3)
    )
    pixels = rgb(6, 4)
    luma = pixels @ np.array([0.299, 0.587, 0.114])  # ITU-R 601
    decoded = decode_image(encode(Image.fromarray(pixels)), Preprocessing(1, (6, 4)))
    assert np.abs(decoded[0] - luma).max() <= 1


def test_black_and_white_and_palettes():
    bits = np.array([[0, 255], [255, 0]], np.uint8)
    np.testing.assert_array_equal(
        decode_image(encode(Image.fromarray(bits).convert("1")), Preprocessing(1, (2, 2)))[0], bits
    )
    indexed = Image.new("P", (2, 1))
    indexed.putpalette([10, 20, 30, 200, 100, 50])
    indexed.putdata([1, 0])
    decoded = decode_image(encode(indexed), Preprocessing(3, (1, 2)))
    assert decoded[:, 0].T.tolist() == [[200, 100, 50], [10, 20, 30]]


def test_transparency_lies_on_black():
    values = np.array([[[200, 100, 50, 255], [200, 100, 50, 0], [200, 100, 50, 51]]], np.uint8)
    decoded = decode_image(encode(Image.fromarray(values)), Preprocessing(3, (1, 3)))
    assert decoded[:, 0].T.tolist() == [[200, 100, 50], [0, 0, 0], [40, 20, 10]]


def test_transparency_of_palettes_grey_and_single_colours():
    indexed = Image.new("P", (2, 1))
    indexed.putpalette([10, 20, 30, 200, 100, 50])
    indexed.putdata([1, 0])
    decoded = decode_image(encode(indexed, transparency=1), Preprocessing(3, (1, 2)))
    assert decoded[:, 0].T.tolist() == [[0, 0, 0], [10, 20, 30]]
    grey = encode(Image.new("LA", (1, 1), (100, 51)))
    assert decode_image(grey, Preprocessing(1, (1, 1))).item() == 20
    keyed = encode(Image.new("RGB", (1, 1), (9, 8, 7)), transparency=(9, 8, 7))
    assert decode_image(keyed, Preprocessing(3, (1, 1))).ravel().tolist() == [0, 0, 0]


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_not_clipped(form):
    values = np.array([[0, 257, 32_768, 65_535, 300, 65_407]], np.uint16)
    decoded = decode_image(encode(Image.fromarray(values), form), Preprocessing(1, (1, 6)))
    assert decoded.ravel().tolist() == [0, 1, 128, 255, 1, 255]


def test_whole_numbers_and_floats_have_a_known_scale_or_are_refused():
    fine = encode(Image.fromarray(np.array([[0.0, 0.5, 1.0]], np.float32)), "TIFF")
    assert decode_image(fine, Preprocessing(1, (1, 3))).ravel().tolist() == [0, 128, 255]
    whole = encode(Image.fromarray(np.array([[0, 65_535]], np.int32)), "TIFF")
    assert decode_image(whole, Preprocessing(1, (1, 2))).ravel().tolist() == [0, 255]
    for values in (np.array([[0.0, 3.5]], np.float32), np.array([[np.nan]], np.float32)):
        with pytest.raises(ImageError, match="where 0 to 1 was expected: save it with 8 bits"):
            decode_image(encode(Image.fromarray(values), "TIFF"), Preprocessing(1, (1, 1)))
    with pytest.raises(ImageError, match="its values go from -1 to 70000 where 0 to 65535 was expected"):
        decode_image(encode(Image.fromarray(np.array([[-1, 70_000]], np.int32)), "TIFF"), Preprocessing(1, (1, 2)))


def test_cmyk_becomes_rgb():
    data = encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95)
    red, green, blue = decode_image(data, Preprocessing(3, (8, 8)))[:, 4, 4].tolist()
    assert red > 240
    assert max(green, blue) < 15


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(form, orientation):
    # What each value says is stored where: (first row, first column) of the file, in terms of the upright picture.
    upright = np.zeros((32, 48), np.uint8)
    upright[:16, :24] = 255  # bright at the top left
    upright[:16, 24:] = 120  # grey at the top right
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.fromarray(np.ascontiguousarray(stored)), form, exif=exif)
    decoded = decode_image(data, Preprocessing(1, (32, 48)))[0].astype(int)
    assert np.abs(decoded - upright).mean() < 6


def test_damaged_exif_does_no_harm():
    image = Image.fromarray(smooth(16, 16))
    data = encode(image, "JPEG", exif=b"Exif\x00\x00MM\x00*\x00\x00\xff\xff\xff\xff")
    assert decode_image(data, Preprocessing(3, (16, 16))).shape == (3, 16, 16)


def test_a_large_jpeg_is_decoded_small_and_right():
    texture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8))
    pixels = np.asarray(texture.resize((960, 640), Image.Resampling.BICUBIC))
    data = encode(Image.fromarray(pixels), "JPEG", quality=95)
    for preprocessing in (
        Preprocessing(3, (32, 48)),
        Preprocessing(1, (30, 20), "crop"),
        Preprocessing(3, (9, 31), "pad"),
    ):
        small = decode_image(data, preprocessing).astype(int)
        exact = fit_array(pixels.transpose(2, 0, 1), preprocessing).astype(int)
        assert np.abs(small - exact).mean() < 0.8


def test_stretch_ignores_the_aspect_ratio():
    pixels = np.zeros((4, 8), np.uint8)
    pixels[:, 4:] = 200
    decoded = decode_image(encode(Image.fromarray(pixels)), Preprocessing(1, (2, 2), "stretch"))[0]
    assert (decoded[:, 0] < 30).all()
    assert (decoded[:, 1] > 170).all()


def test_crop_fills_and_cuts_the_overhang():
    pixels = np.zeros((4, 8), np.uint8)
    pixels[:, 2:6] = 200  # the middle square
    decoded = decode_image(encode(Image.fromarray(pixels)), Preprocessing(1, (4, 4), "crop"))[0]
    assert (decoded == 200).all()


def test_pad_fits_inside_black():
    decoded = decode_image(encode(Image.new("RGB", (8, 4), (9, 90, 200))), Preprocessing(3, (8, 8), "pad"))
    expected = np.zeros((3, 8, 8), np.uint8)
    expected[:, 2:6] = np.array([9, 90, 200])[:, None, None]
    np.testing.assert_array_equal(decoded, expected)
    decoded = decode_image(encode(Image.new("L", (3, 6), 70)), Preprocessing(1, (6, 9), "pad"))[0]
    np.testing.assert_array_equal(decoded, np.repeat([[0] * 3 + [70] * 3 + [0] * 3], 6, axis=0))
    thin = decode_image(encode(Image.new("L", (500, 1), 250)), Preprocessing(1, (4, 4), "pad"))
    assert thin.max() == 250


def test_shrinking_is_antialiased():
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    decoded = decode_image(encode(Image.fromarray(board)), Preprocessing(1, (8, 8)))
    assert np.abs(decoded.astype(int) - 127).max() < 4


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("source_channels", [1, 3])
def test_an_array_is_fitted_exactly_as_a_png_of_it(fit, channels, source_channels):
    wide = RNG.integers(0, 256, (source_channels, 8, 14), dtype=np.uint8)
    image = wide[:, :, ::2]  # 8 x 7, not contiguous
    pixels = image[0] if source_channels == 1 else image.transpose(1, 2, 0)
    data = encode(Image.fromarray(np.ascontiguousarray(pixels)))
    preprocessing = Preprocessing(channels, (28, 31), fit)
    fitted = fit_array(image, preprocessing)
    np.testing.assert_array_equal(fitted, decode_image(data, preprocessing))
    # and once more, as a picture at the set's own size
    pixels = fitted[0] if channels == 1 else fitted.transpose(1, 2, 0)
    np.testing.assert_array_equal(decode_image(encode(Image.fromarray(pixels)), preprocessing), fitted)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def huge_png(width, height):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_picture_that_announces_too_many_pixels_is_refused_before_decoding(tmp_path, monkeypatch):
    path = tmp_path / "bomb.png"
    path.write_bytes(huge_png(60_000, 60_000))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(ImageError, match=r"bomb.png: the picture has more than 89,478,485 pixels: make it smaller"):
        decode_image(path, Preprocessing(1, (28, 28)))
    with pytest.raises(
        ImageError, match=r"the picture has 10000 x 10000 pixels, more than 89,478,485: make it smaller"
    ):
        decode_image(huge_png(10_000, 10_000), Preprocessing(1, (28, 28)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # a program around us may have lifted Pillow's own limit
    with pytest.raises(ImageError, match="60000 x 60000 pixels, more than"):
        decode_image(path, Preprocessing(1, (28, 28)))


def test_warnings_made_errors_change_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError, match="the picture has more than 89,478,485 pixels"):
            decode_image(huge_png(10_000, 10_000), Preprocessing(1, (28, 28)))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "TIFF", "PPM", "WEBP", "GIF"])
@pytest.mark.parametrize("kept", [0.4, 0.9])
def test_a_truncated_picture_is_refused_by_name(form, kept, tmp_path):
    data = encode(Image.fromarray(rgb(64, 64)), form)
    path = tmp_path / "half"
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ImageError) as caught:
        decode_image(path, Preprocessing(3, (32, 32)))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_every_single_damage_is_an_image_error_or_a_picture():
    whole = encode(Image.fromarray(rgb(9, 7)), "PNG")
    for k in range(len(whole)):
        damaged = bytearray(whole)
        damaged[k] ^= 0xFF
        with contextlib.suppress(ImageError):
            assert decode_image(bytes(damaged), Preprocessing(3, (9, 7))).shape == (3, 9, 7)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty: replace or remove it"),
        (b"hello, world\n" * 9, "not a JPEG, PNG, WebP, BMP, GIF, TIFF or PPM picture: convert or remove it"),
    ],
)
def test_what_is_no_picture_is_refused_by_name(content, reason, tmp_path):
    path = tmp_path / "notes.png"
    path.write_bytes(content)
    with pytest.raises(ImageError) as caught:
        decode_image(path, Preprocessing(1, (28, 28)))
    assert str(caught.value) == f"{path}: {reason}"
    assert (caught.value.name, caught.value.reason) == (str(path), reason)


def test_a_format_outside_the_list_is_refused():
    data = encode(Image.fromarray(rgb(8, 8)), "ICO")
    with pytest.raises(ImageError, match=r"^picture: not a JPEG, PNG"):
        decode_image(data, Preprocessing(3, (8, 8)))


def test_a_file_that_is_not_there_or_is_a_folder(tmp_path):
    with pytest.raises(ImageError, match=r"gone.png: the file cannot be read \(No such file or directory\)"):
        decode_image(tmp_path / "gone.png", Preprocessing(1, (28, 28)))
    with pytest.raises(ImageError, match=r"the file cannot be read \(Is a directory\)"):
        decode_image(tmp_path, Preprocessing(1, (28, 28)))


def test_a_file_that_is_too_large_is_not_even_read(tmp_path, monkeypatch):
    path = tmp_path / "video.mp4"
    path.write_bytes(b"12345")
    monkeypatch.setattr(decoding, "FILE_LIMIT", 4)
    with pytest.raises(ImageError, match=r"video.mp4: the file has more than 1 GiB"):
        decode_image(path, Preprocessing(1, (28, 28)))


@pytest.mark.parametrize("name", ["china.jpg", "flower.jpg"])
def test_a_jpeg_decoded_at_a_fraction_of_its_size_is_near_the_whole(name):
    """Photographs of 640 x 427: at 1/2 from a quarter of the height down, at 1/4 from an eighth, at 1/8 below."""
    path = Path(sklearn.datasets.__file__).parent / "images" / name
    whole = Image.open(path).convert("RGB")
    for size, most in ((224, 0), (108, 0), (106, 3.5), (64, 3.5), (53, 3.5), (24, 4.5), (12, 4.5)):
        decoded = decode_image(path, Preprocessing(3, (size, size))).astype(int)
        plain = np.asarray(whole.resize((size, size), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
        error = np.sqrt(((decoded - plain) ** 2).mean())
        assert (error == 0) if most == 0 else (0 < error < most), size
