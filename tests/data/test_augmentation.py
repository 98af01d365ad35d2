"""Augmentation against its definition, pixel by pixel, and its independence of the batch."""

import math

import numpy as np
import pytest
import torch

from gpu_checks import needs_gpu
from striate.data import LENET_DISTORTIONS, Augmentation, augment, sample_keys, uniform
from striate.errors import InputError

KEYS = sample_keys([f"s{k}" for k in range(64)])
ALL = Augmentation(shift=0.1, scale=0.2, squeeze=0.15, shear=0.3, rotate=25, flip=0.5, crop=2)
WINDOWS = Augmentation(area=(0.08, 1.0), aspect=4 / 3, flip=0.5, rotate=10)
COLOURS = Augmentation(brightness=0.5, contrast=0.5, saturation=0.5, lighting=0.1)


def pictures(*shape, dtype=torch.float64):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def signed(keys, stream, seed, epoch):
    return 2 * uniform(seed, epoch, keys, f"augment/{stream}") - 1


def by_hand(picture, k, seed, epoch, options):
    """The definition: build the forward map of a sample, invert it, read the picture bilinearly, black outside."""
    height, width = picture.shape[-2:]
    s, q, h, r, x, y = (
        signed(KEYS[k : k + 1], name, seed, epoch)[0]
        for name in ("scale", "squeeze", "shear", "rotate", "shift-x", "shift-y")
    )
    size, wide = (1 + options.scale) ** s, (1 + options.squeeze) ** q
    angle = math.radians(options.rotate) * r
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    forward = turn @ np.array([[1, options.shear * h], [0, 1]]) @ np.diag([size * wide, size / wide])
    moved = np.array([options.shift * width * x, options.shift * height * y])
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    result = np.zeros_like(picture)
    for i in range(height):
        for j in range(width):
            u, v = np.linalg.solve(forward, np.array([j, i]) - centre - moved) + centre
            for a in (math.floor(v), math.floor(v) + 1):
                for b in (math.floor(u), math.floor(u) + 1):
                    if 0 <= a < height and 0 <= b < width:
                        result[:, i, j] += (1 - abs(v - a)) * (1 - abs(u - b)) * picture[:, a, b]
    return result


@pytest.mark.parametrize(
    "options",
    [
        Augmentation(shift=0.2),
        Augmentation(scale=0.5),
        Augmentation(squeeze=0.5),
        Augmentation(shear=0.5),
        Augmentation(rotate=90),
        LENET_DISTORTIONS,
        Augmentation(shift=0.1, scale=0.2, squeeze=0.15, shear=0.3, rotate=25),
    ],
)
@pytest.mark.parametrize("shape", [(3, 1, 9, 9), (2, 3, 6, 11), (1, 2, 1, 5)])
def test_affine_changes_follow_their_definition(options, shape):
    x = pictures(*shape)
    result = augment(x, KEYS[: shape[0]], seed=4, epoch=2, options=options)
    for k in range(shape[0]):
        np.testing.assert_allclose(result[k].numpy(), by_hand(x[k].numpy(), k, 4, 2, options), atol=1e-12)


def test_a_turn_is_against_the_rows_and_a_shift_in_pixels():
    # one white pixel, so that directions cannot be mistaken: rotate() turns from x (right) towards y (down)
    x = torch.zeros(64, 1, 21, 21, dtype=torch.float64)
    x[:, 0, 10, 16] = 1
    result = augment(x, KEYS, seed=0, epoch=0, options=Augmentation(rotate=60))
    rows, columns = np.mgrid[0:21, 0:21] - 10
    for k, angle in enumerate(60 * signed(KEYS, "rotate", 0, 0)):
        weight = result[k, 0].numpy()
        turned = math.degrees(math.atan2((weight * rows).sum(), (weight * columns).sum()))
        assert abs(turned - angle) < 6
    shifted = augment(x, KEYS, seed=0, epoch=0, options=Augmentation(shift=0.1))
    for k, right in enumerate(2.1 * signed(KEYS, "shift-x", 0, 0)):
        assert (shifted[k, 0].numpy() * columns).sum() == pytest.approx(6 + right)


def test_flip_mirrors_the_drawn_samples_exactly():
    x = pictures(64, 3, 5, 6, dtype=torch.float32)
    result = augment(x, KEYS, seed=1, epoch=0, options=Augmentation(flip=0.3))
    drawn = uniform(1, 0, KEYS, "augment/flip") < 0.3
    assert 5 < drawn.sum() < 40
    for k in range(64):
        assert torch.equal(result[k], x[k].flip(-1) if drawn[k] else x[k])


def test_crop_cuts_a_window_out_of_the_padded_picture():
    x = pictures(64, 2, 5, 7, dtype=torch.float32)
    result = augment(x, KEYS, seed=1, epoch=3, options=Augmentation(crop=2))
    padded = np.pad(x.numpy(), [(0, 0), (0, 0), (2, 2), (2, 2)])
    left, top = (np.floor(uniform(1, 3, KEYS, f"augment/crop-{way}") * 5).astype(int) for way in "xy")
    assert set(left) == set(top) == {0, 1, 2, 3, 4}
    for k in range(64):
        np.testing.assert_array_equal(result[k], padded[k, :, top[k] : top[k] + 5, left[k] : left[k] + 7])


