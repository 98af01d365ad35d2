"""Convolution and its gradients as one contraction of the connectivity pattern, each with another operand left out.

Per axis P[k, o, i], in as many dimensions as the window has, for every group g:

    y[n, g, p, o...] = sum  x[n, g, d, i...]  w[g, p, d, k...]  P[k, o, i]...  + b[g, p]         (5.20), (5.37)

Arrays are N x C x spatial, kernels P x D/groups x spatial, or K x spatial with a link table: the kernels of its ones in
row-major order. The kernel is not flipped (5.7) unless flip=True (5.6). Results have the type of the operands.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from striate.geometry import Window
from striate.reference._connectivity import Array, connectivity

Links = Sequence[Sequence[int]] | Array


def conv(
    x: Array,
    w: Array,
    b: Array | None,
    window: Window,
    *,
    groups: int = 1,
    links: Links | None = None,
    flip: bool = False,
) -> Array:
    """Return the convolution of x with w, plus b per output channel: N x P x spatial."""
    x, w = _split(x, 1, groups), _split(_dense(w, links, flip), 0, groups)
    y = _contract("y", {"x": x, "w": w}, connectivity(x.shape[3:], window))
    return _join(y, 1) if b is None else _join(y, 1) + b.reshape(-1, *(1,) * window.rank)


def conv_grad_input(
    grad: Array,
    w: Array,
    window: Window,
    size: Sequence[int],
    *,
    groups: int = 1,
    links: Links | None = None,
    flip: bool = False,
) -> Array:
    """Return the gradient of <grad, conv(x, w)> with respect to x, whose spatial size is `size` (5.18), (5.36)."""
    grad, w = _split(grad, 1, groups), _split(_dense(w, links, flip), 0, groups)
    return _join(_contract("x", {"y": grad, "w": w}, connectivity(size, window)), 1)


def conv_grad_weight(
    grad: Array,
    x: Array,
    window: Window,
    *,
    groups: int = 1,
    links: Links | None = None,
    flip: bool = False,
) -> Array:
    """Return the gradient of <grad, conv(x, w)> with respect to w, in the shape of w (5.14), (5.27)."""
    grad, x = _split(grad, 1, groups), _split(x, 1, groups)
    dense = _join(_contract("w", {"y": grad, "x": x}, connectivity(x.shape[3:], window)), 0)
    dense = _flip(dense) if flip else dense
    return dense if links is None else dense[np.asarray(links, dtype=bool)]


def conv_grad_bias(grad: Array) -> Array:
    """Return the gradient of <grad, conv(x, w, b)> with respect to b: the sum over images and positions (5.28)."""
    gradient: Array = grad.sum(axis=(0, *range(2, grad.ndim)))
    return gradient


def _contract(result: str, given: dict[str, Array], patterns: tuple[Array, ...]) -> Array:
    """Multiply the given two of x, w and y with every P and sum over the indices that the result does not have."""
    rank = len(patterns)
    k, o, i = (tuple(range(10 + start, 10 + start + rank)) for start in (0, rank, 2 * rank))
    batch, group, outputs, inputs = range(4)
    indices = {"x": (batch, group, inputs, *i), "w": (group, outputs, inputs, *k), "y": (batch, group, outputs, *o)}
    operands: list[Any] = []
    for name, array in given.items():
        operands += [array, indices[name]]
    for axis, pattern in enumerate(patterns):
        operands += [pattern.astype(array.dtype), (k[axis], o[axis], i[axis])]
    contracted: Array = np.einsum(*operands, indices[result], optimize="greedy")
    return contracted


def _split(array: Array, axis: int, groups: int) -> Array:
    """Turn axis `axis` into two: groups, channels of a group."""
    channels = array.shape[axis]
    return array.reshape(*array.shape[:axis], groups, channels // groups, *array.shape[axis + 1 :])


def _join(array: Array, axis: int) -> Array:
    """Turn the axes `axis` (groups) and `axis` + 1 (channels of a group) into one."""
    return array.reshape(*array.shape[:axis], array.shape[axis] * array.shape[axis + 1], *array.shape[axis + 2 :])


def _dense(w: Array, links: Links | None, flip: bool) -> Array:
    """Put linked kernels into a dense P x D x spatial array, zero where there is no link, and flip if asked."""
    if links is not None:
        table = np.asarray(links, dtype=bool)
        kernels, w = w, np.zeros((*table.shape, *w.shape[1:]), dtype=w.dtype)
        w[table] = kernels
    return _flip(w) if flip else w


def _flip(w: Array) -> Array:
    return np.flip(w, axis=tuple(range(2, w.ndim)))
