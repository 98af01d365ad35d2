"""Deformable convolution (Dai et al. 2017, equations 2-4) and its modulated form (Zhu et al. 2019, equation 1), 2-D.

Every kernel position k of every output o reads the input at a place of its own, p = o * stride + k * dilation - low +
offset, between pixels by bilinear interpolation with zeros beyond the border. With the hat h(u) = max(0, 1 - |u|), for
every offset group g (channels d) and weight group:

    s[n, d, k, o] = m[n, g, k, o] sum_ij x[n, d, i, j] h(p_y[n, g, k, o] - i) h(p_x[n, g, k, o] - j)
    y[n, p, o]    = sum_dk w[p, d, k] s[n, d, k, o] + b[p]

x is N x C x H x W, offset N x (2 G K) x outputs with G outermost and (y, x) innermost, mask N x (G K) x outputs or None
for ones, w P x C/groups x kernel, K the number of kernel positions. Where p is an integer, h has a kink and the
gradient is the derivative from the right.
"""

from typing import NamedTuple

import numpy as np

from striate.geometry import Window
from striate.reference._connectivity import Array


class _Places(NamedTuple):
    """Hats over rows and columns, N x G x K x outputs x H (or W), their derivatives by p, and the mask as N x G x K."""

    rows: Array
    columns: Array
    rows_by_p: Array
    columns_by_p: Array
    mask: Array


def deform_conv(
    x: Array,
    offset: Array,
    w: Array,
    b: Array | None,
    mask: Array | None,
    window: Window,
    *,
    groups: int = 1,
    offset_groups: int = 1,
) -> Array:
    """Return the deformable convolution of x with w: N x P x outputs."""
    places = _places(x, offset, mask, window, offset_groups)
    y: Array = np.einsum("ngckop,gqck->ngqop", _weight_groups(_samples(x, places), groups), _kernels(w, groups))
    y = y.reshape(y.shape[0], w.shape[0], *y.shape[3:])
    return y if b is None else y + b.reshape(-1, 1, 1)


def deform_conv_grad_input(
    grad: Array,
    x: Array,
    offset: Array,
    w: Array,
    mask: Array | None,
    window: Window,
    *,
    groups: int = 1,
    offset_groups: int = 1,
) -> Array:
    """Return the gradient of <grad, deform_conv(x, offset, w, b, mask)> with respect to x."""
    places = _places(x, offset, mask, window, offset_groups)
    back = _samples_grad(grad, w, groups, offset_groups)
    gradient: Array = np.einsum(
        "ngckop,ngkop,ngkopi,ngkopj->ngcij", back, places.mask, places.rows, places.columns, optimize=True
    )
    return gradient.reshape(x.shape)


def deform_conv_grad_offset(
    grad: Array,
    x: Array,
    offset: Array,
    w: Array,
    mask: Array | None,
    window: Window,
    *,
    groups: int = 1,
    offset_groups: int = 1,
) -> Array:
    """Return the gradient of <grad, deform_conv(x, offset, w, b, mask)> with respect to offset."""
    places = _places(x, offset, mask, window, offset_groups)
    back = _samples_grad(grad, w, groups, offset_groups)
    hats = ((places.rows_by_p, places.columns), (places.rows, places.columns_by_p))
    by_y_and_x = [_pair(back, x, *pair) * places.mask for pair in hats]
    return np.stack(by_y_and_x, axis=3).reshape(offset.shape)


def deform_conv_grad_mask(
    grad: Array,
    x: Array,
    offset: Array,
    w: Array,
    mask: Array,
    window: Window,
    *,
    groups: int = 1,
    offset_groups: int = 1,
) -> Array:
    """Return the gradient of <grad, deform_conv(x, offset, w, b, mask)> with respect to mask."""
    places = _places(x, offset, mask, window, offset_groups)
    back = _samples_grad(grad, w, groups, offset_groups)
    return _pair(back, x, places.rows, places.columns).reshape(mask.shape)


def deform_conv_grad_weight(
    grad: Array,
    x: Array,
    offset: Array,
    mask: Array | None,
    window: Window,
    *,
    groups: int = 1,
    offset_groups: int = 1,
) -> Array:
    """Return the gradient of <grad, deform_conv(x, offset, w, b, mask)> with respect to w; bias: `conv_grad_bias`."""
    samples = _weight_groups(_samples(x, _places(x, offset, mask, window, offset_groups)), groups)
    grad = grad.reshape(grad.shape[0], groups, grad.shape[1] // groups, *grad.shape[2:])
    gradient: Array = np.einsum("ngqop,ngckop->gqck", grad, samples, optimize=True)
    return gradient.reshape(-1, gradient.shape[2], *window.kernel)


def _places(x: Array, offset: Array, mask: Array | None, window: Window, offset_groups: int) -> _Places:
    n, _, *outputs = offset.shape
    taps = int(np.prod(window.kernel))
    split = offset.reshape(n, offset_groups, taps, 2, *outputs)
    hats: list[Array] = []
    slopes: list[Array] = []
    for axis in range(2):
        k = np.indices(window.kernel)[axis].reshape(-1, 1, 1)
        o = np.indices(outputs)[axis]
        p = o * window.stride[axis] + k * window.dilation[axis] - window.padding[axis][0] + split[:, :, :, axis]
        i = np.arange(x.shape[2 + axis])
        hats.append(np.maximum(0, 1 - abs(p[..., None] - i)))
        first = np.floor(p)[..., None]
        slopes.append((i == first + 1).astype(x.dtype) - (i == first))
    shape = (n, offset_groups, taps, *outputs)
    factors = np.ones(shape) if mask is None else mask.reshape(shape)
    return _Places(hats[0], hats[1], slopes[0], slopes[1], factors)


def _samples(x: Array, places: _Places) -> Array:
    """Return the interpolated and masked inputs, N x C x K x outputs."""
    n, groups = places.mask.shape[:2]
    split = x.reshape(n, groups, x.shape[1] // groups, *x.shape[2:])
    samples: Array = np.einsum(
        "ngcij,ngkop,ngkopi,ngkopj->ngckop", split, places.mask, places.rows, places.columns, optimize=True
    )
    return samples.reshape(n, x.shape[1], *samples.shape[3:])


def _samples_grad(grad: Array, w: Array, groups: int, offset_groups: int) -> Array:
    """Return the gradient by the masked samples, N x offset groups x C / offset groups x K x outputs."""
    n, outputs = grad.shape[0], grad.shape[2:]
    grad = grad.reshape(n, groups, grad.shape[1] // groups, *outputs)
    back: Array = np.einsum("ngqop,gqck->ngckop", grad, _kernels(w, groups), optimize=True)
    channels, taps = w.shape[1] * groups, back.shape[3]
    return back.reshape(n, offset_groups, channels // offset_groups, taps, *outputs)


def _pair(back: Array, x: Array, rows: Array, columns: Array) -> Array:
    """Return, at every place, the sum over the channels of the gradient times what the two hats read."""
    split = x.reshape(x.shape[0], back.shape[1], back.shape[2], *x.shape[2:])
    product: Array = np.einsum("ngckop,ngcij,ngkopi,ngkopj->ngkop", back, split, rows, columns, optimize=True)
    return product


def _weight_groups(samples: Array, groups: int) -> Array:
    return samples.reshape(samples.shape[0], groups, samples.shape[1] // groups, *samples.shape[2:])


def _kernels(w: Array, groups: int) -> Array:
    """P x C/groups x kernel as groups x P/groups x C/groups x K."""
    return w.reshape(groups, w.shape[0] // groups, w.shape[1], -1)
