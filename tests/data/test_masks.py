"""Masks as files hold them: palettes and grey values, the void label, sizes; what is no mask is refused by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image

from striate.data import VOID, ImageError, Masks, Preprocessing, fit_array, fit_mask, read_mask, write_mask
from striate.data._masks import inner_box, usual_colour
from striate.errors import InputError

COLOURS = ((0, 0, 0), (10, 20, 30), (200, 100, 0))
MASKS = Masks((3, 7, 0), COLOURS, (9,))


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    """Palette indices are the stored values, the palette has the colours, and another program sees both."""
    mask = np.random.default_rng(0).choice([0, 1, 2, VOID], (7, 11)).astype(np.uint8)
    write_mask(tmp_path / "a.png", mask, MASKS)
    stored = read_mask(tmp_path / "a.png")
    assert stored.palette is not None
    assert stored.palette[3] == COLOURS[0]
    np.testing.assert_array_equal(MASKS.classes_of(stored.values), mask)
    with Image.open(tmp_path / "a.png") as image:
        assert (image.mode, image.size) == ("P", (11, 7))
        seen = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(seen[mask == 2], np.tile(COLOURS[2], ((mask == 2).sum(), 1)))
    np.testing.assert_array_equal(MASKS.painted(mask), np.where((mask == VOID)[..., None], 255, seen))


@pytest.mark.parametrize("mode", ["P", "L", "I;16", "1"])
def test_labels_are_the_pixels_values(tmp_path: Path, mode: str) -> None:
    labels = np.array([[0, 1, 1], [1, 0, 0]], np.uint8)
    if mode == "P":
        image = Image.frombytes("P", (3, 2), labels.tobytes())
        image.putpalette([9] * 768)
    elif mode == "I;16":
        image = Image.fromarray(labels.astype(np.uint16))
    else:
        image = Image.fromarray(labels * 255).convert("1") if mode == "1" else Image.fromarray(labels)
    image.save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png").values, labels)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda p: Image.new("RGB", (4, 4)).save(p), "has colours (mode RGB) where each pixel must be a label"),
        (lambda p: Image.new("L", (4, 4)).save(p, "JPEG"), "not a PNG, BMP, TIFF or PPM mask"),
        (lambda p: Image.fromarray(np.full((4, 4), 300, np.uint16)).save(p), "values up to 300 where labels are 0 to"),
        (lambda p: p.write_bytes(b""), "mask"),
        (lambda p: p.write_bytes(b"\x89PNG\r\n\x1a\nnothing"), "mask"),
        (lambda p: None, "cannot be read"),
    ],
)
def test_what_is_no_mask_is_refused_by_name(tmp_path: Path, write: Callable[[Path], Any], words: str) -> None:
    path = tmp_path / "m.png"
    write(path)
    with pytest.raises(ImageError) as caught:
        read_mask(path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)


def test_a_truncated_mask(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 9, (90, 90), dtype=np.uint8)).save(tmp_path / "m.png")
    data = (tmp_path / "m.png").read_bytes()
    with pytest.raises(ImageError, match="the mask is damaged or incomplete"):
        read_mask(data[: len(data) // 2], name="m.png")


@pytest.mark.parametrize("fit", ["stretch", "pad"])
@pytest.mark.parametrize("own", [(20, 30), (60, 31), (9, 9), (30, 40)])
def test_a_fitted_mask_lies_where_its_picture_does(fit: Literal["stretch", "pad"], own: tuple[int, int]) -> None:
    """A picture of two flat halves and its mask are brought to size; they agree but for the one mixed column."""
    labels = np.zeros(own, np.uint8)
    labels[:, own[1] // 2 :] = 1
    preprocessing = Preprocessing(1, (24, 40), fit)
    picture = fit_array((labels * 200 + 50)[None], preprocessing)[0]
    mask = fit_mask(labels, preprocessing)
    assert mask.shape == (24, 40)
    np.testing.assert_array_equal(mask[picture == 50], 0)
    np.testing.assert_array_equal(mask[picture == 250], 1)
    np.testing.assert_array_equal(mask[picture == 0], VOID)
    box = inner_box(own, preprocessing)
    inside = np.zeros((24, 40), bool)
    inside[box.top : box.top + box.height, box.left : box.left + box.width] = True
    np.testing.assert_array_equal(mask == VOID, ~inside)


def test_cropping_would_lose_labels() -> None:
    with pytest.raises(InputError, match="use 'stretch' or 'pad'"):
        fit_mask(np.zeros((4, 5), np.uint8), Preprocessing(1, (8, 8), "crop"))


def test_the_usual_colours_are_those_of_pascal_voc() -> None:
    """The development kit's table: background, aeroplane, bicycle, ..., tv monitor; 255 is the border."""
    shown = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 15: (192, 128, 128), 20: (0, 64, 128), 255: (224, 224, 192)}
    assert {value: usual_colour(value) for value in shown} == shown


def test_json_and_refusals() -> None:
    assert Masks.from_json(MASKS.to_json()) == MASKS
    for values in ({}, {"values": [1], "colours": [[0, 0]], "void": []}, {"values": 3, "colours": [], "void": []}):
        with pytest.raises(InputError, match="masks: not a description"):
            Masks.from_json(values)
    with pytest.raises(InputError, match="distinct values"):
        Masks((1, 2), COLOURS[:2], (2,))
    with pytest.raises(InputError, match="a colour for each"):
        Masks((1, 2), COLOURS)
