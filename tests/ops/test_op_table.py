"""Every operator by every implementation in every dtype: values, gradients, shapes; one table, one template."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch.testing import assert_close

from gpu_checks import needs_gpu, whole_float32
from striate import ops
from striate.ops import _dispatch
from striate.ops._dispatch import TABLE


class Case(NamedTuple):
    """An operator, the shapes of its operands, and its other arguments, which may be a function of the operands.

    The first axis of the first operand is the batch, and of `batched` operands altogether. A fifth one is a mask.
    """

    operator: str
    shapes: tuple[tuple[int, ...], ...]
    arguments: tuple[Any, ...] | Callable[..., tuple[Any, ...]] = ()
    words: dict[str, Any] = {}  # noqa: RUF012  # never written to
    batched: tuple[int, ...] = (0,)

    def __call__(self, operands, impl):
        if self.operator == "deform_conv" and len(operands) == 5:
            return ops.deform_conv(*operands[:4], mask=operands[4], **self.words, impl=impl)
        arguments = self.arguments(*operands) if callable(self.arguments) else self.arguments
        arguments = tuple(a.to(operands[0].device) if isinstance(a, torch.Tensor) else a for a in arguments)
        return getattr(ops, self.operator)(*operands, *arguments, **self.words, impl=impl)


def switches(positions):
    """Return switches of the shape of x, each in a window of `positions` of its own, and the window."""

    def arguments(x):
        inside = torch.arange(x.numel()).view(x.shape) * 7 // 3 % positions
        return torch.arange(x.shape[2]) * positions + inside, positions

    return arguments


CASES = {
    "conv 1-D": Case("conv", ((2, 3, 7), (4, 3, 3), (4,)), words={"stride": 2, "padding": "same"}),
    "conv 2-D": Case("conv", ((2, 3, 5, 4), (4, 3, 3, 3), (4,)), words={"padding": 1}),
    "conv 3-D": Case("conv", ((2, 1, 3, 4, 3), (2, 1, 2, 2, 2))),
    "conv, one channel": Case("conv", ((2, 1, 4, 5), (1, 1, 1, 1)), words={"flip": True}),
    "conv, groups": Case("conv", ((2, 4, 5, 5), (4, 2, 3, 3), (4,)), words={"groups": 2}),
    "conv, links": Case("conv", ((2, 3, 5, 5), (3, 3, 3), (2,)), words={"links": ((1, 0, 1), (0, 1, 0))}),
    "conv, upsample": Case("conv", ((2, 2, 3, 4), (3, 2, 3, 3), (3,)), words={"upsample": 2, "padding": "full"}),
    "conv, upsample and stride": Case(
        "conv", ((2, 2, 4, 4), (3, 2, 3, 3)), words={"upsample": 2, "stride": 3, "padding": ((1, 0), (0, 2))}
    ),
    "conv, crop": Case("conv", ((2, 2, 5, 5), (3, 2, 3, 3)), words={"padding": ((-1, 2), (0, -1))}),
    "conv_transpose 1-D": Case(
        "conv_transpose", ((2, 3, 4), (3, 4, 3), (4,)), words={"stride": 2, "padding": 1, "output_padding": 1}
    ),
    "conv_transpose 2-D": Case(
        "conv_transpose", ((2, 3, 3, 4), (3, 2, 3, 2), (2,)), words={"stride": (2, 1), "dilation": 2, "flip": True}
    ),
    "conv_transpose 3-D": Case("conv_transpose", ((2, 1, 2, 3, 2), (1, 2, 2, 2, 2)), words={"padding": "same"}),
    "conv_transpose, groups": Case(
        "conv_transpose", ((2, 4, 4, 3), (4, 2, 3, 3), (4,)), words={"groups": 2, "padding": ((1, 0), (-1, 2))}
    ),
    "deform_conv": Case(
        "deform_conv", ((2, 3, 4, 5), (2, 18, 4, 5), (2, 3, 3, 3), (2,)), words={"padding": 1}, batched=(0, 1)
    ),
    "deform_conv, two kinds of groups": Case(
        "deform_conv",
        ((2, 4, 5, 4), (2, 16, 2, 3), (4, 1, 2, 2), (4,)),
        words={"groups": 4, "offset_groups": 2, "stride": (2, 1), "padding": ((0, 1), (0, 0)), "dilation": (2, 1)},
        batched=(0, 1),
    ),
    "deform_conv, mask": Case(
        "deform_conv", ((2, 2, 3, 3), (2, 4, 3, 2), (1, 2, 1, 2), (1,), (2, 2, 3, 2)), batched=(0, 1, 4)
    ),
    "max_pool": Case("max_pool", ((2, 2, 5, 6),), (2,), {"ceil": True}),
    "max_pool, padded": Case("max_pool", ((2, 2, 6, 5),), (3,), {"stride": 2, "padding": "same"}),
    "avg_pool": Case("avg_pool", ((2, 2, 5, 6),), ((2, 3),)),
    "avg_pool, padded": Case(
        "avg_pool", ((2, 2, 6, 5),), (3,), {"stride": 2, "padding": ((0, 1), (2, 0)), "ceil": True}
    ),
    "max_unpool": Case("max_unpool", ((2, 3, 4),), switches(2)),
    "max_unpool, overlapping": Case(
        "max_unpool", ((2, 3, 4),), lambda x: (torch.tensor([1, 3, 3, 4]).expand(x.shape), 3), {"stride": 1}
    ),
    "local_response_norm": Case(
        "local_response_norm", ((2, 7, 2, 3),), words={"size": 3, "alpha": 0.5, "beta": 0.7, "k": 1.0}
    ),
    "local_response_norm, more neighbours than channels": Case("local_response_norm", ((2, 2, 3),), words={"size": 8}),
    "highway": Case("highway", ((2, 3, 4),) * 3, batched=(0, 1, 2)),
    "scaled_tanh": Case("scaled_tanh", ((2, 3, 4),), words={"amplitude": 2.0, "slope": 0.5}),
    "subsample": Case("subsample", ((2, 3, 4, 5), (3,), (3,)), (2,), {"reduce": "sum"}),
    "rbf": Case("rbf", ((2, 4), (3, 4))),
}
OPERATORS = {
    *("conv", "conv_transpose", "deform_conv", "max_pool", "avg_pool", "max_unpool", "subsample"),
    *("local_response_norm", "rbf", "highway", "scaled_tanh"),
}
# the native kernels take float32 images in one layout only: test_native.py
EVERY = [(name, impl) for name, case in CASES.items() for impl in TABLE[case.operator] if impl != "native"]

# (relative, absolute): sums of some tens of products, so float32 loses about two digits and bfloat16 keeps two
TOLERANCE = {torch.float64: (1e-10, 1e-10), torch.float32: (1e-4, 1e-5), torch.bfloat16: (5e-2, 1e-1)}


def operands(case, dtype=torch.float64, batch=None):
    generator = torch.Generator().manual_seed(0)
    shapes = [
        (batch, *shape[1:]) if batch is not None and at in case.batched else shape
        for at, shape in enumerate(case.shapes)
    ]
    return [
        torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_() for shape in shapes
    ]


def value_and_gradients(case, given, impl):
    y = case(given, impl)
    grad = torch.randn(*y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return [y, *torch.autograd.grad(y, given, grad.to(y))]


@pytest.fixture
def ran(monkeypatch):
    """The implementations that computed something, as (operator, implementation)."""
    seen = set()
    load = _dispatch._load
    names = {path: (operator, impl) for operator, row in TABLE.items() for impl, path in row.items()}

    def spying(path):
        module = load(path)

        def forward(*given):
            seen.add(names[path])
            return module.forward(*given)

        return SimpleNamespace(supports=module.supports, forward=forward)

    monkeypatch.setattr(_dispatch, "_load", spying)
    return seen


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(("name", "impl"), EVERY)
def test_values_and_gradients(name, impl, dtype, ran):
    """The same numbers as the reference in float64, within what the dtype holds."""
    case = CASES[name]
    case(operands(case, dtype), impl)
    assert ran == {(case.operator, impl)}  # by the implementation that was asked for, and by no other
    given = operands(case, dtype)
    exact = [operand.detach().double().requires_grad_() for operand in given]
    results = zip(value_and_gradients(case, given, impl), value_and_gradients(case, exact, "reference"), strict=True)
    rtol, atol = TOLERANCE[dtype]
    for result, expected in results:
        assert result.dtype == dtype
        assert_close(result.double(), expected, rtol=rtol, atol=atol)


@needs_gpu
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_a_gpu_computes_the_same(name, dtype, layout):
    """PyTorch's way there, values and gradients, against the reference in float64 on the processor."""
    case = CASES[name]
    exact = [operand.detach().requires_grad_() for operand in operands(case, dtype)]
    given = [
        operand.detach().to("cuda").contiguous(memory_format=layout if operand.ndim == 4 else torch.contiguous_format)
        for operand in exact
    ]
    with whole_float32():
        found = value_and_gradients(case, [operand.requires_grad_() for operand in given], "aten")
    expected = value_and_gradients(case, [operand.detach().double().requires_grad_() for operand in exact], "reference")
    rtol, atol = TOLERANCE[dtype]
    for result, true in zip(found, expected, strict=True):
        assert result.device.type == "cuda"
        assert result.dtype == dtype
        assert_close(result.double().cpu(), true, rtol=rtol, atol=atol)


