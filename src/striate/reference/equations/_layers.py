"""Sections 5.2 and 5.4: convolutional and pooling layers, link tables, residual units, and their parameters."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from striate.errors import InputError
from striate.reference._connectivity import Array
from striate.reference.equations._convolution import convolution_size, correlate_1d, correlate_2d

Function = Callable[[Array], Array]
Pair = tuple[int, int]


def identity(z: Array) -> Array:
    """Return z: the activation of a layer that has none, so that its output is its net input."""
    return z


def conv_layer_1d(w: npt.ArrayLike, a: npt.ArrayLike, b: float) -> Array:
    """Return the net input z = w (x) a + b of a layer with one kernel on one axis (5.19).

    w: m numbers. a: the n activations of the layer before. b: one number. Returns n - m + 1 numbers.
    """
    return correlate_1d(w, a) + b


def conv_layer(W: Array, X: Array, b: Array, f: Function = identity) -> Array:
    """Return the layer's net input Z^p = sum_d W^{p,d} (x) X^d + b^p (5.20), or its output f(Z) (5.21).

    W: P x D x m x n. X: D x M x N. b: P numbers. Returns P x (M - m + 1) x (N - n + 1). (5.25) and (5.32) are (5.20)
    with the layers' numbers written out. Raises InputError.
    """
    P, D = _maps("conv_layer", W.shape, X, b)
    return f(np.array([sum(correlate_2d(W[p, d], X[d]) for d in range(D)) + b[p] for p in range(P)]))


def linked_conv_layer(W: Array, X: Array, b: Array, T: npt.ArrayLike, f: Function = identity) -> Array:
    """Return Y^p = f(sum over the d with T_pd = 1 of W^{p,d} (x) X^d + b^p): a layer with a link table (5.37).

    T: P x D of 0 and 1. W: K x m x n, the kernels of the K ones of T in row-major order; W^{p,d} is the one of its
    link. X: D x M x N. b: P numbers. Without f the net input. A map without any link is its bias. Raises InputError.
    """
    T = _table("linked_conv_layer", W, T)
    P, D = _maps("linked_conv_layer", (*T.shape, *W.shape[1:]), X, b)
    k = np.cumsum(T).reshape(T.shape) - 1  # the place of W^{p,d} among the stored kernels
    sizes = [convolution_size(n, m) for n, m in zip(X.shape[1:], W.shape[1:], strict=True)]
    Z = np.zeros((P, *sizes), dtype=np.result_type(W, X, b))
    for p in range(P):
        Z[p] = sum(correlate_2d(W[k[p, d]], X[d]) for d in range(D) if T[p, d]) + b[p]
    return f(Z)


def dense_kernels(W: Array, T: npt.ArrayLike) -> Array:
    """Return the kernels of a link table as P x D x m x n, zero where there is no link, so that (5.20) is (5.37).

    W: K x m x n and T: P x D as for `linked_conv_layer`. Raises InputError.
    """
    T = _table("dense_kernels", W, T)
    dense = np.zeros((*T.shape, *W.shape[1:]), dtype=W.dtype)
    dense[T == 1] = W
    return dense


def max_pooling(X: Array, size: Pair, step: Pair | None = None) -> Array:
    """Return the maximum of every region, Y^d_ij = max of X^d over R_ij (5.22).

    X: D x M x N. size: rows and columns of a region. step: from one region to the next, so that they overlap where it
    is smaller; the size unless given. Returns D x M' x N'; rows and columns past the last region are left out.
    """
    return _pool(np.max, X, size, step)


def mean_pooling(X: Array, size: Pair, step: Pair | None = None) -> Array:
    """Return the mean of every region, Y^d_ij = the sum of X^d over R_ij divided by |R_ij| (5.23).

    Arguments and result as for `max_pooling`.
    """
    return _pool(np.mean, X, size, step)


def subsampling_layer(
    X: Array, w: Array, b: Array, size: Pair, f: Function = identity, step: Pair | None = None
) -> Array:
    """Return Y'^d = f(w^d Y^d + b^d), Y the mean pooling of X (5.24); without f the net input.

    X: D x M x N. w, b: D numbers. LeCun et al. 1998 pool the sum, not the mean: the same layer with a w that is
    |R| times smaller.
    """
    D = len(X)
    if np.shape(w) != (D,) or np.shape(b) != (D,):
        raise InputError(f"subsampling_layer: w {np.shape(w)} and b {np.shape(b)} must be ({D},), one number per map")
    Y = mean_pooling(X, size, step)
    return f(np.array([w[d] * Y[d] + b[d] for d in range(D)]))


def residual(h: Function, x: Array) -> Array:
    """Return what a residual unit has to learn, h(x) - x, h being the function wanted (5.38)."""
    return h(x) - x


def residual_unit(f: Function, x: Array) -> Array:
    """Return x + f(x), which is h(x) once f(x) is the residual h(x) - x (5.38)."""
    return x + f(x)


def dense_parameters(n_in: int, n_out: int) -> int:
    """Return the weights of a fully connected layer, n_out n_in: one per connection, no biases (section 5.2.1)."""
    return n_out * n_in


def conv_parameters(P: int, D: int, m: int, n: int) -> int:
    """Return the parameters of a convolutional layer, P D (m n) + P (section 5.2.2)."""
    return P * D * (m * n) + P


def linked_parameters(T: npt.ArrayLike, m: int, n: int) -> int:
    """Return the parameters of a layer with link table T, K (m n) + P, K the ones of T (section 5.4.1, (5.37))."""
    T = np.asarray(T)
    return int(T.sum()) * (m * n) + len(T)


def regions(shape: Pair, size: Pair, step: Pair | None = None) -> Iterator[tuple[Pair, tuple[slice, slice]]]:
    """Yield (i, j) and the rows and columns of every region R_ij of a map of `shape` (section 5.2.3).

    Arguments as for `max_pooling`. Raises InputError when no region fits.
    """
    (m, n), (down, right) = size, step or size
    for i, j in np.ndindex(convolution_size(shape[0], m, down), convolution_size(shape[1], n, right)):
        yield (i, j), (slice(i * down, i * down + m), slice(j * right, j * right + n))


def _pool(summary: Callable[[Array], float], X: Array, size: Pair, step: Pair | None) -> Array:
    if np.ndim(X) != 3:
        raise InputError(f"pooling needs a group of maps, D x M x N, got {np.shape(X)}")
    where = list(regions(X.shape[1:], size, step))
    rows, columns = where[-1][0]
    Y = np.array([[summary(X[d][R]) for _, R in where] for d in range(len(X))])
    return Y.reshape(len(X), rows + 1, columns + 1)


def _maps(name: str, kernels: Sequence[int], X: Array, b: Array) -> tuple[int, int]:
    """Return the numbers of output and input maps, P and D, of a layer whose operands belong together."""
    if len(kernels) != 4 or X.ndim != 3 or kernels[1] != len(X) or np.shape(b) != (kernels[0],):
        raise InputError(
            f"{name}: kernels P x D x m x n, input D x M x N and P biases must agree, got {tuple(kernels)}, {X.shape}"
            f" and {np.shape(b)}"
        )
    return kernels[0], kernels[1]


def _table(name: str, W: Array, T: npt.ArrayLike) -> Array:
    """Return the link table as an array once it is one and W has a kernel for each of its ones."""
    T = np.asarray(T)
    if T.ndim != 2 or not np.isin(T, (0, 1)).all() or W.ndim != 3 or len(W) != T.sum():
        raise InputError(
            f"{name}: the link table must be P x D of 0 and 1 with a kernel of K x m x n for each of its K ones, got a"
            f" table {T.shape} with sum {T.sum()} and kernels {W.shape}"
        )
    return T.astype(np.int64)
