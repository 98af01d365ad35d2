"""Transposed convolution: the convolution's gradient by its input, taken as an operator of its own (5.44), (5.45).

With C the matrix of conv(a, w), y = C^T x. So its own gradients are the convolution and the convolution's gradient by
its weight with the roles of input and output exchanged. x is N x D x spatial, w D x P/groups x kernel: the weight of a
convolution from P to D channels. `window` is that convolution's, which makes x's size out of y's.
"""

from collections.abc import Sequence

from striate.geometry import Window
from striate.reference._connectivity import Array
from striate.reference._conv import conv, conv_grad_bias, conv_grad_input, conv_grad_weight


def conv_transpose(
    x: Array, w: Array, b: Array | None, window: Window, size: Sequence[int], *, groups: int = 1, flip: bool = False
) -> Array:
    """Return the transposed convolution of x with w, plus b per output channel: N x P x size."""
    y = conv_grad_input(x, w, window, size, groups=groups, flip=flip)
    return y if b is None else y + b.reshape(-1, *(1,) * window.rank)


def conv_transpose_grad_input(grad: Array, w: Array, window: Window, *, groups: int = 1, flip: bool = False) -> Array:
    """Return the gradient of <grad, conv_transpose(x, w)> with respect to x: the convolution of grad with w."""
    return conv(grad, w, None, window, groups=groups, flip=flip)


def conv_transpose_grad_weight(grad: Array, x: Array, window: Window, *, groups: int = 1, flip: bool = False) -> Array:
    """Return the gradient of <grad, conv_transpose(x, w)> with respect to w, in the shape of w."""
    return conv_grad_weight(x, grad, window, groups=groups, flip=flip)


def conv_transpose_grad_bias(grad: Array) -> Array:
    """Return the gradient of <grad, conv_transpose(x, w, b)> with respect to b."""
    return conv_grad_bias(grad)
