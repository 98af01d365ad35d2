"""MixUp and CutMix: the pictures of a batch mixed in pairs, and their labels in the same proportion."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot

from striate.data import uniform
from striate.data._randomness import Keys
from striate.training._recipe import MixingOptions

Shares = NDArray[np.float64]


def mix(
    images: Tensor,
    labels: Tensor,
    keys: Keys,
    partner: NDArray[np.int64] | None = None,
    *,
    classes: int,
    seed: int,
    epoch: int,
    options: MixingOptions,
) -> tuple[Tensor, Tensor]:
    """Return pictures or series mixed with partners from the batch, and targets N x K: the share of each class.

    A picture's partner is the next one in an order of the batch that is a function of (seed, epoch, keys), the last
    one's is the first; so nobody is its own but in a batch of one. "mixup" (Zhang et al. 2018): x = lam x + (1 - lam)
    x_partner. "cutmix" (Yun et al. 2019): a rectangle of 1 - lam of the picture is the partner's, and what is cut off
    at the border makes lam larger. lam is drawn from Beta(alpha, alpha) for each picture. With both, each picture has
    the one or the other with equal chance. `partner`: the rows of the partners of the first pictures, if only these are
    to be mixed.
    """
    if partner is None:
        partner = partners(keys, seed=seed, epoch=epoch)
    keys, others = keys[: len(partner)], torch.from_numpy(partner).to(images.device)
    share = beta(options.mixup, uniform(seed, epoch, keys, "mix/mixup")) if options.mixup else np.ones(len(keys))
    own = torch.from_numpy(share).to(images).view(-1, *(1,) * (images.ndim - 1))
    if options.cutmix:
        cut = uniform(seed, epoch, keys, "mix/which") < (0.5 if options.mixup else 1.0)
        inside = _rectangles(keys, seed, epoch, options.cutmix, images.shape[2:])
        share = np.where(cut, 1.0 - inside[0].mean(1) * inside[1].mean(1), share)
        rows, columns = (torch.from_numpy(axis).to(images.device) for axis in inside)
        outside = ~(rows[:, None, :, None] & columns[:, None, None, :])
        own = torch.where(torch.from_numpy(cut).to(images.device)[:, None, None, None], outside.to(images), own)
    shares, truth = torch.from_numpy(share).to(images)[:, None], one_hot(labels, classes).to(images)
    return (
        own * images[: len(others)] + (1 - own) * images[others],
        shares * truth[: len(others)] + (1 - shares) * truth[others],
    )


def partners(keys: Keys, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return for each picture of a batch the row of the one it is mixed with: a cycle through the batch."""
    order = np.argsort(uniform(seed, epoch, keys, "mix/partner"), kind="stable")
    partner = np.empty(len(keys), np.int64)
    partner[order] = np.roll(order, -1)
    return partner


def beta(alpha: float, unit: NDArray[np.float64]) -> Shares:
    """Return numbers of the distribution Beta(alpha, alpha) made of uniform ones, by its inverse."""
    from scipy.special import betaincinv

    shares: Shares = betaincinv(alpha, alpha, unit + 2.0**-54)  # the middle of each step
    return shares


def _rectangles(keys: Keys, seed: int, epoch: int, alpha: float, size: Sequence[int]) -> list[NDArray[np.bool_]]:
    """Return which rows (N x H) and which columns (N x W) a rectangle has; its centre is anywhere in the picture."""
    side = np.sqrt(1.0 - beta(alpha, uniform(seed, epoch, keys, "mix/cutmix")))
    found = []
    for axis, places in zip(("down", "along"), size, strict=True):
        length = (places * side).astype(np.int64)
        start = np.floor(places * uniform(seed, epoch, keys, f"mix/{axis}")).astype(np.int64) - length // 2
        place = np.arange(places)
        found.append((place >= start[:, None]) & (place < (start + length)[:, None]))
    return found
