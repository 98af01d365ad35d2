"""Section 5.5 as code: the matrix of a convolution, its transpose, zeros and holes, judged by PyTorch and by itself."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional

from striate import reference
from striate.errors import InputError
from striate.geometry import make_window
from striate.reference import equations


def draw(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in shapes]


def test_the_matrix_as_printed():
    """(5.42) and (5.45): five inputs, three weights; only the nine products are stored."""
    C = equations.convolution_matrix([1, 2, 3], (5,))
    np.testing.assert_array_equal(C.toarray(), [[1, 2, 3, 0, 0], [0, 1, 2, 3, 0], [0, 0, 1, 2, 3]])
    np.testing.assert_array_equal(C.T.toarray(), [[1, 0, 0], [2, 1, 0], [3, 2, 1], [0, 3, 2], [0, 0, 3]])
    assert C.nnz == 9
    assert C.format == "csr"


@pytest.mark.parametrize(
    ("size", "kernel", "words"),
    [
        ((5,), (3,), {}),
        ((1,), (1,), {}),
        ((8,), (3,), {"stride": 2, "padding": "same", "dilation": 2}),
        ((4,), (6,), {"padding": "full"}),
        ((5, 4), (2, 3), {}),
        ((5, 7), (3, 2), {"stride": (2, 3), "padding": ((1, 2), (-1, 3)), "dilation": (1, 2)}),
        ((2, 3, 4), (2, 1, 3), {"padding": 1}),
    ],
)
@pytest.mark.parametrize("maps", [None, (1, 1), (3, 2)])
def test_the_matrix_is_the_convolution(size, kernel, words, maps):
    """(5.41)-(5.43) and, of the transpose, (5.44): with any window, for one map or from D maps to P."""
    P, D = maps or (1, 1)
    W, x = draw((P, D, *kernel), (1, D, *size))
    window = make_window(len(size), kernel, size=size, **words)
    z = reference.conv(x, W, None, window)
    C = equations.convolution_matrix(W if maps else W[0, 0], size, **words)
    assert C.shape == (z.size, x.size)
    np.testing.assert_allclose(C @ x.ravel(), z.ravel(), atol=1e-12)
    (grad,) = draw(z.shape, seed=1)
    back = reference.conv_grad_input(grad, W, window, size)
    np.testing.assert_allclose(C.T @ grad.ravel(), back.ravel(), atol=1e-12)


def test_scipy_is_imported_only_for_a_matrix():
    program = """if True:
        import sys
        from striate.reference.equations import convolution_matrix
        assert "scipy" not in sys.modules
        convolution_matrix([1.0], (1,))
        assert "scipy" in sys.modules
    """
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_matrix_is_sparse_and_shares_its_weights():
    w = np.arange(1.0, 10.0).reshape(3, 3)
    C = equations.convolution_matrix(w, (20, 30))
    assert C.nnz == 18 * 28 * 9
    assert sorted(set(C.data)) == sorted(w.ravel())


@pytest.mark.parametrize(("p", "m"), [(1, 1), (3, 3), (2, 5), (6, 2)])
def test_transposed_convolution(p, m):
    """(5.46): C^T z is the wide convolution of z with the kernel turned around."""
    w, z = draw(m, p)
    C = equations.convolution_matrix(w, (p + m - 1,))
    np.testing.assert_allclose(equations.transposed_1d(w, z), C.T @ z, atol=1e-12)
    w2, z2 = draw((m, 2), (p, 4))
    C = equations.convolution_matrix(w2, (p + m - 1, 5))
    np.testing.assert_allclose(equations.transposed_2d(w2, z2).ravel(), C.T @ z2.ravel(), atol=1e-12)


@pytest.mark.parametrize("s", [1, 2, 3, 5])
@pytest.mark.parametrize(("p", "m"), [(1, 1), (3, 3), (2, 5), (6, 2)])
def test_fractionally_strided_convolution(p, m, s):
    """Section 5.5.1: s(p - 1) + m outputs, and the transpose of the convolution with stride s."""
    w, z = draw(m, p)
    x = equations.fractionally_strided_1d(w, z, s)
    assert len(x) == equations.fractionally_strided_size(p, m, s) == s * (p - 1) + m
    expected = functional.conv_transpose1d(*map(torch.from_numpy, (z[None, None], w[None, None])), stride=s)
    np.testing.assert_allclose(x, expected[0, 0], atol=1e-12)
    np.testing.assert_allclose(x, equations.convolution_matrix(w, (len(x),), stride=s).T @ z, atol=1e-12)
    w2, z2 = draw((m, 2), (p, 4))
    expected = functional.conv_transpose2d(*map(torch.from_numpy, (z2[None, None], w2[None, None])), stride=s)
    np.testing.assert_allclose(equations.fractionally_strided_2d(w2, z2, s), expected[0, 0], atol=1e-12)


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("m", [1, 2, 3])
def test_dilated_convolution(m, d):
    """(5.47) and section 5.5.2: the kernel with holes is the dilated one of PyTorch and of `geometry`."""
    w, x = draw(m, 9)
    window = make_window(1, m, dilation=d)
    assert equations.dilated_size(m, d) == len(equations.insert_zeros(w, d)) == window.effective_kernel[0]
    expected = functional.conv1d(*map(torch.from_numpy, (x[None, None], w[None, None])), dilation=d)
    np.testing.assert_allclose(equations.dilated_1d(w, x, d), expected[0, 0], atol=1e-12)
    w2, x2 = draw((m, 2), (8, 9))
    expected = functional.conv2d(*map(torch.from_numpy, (x2[None, None], w2[None, None])), dilation=d)
    np.testing.assert_allclose(equations.dilated_2d(w2, x2, d), expected[0, 0], atol=1e-12)


def test_zeros_between_neighbours():
    np.testing.assert_array_equal(equations.insert_zeros([1, 2, 3], 3), [1, 0, 0, 2, 0, 0, 3])
    np.testing.assert_array_equal(equations.insert_zeros([[1, 2], [3, 4]], 2), [[1, 0, 2], [0, 0, 0], [3, 0, 4]])
    assert equations.insert_zeros(np.zeros((0,)), 2).shape == (0,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: equations.convolution_matrix(np.ones((2, 2, 2)), (4, 4)),
            "convolution_matrix: w must be a kernel of 2 axes, or P x D x kernel, for the input size (4, 4), got"
            " (2, 2, 2)",
        ),
        (
            lambda: equations.convolution_matrix(np.ones(3), (2,)),
            "a window of (3,) does not fit into the input size (2,) with padding ((0, 0),): take a larger input, a"
            " smaller kernel or more padding",
        ),
        (
            lambda: equations.convolution_matrix(np.ones(3), 5),
            "convolution_matrix: size must give the input size on each axis, such as (5,), got 5",
        ),
        (lambda: equations.insert_zeros([1], 0), "insert_zeros: neighbours can be k >= 1 places apart, got 0"),
    ],
)
def test_errors(call, message):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value) == message
