"""Unpooling: maxima go back to where they were found (Zeiler and Fergus 2014, section 2.1)."""

from collections.abc import Sequence
from math import prod

import numpy as np
import numpy.typing as npt

from striate.reference._connectivity import Array


def max_unpool(x: Array, switches: npt.NDArray[np.int64], size: Sequence[int]) -> Array:
    """Return N x C x size with every value of x at its switch, its row-major position in the map, and 0 elsewhere.

    Of several values with one switch, which only overlapping windows have, the last in row-major order stands.
    """
    maps = x.shape[0] * x.shape[1]
    y = np.zeros((maps, prod(size)), dtype=x.dtype)
    for row, values, places in zip(y, _maps(x), _maps(switches), strict=True):
        for value, place in zip(values, places, strict=True):
            row[place] = value
    return y.reshape(*x.shape[:2], *size)


def max_unpool_grad_input(grad: Array, switches: npt.NDArray[np.int64]) -> Array:
    """Return the gradient of <grad, max_unpool(x, switches)> with respect to x: 0 for a value that did not stand."""
    places, rows = _maps(switches), grad.reshape(grad.shape[0] * grad.shape[1], prod(grad.shape[2:]))
    gradient = np.zeros(places.shape, dtype=grad.dtype)
    for result, row, positions in zip(gradient, rows, places, strict=True):
        last = {place: at for at, place in enumerate(positions)}
        for place, at in last.items():
            result[at] = row[place]
    return gradient.reshape(switches.shape)


def _maps(array: Array) -> Array:
    """N x C x spatial as one row per map."""
    return array.reshape(array.shape[0] * array.shape[1], prod(array.shape[2:]))
