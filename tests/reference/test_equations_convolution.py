"""Section 5.1 as code, judged by NumPy, SciPy, finite differences and the rest of the reference."""

import numpy as np
import pytest
from scipy import signal

from striate import reference
from striate.errors import InputError
from striate.geometry import make_window, output_size
from striate.reference import equations

LENGTHS = [(1, 1), (5, 1), (5, 3), (6, 2), (4, 4)]  # inputs, kernel
MAPS = [((1, 1), (1, 1)), ((5, 4), (2, 3)), ((6, 7), (6, 1)), ((3, 8), (3, 3))]


def draw(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in shapes]


def differences(function, x, eps=1e-6):
    """Gradient of a scalar function by central differences."""
    result = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[at] = eps
        result[at] = (function(x + step) - function(x - step)) / (2 * eps)
    return result


def test_the_signal_that_fades():
    """(5.1)-(5.3): what is heard is today's signal, half of yesterday's and a quarter of the day before's."""
    x = np.array([8.0, 4.0, 0.0, 12.0])
    np.testing.assert_array_equal(equations.convolve_1d([1, 1 / 2, 1 / 4], x), [0 + 4 / 2 + 8 / 4, 12 + 0 / 2 + 4 / 4])


@pytest.mark.parametrize(("n", "m"), LENGTHS)
def test_convolution_of_sequences(n, m):
    x, w = draw(n, m)
    np.testing.assert_allclose(equations.convolve_1d(w, x), np.convolve(x, w, "valid"), atol=1e-12)
    np.testing.assert_allclose(equations.correlate_1d(w, x), np.correlate(x, w, "valid"), atol=1e-12)
    np.testing.assert_allclose(equations.wide_convolve_1d(w, x), np.convolve(x, w, "full"), atol=1e-12)
    np.testing.assert_allclose(equations.wide_correlate_1d(w, x), np.correlate(x, w, "full"), atol=1e-12)


@pytest.mark.parametrize(("size", "kernel"), MAPS)
def test_convolution_of_maps(size, kernel):
    x, w = draw(size, kernel)
    np.testing.assert_allclose(equations.convolve_2d(w, x), signal.convolve2d(x, w, "valid"), atol=1e-12)
    np.testing.assert_allclose(equations.correlate_2d(w, x), signal.correlate2d(x, w, "valid"), atol=1e-12)
    np.testing.assert_allclose(equations.wide_convolve_2d(w, x), signal.convolve2d(x, w, "full"), atol=1e-12)
    np.testing.assert_allclose(equations.wide_correlate_2d(w, x), signal.correlate2d(x, w, "full"), atol=1e-12)


def test_convolution_is_cross_correlation_with_the_kernel_turned():
    x, w = draw((6, 5), (3, 2))
    np.testing.assert_allclose(equations.convolve_2d(w, x), equations.correlate_2d(equations.rot180(w), x), atol=1e-12)
    assert not np.allclose(equations.convolve_2d(w, x), equations.correlate_2d(w, x))
    np.testing.assert_array_equal(equations.rot180([[1, 2], [3, 4]]), [[4, 3], [2, 1]])


def test_means():
    x, picture = draw(7, (5, 6))
    np.testing.assert_allclose(equations.moving_average(x, 3), [x[t : t + 3].mean() for t in range(5)])
    expected = [[picture[i : i + 2, j : j + 3].mean() for j in range(4)] for i in range(4)]
    np.testing.assert_allclose(equations.mean_filter(picture, 2, 3), expected)
    np.testing.assert_allclose(equations.moving_average([1, 2, 4, 8], 2), [1.5, 3, 6])  # integers too


@pytest.mark.parametrize("s", [1, 2, 3])
@pytest.mark.parametrize("p", [0, 1, 3])
@pytest.mark.parametrize(("size", "kernel"), MAPS)
def test_stride_and_zero_padding(size, kernel, s, p):
    x, w = draw(size, kernel)
    window = make_window(2, kernel, stride=s, padding=p)
    expected = reference.conv(x[None, None], w[None, None], None, window)[0, 0]
    np.testing.assert_allclose(equations.correlate_2d(w, x, s=s, p=p), expected, atol=1e-12)
    row, kernel_row = x[0], w[0]
    line = reference.conv(
        row[None, None], kernel_row[None, None], None, make_window(1, len(kernel_row), stride=s, padding=p)
    )
    np.testing.assert_allclose(equations.correlate_1d(kernel_row, row, s=s, p=p), line[0, 0], atol=1e-12)