@pytest.mark.parametrize("batch", [0, 1])
@pytest.mark.parametrize(("name", "impl"), EVERY)
def test_small_batches(name, impl, batch):
    case = CASES[name]
    given = operands(case, batch=batch)
    y, *grads = value_and_gradients(case, given, impl)
    assert len(y) == len(grads[0]) == batch
    if batch == 0:
        assert all(grad.eq(0).all() for grad in grads)


@pytest.mark.parametrize("name", CASES)
def test_gradcheck(name):
    """aten's gradients, and gradients of gradients, against differences; the reference's gradients too."""
    case = CASES[name]
    given = operands(case)
    assert torch.autograd.gradcheck(lambda *a: case(a, "aten"), given, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda *a: case(a, "aten"), given, fast_mode=True)
    assert torch.autograd.gradcheck(lambda *a: case(a, "reference"), given, fast_mode=True)


def test_no_expected_implementation_is_without_a_case():
    """Said here once more: a row that is lost from TABLE, or an operator without cases, fails."""
    expected = {(operator, impl) for operator in OPERATORS for impl in ("aten", "reference")}
    assert {(CASES[name].operator, impl) for name, impl in EVERY} == expected
    others = {
        "Links",
        "PackedConv",
        "PackedLinear",
        "explain_dispatch",
        "linear",
        "link_rows",
        "onednn_linear",
        "prefer",
        "use_impl",
    }
    assert set(ops.__all__) - OPERATORS == others
