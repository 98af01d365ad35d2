"""What the tests of the C++ kernels share: images, and comparing values and gradients with float64."""

import pytest
import torch
from hypothesis import strategies as st

from striate.ops.impl.native import library

SETS = library.instruction_sets()
CONTRACT = 2e-5  # of the largest value, for any draw: a sum of few terms may cancel
LAST = torch.channels_last
POOLING = {  # words of a pooling window and sizes of images, for hypothesis
    "kernel": st.tuples(st.integers(1, 4), st.integers(1, 4)),
    "stride": st.integers(1, 3),
    "padding": st.sampled_from([0, 1, ((0, 1), (1, 0)), "same"]),
    "dilation": st.integers(1, 2),
    "ceil": st.booleans(),
    "size": st.tuples(st.integers(4, 11), st.integers(4, 11)),
}
needs_extension = pytest.mark.skipif(library.library() is None, reason="the native extension was not built here")


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    """Normal numbers, channels last if they have four axes."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return values.contiguous(memory_format=LAST) if len(shape) == 4 else values


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference, relative to the largest value expected."""
    assert found.shape == expected.shape
    if not found.numel():
        return 0.0
    return float((found.double() - expected).abs().max() / expected.abs().max().clamp(min=1e-300))


def with_gradients(function, inputs, grad_seed=9):
    """The result of a function and the gradients of its inputs for one fixed gradient of its result."""
    leaves = [x.detach().clone(memory_format=torch.preserve_format).requires_grad_() for x in inputs]
    y = function(*leaves)
    grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(grad_seed)).to(y.dtype)
    return [y.detach(), *torch.autograd.grad(y, leaves, grad)]


def compare(call, inputs, bound=CONTRACT):
    """The native result and gradients against aten's in float64, which is taken for the truth."""
    found = with_gradients(lambda *a: call(*a, impl="native"), inputs)
    expected = with_gradients(lambda *a: call(*a, impl="aten"), [x.double() for x in inputs])
    for index, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert error(a, b) <= bound, f"result {index}: {error(a, b):.1e}"


def check_second_derivatives(call, inputs, bound=CONTRACT):
    """The gradient of the first input's squared gradient, against aten's in float64."""

    def second(inputs, impl):
        leaves = [x.clone(memory_format=torch.preserve_format).requires_grad_() for x in inputs]
        (first,) = torch.autograd.grad(call(*leaves, impl=impl).square().sum(), leaves[0], create_graph=True)
        return torch.autograd.grad(first.square().sum(), leaves)

    expected = second([x.double() for x in inputs], "aten")
    for a, b in zip(second(inputs, "native"), expected, strict=True):
        assert error(a, b) <= bound


def check_bits(call, inputs, in_batch):
    """Neither the threads nor the rest of the batch change a bit; the first `in_batch` inputs have a batch axis."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = with_gradients(call, inputs)
        part = [x[2:3] if index < in_batch else x for index, x in enumerate(inputs)]
        first = call(*part)
        torch.set_num_threads(4)
        together = with_gradients(call, inputs)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
    assert torch.equal(first, alone[0][2:3])


def check_bits_of_values(call, x):
    """The same without gradients."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone, part = call(x), call(x[2:3])
        torch.set_num_threads(4)
        together = call(x)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(alone, together)
    assert torch.equal(alone[2:3], part)