def test_convolution_size():
    for n in range(1, 9):
        for m in range(1, n + 1):
            assert equations.convolution_size(n, m) == n - m + 1  # narrow
            assert equations.convolution_size(n, m, p=m - 1) == n + m - 1  # wide
            assert m % 2 == 0 or equations.convolution_size(n, m, p=(m - 1) // 2) == n  # equal-width
            for s in (1, 2, 3):
                for p in (0, 1, 2):
                    (expected,) = output_size((n,), make_window(1, m, stride=s, padding=p))
                    assert equations.convolution_size(n, m, s, p) == expected


def test_padding():
    np.testing.assert_array_equal(equations.pad([1, 2], 2), [0, 0, 1, 2, 0, 0])
    np.testing.assert_array_equal(equations.pad([[1, 2]], (1, 0)), [[0, 0], [1, 2], [0, 0]])


@pytest.mark.parametrize(("size", "kernel"), [*MAPS, ((2, 3), (5, 4))])  # the kernel may be the larger one
def test_wide_convolution_commutes(size, kernel):
    """(5.10), which holds for the convolution; the cross-correlation is turned around by the exchange."""
    x, w = draw(size, kernel)
    np.testing.assert_allclose(equations.wide_convolve_2d(w, x), equations.wide_convolve_2d(x, w), atol=1e-12)
    np.testing.assert_allclose(
        equations.wide_convolve_1d(w[0], x[0]), equations.wide_convolve_1d(x[0], w[0]), atol=1e-12
    )
    exchanged = equations.wide_correlate_2d(x, w)
    np.testing.assert_allclose(equations.wide_correlate_2d(w, x), equations.rot180(exchanged), atol=1e-12)


def test_cross_correlation_does_not_commute():
    x, w = draw((5, 4), (2, 3))
    assert not np.allclose(equations.wide_correlate_2d(w, x), equations.wide_correlate_2d(x, w))


@pytest.mark.parametrize(("size", "kernel"), MAPS)
def test_derivative_by_the_kernel(size, kernel):
    x, w = draw(size, kernel)
    (g,) = draw(equations.correlate_2d(w, x).shape, seed=1)
    expected = differences(lambda w: (g * signal.correlate2d(x, w, "valid")).sum(), w)
    np.testing.assert_allclose(equations.kernel_derivative_as_sum(g, x), expected, atol=1e-8)
    np.testing.assert_allclose(equations.kernel_derivative(g, x), expected, atol=1e-8)


@pytest.mark.parametrize(("size", "kernel"), MAPS)
def test_derivative_by_the_input(size, kernel):
    x, w = draw(size, kernel)
    (g,) = draw(equations.correlate_2d(w, x).shape, seed=1)
    expected = differences(lambda x: (g * signal.correlate2d(x, w, "valid")).sum(), x)
    np.testing.assert_allclose(equations.input_derivative_as_sum(g, w), expected, atol=1e-8)
    np.testing.assert_allclose(equations.input_derivative_by_rotated_output(g, w), expected, atol=1e-8)
    np.testing.assert_allclose(equations.input_derivative(g, w), expected, atol=1e-8)


def test_which_operand_gets_the_zeros():
    """Below (5.16): W gets M - m and N - n zeros at each end, and then G slides over it; in (5.18) G gets m - 1."""
    x, w = draw((6, 7), (2, 3))
    (g,) = draw((5, 5), seed=1)
    padded_kernel = equations.pad(w, (6 - 2, 7 - 3))
    expected = reference.conv_grad_input(g[None, None], w[None, None], make_window(2, (2, 3)), x.shape)[0, 0]
    np.testing.assert_allclose(signal.convolve2d(padded_kernel, g, "valid"), expected, atol=1e-12)
    padded_output = equations.pad(g, (2 - 1, 3 - 1))
    np.testing.assert_allclose(signal.convolve2d(padded_output, w, "valid"), expected, atol=1e-12)


@pytest.mark.parametrize("name", ["correlate_2d", "convolve_2d", "wide_convolve_2d", "wide_correlate_2d"])
def test_types_and_strides_of_memory_do_not_matter(name):
    function = getattr(equations, name)
    x, w = draw((10, 12), (4, 6))
    x, w = x[::2, ::3].T, w[::-2, ::3]
    np.testing.assert_array_equal(function(w, x), function(w.copy(), x.copy()))
    assert function(w.astype(np.float32), x.astype(np.float32)).dtype == np.float32
    assert function([[1, 2]], [[1, 2, 3]]).dtype == np.int64


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: equations.correlate_2d(np.ones((3, 3)), np.ones((4, 2))),
            "correlate_2d: the kernel (3, 3) must not be empty and must fit into the padded input (4, 2): take a larger"
            " input, a smaller kernel or more padding",
        ),
        (
            lambda: equations.convolve_1d([], [1.0]),
            "convolve_1d: the kernel (0,) must not be empty and must fit into the padded input (1,): take a larger"
            " input, a smaller kernel or more padding",
        ),
        (
            lambda: equations.moving_average([1.0], 0),
            "convolve_1d: the kernel (0,) must not be empty and must fit into the padded input (1,): take a larger"
            " input, a smaller kernel or more padding",
        ),
        (
            lambda: equations.kernel_derivative_as_sum(np.ones((3, 3)), np.ones((2, 2))),
            "kernel_derivative_as_sum: the kernel (3, 3) must not be empty and must fit into the padded input (2, 2):"
            " take a larger input, a smaller kernel or more padding",
        ),
        (
            lambda: equations.input_derivative_as_sum(np.ones(3), np.ones((2, 2))),
            "input_derivative_as_sum: G (3,) and W (2, 2) must have 2 axes each",
        ),
        (
            lambda: equations.convolve_2d(np.ones(3), np.ones((4, 2))),
            "convolve_2d: kernel (3,) and input (4, 2) must have 2 axes each",
        ),
        (
            lambda: equations.convolution_size(2, 5, p=1),
            "a kernel of 5 does not fit into 2 inputs with 1 zeros at each end: make p larger",
        ),
        (
            lambda: equations.correlate_1d([1.0], [1.0], s=0),
            "a convolution needs a kernel m >= 1, a stride s >= 1 and zeros p >= 0, got m=1, s=0, p=0",
        ),
        (lambda: equations.pad([1], -1), "pad: needs p >= 0 zeros, one number or one per axis of (1,), got -1"),
        (
            lambda: equations.wide_convolve_2d(np.ones(2), np.ones((2, 2))),
            "a wide convolution needs a kernel with as many axes as the input (2, 2), got (2,)",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value) == message
