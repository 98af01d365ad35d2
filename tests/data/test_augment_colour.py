"""Colours against their definitions, and their independence of the batch."""

import colorsys
import itertools

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from striate.data import Augmentation, augment, sample_keys, uniform
from striate.data._colour import IMAGENET_AXES, IMAGENET_VARIANCES
from striate.errors import InputError

KEYS = sample_keys([f"s{k}" for k in range(300)])
HOWARD = Augmentation(brightness=0.5, contrast=0.5, saturation=0.5)


def pictures(n, channels=3, dtype=torch.float32):
    return torch.rand(n, channels, 12, 10, generator=torch.Generator().manual_seed(0), dtype=dtype)


def factors(stream, amount=0.5):
    return 1 + amount * (2 * uniform(0, 0, KEYS, f"augment/{stream}") - 1)


@pytest.mark.parametrize(
    ("option", "enhancer"),
    [("brightness", ImageEnhance.Brightness), ("contrast", ImageEnhance.Contrast), ("saturation", ImageEnhance.Color)],
)
def test_each_is_what_pillow_does(option, enhancer):
    """Howard 2013 used Pillow, which rounds each grey and each result to 8 bits."""
    x = (pictures(20) * 255).round() / 255
    result = augment(x, KEYS[:20], seed=0, epoch=0, options=Augmentation(**{option: 0.5}))
    for k in range(20):
        image = Image.fromarray((x[k] * 255).round().byte().permute(1, 2, 0).numpy())
        expected = np.asarray(enhancer(image).enhance(factors(option)[k])).transpose(2, 0, 1)
        assert np.abs(result[k].numpy() * 255 - expected).max() < 2.1


def test_the_three_come_in_a_drawn_order():
    x = pictures(300, dtype=torch.float64)
    result = augment(x, KEYS, seed=0, epoch=0, options=HOWARD).numpy()
    values = {name: factors(name) for name in ("brightness", "contrast", "saturation")}
    grey = np.array([0.299, 0.587, 0.114]).reshape(3, 1, 1)
    found = []
    for k in range(300):
        agreeing = []
        for order in itertools.permutations(values):
            picture = x[k].numpy()
            for name in order:
                luma = (picture * grey).sum(0, keepdims=True)
                towards = {"brightness": 0 * luma, "contrast": luma.mean(), "saturation": luma}[name]
                picture = np.clip(towards + (picture - towards) * values[name][k], 0, 1)
            if np.abs(picture - result[k]).max() < 1e-5:
                agreeing.append(order)
        assert agreeing
        found.append(agreeing[0])
    assert len(set(found)) == 6


def test_lighting_is_one_colour_along_the_axes_of_imagenet():
    x = pictures(300, dtype=torch.float64)
    added = (augment(x, KEYS, seed=0, epoch=0, options=Augmentation(lighting=0.1)) - x).numpy()
    colour = added[:, :, :1, :1]
    np.testing.assert_allclose(added, np.broadcast_to(colour, added.shape), atol=1e-15)
    along = colour[:, :, 0, 0] @ IMAGENET_AXES / np.sqrt(IMAGENET_VARIANCES)
    assert np.abs(along.mean(0)).max() < 0.02
    assert np.abs(along.std(0) - 0.1).max() < 0.02
    assert np.abs(np.corrcoef(along.T) - np.eye(3)).max() < 0.2


def test_the_axes_are_orthonormal_as_principal_axes_are():
    np.testing.assert_allclose(IMAGENET_AXES.T @ IMAGENET_AXES, np.eye(3), atol=3e-4)


def test_hue_turns_the_colour_circle_of_hsv():
    x = pictures(10, dtype=torch.float64)
    x[0, :, :3] = 0.5  # grey
    x[1, :, 0] = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)[:, None]  # two largest
    result = augment(x, KEYS[:10], seed=0, epoch=0, options=Augmentation(hue=0.5)).numpy()
    turns = 0.5 * (2 * uniform(0, 0, KEYS[:10], "augment/hue") - 1)
    for k in range(10):
        for i, j in np.ndindex(12, 10):
            hue, saturation, value = colorsys.rgb_to_hsv(*x[k, :, i, j].tolist())
            expected = colorsys.hsv_to_rgb((hue + turns[k]) % 1, saturation, value)
            np.testing.assert_allclose(result[k, :, i, j], expected, atol=1e-12)


def test_grey_pictures_stay_grey():
    x = pictures(8, channels=1)
    assert torch.equal(augment(x, KEYS[:8], seed=0, epoch=0, options=Augmentation(saturation=1.0, hue=0.5)), x)
    options = Augmentation(brightness=0.4, contrast=0.4, saturation=0.4, lighting=0.1)
    result = augment(x, KEYS[:8], seed=0, epoch=0, options=options)
    colour = augment(x.expand(-1, 3, -1, -1).clone(), KEYS[:8], seed=0, epoch=0, options=options)
    luma = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    torch.testing.assert_close(result, (colour * luma).sum(1, keepdim=True), atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_of_one_has_the_same_bits(channels):
    """Means are reductions, whose rounding often depends on the batch: not here."""
    x = torch.rand(16, channels, 224, 224, generator=torch.Generator().manual_seed(1))
    whole = augment(x, KEYS[:16], seed=3, epoch=1, options=HOWARD)
    for k in (0, 7, 15):
        assert torch.equal(augment(x[k : k + 1], KEYS[k : k + 1], seed=3, epoch=1, options=HOWARD), whole[k : k + 1])


def test_two_channels_have_no_colour():
    with pytest.raises(InputError, match="colours can be changed in pictures of 1 or 3 channels only, these have 2"):
        augment(pictures(1, channels=2), KEYS[:1], seed=0, epoch=0, options=HOWARD)
