"""The activation of LeNet-5 (LeCun et al. 1998, appendix A), of every element by itself."""

import numpy as np

from striate.reference._connectivity import Array


def scaled_tanh(x: Array, *, amplitude: float, slope: float) -> Array:
    """Return amplitude * tanh(slope * x)."""
    y: Array = amplitude * np.tanh(slope * x)
    return y


def scaled_tanh_grad_input(grad: Array, x: Array, *, amplitude: float, slope: float) -> Array:
    """Return the gradient of <grad, scaled_tanh(x)> with respect to x."""
    gradient: Array = grad * amplitude * slope / np.cosh(slope * x) ** 2
    return gradient
