"""Pooling and subsampling with their gradients, read off the connectivity pattern.

Arrays are N x C x spatial. `ceil` lets the last window hang over the high end (see `geometry.output_size`). Every
window must hold at least one input position, or, to count the padding, one position of the padded input.
"""

from collections.abc import Sequence
from math import prod

import numpy as np
import numpy.typing as npt

from striate.geometry import Window, output_size
from striate.reference._connectivity import Array, connectivity


def max_pool(x: Array, window: Window, *, ceil: bool = False) -> tuple[Array, npt.NDArray[np.int64]]:
    """Return the maximum of every window (5.22) and its switch: the row-major position of the maximum in its input map.

    The padding is never the maximum; of equal values the first in row-major order wins, as in PyTorch.
    """
    size = x.shape[2:]
    patterns = connectivity(size, window, ceil=ceil)
    # one window as a row of candidates: for each axis the input position of every (output, kernel) pair, -1 if outside
    positions = [np.where(p.any(2), p.argmax(2), -1).T for p in patterns]
    grids = np.meshgrid(*(np.arange(p.size) for p in positions), indexing="ij")
    flat = [p.ravel()[grid] for p, grid in zip(positions, grids, strict=True)]
    inside = np.logical_and.reduce([f >= 0 for f in flat])
    switches = np.where(inside, np.ravel_multi_index([np.maximum(f, 0) for f in flat], size), 0)
    values = np.where(inside, x.reshape(*x.shape[:2], prod(size))[:, :, switches], -np.inf)
    shape = [p.shape for p in positions]
    rows = _rows(values, shape)
    switch_rows = np.broadcast_to(_rows(switches[None, None], shape), rows.shape)
    top = (rows == rows.max(axis=-1, keepdims=True)) | np.isnan(rows)  # where a number is none, it is the maximum
    best = (top & _rows(inside[None, None], shape)).argmax(axis=-1)[..., None]
    return (
        np.take_along_axis(rows, best, -1)[..., 0].astype(x.dtype),
        np.take_along_axis(switch_rows, best, -1)[..., 0].astype(np.int64),
    )


def max_pool_grad_input(grad: Array, switches: npt.NDArray[np.int64], size: Sequence[int]) -> Array:
    """Return the gradient of <grad, max_pool(x)>: each error term goes to the input that was the maximum (5.31)."""
    result = np.zeros((grad.shape[0] * grad.shape[1], prod(size)), dtype=grad.dtype)
    rows = np.arange(len(result))[:, None]
    flat = (len(result), prod(grad.shape[2:]))
    np.add.at(result, (rows, switches.reshape(flat)), grad.reshape(flat))
    return result.reshape(*grad.shape[:2], *size)


def avg_pool(x: Array, window: Window, *, ceil: bool = False, count_padding: bool = False) -> Array:
    """Return the mean of every window (5.23), over its inputs alone or, with count_padding, over its padding too."""
    size = x.shape[2:]
    mean: Array = _window_sum(x, window, ceil) / _counts(size, window, ceil, count_padding).astype(x.dtype)
    return mean


def avg_pool_grad_input(
    grad: Array, window: Window, size: Sequence[int], *, ceil: bool = False, count_padding: bool = False
) -> Array:
    """Return the gradient of <grad, avg_pool(x)>: each error term is shared out evenly over its window (5.31)."""
    return _window_spread(grad / _counts(size, window, ceil, count_padding).astype(grad.dtype), window, size, ceil)


def subsample(x: Array, weight: Array, bias: Array, window: Window, *, mean: bool = True) -> Array:
    """Return weight * pooled + bias per channel (5.24), without the activation; pooled is the mean or the sum."""
    return _channels(weight, x) * _pooled(x, window, mean) + _channels(bias, x)


def subsample_grad_input(
    grad: Array, weight: Array, window: Window, size: Sequence[int], *, mean: bool = True
) -> Array:
    """Return the gradient of <grad, subsample(x, weight, bias)> with respect to x."""
    scale = 1 / prod(window.kernel) if mean else 1
    return _window_spread(grad * _channels(weight, grad) * scale, window, size, False)


def subsample_grad_weight(grad: Array, x: Array, window: Window, *, mean: bool = True) -> Array:
    """Return the gradient of <grad, subsample(x, weight, bias)> with respect to weight; bias: `conv_grad_bias`."""
    gradient: Array = (grad * _pooled(x, window, mean)).sum(axis=(0, *range(2, grad.ndim)))
    return gradient


def _rows(values: Array, shape: list[tuple[int, ...]]) -> Array:
    """Turn N x C x (outputs * kernel per axis) into N x C x outputs per axis x all kernel positions."""
    rank = len(shape)
    split = values.reshape(*values.shape[:2], *(n for pair in shape for n in pair))
    split = split.transpose(0, 1, *range(2, 2 + 2 * rank, 2), *range(3, 3 + 2 * rank, 2))
    return split.reshape(*split.shape[: 2 + rank], prod(kernel for _, kernel in shape))


def _window_sum(x: Array, window: Window, ceil: bool) -> Array:
    """Sum the inputs of every window, axis after axis."""
    for axis, pattern in enumerate(connectivity(x.shape[2:], window, ceil=ceil), start=2):
        x = np.moveaxis(np.tensordot(x, pattern.sum(0).astype(x.dtype), axes=(axis, 1)), -1, axis)
    return x


def _window_spread(grad: Array, window: Window, size: Sequence[int], ceil: bool) -> Array:
    """Give every input the sum over its windows: the transpose of `_window_sum`."""
    for axis, pattern in enumerate(connectivity(size, window, ceil=ceil), start=2):
        grad = np.moveaxis(np.tensordot(grad, pattern.sum(0).astype(grad.dtype), axes=(axis, 0)), -1, axis)
    return grad


def _counts(size: Sequence[int], window: Window, ceil: bool, count_padding: bool) -> Array:
    """Number of positions of every window that lie inside the input, or inside the input and its padding."""
    counts: Array = np.ones(())
    for axis, outputs in enumerate(output_size(size, window, ceil=ceil)):
        low, high = (end if count_padding else min(end, 0) for end in window.padding[axis])
        k, o = np.ogrid[: window.kernel[axis], :outputs]
        position = o * window.stride[axis] + k * window.dilation[axis] - window.padding[axis][0]
        counts = np.multiply.outer(counts, ((-low <= position) & (position < size[axis] + high)).sum(0))
    return counts


def _pooled(x: Array, window: Window, mean: bool) -> Array:
    total = _window_sum(x, window, False)
    return total / prod(window.kernel) if mean else total


def _channels(values: Array, like: Array) -> Array:
    return values.reshape(-1, *(1,) * (like.ndim - 2))
