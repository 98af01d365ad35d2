"""What holds of every convolution, on geometries that hypothesis draws."""

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from striate import ops

forty = settings(deadline=None, max_examples=40, derandomize=True)

few = st.integers(1, 3)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@st.composite
def cases(draw, upsample=few):
    """Shapes of x and w and the words of a convolution that has an output."""
    rank = draw(st.integers(1, 2))
    axes = lambda values: tuple(draw(values) for _ in range(rank))  # noqa: E731
    groups = draw(few)
    size, kernel = axes(st.integers(1, 6)), axes(few)
    ends = st.integers(-1, 3)
    padding = draw(st.one_of(st.just(tuple((draw(ends), draw(ends)) for _ in size)), st.sampled_from(["same", "full"])))
    words = {
        "stride": axes(few),
        "padding": padding,
        "dilation": axes(few),
        "upsample": axes(upsample),
        "groups": groups,
        "flip": draw(st.booleans()),
    }
    x = (draw(st.integers(1, 2)), draw(few) * groups, *size)
    w = (draw(few) * groups, x[1] // groups, *kernel)
    try:
        ops.conv(torch.zeros(x), torch.zeros(w), **words)
    except ValueError:
        assume(False)
    return x, w, words


@forty
@given(cases())
def test_linear_in_both(case):
    x, w, words = case
    x1, x2, w1, w2 = randn(*x, seed=1), randn(*x, seed=2), randn(*w, seed=3), randn(*w, seed=4)
    y = ops.conv(2 * x1 - x2, w1, **words)
    assert_close(y, 2 * ops.conv(x1, w1, **words) - ops.conv(x2, w1, **words))
    assert_close(ops.conv(x1, w1 + 3 * w2, **words), ops.conv(x1, w1, **words) + 3 * ops.conv(x1, w2, **words))


@forty
@given(cases(), st.sampled_from(["aten", "reference"]))
def test_gradients_are_the_adjoints(case, impl):
    """<conv(x, w), y> = <x, grad_input(y)> = <w, grad_weight(y)> for operands that the gradients have not seen."""
    x, w, words = case
    x, w = randn(*x, seed=1).requires_grad_(), randn(*w, seed=2).requires_grad_()
    z = ops.conv(x, w, **words, impl=impl)
    y = randn(*z.shape, seed=3)
    grad_x, grad_w = torch.autograd.grad(z, (x, w), y)
    assert_close((z * y).sum(), (x * grad_x).sum())
    assert_close((z * y).sum(), (w * grad_w).sum())
    other = randn(*x.shape, seed=4)
    assert_close((ops.conv(other, w, **words) * y).sum(), (other * grad_x).sum())


@forty
@given(cases())
def test_implementations_agree(case):
    x, w, words = case
    x, w, b = randn(*x, seed=1), randn(*w, seed=2), randn(w[0], seed=3)
    assert_close(ops.conv(x, w, b, **words, impl="aten"), ops.conv(x, w, b, **words, impl="reference"))


@forty
@given(st.integers(1, 3), few, few, st.integers(1, 3))
def test_shifting_the_input_shifts_the_output(stride, kernel, dilation, shift):
    """A shift by a multiple of the stride, seen away from the ends."""
    x, w = randn(1, 2, 24), randn(3, 2, kernel, seed=1)
    y = ops.conv(x, w, stride=stride, dilation=dilation)
    moved = ops.conv(x.roll(shift * stride, -1), w, stride=stride, dilation=dilation)
    assert_close(moved[..., shift:], y[..., : y.shape[-1] - shift])


@forty
@given(cases())
def test_flip_turns_the_kernel_around(case):
    x, w, words = case
    x, w = randn(*x), randn(*w, seed=1)
    turned = w.flip(tuple(range(2, w.ndim)))
    assert_close(ops.conv(x, w, **words), ops.conv(x, turned, **{**words, "flip": not words["flip"]}))


@forty
@given(st.tuples(*[st.integers(1, 5)] * 4))
def test_the_full_convolution_commutes(sizes):
    """Exercise 5-1, equation (5.10), for the convolution of (5.6)."""
    x, w = randn(1, 1, *sizes[:2]), randn(1, 1, *sizes[2:], seed=1)
    assert_close(ops.conv(x, w, padding="wide", flip=True), ops.conv(w, x, padding="wide", flip=True))


@forty
@given(cases())
def test_dilation_is_a_kernel_with_zeros(case):
    x, w, words = case
    x, w = randn(*x), randn(*w, seed=1)
    stuffed = with_zeros(w, words["dilation"])
    assert_close(ops.conv(x, w, **words), ops.conv(x, stuffed, **{**words, "dilation": 1}))


@forty
@given(cases())
def test_upsampling_is_an_input_with_zeros(case):
    x, w, words = case
    x, w = randn(*x), randn(*w, seed=1)
    stuffed = with_zeros(x, words["upsample"])
    assert_close(ops.conv(x, w, **words), ops.conv(stuffed, w, **{**words, "upsample": 1}))


@forty
@given(cases())
def test_groups_are_convolutions_side_by_side(case):
    x, w, words = case
    x, w, groups = randn(*x), randn(*w, seed=1), words["groups"]
    parts = zip(x.chunk(groups, 1), w.chunk(groups, 0), strict=True)
    side_by_side = torch.cat([ops.conv(*part, **{**words, "groups": 1}) for part in parts], 1)
    assert_close(ops.conv(x, w, **words), side_by_side)


@forty
@given(cases(), st.randoms(use_true_random=False), st.sampled_from(["aten", "reference"]))
def test_links_are_a_dense_weight_with_zeros(case, random, impl):
    x, w, words = case
    words = {**words, "groups": 1}
    table = [[random.randint(0, 1) for _ in range(x[1])] for _ in range(w[0])]
    mask = torch.tensor(table, dtype=torch.bool)
    x, kernels = randn(*x), randn(int(mask.sum()), *w[2:], seed=1)
    dense = torch.zeros(*mask.shape, *w[2:], dtype=torch.float64)
    dense[mask] = kernels
    assert_close(ops.conv(x, kernels, links=table, **words, impl=impl), ops.conv(x, dense, **words, impl="aten"))


def with_zeros(tensor, steps):
    """Put step - 1 zeros between neighbours on each spatial axis."""
    for axis, step in enumerate(steps, start=2):
        rows = tensor.unbind(axis)
        zeros = [torch.zeros_like(rows[0])] * (step - 1)
        tensor = torch.stack([part for row in rows for part in (row, *zeros)][: (len(rows) - 1) * step + 1], axis)
    return tensor
