"""Random erasing (Zhong et al. 2020): a rectangle of a picture gives way to noise."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from striate.data import _geometry as geometry
from striate.data._randomness import Draw, Keys

if TYPE_CHECKING:
    import torch

    from striate.data._augmentation import Augmentation

ASPECT = 10 / 3  # the paper's r1 = 0.3 and r2 = 1 / 0.3


def erase(canvas: "torch.Tensor", draw: Draw, options: "Augmentation") -> "torch.Tensor":
    """Return the pictures (N x C x H x W), in those that are drawn a rectangle of noise, uniform in [0, 1)."""
    import torch

    chosen = np.flatnonzero(draw.unit("erase") < options.erase)
    if not len(chosen):
        return canvas
    rows = torch.from_numpy(chosen).to(canvas.device)
    part = canvas.index_select(0, rows)
    inside = erased(draw, options, size=(canvas.shape[2], canvas.shape[3]))[chosen]
    noise = _noise(draw.bits("erase-noise")[chosen], part)
    where = torch.from_numpy(inside).to(canvas.device)[:, None]
    return canvas.index_copy(0, rows, torch.where(where, noise, part))


def erased(draw: Draw, options: "Augmentation", *, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return which pixels of pictures of `size` (height, width) are erased, N x H x W.

    The rectangle's share of the picture is uniform, and its aspect ratio by the logarithm, as far as it fits inside.
    """
    height, width = size
    low, high = options.erase_area
    share = low + (high - low) * draw.unit("erase-area")
    wide, tall = geometry.sides(share, ASPECT, draw.unit("erase-aspect"), canvas=size)
    wide, tall = np.clip(np.round(wide), 1, width), np.clip(np.round(tall), 1, height)
    left = np.floor(draw.unit("erase-x") * (width - wide + 1))[:, None]
    top = np.floor(draw.unit("erase-y") * (height - tall + 1))[:, None]
    across, along = np.arange(width), np.arange(height)
    columns = (across >= left) & (across < left + wide[:, None])
    rows = (along >= top) & (along < top + tall[:, None])
    drawn = draw.unit("erase") < options.erase
    return rows[:, :, None] & columns[:, None, :] & drawn[:, None, None]


def _noise(seeds: Keys, like: "torch.Tensor") -> "torch.Tensor":
    """Return numbers in [0, 1), multiples of 2^-24, in the shape of `like`: SplitMix64, a generator per picture."""
    import torch

    start = torch.from_numpy(seeds.view(np.int64)).to(like.device)[:, None]
    numbers = torch.arange(1, like[0].numel() + 1, dtype=torch.int64, device=like.device)
    x = start + numbers * -0x61C8864680B583EB  # 0x9E3779B97F4A7C15 as a signed number; products wrap
    x = (x ^ _shifted(x, 30)) * -0x40A7B892E31B1A47
    x = (x ^ _shifted(x, 27)) * -0x6B2FB644ECCEEE15
    x = x ^ _shifted(x, 31)
    return (_shifted(x, 40).to(like.dtype) * 2.0**-24).view_as(like)


def _shifted(x: "torch.Tensor", bits: int) -> "torch.Tensor":
    """Shift to the right as if the numbers had no sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
