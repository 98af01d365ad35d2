"""The kernels compute the same whatever PyTorch's default device and number are."""

import pytest
import torch

from kernel_checks import images, needs_extension
from striate import ops

pytestmark = needs_extension

X = images(2, 16, 8, 8)
CALLS = {
    "conv": (lambda x, w, b: ops.conv(x, w, b, padding=1, impl="native"), images(16, 16, 3, 3), images(16)),
    "grouped": (lambda x, w: ops.conv(x, w, groups=8, impl="native"), images(16, 2, 3, 3)),
    "strided": (lambda x, w: ops.conv(x, w, stride=2, groups=16, impl="native"), images(16, 1, 3, 3)),
    "links": (lambda x, w: ops.conv(x, w, links=[[1] * 16], impl="native"), images(16, 2, 3)),
    "conv_transpose": (lambda x, w: ops.conv_transpose(x, w, stride=3, impl="native"), images(16, 2, 4, 4)),
    "depthwise": (lambda x, w: ops.conv_transpose(x, w, stride=2, groups=16, impl="native"), images(16, 1, 4, 4)),
    "deform_conv": (lambda x, o, w: ops.deform_conv(x, o, w, impl="native"), images(2, 8, 7, 7), images(4, 16, 2, 2)),
    "local_response_norm": (lambda x: ops.local_response_norm(x, impl="native"),),
    "max_pool": (lambda x: ops.max_pool(x, 2, impl="native"),),
}


@pytest.mark.parametrize("name", CALLS)
def test_defaults_change_nothing(name):
    call, *others = CALLS[name]
    plain = call(X, *others)
    grad = torch.ones_like(plain)

    def gradients():
        leaves = [x.detach().requires_grad_() for x in (X, *others)]
        return torch.autograd.grad(call(*leaves), leaves, grad)

    expected = gradients()
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        with torch.device("meta"):
            found, found_gradients = call(X, *others), gradients()
    finally:
        torch.set_default_dtype(before)
    assert torch.equal(found, plain)
    assert all(torch.equal(a, b) for a, b in zip(found_gradients, expected, strict=True))
