"""Section 5.1: convolution and cross-correlation, stride and padding, wide convolution."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from striate.errors import InputError
from striate.reference._connectivity import Array


def convolve_1d(w: npt.ArrayLike, x: npt.ArrayLike) -> Array:
    """Return the convolution y_t = sum_k w_k x_{t-k+1} (5.4), written y = w (x) x (5.5).

    w: m numbers. x: n numbers. Returns the n - m + 1 values for which the sum stays inside x. (5.1)-(5.3) are the case
    w = 1, 1/2, 1/4. Raises InputError.
    """
    w, x = operands("convolve_1d", w, x, 1)
    m, n = len(w), len(x)
    t = np.arange(m - 1, n)
    y: Array = np.sum([w[k] * x[t - k] for k in range(m)], axis=0)
    return y


def convolve_2d(w: npt.ArrayLike, x: npt.ArrayLike) -> Array:
    """Return the convolution y_ij = sum_uv w_uv x_{i-u+1, j-v+1} (5.6).

    w: m x n. x: M x N. Returns the (M - m + 1) x (N - n + 1) values for which the sum stays inside x. Raises
    InputError.
    """
    w, x = operands("convolve_2d", w, x, 2)
    (m, n), (M, N) = w.shape, x.shape
    i, j = np.arange(m - 1, M)[:, None], np.arange(n - 1, N)
    y: Array = np.sum([w[u, v] * x[i - u, j - v] for u in range(m) for v in range(n)], axis=0)
    return y


def moving_average(x: npt.ArrayLike, m: int) -> Array:
    """Return the means of every m neighbours of x: the convolution with f_k = 1/m (section 5.1, below (5.5))."""
    return convolve_1d(np.ones(m) / m, x)


def mean_filter(x: npt.ArrayLike, m: int, n: int) -> Array:
    """Return the means of every m x n block of x: the convolution with f_uv = 1/(mn) (section 5.1, below (5.6))."""
    return convolve_2d(np.ones((m, n)) / (m * n), x)


def correlate_1d(w: npt.ArrayLike, x: npt.ArrayLike, *, s: int = 1, p: int = 0) -> Array:
    """Return the cross-correlation y_i = sum_u w_u x_{i+u-1}: (5.7) on one axis, with the stride and zeros of 5.1.2.

    w: m numbers. x: n numbers. s: the step between windows. p: zeros at each end. Returns (n - m + 2p)/s + 1 values,
    rounded down. Raises InputError.
    """
    w, x = operands("correlate_1d", w, pad(x, p), 1)
    i = s * np.arange(convolution_size(len(x), len(w), s))
    y: Array = np.sum([w[u] * x[i + u] for u in range(len(w))], axis=0)
    return y


def correlate_2d(w: npt.ArrayLike, x: npt.ArrayLike, *, s: int = 1, p: int = 0) -> Array:
    """Return the cross-correlation y_ij = sum_uv w_uv x_{i+u-1, j+v-1} (5.7), written Y = W (x) X (5.8).

    w: m x n. x: M x N. s: the step between windows, p: zeros at each end, on both axes (5.1.2). Returns
    (M - m + 2p)/s + 1 by (N - n + 2p)/s + 1 values, rounded down. Raises InputError.
    """
    w, x = operands("correlate_2d", w, pad(x, p), 2)
    rows, columns = (convolution_size(size, kernel, s) for size, kernel in zip(x.shape, w.shape, strict=True))
    i, j = s * np.arange(rows)[:, None], s * np.arange(columns)
    y: Array = np.sum([w[u, v] * x[i + u, j + v] for u, v in np.ndindex(w.shape)], axis=0)
    return y


def convolution_size(n: int, m: int, s: int = 1, p: int = 0) -> int:
    """Return the number of outputs, (n - m + 2p)/s + 1 rounded down (section 5.1.2).

    n inputs, a kernel of m, stride s, p zeros at each end: n - m + 1 for the narrow convolution (p = 0), n + m - 1 for
    the wide one (p = m - 1), n for the equal-width one (p = (m - 1)/2, m odd). Raises InputError if nothing is left.
    """
    if m < 1 or s < 1 or p < 0:
        raise InputError(f"a convolution needs a kernel m >= 1, a stride s >= 1 and zeros p >= 0, got {m=}, {s=}, {p=}")
    if n + 2 * p < m:
        raise InputError(f"a kernel of {m} does not fit into {n} inputs with {p} zeros at each end: make p larger")
    return (n - m + 2 * p) // s + 1


def pad(x: npt.ArrayLike, p: int | Sequence[int]) -> Array:
    """Return x with p zeros at both ends of every axis, or p[a] at both ends of axis a (section 5.1.2)."""
    x = np.asarray(x)
    widths = [p] * x.ndim if isinstance(p, int) else list(p)
    if len(widths) != x.ndim or min(widths, default=0) < 0:
        raise InputError(f"pad: needs p >= 0 zeros, one number or one per axis of {x.shape}, got {p}")
    padded = np.zeros([n + 2 * width for n, width in zip(x.shape, widths, strict=True)], dtype=x.dtype)
    padded[tuple(slice(width, width + n) for n, width in zip(x.shape, widths, strict=True))] = x
    return padded


def rot180(w: npt.ArrayLike) -> Array:
    """Return w turned by 180 degrees, that is, reversed on every axis (section 5.1.3)."""
    return np.flip(np.asarray(w))


def wide_convolve_1d(w: npt.ArrayLike, x: npt.ArrayLike) -> Array:
    """Return the wide convolution of sequences, n + m - 1 values: (5.9) and (5.10) on one axis."""
    return convolve_1d(w, _fully_padded(w, x))


def wide_convolve_2d(w: npt.ArrayLike, x: npt.ArrayLike) -> Array:
    """Return the wide convolution: w over x padded by m - 1 and n - 1 zeros at each end (5.9).

    w: m x n. x: M x N. Returns (M + m - 1) x (N + n - 1), the same when w and x change places (5.10). That holds for
    the convolution of (5.6) only; with the cross-correlation of (5.7) the change turns the result by 180 degrees.
    """
    return convolve_2d(w, _fully_padded(w, x))


def wide_correlate_1d(w: npt.ArrayLike, x: npt.ArrayLike) -> Array:
    """Return (5.9) on one axis with the cross-correlation in place of the convolution: n + m - 1 values."""
    return correlate_1d(w, _fully_padded(w, x))


def wide_correlate_2d(w: npt.ArrayLike, x: npt.ArrayLike) -> Array:
    """Return (5.9) with the cross-correlation in place of the convolution, as (5.17), (5.18) and (5.36) mean it.

    w: m x n. x: M x N. Returns (M + m - 1) x (N + n - 1). Raises InputError.
    """
    return correlate_2d(w, _fully_padded(w, x))


def _fully_padded(w: npt.ArrayLike, x: npt.ArrayLike) -> Array:
    """Return x with as many zeros at each end as w has entries but one: the full padding of section 5.1.3."""
    w, x = np.asarray(w), np.asarray(x)
    if w.ndim != x.ndim or not w.size:
        raise InputError(f"a wide convolution needs a kernel with as many axes as the input {x.shape}, got {w.shape}")
    return pad(x, [m - 1 for m in w.shape])


def operands(name: str, w: npt.ArrayLike, x: npt.ArrayLike, axes: int) -> tuple[Array, Array]:
    """Return kernel and input as arrays once the one fits into the other."""
    w, x = np.asarray(w), np.asarray(x)
    if w.ndim != axes or x.ndim != axes:
        raise InputError(f"{name}: kernel {w.shape} and input {x.shape} must have {axes} axes each")
    if not w.size or any(m > n for m, n in zip(w.shape, x.shape, strict=True)):
        raise InputError(
            f"{name}: the kernel {w.shape} must not be empty and must fit into the padded input {x.shape}: take a"
            " larger input, a smaller kernel or more padding"
        )
    return w, x
