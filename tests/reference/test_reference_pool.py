"""Pooling, subsampling and radial basis functions of the reference, judged by nested loops and by differences."""

import itertools

import numpy as np
import pytest

from striate import reference
from striate.geometry import make_window, output_size

WINDOWS = [
    ((6,), make_window(1, 2, stride=2), False),
    ((7,), make_window(1, 3, stride=2), True),
    ((5,), make_window(1, 2, stride=3, padding=((1, 0),)), True),
    ((5, 6), make_window(2, (3, 2), stride=(2, 1), padding=((1, 1), (0, 1))), False),
    ((5, 6), make_window(2, (3, 2), stride=(2, 3), padding=((-1, 1), (1, 0))), True),
    ((7, 5), make_window(2, (2, 3), stride=2, dilation=(3, 1), padding=1), False),
    ((3, 4, 5), make_window(3, 2, stride=(1, 2, 2)), True),
]


def windows(size, window, ceil):
    """Each output position with the input positions of its window, in row-major order."""
    for o in itertools.product(*map(range, output_size(size, window, ceil=ceil))):
        taps = [
            tuple(o[a] * window.stride[a] + k[a] * window.dilation[a] - window.padding[a][0] for a in range(len(size)))
            for k in itertools.product(*map(range, window.kernel))
        ]
        yield o, taps, [i for i in taps if all(0 <= at < n for at, n in zip(i, size, strict=True))]


@pytest.mark.parametrize(("size", "window", "ceil"), WINDOWS)
def test_max_pool(size, window, ceil):
    x = np.random.default_rng(0).integers(0, 3, (2, 2, *size)).astype(float)  # few values: many ties
    values, switches = reference.max_pool(x, window, ceil=ceil)
    grad = np.random.default_rng(1).standard_normal(values.shape)
    expected = np.zeros_like(x)
    for o, _, inside in windows(size, window, ceil):
        for at in itertools.product(range(2), range(2)):
            best = max(inside, key=lambda i: x[(*at, *i)])  # max keeps the first of equals
            assert values[(*at, *o)] == x[(*at, *best)]
            assert switches[(*at, *o)] == np.ravel_multi_index(best, size)
            expected[(*at, *best)] += grad[(*at, *o)]
    np.testing.assert_allclose(reference.max_pool_grad_input(grad, switches, size), expected, atol=1e-12)


@pytest.mark.parametrize("count_padding", [False, True])
@pytest.mark.parametrize(("size", "window", "ceil"), WINDOWS)
def test_avg_pool(size, window, ceil, count_padding):
    x = np.random.default_rng(0).standard_normal((2, 2, *size))
    y = reference.avg_pool(x, window, ceil=ceil, count_padding=count_padding)
    grad = np.random.default_rng(1).standard_normal(y.shape)
    expected = np.zeros_like(x)
    for o, taps, inside in windows(size, window, ceil):
        padded = [
            all(
                -max(low, 0) <= at < n + max(high, 0)
                for at, n, (low, high) in zip(i, size, window.padding, strict=True)
            )
            for i in taps
        ]
        count = sum(padded) if count_padding else len(inside)
        np.testing.assert_allclose(y[(..., *o)], sum(x[(..., *i)] for i in inside) / count, atol=1e-12)
        for i in inside:
            expected[(..., *i)] += grad[(..., *o)] / count
    how = {"ceil": ceil, "count_padding": count_padding}
    np.testing.assert_allclose(reference.avg_pool_grad_input(grad, window, size, **how), expected, atol=1e-12)


def numerical(function, x, grad, eps=1e-6):
    """Gradient of <grad, function(x)> by central differences."""
    result = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[at] = eps
        result[at] = (grad * (function(x + step) - function(x - step))).sum() / (2 * eps)
    return result


@pytest.mark.parametrize("mean", [True, False])
def test_subsample(mean):
    rng = np.random.default_rng(0)
    x, w, b = rng.standard_normal((2, 3, 4, 5)), rng.standard_normal(3), rng.standard_normal(3)
    window = make_window(2, (2, 3), stride=(2, 1))
    y = reference.subsample(x, w, b, window, mean=mean)
    block = x[1, 2, 2:4, 1:4]
    np.testing.assert_allclose(y[1, 2, 1, 1], w[2] * (block.mean() if mean else block.sum()) + b[2])
    grad = rng.standard_normal(y.shape)
    for gradient, at in (
        (reference.subsample_grad_input(grad, w, window, (4, 5), mean=mean), 0),
        (reference.subsample_grad_weight(grad, x, window, mean=mean), 1),
        (reference.conv_grad_bias(grad), 2),
    ):

        def along(operand, at=at):
            return reference.subsample(*[operand if n == at else o for n, o in enumerate((x, w, b))], window, mean=mean)

        np.testing.assert_allclose(gradient, numerical(along, (x, w, b)[at], grad), atol=1e-7)


def test_rbf():
    rng = np.random.default_rng(0)
    x, centres = rng.standard_normal((3, 4)), rng.standard_normal((2, 4))
    y = reference.rbf(x, centres)
    assert y.shape == (3, 2)
    np.testing.assert_allclose(y[2, 1], np.linalg.norm(x[2] - centres[1]) ** 2)
    grad = rng.standard_normal(y.shape)
    by_x = numerical(lambda x: reference.rbf(x, centres), x, grad)
    by_centres = numerical(lambda centres: reference.rbf(x, centres), centres, grad)
    np.testing.assert_allclose(reference.rbf_grad_input(grad, x, centres), by_x, atol=1e-7)
    np.testing.assert_allclose(reference.rbf_grad_centres(grad, x, centres), by_centres, atol=1e-7)


def test_batch_of_none():
    values, switches = reference.max_pool(np.zeros((0, 2, 4, 4)), make_window(2, 2, stride=2))
    assert values.shape == switches.shape == (0, 2, 2, 2)
    assert reference.avg_pool(np.zeros((0, 2, 4)), make_window(1, 2)).shape == (0, 2, 3)
