"""Output sizes, judged by sliding windows over positions one by one."""

import itertools

import pytest

from striate.errors import InputError
from striate.geometry import leftover, make_window, output_size, window_sizes


def starts(n, m, s, low, high, u=1, *, ceil=False):
    """Start of every window on one axis, in positions of the upsampled input, found by walking."""
    end = (n - 1) * u + 1 + high
    found, start = [], -low
    while start + m <= end or (ceil and start < min(end, end - high) and start + m - end < s):
        found.append(start)
        start += s
    return found


GEOMETRIES = [
    (n, m, s, low, high, u, d)
    for n, m, s, u, d in itertools.product((1, 4, 7), (1, 2, 3), (1, 2, 3), (1, 3), (1, 2))
    for low, high in ((0, 0), (1, 1), (0, 2), (-1, 0), (2, -1))
]


def test_output_size_counts_the_windows():
    judged = 0
    for n, m, s, low, high, u, d in GEOMETRIES:
        window = make_window(1, m, stride=s, padding=((low, high),), dilation=d, upsample=u)
        expected = starts(n, (m - 1) * d + 1, s, low, high, u)
        if expected:
            assert output_size((n,), window) == (len(expected),)
            last = expected[-1] + (m - 1) * d
            assert leftover((n,), window) == (sum(i * u > last for i in range(n)),)
            judged += 1
        else:
            with pytest.raises(InputError, match="does not fit"):
                output_size((n,), window)
    assert judged > 300


@pytest.mark.parametrize(("n", "m", "s", "p"), list(itertools.product(range(1, 9), (1, 2, 3), (1, 2, 3, 4), (0, 1))))
def test_ceil_lets_the_last_window_hang_over(n, m, s, p):
    expected = [
        start
        for start in range(-p, n, s)
        if start + m <= n + p or (start - s + m < n + p and start < n)  # the window before ended short of the end
    ]
    window = make_window(1, m, stride=s, padding=p)
    if expected:
        assert output_size((n,), window, ceil=True) == (len(expected),)
    else:
        with pytest.raises(InputError, match="does not fit"):
            output_size((n,), window, ceil=True)


def test_no_window_starts_in_what_is_cropped():
    """Of 5 positions 3 are left: windows start at 0 and, hanging over, at 2, but not at 3."""
    for stride, outputs in ((2, 2), (3, 1)):
        assert output_size((5,), make_window(1, 2, stride=stride, padding=((0, -2),)), ceil=True) == (outputs,)


def test_chapter_cases():
    assert output_size((32, 32), make_window(2, 5)) == (28, 28)
    assert output_size((224, 224), make_window(2, 11, stride=4, padding=(2, 2))) == (55, 55)
    n, m = 5, 3
    assert output_size((n,), make_window(1, m, padding="narrow")) == (n - m + 1,)
    assert output_size((n,), make_window(1, m, padding="wide")) == (n + m - 1,)
    assert output_size((n,), make_window(1, m, padding="equal")) == (n,)
    p, s = 4, 2  # fractionally strided convolution, section 5.5.1: s (p - 1) + m
    assert output_size((p,), make_window(1, m, padding="full", upsample=s)) == (s * (p - 1) + m,)


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("count_padding", [False, True])
@pytest.mark.parametrize("pair", [(0, 0), (1, 1), (2, 0), (-1, 1)])
def test_window_sizes_count_positions(ceil, count_padding, pair):
    n, m, s, d = 7, 3, 2, 2
    window = make_window(1, m, stride=s, padding=(pair,), dilation=d)
    inside = range(-max(pair[0], 0), n + max(pair[1], 0)) if count_padding else range(n)
    expected = tuple(
        sum(o * s + k * d - pair[0] in inside for k in range(m)) for o in range(output_size((n,), window, ceil=ceil)[0])
    )
    assert window_sizes((n,), window, ceil=ceil, count_padding=count_padding) == (expected,)


@pytest.mark.parametrize(
    ("size", "words", "message"),
    [
        (
            (3, 8),
            {"kernel": 5},
            "a window of (5, 5) does not fit into the input size (3, 8) with padding ((0, 0), (0, 0)): "
            "take a larger input, a smaller kernel or more padding",
        ),
        (
            (3, 8),
            {"kernel": 3, "dilation": 3, "upsample": 2},
            "a window of (7, 7) (kernel (3, 3), dilation (3, 3)) does not fit into the input size (3, 8) (after"
            " upsampling (5, 15)) with padding ((0, 0), (0, 0)): take a larger input, a smaller kernel or more padding",
        ),
        ((8,), {"kernel": 3}, "a kernel of 2 axes (3, 3) cannot slide over the input size (8,)"),
        ((0, 8), {"kernel": 3}, "the input size must be 1 or more on every axis, got (0, 8)"),
    ],
)
def test_no_output_left(size, words, message):
    with pytest.raises(InputError) as caught:
        output_size(size, make_window(2, **words))
    assert str(caught.value) == message
