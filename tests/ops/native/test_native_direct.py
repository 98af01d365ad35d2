"""Kernels are called past PyTorch's dispatcher where nothing looks on; what looks on sees their operators."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from kernel_checks import images, needs_extension, with_gradients
from striate import ops

pytestmark = needs_extension

X, MANY = images(2, 16, 8, 8), images(2, 32, 32, 32)
CALLS = {
    "max_pool": (lambda x: ops.max_pool(x, 3, impl="native"), [X]),
    "local_response_norm": (lambda x: ops.local_response_norm(x, impl="native"), [X]),
    "scaled_tanh": (lambda x: ops.scaled_tanh(x, impl="native"), [MANY]),
    "grouped_conv3x3": (lambda x, w: ops.conv(x, w, groups=4, impl="native"), [X, images(16, 4, 3, 3, seed=1)]),
    "depthwise": (lambda x, w: ops.conv(x, w, groups=16, impl="native"), [X, images(16, 1, 3, 3, seed=1)]),
}


class Names(TorchDispatchMode):
    """Remembers what was dispatched."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.add(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", CALLS)
def test_a_mode_sees_the_operators_and_changes_no_bit(name):
    call, inputs = CALLS[name]
    alone = with_gradients(call, inputs)
    with Names() as mode:
        watched = with_gradients(call, inputs)
        call(*inputs)
    assert all(torch.equal(a, b) for a, b in zip(alone, watched, strict=True))
    ours = {seen for seen in mode.seen if seen.startswith("striate.")}
    assert len(ours) >= 2, "forward and backward"
    assert name == "depthwise" or f"striate.{name}.default" in ours


@pytest.mark.parametrize("name", CALLS)
def test_alone_nothing_is_dispatched(name):
    call, inputs = CALLS[name]
    leaves = [x.detach().requires_grad_() for x in inputs]
    assert type(call(*leaves).grad_fn).__name__ == "DirectBackward"
    assert call(*inputs).grad_fn is None
    with torch.no_grad():
        assert call(*leaves).grad_fn is None


@pytest.mark.parametrize("name", CALLS)
def test_tensors_without_memory_have_results_without_memory(name):
    from torch._subclasses import FakeTensor, FakeTensorMode

    call, inputs = CALLS[name]
    with FakeTensorMode() as mode:
        fakes = [mode.from_tensor(x) for x in inputs]
        found = call(*fakes)
    assert isinstance(found, FakeTensor)
    assert found.shape == call(*inputs).shape


def test_a_subclass_of_tensors_computes_in_its_own_way():
    seen = []

    class Own(torch.Tensor):
        @classmethod
        def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
            seen.append(str(func))
            with torch._C._DisableTorchDispatch():
                return func(*args, **(kwargs or {}))

    ops.local_response_norm(X.as_subclass(Own), impl="native")
    assert "striate.local_response_norm.default" in seen


@pytest.mark.parametrize("wanted", [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("stride", [1, 2])
def test_only_the_gradients_that_are_wanted(wanted, stride):
    """Of depthwise convolution both are computed together, or one alone."""
    given = [images(3, 20, 9, 11), images(20, 1, 3, 3, seed=1)]
    grads = []
    for dtype, impl in ((torch.float32, "native"), (torch.float64, "aten")):
        leaves = [x.detach().to(dtype).requires_grad_(want) for x, want in zip(given, wanted, strict=True)]
        y = ops.conv(*leaves, stride=stride, padding=1, groups=20, impl=impl)
        y.backward(images(*y.shape, seed=2).to(dtype))
        grads.append([x.grad for x in leaves])
    for found, expected, want in zip(*grads, wanted, strict=True):
        assert (found is None) == (not want)
        if want:
            torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-4)
