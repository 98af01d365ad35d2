"""Gaussian filtering of scattered points on the permutohedral lattice (Adams, Baek, Davis, Eurographics 2010).

Points of d features lie in a lattice of simplices with d + 1 corners. Values are spread to the corners of their simplex
(splat), mixed with the neighbours along each of the d + 1 directions (blur), and read off again (slice): time grows
with N d^2, not with N^2.
"""

import torch
from torch import Tensor

from striate.errors import InputError


class PermutohedralLattice:
    """The lattice of N points with d features each, in units of the Gaussian's deviation: N x d, float."""

    def __init__(self, features: Tensor) -> None:
        points, d = features.shape
        self.size = d + 1
        elevated = features @ _elevation(d, features)
        if not bool((elevated.abs() < 1e6).all()):  # beyond, float32 cannot tell the corners of a simplex apart
            raise _too_far(points, d)
        base, rank = _nearest_remainder_0(elevated)
        self.weights = _barycentric(elevated, base, rank)  # N x (d + 1)
        keys = (base[:, None, :] + _canonical(d, features.device)[rank].transpose(1, 2)).reshape(-1, d + 1)
        self._low = torch.div(keys, d + 1, rounding_mode="floor").amin(0) - 1
        self._extent = torch.div(keys, d + 1, rounding_mode="floor").amax(0) - self._low + 3
        if float(self._extent[:d].double().log2().sum()) > 58:
            raise _too_far(points, d)
        codes, corners = torch.unique(self._code(keys), return_inverse=True)
        self.corners = corners.view(points, d + 1)  # of each point, rows of the table of corners
        self._first = torch.empty(len(codes), d + 1, dtype=keys.dtype, device=keys.device)
        self._first[corners] = keys
        self.neighbours = [self._neighbours(codes, axis) for axis in range(d + 1)]
        self.count = len(codes)

    def filter(self, values: Tensor) -> Tensor:
        """Return, for every point, the sum over all points of about exp(-distance^2 / 2) times their values, N x C.

        About, and up to one factor for all: normalise by the filtered ones.
        """
        table = values.new_zeros(self.count + 1, values.shape[1])  # the last row stands for corners that do not exist
        spread = (self.weights[:, :, None] * values[:, None]).flatten(0, 1)
        table.index_add_(0, self.corners.flatten(), spread)
        for before, after in self.neighbours:
            blurred = table[before].add_(table[after]).mul_(0.5)
            table[:-1] += blurred
        read = torch.zeros_like(values)
        for corner in range(self.size):
            read += table[self.corners[:, corner]] * self.weights[:, corner, None]
        return read

    def _neighbours(self, codes: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        """Return the rows of each corner's two neighbours along a direction, or the last row where there is none."""
        found = []
        for sign in (-1, 1):
            keys = self._first + sign
            keys[:, axis] -= sign * self.size
            wanted = self._code(keys)
            place = torch.searchsorted(codes, wanted).clamp_(max=len(codes) - 1)
            found.append(torch.where(codes[place] == wanted, place, len(codes)))
        return found[0], found[1]

    def _code(self, keys: Tensor) -> Tensor:
        """Return one number per lattice point: its coordinates have one remainder by d + 1, and add up to 0."""
        quotients = torch.div(keys, self.size, rounding_mode="floor") - self._low
        code = keys[:, 0] % self.size
        for axis in range(self.size - 1):
            code = code * self._extent[axis] + quotients[:, axis]
        return code


def _too_far(points: int, d: int) -> InputError:
    return InputError(
        f"permutohedral lattice: {points} points of {d} features lie too far apart; use larger deviations"
    )


def _elevation(d: int, like: Tensor) -> Tensor:
    """Return the d x (d + 1) matrix into the plane of coordinates that add up to 0, scaled for deviation 1."""
    matrix = torch.zeros(d, d + 1, dtype=like.dtype, device=like.device)
    for feature in range(d):
        matrix[feature, : feature + 1] = 1.0
        matrix[feature, feature + 1] = -(feature + 1.0)
        matrix[feature] *= (2 / 3) ** 0.5 * (d + 1) / ((feature + 1) * (feature + 2)) ** 0.5
    return matrix


def _nearest_remainder_0(elevated: Tensor) -> tuple[Tensor, Tensor]:
    """Return the closest lattice point whose coordinates d + 1 divides, and the order of what is left over."""
    size = elevated.shape[1]
    quotient = (elevated / size).round()
    total = quotient.sum(1, keepdim=True).long()
    base = quotient.long() * size
    rank = (base - elevated).argsort(dim=1, stable=True).argsort(dim=1, stable=True) + total
    too_low, too_high = rank < 0, rank >= size
    shift = size * (too_low.long() - too_high.long())
    return base + shift, rank + shift


def _barycentric(elevated: Tensor, base: Tensor, rank: Tensor) -> Tensor:
    """Return the weights of the corners of each point's simplex, by their remainder 0 ... d."""
    points, size = elevated.shape
    left = (elevated - base) / size
    weights = elevated.new_zeros(points, size + 1)
    weights.scatter_add_(1, size - 1 - rank, left)
    weights.scatter_add_(1, size - rank, -left)
    weights[:, 0] += 1 + weights[:, size]
    return weights[:, :size]


def _canonical(d: int, device: torch.device) -> Tensor:
    """Return, by rank and remainder, what the corner with this remainder adds to a coordinate of this rank."""
    rank, remainder = torch.arange(d + 1, device=device)[:, None], torch.arange(d + 1, device=device)
    return torch.where(rank <= d - remainder, remainder, remainder - (d + 1))
