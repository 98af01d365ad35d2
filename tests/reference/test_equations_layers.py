"""Sections 5.2 to 5.4 as code: layers, their counts, gradients and error terms, judged by PyTorch and by geometry."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from striate import reference
from striate.errors import InputError
from striate.geometry import count_conv, count_dense, make_window
from striate.models.lenet5 import c3_links
from striate.reference import equations

POOLS = [((2, 2), None), ((3, 2), (2, 1)), ((2, 3), (3, 3)), ((1, 1), None), ((5, 6), None)]  # size, step
LAYERS = [(1, 1, (1, 1), (1, 1)), (2, 3, (6, 5), (3, 2)), (4, 1, (5, 5), (5, 5)), (3, 2, (4, 7), (1, 3))]  # P, D, X, W


def draw(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in shapes]


def leaves(*arrays):
    return [torch.from_numpy(np.array(array)).requires_grad_() for array in arrays]


def test_layer_on_one_axis():
    w, a = draw(3, 8)
    expected = functional.conv1d(*map(torch.from_numpy, (a[None, None], w[None, None])), torch.tensor([0.5]).double())
    np.testing.assert_allclose(equations.conv_layer_1d(w, a, 0.5), expected[0, 0], atol=1e-12)


@pytest.mark.parametrize(("P", "D", "size", "kernel"), LAYERS)
def test_convolutional_layer(P, D, size, kernel):
    W, X, b = draw((P, D, *kernel), (D, *size), P)
    Z = functional.conv2d(*map(torch.from_numpy, (X, W, b)))
    np.testing.assert_allclose(equations.conv_layer(W, X, b), Z, atol=1e-12)
    np.testing.assert_allclose(equations.conv_layer(W, X, b, np.tanh), Z.tanh(), atol=1e-12)


@pytest.mark.parametrize("table", [c3_links(), [[0, 1], [0, 0], [1, 1]], [[1]], [[0, 0]]])
def test_link_table(table):
    T = np.array(table)
    W, X, b = draw((T.sum(), 3, 2), (T.shape[1], 5, 4), len(T))
    Z = reference.conv(X[None], W, b, make_window(2, (3, 2)), links=T)[0]
    np.testing.assert_allclose(equations.linked_conv_layer(W, X, b, table), Z, atol=1e-12)
    np.testing.assert_allclose(equations.linked_conv_layer(W, X, b, table, np.tanh), np.tanh(Z), atol=1e-12)
    np.testing.assert_allclose(equations.conv_layer(equations.dense_kernels(W, T), X, b), Z, atol=1e-12)


@pytest.mark.parametrize(("size", "step"), POOLS)
def test_pooling(size, step):
    (X,) = draw((3, 5, 6))
    tensor = torch.from_numpy(X)
    np.testing.assert_array_equal(equations.max_pooling(X, size, step), functional.max_pool2d(tensor, size, step))
    np.testing.assert_allclose(equations.mean_pooling(X, size, step), functional.avg_pool2d(tensor, size, step))
    w, b = draw(3, 3, seed=1)
    scaled = torch.from_numpy(w)[:, None, None] * functional.avg_pool2d(tensor, size, step)
    expected = torch.tanh(scaled + torch.from_numpy(b)[:, None, None])
    np.testing.assert_allclose(equations.subsampling_layer(X, w, b, size, np.tanh, step), expected, atol=1e-12)


def test_mean_of_integers_is_no_integer():
    np.testing.assert_array_equal(equations.mean_pooling(np.array([[[1, 2], [2, 2]]]), (2, 2)), [[[1.75]]])
    np.testing.assert_array_equal(equations.up_mean(np.array([[[1]]]), (2, 2), (2, 2)), np.full((1, 2, 2), 0.25))


def test_regions_may_overlap_and_leave_something_out():
    found = {at: (rows, columns) for at, (rows, columns) in equations.regions((3, 6), (2, 2), (1, 3))}
    assert found[1, 1] == (slice(1, 3), slice(3, 5))
    assert list(found) == [(0, 0), (0, 1), (1, 0), (1, 1)]  # column 5 lies past the last region


def test_residual():
    (x,) = draw((2, 4))
    missing = equations.residual(np.exp, x)
    np.testing.assert_allclose(missing, np.exp(x) - x)
    np.testing.assert_allclose(equations.residual_unit(lambda x: equations.residual(np.exp, x), x), np.exp(x))


def test_counts():
    assert equations.dense_parameters(100 * 100 * 3, 1) == 30_000  # the example at the start of the chapter
    assert equations.dense_parameters(120, 84) == count_dense(120, 84, bias=False).parameters
    for P, D, size, kernel in LAYERS:
        expected = count_conv(size, make_window(2, kernel), D, P).parameters
        assert equations.conv_parameters(P, D, *kernel) == expected
    assert equations.linked_parameters(c3_links(), 5, 5) == 60 * 25 + 16 == 1516  # C3 of LeNet-5, section 5.4.1


@pytest.mark.parametrize(("P", "D", "size", "kernel"), LAYERS)
def test_gradients_of_kernels_and_biases(P, D, size, kernel):
    W, X, b = leaves(*draw((P, D, *kernel), (D, *size), P))
    Z = functional.conv2d(X, W, b)
    (delta,) = draw(tuple(Z.shape), seed=1)
    by_W, by_b = torch.autograd.grad(Z, (W, b), torch.from_numpy(delta))
    np.testing.assert_allclose(equations.kernel_gradient(delta, X.detach().numpy()), by_W, atol=1e-12)
    np.testing.assert_allclose(equations.bias_gradient(delta), by_b, atol=1e-12)


@pytest.mark.parametrize(("P", "D", "size", "kernel"), LAYERS)
def test_error_term_below_a_convolution(P, D, size, kernel):
    W, Z = leaves(*draw((P, D, *kernel), (D, *size)))
    above = functional.conv2d(torch.tanh(Z), W)
    (delta,) = draw(tuple(above.shape), seed=1)
    (expected,) = torch.autograd.grad(above, Z, torch.from_numpy(delta))
    slope = 1 - np.tanh(Z.detach().numpy()) ** 2
    found = equations.error_below_conv(slope, W.detach().numpy(), delta)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize(("size", "step"), POOLS)
def test_error_term_below_pooling(size, step):
    (Z,) = leaves(*draw((3, 5, 6)))
    X = torch.tanh(Z)
    slope = 1 - np.tanh(Z.detach().numpy()) ** 2
    for pool, up in (
        (functional.max_pool2d, lambda delta: equations.up_max(delta, X.detach().numpy(), size, step)),
        (functional.avg_pool2d, lambda delta: equations.up_mean(delta, (5, 6), size, step)),
    ):
        Y = pool(X, size, step)
        (delta,) = draw(tuple(Y.shape), seed=1)
        (expected,) = torch.autograd.grad(Y, Z, torch.from_numpy(delta), retain_graph=True)
        np.testing.assert_allclose(equations.error_below_pooling(slope, delta, up), expected, atol=1e-12)


def test_the_first_of_equal_maxima_takes_the_error():
    X, delta = np.zeros((1, 2, 4)), np.array([[[1.0, 2.0]]])
    np.testing.assert_array_equal(equations.up_max(delta, X, (2, 2)), [[[1, 0, 2, 0], [0, 0, 0, 0]]])
    window = make_window(2, 2, stride=2)
    _, switches = reference.max_pool(X[None], window)
    np.testing.assert_array_equal(
        equations.up_max(delta, X, (2, 2)), reference.max_pool_grad_input(delta[None], switches, (2, 4))[0]
    )


def test_float32_stays_float32():
    W, X, b, linked, delta = (a.astype(np.float32) for a in draw((2, 1, 2, 2), (1, 4, 4), 2, (1, 2, 2), (2, 3, 3)))
    found = [
        equations.conv_layer(W, X, b),
        equations.linked_conv_layer(linked, X, b, [[1], [0]]),
        equations.max_pooling(X, (2, 2)),
        equations.mean_pooling(X, (2, 2)),
        equations.kernel_gradient(delta, X),
        equations.bias_gradient(delta),
        equations.up_mean(delta, (6, 6), (2, 2)),
        equations.error_below_conv(1, W, delta),
    ]
    assert {array.dtype for array in found} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: equations.conv_layer(np.ones((2, 3, 1, 1)), np.ones((1, 4, 4)), np.ones(2)),
            "conv_layer: kernels P x D x m x n, input D x M x N and P biases must agree, got (2, 3, 1, 1), (1, 4, 4)"
            " and (2,)",
        ),
        (
            lambda: equations.linked_conv_layer(np.ones((1, 2, 2)), np.ones((2, 4, 4)), np.ones(1), [[1, 1]]),
            "linked_conv_layer: the link table must be P x D of 0 and 1 with a kernel of K x m x n for each of its K"
            " ones, got a table (1, 2) with sum 2 and kernels (1, 2, 2)",
        ),
        (
            lambda: equations.dense_kernels(np.ones((2, 2, 2)), [[2, 0]]),
            "dense_kernels: the link table must be P x D of 0 and 1 with a kernel of K x m x n for each of its K ones,"
            " got a table (1, 2) with sum 2 and kernels (2, 2, 2)",
        ),
        (
            lambda: equations.max_pooling(np.ones((4, 4)), (2, 2)),
            "pooling needs a group of maps, D x M x N, got (4, 4)",
        ),
        (
            lambda: equations.mean_pooling(np.ones((1, 4, 2)), (2, 3)),
            "a kernel of 3 does not fit into 2 inputs with 0 zeros at each end: make p larger",
        ),
        (
            lambda: equations.subsampling_layer(np.ones((2, 4, 4)), np.ones(1), np.ones(2), (2, 2)),
            "subsampling_layer: w (1,) and b (2,) must be (2,), one number per map",
        ),
        (
            lambda: equations.up_mean(np.ones((1, 3, 2)), (4, 4), (2, 2)),
            "pooling regions of (2, 2) in maps (1, 4, 4) need an error term (1, 2, 2), got (1, 3, 2)",
        ),
        (
            lambda: equations.up_max(np.ones((2, 2, 2)), np.ones((1, 4, 4)), (2, 2)),
            "pooling regions of (2, 2) in maps (1, 4, 4) need an error term (1, 2, 2), got (2, 2, 2)",
        ),
        (
            lambda: equations.error_below_conv(1, np.ones((2, 1, 2, 2)), np.ones((1, 3, 3))),
            "error_below_conv: kernels P x D x m x n and error term P x M' x N' must agree, got (2, 1, 2, 2) and"
            " (1, 3, 3)",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value) == message
