"""Transposed and deformable convolution, unpooling, normalisation and gate of the reference, judged by plain loops."""

import itertools
import math

import numpy as np
import pytest

from striate import reference
from striate.geometry import make_window, output_size


def numerical(function, x, grad, eps=1e-6):
    """Gradient of <grad, function(x)> by central differences."""
    result = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[at] = eps
        result[at] = (grad * (function(x + step) - function(x - step))).sum() / (2 * eps)
    return result


def judge(function, operands, gradients):
    """Compare each gradient function, of the error term, with differences of `function` of all operands."""
    grad = np.random.default_rng(9).standard_normal(function(*operands).shape)
    for at, gradient in enumerate(gradients):

        def along(operand, at=at):
            return function(*(operand if n == at else other for n, other in enumerate(operands)))

        np.testing.assert_allclose(gradient(grad), numerical(along, operands[at], grad), atol=1e-6)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(
    ("size", "window", "groups"),
    [
        ((4,), make_window(1, 3, stride=2), 1),
        ((3,), make_window(1, 2, stride=3, padding=((1, -2),)), 2),
        ((2, 3), make_window(2, (3, 2), stride=(2, 1), padding=((1, 0), (0, 1)), dilation=(1, 2)), 2),
    ],
)
def test_conv_transpose_stamps_kernels(size, window, groups, flip):
    """Every input puts its multiple of the kernel down; what lies beyond the output is cropped."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 2 * groups, *size))
    w, b = rng.standard_normal((2 * groups, 3, *window.kernel)), rng.standard_normal(3 * groups)
    out = tuple(
        (n - 1) * s + m - low - high
        for n, s, m, (low, high) in zip(size, window.stride, window.effective_kernel, window.padding, strict=True)
    )
    expected = np.broadcast_to(b.reshape(-1, *(1,) * window.rank), (2, 3 * groups, *out)).copy()
    for n, d, q in itertools.product(range(2), range(2 * groups), range(3)):
        for i, k in itertools.product(np.ndindex(*size), np.ndindex(*window.kernel)):
            at = tuple(
                i[a] * window.stride[a] + k[a] * window.dilation[a] - window.padding[a][0] for a in range(window.rank)
            )
            if all(0 <= place < extent for place, extent in zip(at, out, strict=True)):
                kernel = tuple(m - 1 - place for m, place in zip(window.kernel, k, strict=True)) if flip else k
                expected[(n, d // 2 * 3 + q, *at)] += x[(n, d, *i)] * w[(d, q, *kernel)]
    how = {"groups": groups, "flip": flip}
    np.testing.assert_allclose(reference.conv_transpose(x, w, b, window, out, **how), expected, atol=1e-12)
    judge(
        lambda x, w, b: reference.conv_transpose(x, w, b, window, out, **how),
        (x, w, b),
        (
            lambda grad: reference.conv_transpose_grad_input(grad, w, window, **how),
            lambda grad: reference.conv_transpose_grad_weight(grad, x, window, **how),
            reference.conv_transpose_grad_bias,
        ),
    )


def bilinear(image, y, x):
    """Value between four pixels, with zeros beyond the border."""
    top, left = math.floor(y), math.floor(x)
    total = 0.0
    for row, column in itertools.product((top, top + 1), (left, left + 1)):
        if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
            total += image[row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return total


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("window", "groups", "offset_groups"),
    [
        (make_window(2, (2, 2)), 1, 1),
        (make_window(2, (2, 1), stride=(1, 2), padding=((1, 0), (0, 2)), dilation=(2, 1)), 2, 1),
        (make_window(2, (1, 2), stride=2, padding=1), 1, 2),
    ],
)
def test_deform_conv_reads_between_pixels(window, groups, offset_groups, masked):
    rng = np.random.default_rng(0)
    channels, taps, (kh, kw) = 2, window.kernel[0] * window.kernel[1], window.kernel
    x = rng.standard_normal((2, channels, 4, 3))
    size = output_size((4, 3), window)
    w, b = rng.standard_normal((2, channels // groups, kh, kw)), rng.standard_normal(2)
    offset = 2 * rng.standard_normal((2, 2 * offset_groups * taps, *size))
    mask = rng.standard_normal((2, offset_groups * taps, *size)) if masked else None
    expected = np.zeros((2, 2, *size)) + b.reshape(-1, 1, 1)
    for n, p, o in itertools.product(range(2), range(2), np.ndindex(*size)):
        for c_in, k in itertools.product(range(channels // groups), range(taps)):
            c = p * groups // 2 * (channels // groups) + c_in
            place = c // (channels // offset_groups) * taps + k
            y, z = (
                o[a] * window.stride[a]
                + (k // kw, k % kw)[a] * window.dilation[a]
                - window.padding[a][0]
                + offset[(n, 2 * place + a, *o)]
                for a in range(2)
            )
            factor = 1.0 if mask is None else mask[(n, place, *o)]
            expected[(n, p, *o)] += w[p, c_in, k // kw, k % kw] * factor * bilinear(x[n, c], y, z)
    how = {"groups": groups, "offset_groups": offset_groups}
    np.testing.assert_allclose(reference.deform_conv(x, offset, w, b, mask, window, **how), expected, atol=1e-12)
    operands = (x, offset, w, b) if mask is None else (x, offset, w, b, mask)
    judge(
        lambda x, offset, w, b, mask=None: reference.deform_conv(x, offset, w, b, mask, window, **how),
        operands,
        (
            lambda grad: reference.deform_conv_grad_input(grad, x, offset, w, mask, window, **how),
            lambda grad: reference.deform_conv_grad_offset(grad, x, offset, w, mask, window, **how),
            lambda grad: reference.deform_conv_grad_weight(grad, x, offset, mask, window, **how),
            reference.conv_grad_bias,
            lambda grad: reference.deform_conv_grad_mask(grad, x, offset, w, mask, window, **how),
        )[: len(operands)],
    )


def test_max_unpool_undoes_the_choice_of_max_pool():
    rng = np.random.default_rng(0)
    x, window = rng.standard_normal((2, 3, 4, 6)), make_window(2, (2, 3), stride=(2, 3))
    values, switches = reference.max_pool(x, window)
    y = reference.max_unpool(values, switches, (4, 6))
    assert ((y == x) | (y == 0)).all()
    assert (y != 0).sum() == values.size
    judge(
        lambda values: reference.max_unpool(values, switches, (4, 6)),
        (values,),
        (lambda grad: reference.max_unpool_grad_input(grad, switches),),
    )


def test_max_unpool_lets_the_last_of_equal_switches_stand():
    values, switches = np.array([[[1.0, 2.0, 3.0]]]), np.array([[[1, 1, 0]]])
    np.testing.assert_array_equal(reference.max_unpool(values, switches, (3,)), [[[3, 2, 0]]])
    grad = np.array([[[5.0, 6.0, 7.0]]])
    np.testing.assert_array_equal(reference.max_unpool_grad_input(grad, switches), [[[0, 6, 5]]])


@pytest.mark.parametrize("size", [1, 2, 3, 4, 9])
def test_local_response_norm(size):
    x = np.random.default_rng(0).standard_normal((2, 5, 3))
    how = {"size": size, "alpha": 0.3, "beta": 0.6, "k": 1.2}
    y = reference.local_response_norm(x, **how)
    for c in range(5):
        near = [j for j in range(c - size // 2, c + (size - 1) // 2 + 1) if 0 <= j < 5]
        total = sum(x[:, j] ** 2 for j in near)
        np.testing.assert_allclose(y[:, c], x[:, c] / (1.2 + 0.3 * total) ** 0.6)
    judge(
        lambda x: reference.local_response_norm(x, **how),
        (x,),
        (lambda grad: reference.local_response_norm_grad_input(grad, x, **how),),
    )


def test_highway():
    x, h, t = np.random.default_rng(0).standard_normal((3, 2, 4))
    np.testing.assert_allclose(reference.highway(x, h, t), [h[n] * t[n] + x[n] * (1 - t[n]) for n in range(2)])
    judge(
        reference.highway,
        (x, h, t),
        (
            lambda grad: reference.highway_grad_input(grad, t),
            lambda grad: reference.highway_grad_transform(grad, t),
            lambda grad: reference.highway_grad_gate(grad, x, h),
        ),
    )


def test_scaled_tanh():
    x, how = 2 * np.random.default_rng(0).standard_normal((2, 3)), {"amplitude": 1.7, "slope": 0.6}
    e = np.exp(2 * 0.6 * x)
    np.testing.assert_allclose(reference.scaled_tanh(x, **how), 1.7 * (e - 1) / (e + 1))
    judge(
        lambda x: reference.scaled_tanh(x, **how),
        (x,),
        (lambda grad: reference.scaled_tanh_grad_input(grad, x, **how),),
    )


def test_batch_of_none():
    assert reference.max_unpool(np.zeros((0, 2, 3)), np.zeros((0, 2, 3), int), (6,)).shape == (0, 2, 6)
    window, offset, w = make_window(2, 2), np.zeros((0, 8, 2, 2)), np.zeros((3, 2, 2, 2))
    assert reference.deform_conv(np.zeros((0, 2, 3, 3)), offset, w, None, None, window).shape == (0, 3, 2, 2)
