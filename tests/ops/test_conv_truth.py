"""conv against PyTorch, SciPy and NumPy, and conv's implementations against each other."""

import numpy as np
import pytest
import scipy.signal
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from striate import ops

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("impl", ["aten", "reference"])
@pytest.mark.parametrize(
    ("x", "w", "words"),
    [
        ((2, 3, 9), (4, 3, 3), {}),
        ((1, 4, 8), (6, 2, 3), {"groups": 2, "stride": 2, "padding": 1}),
        ((2, 3, 7, 6), (4, 3, 3, 2), {"stride": (2, 1), "padding": (2, 1), "dilation": (1, 2)}),
        ((2, 4, 6, 5), (4, 1, 3, 3), {"groups": 4, "padding": 1}),
        ((1, 1, 5, 5), (1, 1, 5, 5), {}),
        ((0, 2, 5, 5), (3, 2, 2, 2), {}),
        ((2, 2, 4, 5, 3), (3, 2, 2, 3, 1), {"stride": (1, 2, 1), "padding": 1}),
    ],
)
def test_torch_conv(impl, x, w, words):
    x, w, b = randn(*x, seed=1), randn(*w, seed=2), randn(w[0], seed=3)
    expected = CONV[x.ndim - 2](x, w, b, **{"stride": 1, **words})
    assert_close(ops.conv(x, w, b, **words, impl=impl), expected)


