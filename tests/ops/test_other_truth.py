"""Unpooling, local response normalisation and the highway gate against PyTorch and their definitions."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from striate import ops

UNPOOL = {1: F.max_unpool1d, 2: F.max_unpool2d, 3: F.max_unpool3d}
IMPLS = pytest.mark.parametrize("impl", ["aten", "reference"])


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@IMPLS
@pytest.mark.parametrize(
    ("shape", "kernel", "stride", "padding"),
    [((2, 3, 8), 2, 2, 0), ((2, 3, 9, 8), 3, 3, 1), ((1, 2, 6, 9), (2, 3), (2, 3), 0), ((1, 1, 4, 6, 5), 2, 2, 0)],
)
def test_torch_max_unpool(impl, shape, kernel, stride, padding):
    x = randn(*shape)
    values, switches = ops.max_pool(x, kernel, stride=stride, padding=padding, return_switches=True)
    words = {"stride": stride, "padding": padding, "output_size": shape[2:], "impl": impl}
    y = ops.max_unpool(values, switches, kernel, **words)
    assert_close(y, UNPOOL[len(shape) - 2](values, switches, kernel, stride, padding, shape[2:]))
    assert_close(y, torch.where(y != 0, x, 0))
    assert_close(ops.max_pool(y, kernel, stride=stride, padding=padding).clamp(min=0), values.clamp(min=0))


@IMPLS
def test_of_overlapping_windows_the_last_value_stands(impl):
    x = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]], requires_grad=True)
    switches = torch.tensor([[[2, 2, 2, 4]]])
    y = ops.max_unpool(x, switches, 3, stride=1, impl=impl)
    assert torch.equal(y, torch.tensor([[[0.0, 0, 3, 0, 4, 0]]]))
    (grad,) = torch.autograd.grad(y, x, torch.arange(6.0).view(1, 1, 6))
    assert torch.equal(grad, torch.tensor([[[0.0, 0, 2, 4]]]))


@IMPLS
@pytest.mark.parametrize(
    ("size", "words", "expected"),
    [
        ((3, 4), {}, (6, 8)),
        ((3, 4), {"stride": (3, 1)}, (8, 5)),
        ((3, 4), {"padding": ((1, 0), (0, 1))}, (5, 7)),
        ((3, 4), {"padding": "same"}, (6, 8)),
        ((3, 4), {"output_size": (7, 8)}, (7, 8)),
        ((3, 4), {"output_size": (5, 7)}, (5, 7)),  # a pooling with ceil
    ],
)
def test_the_size_of_an_unpooled_map(impl, size, words, expected):
    x = randn(1, 2, *size)
    y = ops.max_unpool(x, torch.zeros(x.shape, dtype=torch.long), 2, **words, impl=impl)
    assert y.shape == (1, 2, *expected)


@IMPLS
@pytest.mark.parametrize("shape", [(2, 7, 5), (1, 6, 4, 3), (2, 5, 2, 3, 2), (0, 4, 3), (1, 1, 3)])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 12])
def test_torch_local_response_norm(impl, shape, size):
    """PyTorch divides alpha by the size."""
    x = 3 * randn(*shape)
    expected = F.local_response_norm(x, size, alpha=0.7, beta=0.6, k=1.5) if len(x) else x
    assert_close(ops.local_response_norm(x, size=size, alpha=0.7 / size, beta=0.6, k=1.5, impl=impl), expected)


@IMPLS
def test_local_response_norm_is_the_paper_s(impl):
    """Krizhevsky et al. 2012, section 3.3, channel by channel, with its constants."""
    x = 100 * randn(1, 9, 2, 2)
    y = ops.local_response_norm(x, impl=impl)
    for i in range(9):
        total = sum(x[:, j] ** 2 for j in range(max(0, i - 2), min(8, i + 2) + 1))
        assert_close(y[:, i], x[:, i] / (2 + 1e-4 * total) ** 0.75)


@IMPLS
@pytest.mark.parametrize("shape", [(3,), (2, 5), (2, 3, 4, 5)])
def test_highway_is_its_equation(impl, shape):
    x, h, t = randn(*shape), randn(*shape, seed=1), randn(*shape, seed=2).sigmoid()
    assert_close(ops.highway(x, h, t, impl=impl), h * t + x * (1 - t))
    assert torch.equal(ops.highway(x, h, torch.zeros_like(t), impl=impl), x)
    assert torch.equal(ops.highway(x, h, torch.ones_like(t), impl=impl), h)


def test_layouts():
    x = randn(2, 6, 5, 4)
    last = x.contiguous(memory_format=torch.channels_last)
    turned = x.transpose(2, 3).contiguous().transpose(2, 3)
    y = ops.local_response_norm(x, alpha=0.1)
    gate = ops.highway(x, x.cos(), x.sigmoid())
    for layout in (last, turned):
        assert_close(ops.local_response_norm(layout, alpha=0.1), y)
        assert_close(ops.highway(layout, layout.cos(), layout.sigmoid()), gate)
    for stride in (1, 2):
        values, switches = ops.max_pool(x, 2, stride=stride, return_switches=True)
        y = ops.max_unpool(values, switches, 2, stride=stride)
        for layout in (torch.channels_last, torch.contiguous_format):
            given = [t.contiguous(memory_format=layout) for t in (values, switches)]
            result = ops.max_unpool(*given, 2, stride=stride)
            assert torch.equal(result, y)
            assert result.is_contiguous(memory_format=layout)
    assert ops.local_response_norm(last).is_contiguous(memory_format=torch.channels_last)
    assert ops.highway(last, last, last).is_contiguous(memory_format=torch.channels_last)


def test_autocast_brings_dtypes_together():
    x = randn(2, 3, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert ops.highway(x, x.bfloat16(), x).dtype == torch.float32
