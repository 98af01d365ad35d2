"""Local response normalisation across channels (Krizhevsky et al. 2012, section 3.3); arrays are N x C x spatial."""

import numpy as np

from striate.reference._connectivity import Array


def local_response_norm(x: Array, *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0) -> Array:
    """Return x / (k + alpha * S)^beta, S the sum of x^2 over `size` neighbouring channels.

    Channel c has the neighbours c - size // 2 to c + (size - 1) // 2, fewer at the ends.
    """
    return x * _scale(x, size, alpha, k) ** -beta


def local_response_norm_grad_input(
    grad: Array, x: Array, *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0
) -> Array:
    """Return the gradient of <grad, local_response_norm(x)> with respect to x.

    An input acts on its own output through the numerator and on all outputs of which it is a neighbour.
    """
    scale = _scale(x, size, alpha, k)
    back = _over_channels(_neighbours(x.shape[1], size).T, grad * x * scale ** (-beta - 1))
    return grad * scale**-beta - 2 * alpha * beta * x * back


def _scale(x: Array, size: int, alpha: float, k: float) -> Array:
    return k + alpha * _over_channels(_neighbours(x.shape[1], size), x**2)


def _neighbours(channels: int, size: int) -> Array:
    """C x C: 1 where the channel of the column is a neighbour of the channel of the row."""
    c, other = np.ogrid[:channels, :channels]
    near: Array = (c - size // 2 <= other) & (other <= c + (size - 1) // 2)
    return near.astype(np.float64)


def _over_channels(matrix: Array, x: Array) -> Array:
    product: Array = np.einsum("cd,nd...->nc...", matrix.astype(x.dtype), x)
    return product