@pytest.mark.parametrize("options", [ALL, LENET_DISTORTIONS, Augmentation(flip=0.5, crop=2), WINDOWS, COLOURS])
@pytest.mark.parametrize("size", [(28, 28), (7, 13)])
def test_bit_identical_whatever_the_batch(options, size):
    x = pictures(64, 3, *size, dtype=torch.float32)
    whole = augment(x, KEYS, seed=0, epoch=5, options=options)
    for rows in ([5], [63, 5, 0], list(range(33)), list(range(63, -1, -1)), [7, 7]):
        part = augment(x[rows], KEYS[rows], seed=0, epoch=5, options=options)
        assert torch.equal(part, whole[rows])


@needs_gpu
@pytest.mark.parametrize("options", [ALL, WINDOWS, COLOURS], ids=["moved", "windows", "colours"])
def test_a_gpu_changes_pictures_alike(options):
    x = pictures(5, 3, 24, 20)
    words = {"seed": 4, "epoch": 2, "options": options}
    found = augment(x.to("cuda"), KEYS[:5], **words)
    np.testing.assert_allclose(found.cpu().numpy(), augment(x, KEYS[:5], **words).numpy(), atol=1e-9)


def test_seeds_and_epochs_differ_and_repeat():
    x = pictures(8, 1, 9, 9)
    results = [augment(x, KEYS[:8], seed=s, epoch=e, options=ALL) for s, e in ((0, 0), (0, 1), (1, 0), (0, 0))]
    assert torch.equal(results[0], results[3])
    assert not torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_nothing_to_do_gives_the_pictures_back():
    x = pictures(3, 1, 4, 4)
    assert augment(x, KEYS[:3], seed=0, epoch=0, options=Augmentation()) is x
    assert augment(x, KEYS[:3], seed=0, epoch=0, options=Augmentation(), size=(4, 4)) is x


@pytest.mark.parametrize("options", [ALL, LENET_DISTORTIONS, Augmentation(flip=1.0), Augmentation(crop=3)])
@pytest.mark.parametrize("n", [0, 1, 3])
def test_awkward_batches_and_layouts_and_the_input_stays(options, n):
    x = pictures(n, 4, 6, 3).permute(0, 3, 1, 2)  # channels last in memory
    before = x.clone()
    result = augment(x, KEYS[:n], seed=0, epoch=0, options=options)
    assert (result.shape, result.dtype) == (x.shape, x.dtype)
    assert torch.equal(x, before)
    assert torch.equal(result, augment(x.contiguous(), KEYS[:n], seed=0, epoch=0, options=options))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"shift": -0.1}, "augmentation: shift must be from 0 to 1, got -0.1"),
        ({"flip": 50}, "augmentation: flip must be from 0 to 1, got 50"),
        ({"rotate": 360}, "augmentation: rotate must be from 0 to 180, got 360"),
        ({"scale": float("nan")}, "augmentation: scale must be from 0 to 10, got nan"),
        ({"contrast": 2}, "augmentation: contrast must be from 0 to 1, got 2"),
        (
            {"area": (0.5, 0.1)},
            "augmentation: area must be two numbers above 0 and up to 1, the smaller first, got (0.5, 0.1)",
        ),
        (
            {"zoom": (0.0, 1.0)},
            "augmentation: zoom must be two numbers above 0 and up to 100, the smaller first, got (0.0, 1.0)",
        ),
        ({"aspect": 0.75}, "augmentation: aspect must be from 1 to 100, got 0.75"),
        (
            {"zoom": (1, 2), "area": (0.1, 1)},
            "augmentation: zoom and area are two ways to choose a window, use one of them",
        ),
        (
            {"zoom": (1, 2), "crop": 4},
            "augmentation: crop moves a window of fixed size, leave it 0 with zoom, area or aspect",
        ),
        ({"crop": 1.5}, "augmentation: crop must be a whole number of pixels, got 1.5"),
    ],
)
def test_refuses_amounts_that_make_no_sense(values, message):
    with pytest.raises(InputError) as caught:
        Augmentation(**values)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (
            torch.zeros(2, 4, 4),
            "augment: expected float32 or float64 pictures N x C x H x W, got torch.float32 of shape (2, 4, 4)",
        ),
        (
            torch.zeros(2, 1, 4, 4, dtype=torch.uint8),
            "augment: expected float32 or float64 pictures N x C x H x W, got torch.uint8 of shape (2, 1, 4, 4)",
        ),
        (torch.zeros(3, 1, 4, 4), "augment: expected one key per picture, got 2 keys for 3 pictures"),
    ],
)
def test_refuses_what_are_no_pictures(x, message):
    with pytest.raises(InputError) as caught:
        augment(x, KEYS[:2], seed=0, epoch=0, options=ALL)
    assert str(caught.value) == message
