"""The contraction of connectivity patterns, judged by nested loops that say what a convolution is."""

import itertools

import numpy as np
import pytest

from striate import reference
from striate.geometry import make_window, output_size


def loops(x, w, b, window, groups=1, flip=False):
    """Every product of a convolution and where it comes from: y, and (n, p, d, o, k, i) of each product."""
    sizes = output_size(x.shape[2:], window)
    y = np.zeros((x.shape[0], w.shape[0], *sizes))
    products = []
    p_group, d_group = w.shape[0] // groups, w.shape[1]
    for n, p in itertools.product(range(x.shape[0]), range(w.shape[0])):
        for o in itertools.product(*map(range, sizes)):
            total = 0.0 if b is None else b[p]
            for d_in, k in itertools.product(range(d_group), itertools.product(*map(range, window.kernel))):
                d = p // p_group * d_group + d_in
                i = []
                for axis in range(window.rank):
                    place = o[axis] * window.stride[axis] + k[axis] * window.dilation[axis] - window.padding[axis][0]
                    if place % window.upsample[axis] or not 0 <= place // window.upsample[axis] < x.shape[2 + axis]:
                        break
                    i.append(place // window.upsample[axis])
                else:
                    kernel = tuple(m - 1 - at for m, at in zip(window.kernel, k, strict=True)) if flip else k
                    total += w[(p, d_in, *kernel)] * x[(n, d, *i)]
                    products.append(((n, d, *i), (p, d_in, *kernel), (n, p, *o)))
            y[(n, p, *o)] = total
    return y, products


def draw(seed):
    """A random geometry of one to three axes with groups, and its operands."""
    rng = np.random.default_rng(seed)
    rank = int(rng.choice([1, 1, 2, 2, 2, 3]))
    groups = int(rng.integers(1, 4))
    while True:
        size = tuple(int(n) for n in rng.integers(1, 6, rank))
        window = make_window(
            rank,
            tuple(rng.integers(1, 4, rank)),
            stride=tuple(rng.integers(1, 4, rank)),
            padding=[tuple(pair) for pair in rng.integers(-1, 4, (rank, 2))],
            dilation=tuple(rng.integers(1, 3, rank)),
            upsample=tuple(rng.integers(1, 3, rank)),
        )
        try:
            output_size(size, window)
        except ValueError:
            continue
        x = rng.standard_normal((int(rng.integers(0, 3)), int(rng.integers(1, 3)) * groups, *size))
        w = rng.standard_normal((int(rng.integers(1, 3)) * groups, x.shape[1] // groups, *window.kernel))
        return x, w, rng.standard_normal(len(w)), window, groups, bool(rng.integers(2))


@pytest.mark.parametrize("seed", range(60))
def test_forward_and_gradients_equal_loops(seed):
    x, w, b, window, groups, flip = draw(seed)
    expected, products = loops(x, w, b, window, groups, flip)
    how = {"groups": groups, "flip": flip}
    np.testing.assert_allclose(reference.conv(x, w, b, window, **how), expected, atol=1e-12)

    grad = np.random.default_rng(seed).standard_normal(expected.shape)
    grad_x, grad_w = np.zeros_like(x), np.zeros_like(w)
    for at_x, at_w, at_y in products:  # each product's derivative by each factor is the other factor
        grad_x[at_x] += w[at_w] * grad[at_y]
        grad_w[at_w] += x[at_x] * grad[at_y]
    np.testing.assert_allclose(reference.conv_grad_input(grad, w, window, x.shape[2:], **how), grad_x, atol=1e-12)
    np.testing.assert_allclose(reference.conv_grad_weight(grad, x, window, **how), grad_w, atol=1e-12)
    np.testing.assert_allclose(reference.conv_grad_bias(grad), [grad[:, p].sum() for p in range(len(w))], atol=1e-12)


def test_the_draws_meet_the_awkward_cases():
    cases = [draw(seed) for seed in range(60)]
    assert {x.shape[0] for x, *_ in cases} == {0, 1, 2}
    assert {window.rank for *_, window, _, _ in cases} == {1, 2, 3}
    assert any(min(end for pair in window.padding for end in pair) < 0 for *_, window, _, _ in cases)
    assert any(window.upsamples and max(window.stride) > 1 for *_, window, _, _ in cases)
    assert {groups for *_, groups, _ in cases} == {1, 2, 3}


@pytest.mark.parametrize("flip", [False, True])
def test_links_are_the_kernels_of_the_ones(flip):
    rng = np.random.default_rng(0)
    table = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 1]])
    x, kernels, window = rng.standard_normal((2, 3, 5, 4)), rng.standard_normal((4, 2, 3)), make_window(2, (2, 3))
    dense, k = np.zeros((3, 3, 2, 3)), 0
    for p, d in itertools.product(range(3), range(3)):
        if table[p, d]:
            dense[p, d], k = kernels[k], k + 1
    y = reference.conv(x, kernels, None, window, links=table, flip=flip)
    np.testing.assert_allclose(y, loops(x, dense, None, window, flip=flip)[0], atol=1e-12)
    grad = rng.standard_normal(y.shape)
    grad_dense = reference.conv_grad_weight(grad, x, window, flip=flip)
    np.testing.assert_array_equal(
        reference.conv_grad_weight(grad, x, window, links=table, flip=flip), grad_dense[table == 1]
    )
    np.testing.assert_array_equal(
        reference.conv_grad_input(grad, kernels, window, (5, 4), links=table, flip=flip),
        reference.conv_grad_input(grad, dense, window, (5, 4), flip=flip),
    )


def test_pattern_is_the_matrix_of_the_chapter():
    """Equations (5.42) and (5.45): C and its transpose for five inputs and the kernel w1, w2, w3."""
    (pattern,) = reference.connectivity((5,), make_window(1, 3))
    matrix = np.einsum("k,koi->oi", [1.0, 2.0, 3.0], pattern)
    np.testing.assert_array_equal(matrix, [[1, 2, 3, 0, 0], [0, 1, 2, 3, 0], [0, 0, 1, 2, 3]])
    z = np.array([[[4.0, 5.0, 6.0]]])
    wide = reference.conv(z, np.array([[[3.0, 2.0, 1.0]]]), None, make_window(1, 3, padding="full"))  # (5.46)
    np.testing.assert_array_equal(wide[0, 0], matrix.T @ z[0, 0])


def test_result_has_the_type_of_the_operands():
    x, w = np.ones((1, 1, 4), np.float32), np.ones((1, 1, 2), np.float32)
    assert reference.conv(x, w, None, make_window(1, 2)).dtype == np.float32