@pytest.mark.parametrize("impl", ["aten", "reference"])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(
    ("m", "u", "p", "d", "extra"), [(3, 2, 0, 1, 0), (4, 3, 1, 1, 2), (2, 2, 1, 2, 1), (1, 3, 0, 1, 2)]
)
def test_upsample_is_the_transposed_convolution(impl, groups, rank, m, u, p, d, extra):
    """Section 5.5.1: zeros between the inputs, full padding less p, the kernel turned around."""
    x, w, b = randn(2, 4, *(4, 3, 2)[:rank]), randn(4, 6 // groups, *(m,) * rank), randn(6)
    expected = TRANSPOSED[rank](x, w, b, stride=u, padding=p, output_padding=extra, groups=groups, dilation=d)
    full = (m - 1) * d - p
    kernel = torch.cat([part.transpose(0, 1) for part in w.chunk(groups)])
    y = ops.conv(
        x,
        kernel,
        b,
        upsample=u,
        padding=((full, full + extra),) * rank,
        dilation=d,
        groups=groups,
        flip=True,
        impl=impl,
    )
    assert_close(y, expected)


@pytest.mark.parametrize("impl", ["aten", "reference"])
@pytest.mark.parametrize(("padding", "mode"), [("narrow", "valid"), ("equal", "same"), ("wide", "full")])
def test_scipy(impl, padding, mode):
    x, w = randn(7, 6, seed=1), randn(3, 3, seed=2)
    correlated = ops.conv(x[None, None], w[None, None], padding=padding, impl=impl)[0, 0]
    convolved = ops.conv(x[None, None], w[None, None], padding=padding, flip=True, impl=impl)[0, 0]
    assert_close(correlated.numpy(), scipy.signal.correlate(x.numpy(), w.numpy(), mode))
    assert_close(convolved.numpy(), scipy.signal.convolve(x.numpy(), w.numpy(), mode))


def test_figure_5_1():
    x = torch.tensor([[[1.0, 1.0, -1.0, 1.0, 1.0, 1.0, -1.0, 1.0, 1.0]]])
    w = torch.tensor([[[-1.0, 0.0, 1.0]]])
    for padding, mode in (("valid", "valid"), ("full", "full")):
        y = ops.conv(x, w, padding=padding, flip=True)[0, 0]
        assert_close(y.numpy(), np.convolve(x[0, 0].numpy(), w[0, 0].numpy(), mode))


AWKWARD = {
    "different ends": {"padding": ((1, 0), (0, 3))},
    "crop": {"padding": ((-1, -2), (0, -1))},
    "crop one end, pad the other": {"padding": ((-1, 3), (2, -2))},
    "crop into the padding of the other end": {"padding": ((-9, 8), (0, 0))},
    "same at stride 2": {"padding": "same", "stride": 2},
    "full, dilated": {"padding": "full", "dilation": (2, 1)},
    "flip": {"flip": True, "padding": 1},
    "upsample": {"upsample": (2, 3), "padding": "full"},
    "upsample, valid": {"upsample": 3, "flip": True},
    "upsample, more than full": {"upsample": 2, "padding": ((4, 2), (3, 6))},
    "upsample, crop": {"upsample": 2, "padding": ((-1, 0), (1, -2))},
    "upsample, different ends": {"upsample": 2, "padding": ((0, 2), (1, 0))},
    "upsample and stride": {"upsample": (3, 2), "stride": (2, 1), "padding": 1},
    "upsample, stride, flip, groups": {
        "upsample": 2,
        "stride": 3,
        "padding": ((2, 1), (0, 1)),
        "flip": True,
        "groups": 2,
    },
    "upsample and groups": {"upsample": 2, "padding": ((2, 1), (0, 1)), "groups": 2},
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", AWKWARD)
def test_implementations_agree(name, bias):
    """aten against the reference: value and gradients, on an input that is not contiguous."""
    words = AWKWARD[name]
    x = randn(6, 2, 4, 7).permute(1, 2, 3, 0).requires_grad_()
    w = randn(4, 4 // words.get("groups", 1), 2, 3, seed=1).requires_grad_()
    operands = [x, w, randn(4, seed=2).requires_grad_()] if bias else [x, w]
    results = [ops.conv(*operands, **words, impl=impl) for impl in ("aten", "reference")]
    grad = randn(*results[0].shape, seed=3)
    assert_close(*results)
    gradients = [torch.autograd.grad(result, operands, grad) for result in results]
    for ours, theirs in zip(*gradients, strict=True):
        assert_close(ours, theirs)


def test_four_axes_go_to_the_reference():
    x, w = randn(1, 2, 3, 2, 3, 2), randn(1, 2, 2, 1, 2, 2)
    y = ops.conv(x, w)
    assert_close(y[0, 0, 0, 0, 0, 0], (x[0, :, :2, :1, :2, :2] * w[0]).sum())
    assert y.shape == (1, 1, 2, 2, 2, 1)


@pytest.mark.parametrize("words", [{}, {"padding": "same", "stride": 2}, {"padding": ((1, 0), (0, 2))}])
def test_channels_last_is_kept(words):
    x = randn(2, 8, 9, 9, dtype=torch.float32).contiguous(memory_format=torch.channels_last)
    w = randn(8, 8, 3, 3, dtype=torch.float32).contiguous(memory_format=torch.channels_last)
    assert ops.conv(x, w, **words).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "table", [[[1, 0, 1], [1, 1, 0]], torch.tensor([[1, 0, 1], [1, 1, 0]]), np.eye(2, 3, dtype=bool)]
)
def test_links_are_a_masked_dense_weight(table):
    mask = torch.as_tensor(table).bool()
    x, w, b = randn(2, 3, 6, 5), randn(int(mask.sum()), 3, 2).requires_grad_(), randn(2)
    dense = torch.zeros(2, 3, 3, 2, dtype=torch.float64)
    dense[mask] = w.detach()
    dense.requires_grad_()
    y, expected = ops.conv(x, w, b, links=table, padding=1), F.conv2d(x, dense, b, padding=1)
    assert_close(y, expected)
    (grad,) = torch.autograd.grad(y.sin().sum(), w)
    (grad_dense,) = torch.autograd.grad(expected.sin().sum(), dense)
    assert_close(grad, grad_dense[mask])


def test_a_link_table_that_changes_is_read_again():
    x, w, table = randn(1, 2, 5), randn(1, 2), torch.tensor([[1, 0]])
    assert_close(ops.conv(x, w, links=table), F.conv1d(x[:, :1], w[None]))
    table.copy_(torch.tensor([[0, 1]]))
    assert_close(ops.conv(x, w, links=table), F.conv1d(x[:, 1:], w[None]))


@pytest.mark.parametrize("words", [{}, {"padding": ((0, 1), (0, 0))}, {"upsample": 2, "padding": ((9, 0), (0, 0))}])
def test_autocast_brings_dtypes_together(words):
    x, w, b = randn(1, 2, 5, 5, dtype=torch.bfloat16), *(randn(*s, dtype=torch.float32) for s in ((3, 2, 3, 3), (3,)))
    with torch.autocast("cpu", torch.bfloat16):
        assert ops.conv(x, w, b, **words).dtype == torch.bfloat16
