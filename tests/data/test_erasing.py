"""Random erasing: rectangles of the drawn share and shape, noise from its definition, masks without a label there."""

import numpy as np
import pytest
import torch

from striate.data import VOID, Augmentation, augment, augment_scenes, sample_keys, uniform
from striate.data._erasing import _noise, erased
from striate.data._randomness import Draw

KEYS = sample_keys([f"s{k}" for k in range(500)])
PAPER = Augmentation(erase=0.5)
WORD = 2**64 - 1


def split_mix(seed: int, count: int) -> list[int]:
    """SplitMix64 as its authors print it (Steele, Lea and Flood 2014), in whole numbers."""
    numbers = []
    for _ in range(count):
        seed = (seed + 0x9E3779B97F4A7C15) & WORD
        z = seed
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & WORD
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & WORD
        numbers.append(z ^ (z >> 31))
    return numbers


def test_the_generator_is_split_mix() -> None:
    assert split_mix(1234567, 2) == [6457827717110365317, 3203168211198807973]  # as others print it
    seeds = np.array([1234567, 2**64 - 5, 0], np.uint64)
    noise = _noise(seeds, torch.zeros(3, 2, 3, 4, dtype=torch.float64))
    for k, seed in enumerate(seeds.tolist()):
        expected = [(number >> 40) / 2**24 for number in split_mix(seed, 24)]
        assert noise[k].flatten().tolist() == expected


@pytest.mark.parametrize("size", [(64, 64), (40, 100)])
def test_rectangles_have_the_share_and_shape_of_the_paper(size: tuple[int, int]) -> None:
    inside = erased(Draw(0, 0, KEYS), PAPER, size=size)
    assert inside.shape == (500, *size)
    drawn = uniform(0, 0, KEYS, "augment/erase") < 0.5
    assert np.array_equal(inside.any((1, 2)), drawn)
    shares, aspects, places = [], [], []
    for mask in inside[drawn]:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        tall, wide = len(rows), len(columns)
        assert mask.sum() == tall * wide  # a rectangle without gaps
        assert (rows[-1] - rows[0], columns[-1] - columns[0]) == (tall - 1, wide - 1)
        shares.append(mask.mean())
        aspects.append(tall / wide)
        places += [(rows[0] / max(size[0] - tall, 1), columns[0] / max(size[1] - wide, 1))]
    assert 0.015 < min(shares) < 0.04 < 0.36 < max(shares) < 0.42
    assert 0.25 < min(aspects) < 0.35
    assert 2.85 < max(aspects) < 4
    assert np.mean(shares) == pytest.approx(0.21, abs=0.02)
    assert np.mean(places, axis=0) == pytest.approx([0.5, 0.5], abs=0.06)
    assert np.max(places, axis=0).tolist() == [1, 1]  # up to the very edge


def test_pixels_outside_stay_and_inside_are_noise() -> None:
    x = torch.full((500, 3, 32, 32), 0.25)
    out = augment(x, KEYS, seed=0, epoch=0, options=PAPER)
    inside = torch.from_numpy(erased(Draw(0, 0, KEYS), PAPER, size=(32, 32)))[:, None].expand_as(x)
    assert torch.equal(out[~inside], x[~inside])
    noise = out[inside]
    assert torch.histc(noise, 10, 0, 1).min() > 0.09 * len(noise)
    assert noise.mean().item() == pytest.approx(0.5, abs=0.005)
    assert (out[:, 0] != out[:, 1])[inside[:, 0]].double().mean() > 0.99  # each channel has its own
    again = augment(x, KEYS, seed=0, epoch=1, options=PAPER)
    assert not torch.equal(again, out)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 2)])
def test_small_pictures_and_always(size: tuple[int, int]) -> None:
    out = augment(torch.zeros(20, 1, *size), KEYS[:20], seed=0, epoch=0, options=Augmentation(erase=1))
    assert ((out > 0).sum((1, 2, 3)) >= 1).all()


def test_a_mask_says_nothing_where_its_picture_is_erased() -> None:
    masks = torch.ones(40, 16, 24, dtype=torch.uint8)
    pictures = torch.full((40, 3, 16, 24), 2.0)  # lighter than any noise
    out, left = augment_scenes(pictures, masks, KEYS[:40], seed=0, epoch=0, options=PAPER)
    assert torch.equal(left == VOID, out[:, 0] < 1)
    assert set(left.unique().tolist()) == {1, VOID}
