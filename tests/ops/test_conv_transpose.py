"""conv_transpose against PyTorch, and as the transpose of conv with the same words."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from striate import ops

TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
few = st.integers(1, 3)


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("impl", ["aten", "reference"])
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(
    ("stride", "padding", "extra", "dilation", "groups", "m"),
    [
        (1, 0, 0, 1, 1, 3),
        (2, 1, 1, 1, 2, 3),
        (3, 0, 2, 1, 1, 2),
        (2, 1, 0, 2, 2, 3),
        (1, 0, 1, 2, 1, 2),
        (3, 2, 1, 2, 1, 3),
    ],
)
def test_torch_conv_transpose(impl, rank, stride, padding, extra, dilation, groups, m):
    x, w, b = randn(2, 4, *(5, 4, 3)[:rank]), randn(4, 6 // groups, *(m,) * rank, seed=1), randn(6, seed=2)
    expected = TRANSPOSED[rank](x, w, b, stride, padding, extra, groups, dilation)
    words = {"stride": stride, "padding": padding, "output_padding": extra, "dilation": dilation, "groups": groups}
    assert_close(ops.conv_transpose(x, w, b, **words, impl=impl), expected)


@st.composite
def cases(draw):
    """Shapes of a, an input of conv, and of w, with the words of the convolution."""
    rank, groups = draw(st.integers(1, 2)), draw(few)
    axes = lambda values: tuple(draw(values) for _ in range(rank))  # noqa: E731
    ends = st.integers(-1, 3)
    kernel, stride, dilation = axes(few), axes(few), axes(few)
    words = {
        "stride": stride,
        "padding": draw(st.one_of(st.just(tuple((draw(ends), draw(ends)) for _ in kernel)), st.just("full"))),
        "dilation": dilation,
        "groups": groups,
        "flip": draw(st.booleans()),
    }
    a = (draw(st.integers(1, 2)), draw(few) * groups, *axes(st.integers(9, 12)))
    w = (draw(few) * groups, a[1] // groups, *kernel)
    return a, w, words


@settings(deadline=None, max_examples=60, derandomize=True)
@given(cases(), st.sampled_from(["aten", "reference"]))
def test_it_is_the_transpose_of_conv(case, impl):
    """<conv(a, w), x> = <a, conv_transpose(x, w)>, the words being the same; output_padding says which size a had."""
    a, w, words = case
    a, w = randn(*a), randn(*w, seed=1)
    z = ops.conv(a, w, **words)
    x = randn(*z.shape, seed=2)
    least = ops.conv_transpose(x, w, **words).shape[2:]
    extra = tuple(n - m for n, m in zip(a.shape[2:], least, strict=True))
    y = ops.conv_transpose(x, w, **words, output_padding=extra, impl=impl)
    assert y.shape == a.shape
    assert_close((z * x).sum(), (a * y).sum())


@pytest.mark.parametrize("impl", ["aten", "reference"])
@pytest.mark.parametrize("m", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_same_gives_n_stride_outputs_and_is_the_transpose_of_same(impl, m, stride):
    a, w = randn(1, 2, 4 * stride, 3 * stride), randn(3, 2, m, m, seed=1)
    z = ops.conv(a, w, stride=stride, padding="same")
    x = randn(*z.shape, seed=2)
    y = ops.conv_transpose(x, w, stride=stride, padding="same", impl=impl)
    assert x.shape[2:] == (4, 3)
    assert y.shape == a.shape
    assert_close((z * x).sum(), (a * y).sum())


AWKWARD = {
    "crop the ends differently": {"padding": ((1, 0), (0, 2)), "stride": 2},
    "negative padding adds": {"padding": ((-2, 0), (0, -1))},
    "more output padding than the stride": {"output_padding": (3, 0), "padding": 1},
    "full": {"padding": "full", "stride": 2},
    "flip, groups, dilation": {"flip": True, "groups": 2, "dilation": (1, 2), "stride": (3, 1)},
    "same": {"padding": "same", "stride": (3, 2)},
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", AWKWARD)
def test_implementations_agree(name, bias):
    """aten against the reference: value and gradients, on an input that is not contiguous."""
    words = AWKWARD[name]
    x = randn(6, 2, 4, 7).permute(1, 2, 3, 0).requires_grad_()
    w = randn(4, 4 // words.get("groups", 1), 2, 3, seed=1).requires_grad_()
    operands = [x, w, randn(4, seed=2).requires_grad_()] if bias else [x, w]
    results = [ops.conv_transpose(*operands, **words, impl=impl) for impl in ("aten", "reference")]
    grad = randn(*results[0].shape, seed=3)
    assert_close(*results)
    for ours, theirs in zip(*(torch.autograd.grad(y, operands, grad) for y in results), strict=True):
        assert_close(ours, theirs)


def test_four_axes_go_to_the_reference():
    x, w = randn(1, 1, 1, 2, 1, 2), randn(1, 2, 2, 1, 2, 1)
    y = ops.conv_transpose(x, w)
    assert y.shape == (1, 2, 2, 2, 2, 2)
    assert_close(y[0, :, 1, 1, 0, 1], x[0, 0, 0, 1, 0, 1] * w[0, :, 1, 0, 0, 0])


@pytest.mark.parametrize("words", [{}, {"padding": "same", "stride": 2}, {"padding": ((0, 1), (0, 0))}])
def test_channels_last_is_kept(words):
    x = randn(2, 8, 5, 5, dtype=torch.float32).contiguous(memory_format=torch.channels_last)
    w = randn(8, 4, 3, 3, dtype=torch.float32)
    assert ops.conv_transpose(x, w, **words).is_contiguous(memory_format=torch.channels_last)
