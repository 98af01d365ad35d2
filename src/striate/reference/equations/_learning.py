"""Section 5.3: the gradients of kernels and biases, and the error terms that they need.

delta^{(l,p)} = dL/dZ^{(l,p)} is the error term of map p of layer l, Z its net input (5.29), (5.33).
"""

from collections.abc import Callable, Sequence

import numpy as np

from striate.errors import InputError
from striate.reference._connectivity import Array
from striate.reference.equations._convolution import correlate_2d, rot180, wide_correlate_2d
from striate.reference.equations._layers import Pair, regions


def kernel_gradient(delta: Array, X: Array) -> Array:
    """Return dL/dW^{p,d} = delta^p (x) X^d, the gradient of every kernel of a layer (5.26), (5.27).

    delta: P x M' x N', the layer's error term. X: D x M x N, its input. Returns P x D x (M - M' + 1) x (N - N' + 1).
    """
    return np.array([[correlate_2d(delta[p], X[d]) for d in range(len(X))] for p in range(len(delta))])


def bias_gradient(delta: Array) -> Array:
    """Return dL/db^p = sum_ij delta^p_ij, the gradient of every bias of a layer (5.28): P numbers."""
    gradient: Array = delta.sum(axis=(1, 2))
    return gradient


def error_below_pooling(slope: Array, delta: Array, up: Callable[[Array], Array]) -> Array:
    """Return delta^{(l)} = f'_l(Z^{(l)}) * up(delta^{(l+1)}), the error term below a pooling layer (5.31).

    slope: f'_l(Z^{(l)}), P x M x N. delta: the error term of the pooled maps, P x M' x N'. up: `up_max` or `up_mean`
    with the rest of their arguments. Returns P x M x N.
    """
    return slope * up(delta)


def up_max(delta: Array, X: Array, size: Pair, step: Pair | None = None) -> Array:
    """Return up(delta) of max pooling: each error goes to the maximum of its region, the others get none (5.31).

    delta: P x M' x N'. X: P x M x N, what was pooled. size, step: as for `max_pooling`; where regions overlap the
    errors add up. The first of equal maxima in row-major order takes it all. Returns P x M x N.
    """
    result = np.zeros(X.shape, dtype=delta.dtype)
    for p in range(len(X)):
        for (i, j), R in _regions(delta, X.shape, size, step):
            top = np.unravel_index(X[p][R].argmax(), X[p][R].shape)
            result[p][R][top] += delta[p, i, j]
    return result


def up_mean(delta: Array, shape: Pair, size: Pair, step: Pair | None = None) -> Array:
    """Return up(delta) of mean pooling: each error is spread evenly over its region (5.31).

    delta: P x M' x N'. shape: (M, N) of the maps that were pooled. size, step: as for `mean_pooling`; where regions
    overlap the shares add up. Returns P x M x N.
    """
    share = delta / (size[0] * size[1])
    result = np.zeros((len(delta), *shape), dtype=share.dtype)
    for p in range(len(delta)):
        for (i, j), R in _regions(delta, result.shape, size, step):
            result[p][R] += share[p, i, j]
    return result


def error_below_conv(slope: Array | float, W: Array, delta: Array) -> Array:
    """Return delta^{(l,d)} = f'_l(Z^{(l,d)}) * sum_p (rot180(W^{p,d}) wide (x) delta^{(l+1,p)}) (5.35), (5.36).

    slope: f'_l(Z^{(l)}), D x M x N, or 1 for a layer without activation. W: P x D x m x n, the kernels of the
    convolution above, whose error term is delta, P x (M - m + 1) x (N - n + 1). Returns D x M x N.
    """
    if W.ndim != 4 or delta.ndim != 3 or len(W) != len(delta):
        raise InputError(
            f"error_below_conv: kernels P x D x m x n and error term P x M' x N' must agree, got {W.shape} and"
            f" {delta.shape}"
        )
    P, D = W.shape[:2]
    spread = [sum(wide_correlate_2d(rot180(W[p, d]), delta[p]) for p in range(P)) for d in range(D)]
    return slope * np.array(spread)


def _regions(
    delta: Array, shape: Sequence[int], size: Pair, step: Pair | None
) -> list[tuple[Pair, tuple[slice, slice]]]:
    """Return the regions in each map of a group of `shape`, P x M x N, once delta has an error for each of them."""
    P, M, N = shape
    where = list(regions((M, N), size, step))
    rows, columns = where[-1][0]
    if delta.shape != (P, rows + 1, columns + 1):
        raise InputError(
            f"pooling regions of {size} in maps {tuple(shape)} need an error term {(P, rows + 1, columns + 1)}, got"
            f" {delta.shape}"
        )
    return where
