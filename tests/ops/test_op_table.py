"""Every operator by every implementation in every dtype: values, gradients, shapes; one table, one template."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch.testing import assert_close

from striate import ops
from striate.ops._dispatch import TABLE


class Case(NamedTuple):
    """An operator with operands (their shapes) and arguments; the first axis of the first operand is the batch."""

    operator: str
    call: Callable[..., torch.Tensor]
    shapes: tuple[tuple[int, ...], ...]


LINKS = ((1, 0, 1), (0, 1, 0))
CASES = {
    "conv 1-D": Case(
        "conv", lambda x, w, b, **k: ops.conv(x, w, b, stride=2, padding="same", **k), ((2, 3, 7), (4, 3, 3), (4,))
    ),
    "conv 2-D": Case(
        "conv", lambda x, w, b, **k: ops.conv(x, w, b, padding=1, **k), ((2, 3, 5, 4), (4, 3, 3, 3), (4,))
    ),
    "conv 3-D": Case("conv", lambda x, w, **k: ops.conv(x, w, **k), ((2, 1, 3, 4, 3), (2, 1, 2, 2, 2))),
    "conv, one channel": Case("conv", lambda x, w, **k: ops.conv(x, w, flip=True, **k), ((2, 1, 4, 5), (1, 1, 1, 1))),
    "conv, groups": Case(
        "conv", lambda x, w, b, **k: ops.conv(x, w, b, groups=2, **k), ((2, 4, 5, 5), (4, 2, 3, 3), (4,))
    ),
    "conv, links": Case(
        "conv", lambda x, w, b, **k: ops.conv(x, w, b, links=LINKS, **k), ((2, 3, 5, 5), (3, 3, 3), (2,))
    ),
    "conv, upsample": Case(
        "conv",
        lambda x, w, b, **k: ops.conv(x, w, b, upsample=2, padding="full", **k),
        ((2, 2, 3, 4), (3, 2, 3, 3), (3,)),
    ),
    "conv, upsample and stride": Case(
        "conv",
        lambda x, w, **k: ops.conv(x, w, upsample=2, stride=3, padding=((1, 0), (0, 2)), **k),
        ((2, 2, 4, 4), (3, 2, 3, 3)),
    ),
    "conv, crop": Case(
        "conv", lambda x, w, **k: ops.conv(x, w, padding=((-1, 2), (0, -1)), **k), ((2, 2, 5, 5), (3, 2, 3, 3))
    ),
    "max_pool": Case("max_pool", lambda x, **k: ops.max_pool(x, 2, ceil=True, **k), ((2, 2, 5, 6),)),
    "max_pool, padded": Case(
        "max_pool", lambda x, **k: ops.max_pool(x, 3, stride=2, padding="same", **k), ((2, 2, 6, 5),)
    ),
    "avg_pool": Case("avg_pool", lambda x, **k: ops.avg_pool(x, (2, 3), **k), ((2, 2, 5, 6),)),
    "avg_pool, padded": Case(
        "avg_pool",
        lambda x, **k: ops.avg_pool(x, 3, stride=2, padding=((0, 1), (2, 0)), ceil=True, **k),
        ((2, 2, 6, 5),),
    ),
    "subsample": Case(
        "subsample", lambda x, w, b, **k: ops.subsample(x, w, b, 2, reduce="sum", **k), ((2, 3, 4, 5), (3,), (3,))
    ),
    "rbf": Case("rbf", lambda x, c, **k: ops.rbf(x, c, **k), ((2, 4), (3, 4))),
}

# (relative, absolute): sums of some tens of products, so float32 loses about two digits and bfloat16 keeps two
TOLERANCE = {torch.float64: (1e-10, 1e-10), torch.float32: (1e-4, 1e-5), torch.bfloat16: (5e-2, 1e-1)}


def operands(case, dtype=torch.float64, batch=None):
    generator = torch.Generator().manual_seed(0)
    shapes = [(batch, *case.shapes[0][1:]) if batch is not None else case.shapes[0], *case.shapes[1:]]
    return [
        torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_() for shape in shapes
    ]


def value_and_gradients(case, given, impl):
    y = case.call(*given, impl=impl)
    grad = torch.randn(*y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return [y, *torch.autograd.grad(y, given, grad.to(y.dtype))]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(
    ("name", "impl"), [(name, impl) for name, case in CASES.items() for impl in TABLE[case.operator]]
)
def test_values_and_gradients(name, impl, dtype):
    """The same numbers as the reference in float64, within what the dtype holds."""
    case = CASES[name]
    given = operands(case, dtype)
    exact = [operand.detach().double().requires_grad_() for operand in given]
    results = zip(value_and_gradients(case, given, impl), value_and_gradients(case, exact, "reference"), strict=True)
    rtol, atol = TOLERANCE[dtype]
    for result, expected in results:
        assert result.dtype == dtype
        assert_close(result.double(), expected, rtol=rtol, atol=atol)


@pytest.mark.parametrize("batch", [0, 1])
@pytest.mark.parametrize(
    ("name", "impl"), [(name, impl) for name, case in CASES.items() for impl in TABLE[case.operator]]
)
def test_small_batches(name, impl, batch):
    case = CASES[name]
    given = operands(case, batch=batch)
    y, grad_x, *grads = value_and_gradients(case, given, impl)
    assert len(y) == len(grad_x) == batch
    if batch == 0:
        assert all(grad.eq(0).all() for grad in grads)


@pytest.mark.parametrize("name", CASES)
def test_gradcheck(name):
    """aten's gradients, and gradients of gradients, against differences; the reference's gradients too."""
    case = CASES[name]
    given = operands(case)
    assert torch.autograd.gradcheck(lambda *a: case.call(*a, impl="aten"), given, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda *a: case.call(*a, impl="aten"), given, fast_mode=True)
    assert torch.autograd.gradcheck(lambda *a: case.call(*a, impl="reference"), given, fast_mode=True)


def test_every_operator_is_in_the_table():
    assert {case.operator for case in CASES.values()} == set(TABLE)
