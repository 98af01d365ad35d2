"""The adaptive deconvolutional network (Zeiler, Taylor, Fergus, ICCV 2011): images as sums of learnt parts, no labels.

Every layer is convolutional sparse coding: its maps z, convolved with its filters, give the pooled maps of the layer
below, those are unpooled by that layer's switches, and so on down to the image. Each layer's maps are inferred so that
they rebuild the *image*, not the layer below: that is what is adaptive, with the switches, which follow the image.

Departures: the step of the inference is no constant of each layer but follows the images, and the cost never rises (see
`infer`); when a filter is brought back to unit length, its map takes over the length; maps start at 0, not at small
random numbers; `SMALL` is ours: the paper's four layers of up to 150 maps are for 150 x 150 images and a cluster.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from striate.errors import InputError
from striate.ops import conv, conv_transpose, max_pool, max_unpool


class Layer(NamedTuple):
    """One layer: how many maps, how wide its filters, how its pooling, how dear an error of the image.

    Pooling takes the largest magnitude of `pool_maps` neighbouring maps x `pool` x `pool` positions. `weight` is the
    lambda of equation 1: the larger it is, the better is the image rebuilt and the less sparse are the maps.
    """

    maps: int
    kernel: int
    pool_maps: int
    pool: int
    weight: float


SMALL = (
    Layer(12, 7, 3, 3, 1.0),  # 48 x 48 -> 12 @ 54 x 54, pooled 4 @ 18 x 18
    Layer(24, 7, 2, 2, 1.0),  # 24 @ 24 x 24, pooled 12 @ 12 x 12
)


class Switches(NamedTuple):
    """Where the pooling by `window` found its maxima: row-major positions in maps of `size` (maps, height, width)."""

    where: Tensor
    window: tuple[int, int, int]
    size: tuple[int, int, int]


class Codes(NamedTuple):
    """What inference found, from layer 1 on: maps N x K x H x W, switches, the cost at first and after each step."""

    maps: tuple[Tensor, ...]
    switches: tuple[Switches, ...]
    costs: tuple[list[float], ...]


def pool(z: Tensor, layer: Layer) -> tuple[Tensor, Switches]:
    """Return the values of largest magnitude, with their signs, and where they were (equation 3): 3-D max pooling.

    Windows do not overlap; the last ones may hang over the edge. Of equal magnitudes the first counts.
    """
    window = (layer.pool_maps, layer.pool, layer.pool)
    _, where = max_pool(z.abs().unsqueeze(1), window, ceil=True, return_switches=True)
    switches = Switches(where, window, (z.shape[1], z.shape[2], z.shape[3]))
    return pool_by(z, switches), switches


def pool_by(z: Tensor, switches: Switches) -> Tensor:
    """Return the values at fixed switches, which is linear, and the transpose of `unpool`."""
    where = switches.where
    return z.flatten(1).gather(1, where.flatten(1)).view(where.squeeze(1).shape)


def unpool(p: Tensor, switches: Switches) -> Tensor:
    """Return maps with the pooled values at their switches and 0 elsewhere."""
    return max_unpool(p.unsqueeze(1), switches.where, switches.window, output_size=switches.size).squeeze(1)


def shrink(z: Tensor, threshold: float) -> Tensor:
    """Return max(|z| - threshold, 0) with the sign of z: what minimises (x - z)^2 / 2 + threshold |x| (equation 7)."""
    return z.sign() * (z.abs() - threshold).clamp(min=0)


class AdaptiveDeconv(nn.Module):
    """The network of a table for images N x channels x H x W of any size.

    Filters are buffers filters1, filters2, ... of maps below x maps x kernel x kernel, each map's of unit length, at
    first normal numbers drawn from `seed`. Raises InputError for an empty table.
    """

    def __init__(self, table: Sequence[Layer] = SMALL, *, channels: int = 1, seed: int = 0) -> None:
        super().__init__()
        if not table:
            raise InputError("adaptive_deconv: the table needs at least one layer")
        self.table, self.channels = tuple(table), channels
        random = torch.Generator().manual_seed(seed)
        below = channels
        for number, layer in enumerate(table, 1):
            filters = torch.randn(below, layer.maps, layer.kernel, layer.kernel, generator=random)
            self.register_buffer(f"filters{number}", filters / _lengths(filters))
            below = -(-layer.maps // layer.pool_maps)

    def filters(self, depth: int) -> Tensor:
        """Return the filters of layer 1, 2, ..."""
        return self.get_buffer(f"filters{depth}")

    def reconstruct(self, z: Tensor, switches: Sequence[Switches]) -> Tensor:
        """Return the image of the maps above so many switches (equation 4): R z = F_1 U_1 F_2 U_2 ... F_l z."""
        for depth in range(len(switches) + 1, 0, -1):
            z = conv(z, self.filters(depth), flip=True)
            if depth > 1:
                z = unpool(z, switches[depth - 2])
        return z

    def project(self, error: Tensor, switches: Sequence[Switches]) -> Tensor:
        """Return the transpose of `reconstruct` (equation 5): F_l' P_(l-1) ... P_1 F_1' of an image."""
        for depth in range(1, len(switches) + 2):
            if depth > 1:
                error = pool_by(error, switches[depth - 2])
            error = conv_transpose(error, self.filters(depth), flip=True)
        return error

    def cost(self, images: Tensor, z: Tensor, switches: Sequence[Switches]) -> float:
        """Return weight / 2 |R z - images|^2 + |z|_1 (equation 1), summed over the images."""
        weight = self.table[len(switches)].weight
        error = self.reconstruct(z, switches) - images
        return float(weight / 2 * error.square().sum() + z.abs().sum())

    @torch.no_grad()
    def infer(self, images: Tensor, depth: int | None = None, *, steps: int = 20) -> Codes:
        """Infer the maps of the layers up to `depth` (all), one layer after the other (section 2.2).

        Each of the `steps` goes down the gradient of the image's error, shrinks, and pools and unpools, by which one
        value of each neighbourhood stays. That is the proximal gradient method for the cost over maps of one value in
        each neighbourhood: with a length of 1 / (weight |R|^2) or less no step raises the cost. |R|^2 is estimated; a
        step that would raise the cost is not taken, and the next is half as long.
        """
        self._require(images, depth, steps)
        maps: list[Tensor] = []
        switches: list[Switches] = []
        costs: list[list[float]] = []
        for _ in range(depth or len(self.table)):
            z, costs_here = self._settle(images, None, switches, steps)
            maps.append(z)
            switches.append(pool(z, self.table[len(switches)])[1])
            costs.append(costs_here)
        return Codes(tuple(maps), tuple(switches), tuple(costs))

    @torch.no_grad()
    def learn(self, images: Tensor, *, epochs: int = 10, steps: int = 10, descents: int = 5) -> None:
        """Learn the filters layer by layer (section 2.3): infer the maps, then fit the filters to them, `epochs` times.

        All images are one batch. `steps` of inference and `descents` of conjugate gradients in each epoch; the maps
        are kept from epoch to epoch.
        """
        self._require(images, None, steps)
        switches: list[Switches] = []
        for depth, layer in enumerate(self.table, 1):
            z = None
            for _ in range(epochs):
                z, _ = self._settle(images, z, switches, steps)
                fitted = self._fit(images, z, switches, descents)
                length = _lengths(fitted)
                self.filters(depth).copy_(fitted / length)
                z = z * length
            z, _ = self._settle(images, z, switches, steps)
            switches.append(pool(z, layer)[1])

    def lipschitz(self, images: Tensor, switches: Sequence[Switches], rounds: int = 5) -> float:
        """Return an estimate from below of |R|^2, the largest over the images: power iteration from their projections.

        Five rounds are within some per cent: images hold most of what R passes best.
        """
        largest = 0.0
        z = self.project(images, switches)
        for _ in range(rounds):
            length = z.flatten(1).norm(dim=1).clamp(min=1e-30)
            z = self.project(self.reconstruct(z / length.view(-1, 1, 1, 1), switches), switches)
            largest = max(largest, *z.flatten(1).norm(dim=1).tolist(), 0.0)
        return largest

    def _settle(
        self, images: Tensor, z: Tensor | None, switches: Sequence[Switches], steps: int
    ) -> tuple[Tensor, list[float]]:
        """Return the maps of the layer above the switches after so many steps (from 0 unless z), and the costs."""
        layer = self.table[len(switches)]
        z = torch.zeros_like(self.project(images, switches)) if z is None else z
        step = 1 / max(layer.weight * self.lipschitz(images, switches), 1e-30)
        costs = [self.cost(images, z, switches)]
        for _ in range(steps):
            gradient = layer.weight * self.project(self.reconstruct(z, switches) - images, switches)
            trial = shrink(z - step * gradient, step)  # equations 6 and 7
            trial = unpool(*pool(trial, layer))
            cost = self.cost(images, trial, switches)
            if cost <= costs[-1]:
                z = trial
                costs.append(cost)
            else:
                step /= 2
                costs.append(costs[-1])
        return z, costs

    def _fit(self, images: Tensor, z: Tensor, switches: Sequence[Switches], descents: int) -> Tensor:
        """Return filters that lessen |R z - images|^2, linear in them, by conjugate gradients (equation 8)."""
        filters = self.filters(len(switches) + 1)

        def image(f: Tensor) -> Tensor:
            y = conv(z, f, flip=True)
            return self.reconstruct(unpool(y, switches[-1]), switches[:-1]) if switches else y

        def gradient(error: Tensor) -> Tensor:
            below = pool_by(self.project(error, switches[:-1]), switches[-1]) if switches else error
            with torch.enable_grad():
                f = filters.detach().clone().requires_grad_()
                return torch.autograd.grad(conv(z, f, flip=True), f, below)[0]

        fitted = filters.clone()
        residual = gradient(images - image(fitted))
        direction, size = residual, residual.square().sum()
        for _ in range(descents):
            seen = image(direction)
            energy = seen.square().sum()
            if not (size > 0 and energy > 0):
                break
            fitted = fitted + size / energy * direction
            residual = residual - size / energy * gradient(seen)
            size, before = residual.square().sum(), size
            direction = residual + size / before * direction
        return fitted

    def _require(self, images: Tensor, depth: int | None, steps: int) -> None:
        if images.ndim != 4 or images.shape[1] != self.channels:
            raise InputError(
                f"adaptive_deconv: the images {tuple(images.shape)} are not N x {self.channels} x height x width"
            )
        if depth is not None and not 1 <= depth <= len(self.table):
            raise InputError(
                f"adaptive_deconv: depth must be 1 to {len(self.table)}, the layers there are, got {depth}"
            )
        if steps < 1:
            raise InputError(f"adaptive_deconv: steps must be 1 or more, got {steps}")


def _lengths(filters: Tensor) -> Tensor:
    """Return the Euclidean length of each map's filters, maps x 1 x 1, none below a tiny one."""
    return filters.square().sum((0, 2, 3)).sqrt().clamp(min=1e-12).view(-1, 1, 1)
