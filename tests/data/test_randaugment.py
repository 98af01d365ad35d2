"""RandAugment's operations against Pillow's own, its draws, masks, and its independence of the batch."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from striate.data import OPERATIONS, VOID, Augmentation, augment, augment_scenes, sample_keys, uniform
from striate.data._levels import autocontrast, equalize, posterize, solarize
from striate.data._randaugment import Turn, move_, smooth
from striate.errors import InputError

KEYS = sample_keys([f"s{k}" for k in range(400)])
ONCE = Augmentation(randaugment=1, magnitude=6)


def levels(n: int, channels: int = 3, size: tuple[int, int] = (33, 40)) -> Tensor:
    """Pictures of some contrast, so that nothing is at both ends of the levels by chance."""
    x = torch.rand(n, channels, *size, generator=torch.Generator().manual_seed(0)) * 150 + 40
    low, high = torch.rand(2, n, channels, 1, 1, generator=torch.Generator().manual_seed(1))
    return (x * (0.5 + low / 2) + 20 * high).round().clamp(0, 255)


def move(pictures: Tensor, turn: Turn, strength: float) -> Tensor:
    moved = pictures.clone()
    move_(moved, turn, strength)
    return moved


def image_of(levels: Tensor) -> Image.Image:
    pixels = levels.byte().permute(1, 2, 0).numpy()
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def values_of(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(33, 40), (5, 7), (1, 1), (256, 3)])
def test_what_is_defined_on_levels_is_pillows_to_the_level(channels: int, size: tuple[int, int]) -> None:
    x = levels(6, channels, size)
    x[0] = 17  # one level
    x[1, :, 0] = 255
    for k in range(6):
        image, picture = image_of(x[k]), x[k : k + 1] / 255
        for bits in range(1, 9):
            got = (posterize(picture, bits) * 255)[0].numpy()
            np.testing.assert_array_equal(got.round(), values_of(ImageOps.posterize(image, bits)))
        for threshold in (0, 1, 100, 128, 255, 256):
            got = (solarize(picture, threshold) * 255)[0].numpy()
            np.testing.assert_allclose(got, values_of(ImageOps.solarize(image, threshold)), atol=1e-4)
        got = (equalize(picture) * 255)[0].numpy()
        np.testing.assert_array_equal(got.round(), values_of(ImageOps.equalize(image)))


@pytest.mark.parametrize("channels", [1, 3])
def test_what_pillow_rounds_agrees_to_a_level(channels: int) -> None:
    x = levels(5, channels)
    x[0] = 17
    for k in range(5):
        stretched = (autocontrast(x[k : k + 1] / 255) * 255)[0].numpy()
        expected = values_of(ImageOps.autocontrast(image_of(x[k])))
        assert np.abs(stretched - expected).max() < 1 + 1e-4  # Pillow cuts fractions off
        blurred = (smooth(x[k : k + 1] / 255) * 255)[0].numpy()
        expected = values_of(ImageEnhance.Sharpness(image_of(x[k])).enhance(0.0))
        assert np.abs(blurred - expected).max() <= 0.5 + 1e-4


def test_every_picture_gets_the_drawn_operation_at_its_strength() -> None:
    """Magnitude 6 of 10: factors 1 +- 0.54, 6 bits, levels from 102 on inverted."""
    x = levels(400)
    result = augment(x / 255, KEYS, seed=2, epoch=1, options=ONCE).numpy() * 255
    kinds = np.floor(uniform(2, 1, KEYS, "augment/randaugment-0") * 14).astype(int)
    ways = np.where(uniform(2, 1, KEYS, "augment/randaugment-way-0") < 0.5, -1, 1)
    enhancers = {
        "color": ImageEnhance.Color,
        "contrast": ImageEnhance.Contrast,
        "brightness": ImageEnhance.Brightness,
        "sharpness": ImageEnhance.Sharpness,
    }
    plain = {
        "identity": lambda image: image,
        "autocontrast": ImageOps.autocontrast,
        "equalize": ImageOps.equalize,
        "solarize": lambda image: ImageOps.solarize(image, 103),  # from 102.4 on
        "posterize": lambda image: ImageOps.posterize(image, 6),
    }
    seen = set()
    for k, (kind, way) in enumerate(zip(kinds, ways, strict=True)):
        name, image = OPERATIONS[kind], image_of(x[k])
        if name in enhancers:
            expected = values_of(enhancers[name](image).enhance(1 + 0.54 * way))
            assert np.abs(result[k] - expected).max() < 2.1, name
            seen.add((name, way))
        elif name in plain:
            assert np.abs(result[k] - values_of(plain[name](image))).max() < 1 + 1e-3, name
            seen.add(name)
    assert len(seen) == 2 * len(enhancers) + len(plain)
    assert np.bincount(kinds, minlength=14).min() > 10


@pytest.mark.parametrize(("name", "place"), [("translate-x", 0), ("translate-y", 1)])
def test_translations_are_in_shares_of_the_side(name: str, place: int) -> None:
    x = torch.zeros(2, 1, 331, 331)
    x[:, 0, 165, 165] = 1
    turn = Turn(np.full(2, OPERATIONS.index(name)), np.array([1.0, -1.0]))
    moved = move(x, turn, 0.6)  # 90 of 331 pixels
    for k, way in enumerate((1, -1)):
        at = [165, 165]
        at[1 - place] += 90 * way
        assert moved[k, 0, at[0], at[1]] == pytest.approx(1, abs=1e-3)


def test_rotation_is_pillows_and_shear_moves_rows_by_their_height() -> None:
    x = levels(1, 1, (41, 41)) / 255
    x = torch.nn.functional.avg_pool2d(x, 5, 1, 2)  # smooth: the two interpolations differ little
    turn = Turn(np.array([OPERATIONS.index("rotate")]), np.array([1.0]))
    turned = move(x, turn, 0.8)[0].numpy() * 255
    pixels = (x[0, 0] * 255).numpy()
    expected = [np.asarray(Image.fromarray(pixels).rotate(angle, Image.Resampling.BILINEAR)) for angle in (-24, 24)]
    inner = (slice(8, -8), slice(8, -8))
    errors = sorted(np.abs(turned[0][inner] - image[inner]).max() for image in expected)
    assert errors[0] < 0.05 < 5 < errors[1]
    bar = torch.zeros(1, 1, 21, 41)
    bar[..., 20] = 1
    leaning = move(bar, Turn(np.array([OPERATIONS.index("shear-x")]), np.array([1.0])), 1.0)[0, 0].numpy()
    middles = (leaning * np.arange(41)).sum(1) - 20
    np.testing.assert_allclose(middles, 0.3 * (np.arange(21) - 10), atol=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_bit_identical_whatever_the_batch(channels: int) -> None:
    x = torch.rand(64, channels, 30, 21, generator=torch.Generator().manual_seed(3))
    options = Augmentation(randaugment=3, magnitude=9, hue=0.2, erase=0.5, flip=0.5, area=(0.3, 1.0))
    whole = augment(x, KEYS[:64], seed=0, epoch=5, options=options)
    for rows in ([5], [63, 5, 0], list(range(33)), list(range(63, -1, -1)), [7, 7]):
        part = augment(x[rows], KEYS[rows], seed=0, epoch=5, options=options)
        assert torch.equal(part, whole[rows])
    last = x.to(memory_format=torch.channels_last)
    assert torch.equal(augment(last, KEYS[:64], seed=0, epoch=5, options=options), whole)


def test_operations_follow_one_another_and_the_input_stays() -> None:
    x = torch.rand(50, 3, 16, 16, generator=torch.Generator().manual_seed(4))
    before = x.clone()
    two = augment(x, KEYS[:50], seed=1, epoch=0, options=Augmentation(randaugment=2))
    assert torch.equal(x, before)
    first = augment(x, KEYS[:50], seed=1, epoch=0, options=Augmentation(randaugment=1))
    second = uniform(1, 0, KEYS[:50], "augment/randaugment-1") < 1 / 14  # the identity
    assert 0 < second.sum() < 25
    assert torch.equal(two[second], first[second])
    assert 0 <= two.min() <= two.max() <= 1


def test_no_strength_is_hardly_a_change() -> None:
    x = levels(60) / 255
    kinds = np.floor(uniform(0, 0, KEYS[:60], "augment/randaugment-0") * 14).astype(int)
    keeps = ~np.isin(kinds, [OPERATIONS.index("autocontrast"), OPERATIONS.index("equalize")])
    out = augment(x, KEYS[:60], seed=0, epoch=0, options=Augmentation(randaugment=1, magnitude=0))
    torch.testing.assert_close(out[keeps], x[keeps], atol=1e-5, rtol=0)


def test_masks_move_with_their_pictures_and_colours_leave_them() -> None:
    y, x = torch.meshgrid(torch.arange(24), torch.arange(32), indexing="ij")
    masks = (y // 4 * 8 + x // 4).to(torch.uint8).expand(200, -1, -1)
    # where no colours are drawn, the picture is a ramp that tells where each pixel comes from
    pictures = torch.stack([x / 32, y / 32, torch.ones_like(x)]).double().expand(200, -1, -1, -1)
    options = Augmentation(randaugment=1, magnitude=8)
    out, moved = augment_scenes(pictures, masks, KEYS[:200], seed=0, epoch=0, options=options)
    kinds = np.floor(uniform(0, 0, KEYS[:200], "augment/randaugment-0") * 14).astype(int)
    geometric = np.isin(kinds, [OPERATIONS.index(n) for n in OPERATIONS if n[:5] in {"rotat", "shear", "trans"}])
    assert 40 < geometric.sum() < 120
    assert torch.equal(moved[~geometric], masks[~geometric])
    right, down, there = (out[geometric][:, k] for k in range(3))
    at_x, at_y = right * 32, down * 32
    sure = (there > 1 - 1e-9) & ((at_x % 1 - 0.5).abs() > 1e-6) & ((at_y % 1 - 0.5).abs() > 1e-6)
    expected = at_y.round() // 4 * 8 + at_x.round() // 4
    assert torch.equal(moved[geometric][sure].double(), expected[sure])
    assert sure.double().mean() > 0.3
    assert (moved[geometric][there == 0] == VOID).all()
    assert (there == 0).any()


def test_other_channels_and_amounts_are_refused() -> None:
    with pytest.raises(InputError, match="colours can be changed in pictures of 1 or 3 channels only, these have 2"):
        augment(torch.rand(1, 2, 4, 4), KEYS[:1], seed=0, epoch=0, options=ONCE)
    for values, message in (
        ({"randaugment": -1}, "augmentation: randaugment must be from 0 to 100, got -1"),
        ({"randaugment": 1.5}, "augmentation: randaugment must be a whole number of operations, got 1.5"),
        ({"magnitude": 11}, "augmentation: magnitude must be from 0 to 10, got 11"),
        ({"erase": 2}, "augmentation: erase must be from 0 to 1, got 2"),
        ({"hue": 0.6}, "augmentation: hue must be from 0 to 0.5, got 0.6"),
        (
            {"erase_area": (0.4, 0.1)},
            "augmentation: erase_area must be two numbers above 0 and up to 1, the smaller first, got (0.4, 0.1)",
        ),
    ):
        with pytest.raises(InputError) as caught:
            Augmentation(**values)
        assert str(caught.value) == message
