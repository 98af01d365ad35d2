"""Section 5.1.3: the derivatives of f(Y), Y = W (x) X (5.8), by the kernel and by the input.

Everywhere G = df/dY is (M - m + 1) x (N - n + 1), W is m x n and X is M x N.
"""

import numpy as np
import numpy.typing as npt

from striate.errors import InputError
from striate.reference._connectivity import Array
from striate.reference.equations._convolution import correlate_2d, operands, pad, rot180, wide_correlate_2d


def kernel_derivative_as_sum(G: npt.ArrayLike, X: npt.ArrayLike) -> Array:
    """Return df/dw_uv = sum_ij G_ij x_{u+i-1, v+j-1} (5.13), one entry after the other: m x n."""
    G, X = operands("kernel_derivative_as_sum", G, X, 2)
    (rows, columns), (M, N) = G.shape, X.shape
    m, n = M - rows + 1, N - columns + 1
    return np.array([[np.sum(G * X[u : u + rows, v : v + columns]) for v in range(n)] for u in range(m)])


def kernel_derivative(G: npt.ArrayLike, X: npt.ArrayLike) -> Array:
    """Return df/dW = G (x) X (5.14): m x n."""
    return correlate_2d(G, X)


def input_derivative_as_sum(G: npt.ArrayLike, W: npt.ArrayLike) -> Array:
    """Return df/dx_st = sum_ij w_{s-i+1, t-j+1} G_ij, w being zero outside of W (5.16): M x N.

    Those zeros are M - m and N - n at both ends of W, one fewer than G has rows and columns. W gets them because G
    slides over it here, as in (5.17); in (5.18) W slides over G, and G gets m - 1 and n - 1.
    """
    G, W = np.asarray(G), np.asarray(W)
    if G.ndim != 2 or W.ndim != 2:
        raise InputError(f"input_derivative_as_sum: G {G.shape} and W {W.shape} must have 2 axes each")
    (rows, columns), (m, n) = G.shape, W.shape
    w = pad(W, (rows - 1, columns - 1))
    s, t = np.arange(rows - 1, 2 * rows + m - 2)[:, None], np.arange(columns - 1, 2 * columns + n - 2)
    gradient: Array = np.sum([w[s - i, t - j] * G[i, j] for i, j in np.ndindex(G.shape)], axis=0)
    return gradient


def input_derivative_by_rotated_output(G: npt.ArrayLike, W: npt.ArrayLike) -> Array:
    """Return df/dX as the wide cross-correlation of rot180(G) with W (5.17): M x N."""
    return wide_correlate_2d(rot180(G), W)


def input_derivative(G: npt.ArrayLike, W: npt.ArrayLike) -> Array:
    """Return df/dX as the wide cross-correlation of rot180(W) with G (5.18): M x N."""
    return wide_correlate_2d(rot180(W), G)
