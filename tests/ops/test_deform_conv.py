"""deform_conv against grid sampling, convolution and its definition at the awkward places."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from striate import ops


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def by_grid_sample(x, offset, w, b, mask, stride, padding, dilation):
    """One grid sampling and one 1 x 1 convolution for each kernel position."""
    height, width = x.shape[2:]
    kh, kw = w.shape[2:]
    rows, columns = (torch.arange(n, dtype=x.dtype) for n in offset.shape[2:])
    y = b.view(-1, 1, 1)
    for k in range(kh * kw):
        row = rows[:, None] * stride - padding + k // kw * dilation + offset[:, 2 * k]
        column = columns * stride - padding + k % kw * dilation + offset[:, 2 * k + 1]
        grid = torch.stack([(2 * column + 1) / width - 1, (2 * row + 1) / height - 1], -1)
        samples = F.grid_sample(x, grid, align_corners=False) * mask[:, k : k + 1]
        y = y + F.conv2d(samples, w[:, :, k // kw, k % kw, None, None])
    return y


@pytest.mark.parametrize("impl", ["aten", "reference"])
@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "kernel"),
    [(1, 1, 1, (3, 3)), (2, 0, 1, (2, 3)), (1, 3, 2, (3, 2)), (3, 1, 1, (1, 1))],
)
def test_grid_sample(impl, stride, padding, dilation, kernel):
    """Values and all gradients; offsets of some pixels, so that many places lie beyond the border."""
    x, w, b = randn(2, 3, 7, 5), randn(4, 3, *kernel, seed=1), randn(4, seed=2)
    words = {"stride": stride, "padding": padding, "dilation": dilation}
    size, taps = ops.conv(x, w, **words).shape[2:], math.prod(kernel)
    offset, mask = 3 * randn(2, 2 * taps, *size, seed=3), randn(2, taps, *size, seed=4)
    operands = [operand.requires_grad_() for operand in (x, offset, w, b, mask)]
    ours = ops.deform_conv(x, offset, w, b, mask=mask, **words, impl=impl)
    theirs = by_grid_sample(*operands, stride, padding, dilation)
    assert_close(ours, theirs, rtol=1e-11, atol=1e-11)
    grad = randn(*ours.shape, seed=5)
    for a, e in zip(*(torch.autograd.grad(y, operands, grad) for y in (ours, theirs)), strict=True):
        assert_close(a, e, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("impl", ["aten", "reference"])
@pytest.mark.parametrize(
    "words",
    [
        {},
        {"padding": "same", "stride": 2},
        {"padding": ((-1, 2), (0, -1)), "dilation": (1, 2)},
        {"padding": 1, "groups": 2},
        {"padding": "full", "groups": 4},
    ],
)
def test_without_offsets_it_is_conv(impl, words):
    x, w, b = randn(2, 4, 6, 7), randn(8, 4 // words.get("groups", 1), 3, 2, seed=1), randn(8, seed=2)
    expected = ops.conv(x, w, b, **words)
    for offset_groups in (1, 2, 4):
        offset = torch.zeros(2, 2 * offset_groups * 6, *expected.shape[2:], dtype=x.dtype)
        assert_close(ops.deform_conv(x, offset, w, b, **words, offset_groups=offset_groups, impl=impl), expected)


@pytest.mark.parametrize("impl", ["aten", "reference"])
def test_each_offset_group_moves_its_own_channels(impl):
    """The order of the offsets: groups outside, kernel positions row-major, then (y, x)."""
    x, w = randn(1, 4, 5, 6), torch.ones(1, 4, 1, 2, dtype=torch.float64)
    offset = torch.zeros(1, 8, 5, 5, dtype=torch.float64)
    offset[:, 6] = 1.0  # of group 1, position (0, 1): down by one
    offset[:, 7] = -2.0  # and left by two
    padded = F.pad(x, (2, 2, 0, 1))
    expected = x[:, :2, :, :5] + x[:, :2, :, 1:]
    expected = expected.sum(1) + x[:, 2:, :, :5].sum(1) + padded[:, 2:, 1:, 1:6].sum(1)
    assert_close(ops.deform_conv(x, offset, w, offset_groups=2, impl=impl)[:, 0], expected)


@pytest.mark.parametrize("impl", ["aten", "reference"])
@pytest.mark.parametrize(
    ("place", "value", "slope"),
    [
        (-1.5, 0.0, 0.0),
        (-1.0, 0.0, None),
        (-0.75, 0.5, 2.0),
        (0.0, 2.0, 3.0),  # the derivative from the right
        (0.5, 3.5, 3.0),
        (1.0, 5.0, -4.0),
        (2.0, 1.0, -1.0),  # the last pixel: on the right there are zeros
        (2.25, 0.75, -1.0),
        (3.0, 0.0, 0.0),
        (1e30, 0.0, 0.0),
        (-1e30, 0.0, 0.0),
        (math.inf, 0.0, 0.0),
    ],
)
def test_places_at_and_beyond_the_border(impl, place, value, slope):
    """Along each axis of an image of three pixels 2, 5, 1."""
    for axis in (0, 1):
        x = torch.tensor([2.0, 5.0, 1.0]).view(1, 1, *((3, 1), (1, 3))[axis])
        offset = torch.zeros(1, 2, *x.shape[2:])
        offset[0, axis].view(-1)[0] = place
        offset.requires_grad_()
        y = ops.deform_conv(x, offset, torch.ones(1, 1, 1, 1), impl=impl).view(-1)[0]
        assert y.item() == pytest.approx(value)
        (grad,) = torch.autograd.grad(y, offset)
        if slope is not None:
            assert grad[0, axis].view(-1)[0].item() == pytest.approx(slope)


def test_an_offset_that_is_no_number_spoils_its_own_outputs_alone():
    x, offset = torch.ones(1, 2, 4, 4), torch.zeros(1, 2, 4, 4)
    offset[0, 0, 1, 2] = math.nan
    y = ops.deform_conv(x, offset, torch.ones(1, 2, 1, 1))[0, 0]
    assert y.isnan().nonzero().tolist() == [[1, 2]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_finds_its_pixels(dtype):
    """Pixel 299 is none that bfloat16 can name; the offset is a small number that it can."""
    x = torch.arange(600.0).fmod(7).view(1, 1, 2, 300).to(dtype)
    offset = torch.zeros(1, 2, 2, 300, dtype=dtype)
    offset[:, 1] = 1.0
    y = ops.deform_conv(x, offset, torch.ones(1, 1, 1, 1, dtype=dtype))
    assert y.dtype == dtype
    assert torch.equal(y, F.pad(x[..., 1:], (0, 1)))


def test_layouts():
    """Not contiguous operands give the same numbers; channels_last stays, and so does the usual order."""
    x, w, offset = randn(2, 8, 6, 5), randn(4, 8, 3, 3, seed=1), randn(2, 18, 6, 5, seed=2)
    expected = ops.deform_conv(x, offset, w, padding=1)
    assert expected.is_contiguous()
    assert_close(expected, ops.deform_conv(x, offset, w, padding=1, impl="reference"))
    last = [t.contiguous(memory_format=torch.channels_last) for t in (x, offset, w)]
    y = ops.deform_conv(*last, padding=1)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert_close(y, expected)
    turned = [t.transpose(2, 3).contiguous().transpose(2, 3) for t in (x, offset, w)]
    assert_close(ops.deform_conv(*turned, padding=1), expected)


def test_higher_derivatives_by_all_operands():
    """Third order too: the three derivatives of the sampling are each other's gradients."""
    x, offset, w = randn(1, 2, 3, 3), randn(1, 4, 3, 2, seed=1), randn(1, 2, 1, 2, seed=2)
    mask = randn(1, 2, 3, 2, seed=3)
    operands = [t.requires_grad_() for t in (x, offset, w, mask)]

    def second(x, offset, w, mask):
        y = ops.deform_conv(x, offset, w, mask=mask).pow(3).sum()
        first = torch.autograd.grad(y, (x, offset, mask), create_graph=True)
        return torch.autograd.grad(sum(g.pow(2).sum() for g in first), (x, offset, w), create_graph=True)

    assert torch.autograd.gradcheck(second, operands, fast_mode=True)


def test_autocast_brings_dtypes_together():
    x, w, offset = (t.float() for t in (randn(1, 4, 5, 5), randn(3, 4, 3, 3), randn(1, 18, 3, 3)))
    with torch.autocast("cpu", torch.bfloat16):
        for given in ((x, offset, w), (x.bfloat16(), offset, w), (x, offset.bfloat16(), w)):
            y = ops.deform_conv(*given)
            assert y.dtype == torch.bfloat16
            assert_close(y.float(), ops.deform_conv(x, offset, w).float(), rtol=0.05, atol=0.1)
