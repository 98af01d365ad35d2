"""Euclidean radial basis functions, the output layer of LeNet-5 (LeCun et al. 1998, equation 7)."""

import numpy as np

from striate.reference._connectivity import Array


def rbf(x: Array, centres: Array) -> Array:
    """Return the squared Euclidean distance of every input (N x D) to every centre (K x D): N x K."""
    difference = _difference(x, centres)
    distance: Array = np.einsum("nkd,nkd->nk", difference, difference)
    return distance


def rbf_grad_input(grad: Array, x: Array, centres: Array) -> Array:
    """Return the gradient of <grad, rbf(x, centres)> with respect to x: N x D."""
    gradient: Array = np.einsum("nk,nkd->nd", 2 * grad, _difference(x, centres))
    return gradient


def rbf_grad_centres(grad: Array, x: Array, centres: Array) -> Array:
    """Return the gradient of <grad, rbf(x, centres)> with respect to the centres: K x D."""
    gradient: Array = np.einsum("nk,nkd->kd", -2 * grad, _difference(x, centres))
    return gradient


def _difference(x: Array, centres: Array) -> Array:
    difference: Array = x[:, None, :] - centres[None, :, :]
    return difference
