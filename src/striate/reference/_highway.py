"""The gate of highway networks (Srivastava et al. 2015, equation 3): all arrays have the same shape."""

from striate.reference._connectivity import Array


def highway(x: Array, h: Array, t: Array) -> Array:
    """Return h * t + x * (1 - t): the gate t lets the transformed h pass and carries the input x for the rest."""
    y: Array = h * t + x * (1 - t)
    return y


def highway_grad_input(grad: Array, t: Array) -> Array:
    """Return the gradient of <grad, highway(x, h, t)> with respect to x."""
    gradient: Array = grad * (1 - t)
    return gradient


def highway_grad_transform(grad: Array, t: Array) -> Array:
    """Return the gradient of <grad, highway(x, h, t)> with respect to h."""
    gradient: Array = grad * t
    return gradient


def highway_grad_gate(grad: Array, x: Array, h: Array) -> Array:
    """Return the gradient of <grad, highway(x, h, t)> with respect to t."""
    gradient: Array = grad * (h - x)
    return gradient
