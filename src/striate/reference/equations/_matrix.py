"""Section 5.5: convolution as a matrix, its transpose, zeros between inputs and holes between weights."""

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from striate.errors import InputError
from striate.geometry import Padding, PerAxis, make_window, output_size
from striate.reference._connectivity import Array
from striate.reference.equations._convolution import (
    correlate_1d,
    correlate_2d,
    rot180,
    wide_correlate_1d,
    wide_correlate_2d,
)

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def convolution_matrix(
    w: npt.ArrayLike,
    size: Sequence[int],
    *,
    stride: PerAxis = 1,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
) -> "csr_array":
    """Return the sparse matrix C of z = C x, the convolution of (5.7) as an affine map (5.41)-(5.43).

    size: of the input on each axis, which is 1, 2 or more axes. w: a kernel of as many axes, or P x D x kernel.
    stride, padding, dilation: as for `geometry.make_window`. Rows are outputs, columns inputs, both in row-major order
    (maps first): z = C @ x.ravel(); C.T @ z is the transposed convolution (5.44), (5.45). Only products that meet an
    input are stored. Needs SciPy, imported here so that `import striate` stays light. Raises InputError.
    """
    from scipy.sparse import coo_array

    if np.ndim(size) != 1:
        raise InputError(f"convolution_matrix: size must give the input size on each axis, such as (5,), got {size}")
    w, axes = np.asarray(w), len(size)
    if w.ndim not in {axes, axes + 2} or not w.size:
        raise InputError(
            f"convolution_matrix: w must be a kernel of {axes} axes, or P x D x kernel, for the input size"
            f" {tuple(size)}, got {w.shape}"
        )
    W = w if w.ndim == axes + 2 else w[None, None]
    (P, D), kernel = W.shape[:2], W.shape[2:]
    window = make_window(axes, kernel, stride=stride, padding=padding, dilation=dilation, size=size)
    outputs = output_size(size, window)
    p, d = np.arange(P)[:, None, None], np.arange(D)[None, :, None]
    low = [pair[0] for pair in window.padding]
    o = np.indices(outputs).reshape(axes, -1)
    found = []
    for k in np.ndindex(*kernel):
        i = np.stack([o[a] * window.stride[a] + k[a] * window.dilation[a] - low[a] for a in range(axes)])
        inside = np.logical_and.reduce([(i[a] >= 0) & (i[a] < size[a]) for a in range(axes)])
        row = np.ravel_multi_index(list(o[:, inside]), outputs) + p * prod(outputs)
        column = np.ravel_multi_index(list(i[:, inside]), tuple(size)) + d * prod(size)
        found.append([a.ravel() for a in np.broadcast_arrays(row, column, W[(..., *k)][..., None])])
    rows, columns, weights = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return coo_array((weights, (rows, columns)), shape=(P * prod(outputs), D * prod(size))).tocsr()


def transposed_1d(w: npt.ArrayLike, z: npt.ArrayLike) -> Array:
    """Return x = C^T z as the wide convolution of rot180(w) and z (5.46): p + m - 1 numbers from p."""
    return wide_correlate_1d(rot180(w), z)


def transposed_2d(w: npt.ArrayLike, z: npt.ArrayLike) -> Array:
    """Return x = C^T z as the wide convolution of rot180(w) and z, (5.46) on two axes (figure 5.16)."""
    return wide_correlate_2d(rot180(w), z)


def fractionally_strided_1d(w: npt.ArrayLike, z: npt.ArrayLike, s: int) -> Array:
    """Return the transposed convolution of stride 1/s: s - 1 zeros between inputs, then (5.46) (section 5.5.1).

    w: m numbers. z: p numbers. Returns s (p - 1) + m, C^T z for the matrix C of the convolution with stride s.
    """
    return transposed_1d(w, insert_zeros(z, s))


def fractionally_strided_2d(w: npt.ArrayLike, z: npt.ArrayLike, s: int) -> Array:
    """Return the transposed convolution of stride 1/s on two axes (section 5.5.1, figure 5.17)."""
    return transposed_2d(w, insert_zeros(z, s))


def fractionally_strided_size(p: int, m: int, s: int) -> int:
    """Return the outputs of a fractionally strided convolution, s (p - 1) + m, p its inputs (section 5.5.1)."""
    return s * (p - 1) + m


def insert_zeros(a: npt.ArrayLike, k: int) -> Array:
    """Return a with k - 1 zeros between neighbours on every axis: slower inputs (5.5.1), kernels with holes (5.5.2)."""
    if k < 1:
        raise InputError(f"insert_zeros: neighbours can be k >= 1 places apart, got {k}")
    a = np.asarray(a)
    stretched = np.zeros([max(k * (n - 1) + 1, 0) for n in a.shape], dtype=a.dtype)
    stretched[(slice(None, None, k),) * a.ndim] = a
    return stretched


def dilated_size(m: int, d: int) -> int:
    """Return the effective size of a dilated kernel, m' = m + (m - 1)(d - 1) (5.47)."""
    return m + (m - 1) * (d - 1)


def dilated_1d(w: npt.ArrayLike, x: npt.ArrayLike, d: int) -> Array:
    """Return the convolution with a kernel of d - 1 holes between its weights (section 5.5.2): n - m' + 1 numbers."""
    return correlate_1d(insert_zeros(w, d), x)


def dilated_2d(w: npt.ArrayLike, x: npt.ArrayLike, d: int) -> Array:
    """Return the dilated convolution on two axes (section 5.5.2, figure 5.18): M - m' + 1 by N - n' + 1 numbers."""
    return correlate_2d(insert_zeros(w, d), x)
