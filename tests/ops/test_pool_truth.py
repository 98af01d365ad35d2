"""Pooling, subsampling and radial basis functions against PyTorch and the reference."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from striate import ops
from striate.errors import InputError

MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVG = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def ties(*shape):
    return torch.randint(0, 3, shape, generator=torch.Generator().manual_seed(0)).double()


@pytest.mark.parametrize("impl", ["aten", "reference"])
@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize(
    ("shape", "kernel", "stride", "padding", "dilation"),
    [
        ((2, 3, 9), 2, 2, 0, 1),
        ((2, 3, 10), 3, 2, 1, 2),
        ((1, 2, 7, 6), (3, 2), (2, 1), (1, 1), 1),
        ((1, 2, 8, 7), 2, 3, 1, (1, 2)),
        ((0, 2, 6, 6), 2, 2, 0, 1),
        ((1, 1, 4, 5, 6), 2, 2, 1, 1),
    ],
)
def test_torch_max_pool(impl, ceil, shape, kernel, stride, padding, dilation):
    x, rank = ties(*shape), len(shape) - 2
    expected = MAX[rank](x, kernel, stride, padding, dilation, ceil_mode=ceil, return_indices=True)
    words = {"stride": stride, "padding": padding, "dilation": dilation, "ceil": ceil, "impl": impl}
    result = ops.max_pool(x, kernel, **words, return_switches=True)
    assert_close(result[0], expected[0])
    assert torch.equal(result[1], expected[1])
    assert_close(ops.max_pool(x, kernel, **words), expected[0])


@pytest.mark.parametrize("impl", ["aten", "reference"])
@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("count_padding", [False, True])
@pytest.mark.parametrize(
    ("shape", "kernel", "stride", "padding"),
    [
        ((2, 3, 9), 2, 2, 0),
        ((2, 3, 10), 3, 2, 1),
        ((1, 2, 7, 6), (3, 2), (2, 3), (1, 1)),
        ((1, 1, 4, 5, 6), 2, 2, 1),
    ],
)
def test_torch_avg_pool(impl, ceil, count_padding, shape, kernel, stride, padding):
    x = randn(*shape)
    expected = AVG[x.ndim - 2](x, kernel, stride, padding, ceil, count_padding)
    words = {"stride": stride, "padding": padding, "ceil": ceil, "count_padding": count_padding}
    assert_close(ops.avg_pool(x, kernel, **words, impl=impl), expected)


PADDED = [  # (spatial size, kernel, words): paddings that PyTorch's pooling does not take
    ((7, 6), (3, 2), {"padding": "same", "stride": 2}),
    ((7, 6), 3, {"padding": ((2, 2), (2, 0)), "stride": 2}),
    ((7, 6), 3, {"padding": ((0, 2), (-1, 1)), "stride": (3, 2)}),
    ((7, 6), 2, {"padding": -1}),
    ((9,), 4, {"padding": ((-2, 3),), "stride": 3}),
    ((3, 4, 3), 2, {"padding": ((1, 0), (0, 1), (0, 0)), "stride": 1}),
    ((5,), 3, {"padding": "full", "stride": 1}),
]


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize(("size", "kernel", "words"), PADDED)
def test_max_pool_with_any_padding(size, kernel, words, ceil):
    x = ties(2, 2, *size).requires_grad_()
    (values, switches), (expected, expected_switches) = (
        ops.max_pool(x, kernel, **words, ceil=ceil, return_switches=True, impl=impl) for impl in ("aten", "reference")
    )
    assert torch.equal(values, expected)
    assert torch.equal(switches, expected_switches)
    assert torch.equal(x.flatten(2).gather(2, switches.flatten(2)), values.flatten(2))  # the switch points at the value
    grad = randn(*values.shape)
    assert_close(*(torch.autograd.grad(y, x, grad)[0] for y in (values, expected)))


@pytest.mark.parametrize("count_padding", [False, True])
@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize(("size", "kernel", "words"), PADDED)
def test_avg_pool_with_any_padding(size, kernel, words, ceil, count_padding):
    x = randn(2, 2, *size).requires_grad_()
    how = {**words, "ceil": ceil, "count_padding": count_padding}
    results = [ops.avg_pool(x, kernel, **how, impl=impl) for impl in ("aten", "reference")]
    assert_close(*results)
    grad = randn(*results[0].shape)
    assert_close(*(torch.autograd.grad(y, x, grad)[0] for y in results))


@pytest.mark.parametrize("impl", ["aten", "reference"])
@pytest.mark.parametrize("dilation", [1, 2])
def test_padding_is_no_switch_even_among_infinities(impl, dilation):
    """Where all inputs of a window are -inf, as the padding is, the switch is the first that is an input."""
    x = torch.full((1, 1, 3, 4), -torch.inf)
    words = {"stride": 1, "padding": ((1, 0), (1, 1)), "dilation": dilation, "return_switches": True}
    values, switches = ops.max_pool(x, 2, **words, impl=impl)
    rows, columns = (torch.arange(n) - 1 for n in values.shape[2:])
    rows, columns = (torch.where(at < 0, at + dilation, at) for at in (rows, columns))
    assert torch.equal(switches[0, 0], rows[:, None] * 4 + columns)
    assert values.isneginf().all()


@settings(deadline=None, max_examples=80, derandomize=True)
@given(st.data())
def test_implementations_agree_on_any_window(data):
    """max_pool with its switches and avg_pool: every option at once."""
    rank = data.draw(st.integers(1, 2))
    axes = lambda values: tuple(data.draw(values) for _ in range(rank))  # noqa: E731
    few, ends = st.integers(1, 3), st.tuples(st.integers(-1, 3), st.integers(-1, 3))
    size, kernel, dilation = axes(st.integers(1, 7)), axes(few), axes(few)
    words = {"stride": axes(few), "padding": axes(ends), "ceil": data.draw(st.booleans())}
    x = ties(data.draw(st.integers(0, 2)), 2, *size)
    x[x == data.draw(st.integers(0, 3))] = -torch.inf
    largest = {"dilation": dilation, "return_switches": True}
    outcomes = [[result(ops.max_pool, x, kernel, **words, **largest, impl=impl)] for impl in ("aten", "reference")]
    for count_padding in (True, False):
        how = {**words, "count_padding": count_padding}
        for outcome, impl in zip(outcomes, ("aten", "reference"), strict=True):
            outcome.append(result(ops.avg_pool, x.nan_to_num(neginf=9.0), kernel, **how, impl=impl))
    assert_close(*outcomes)


def result(operator, *given, **words):
    """What an operator returns, or the words of its refusal."""
    try:
        value = operator(*given, **words)
    except InputError as error:
        return torch.tensor(len(str(error)))
    return value


def test_padding_is_never_the_maximum():
    x = torch.full((1, 1, 3), -5.0)
    for impl in ("aten", "reference"):
        assert torch.equal(ops.max_pool(x, 2, stride=1, padding=((1, 0),), impl=impl), x)


def test_stride_is_the_kernel_unless_given():
    x = randn(1, 1, 6, 6)
    assert ops.max_pool(x, (2, 3)).shape == ops.avg_pool(x, (2, 3)).shape == (1, 1, 3, 2)


@pytest.mark.parametrize("impl", ["aten", "reference"])
def test_channels_last_and_other_layouts(impl):
    x = randn(2, 5, 6, 4)
    for layout in (x.contiguous(memory_format=torch.channels_last), x.transpose(2, 3).contiguous().transpose(2, 3)):
        assert_close(ops.max_pool(layout, 2, impl=impl), ops.max_pool(x, 2))
        assert_close(ops.avg_pool(layout, 3, padding=1, impl=impl), ops.avg_pool(x, 3, padding=1))
    last = x.contiguous(memory_format=torch.channels_last)
    assert ops.max_pool(last, 2, padding=((0, 1), (0, 0))).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("impl", ["aten", "reference"])
@pytest.mark.parametrize("size", [(7,), (6, 5), (4, 3, 5)])
def test_subsample_is_equation_5_24(impl, size):
    x, w, b = randn(2, 3, *size), randn(3, seed=1), randn(3, seed=2)
    shape = (3, *(1,) * len(size))
    mean = AVG[len(size)](x, 2, 2)
    assert_close(ops.subsample(x, w, b, 2, impl=impl), w.view(shape) * mean + b.view(shape))
    added = ops.subsample(x, w, b, 2, reduce="sum", impl=impl)
    assert_close(added, w.view(shape) * mean * 2 ** len(size) + b.view(shape))
    assert_close(
        ops.subsample(x, w, b, 2, stride=1, impl=impl), w.view(shape) * AVG[len(size)](x, 2, 1) + b.view(shape)
    )


@pytest.mark.parametrize("impl", ["aten", "reference"])
def test_rbf_is_the_squared_distance(impl):
    x, centres = randn(5, 84), randn(10, 84, seed=1)
    assert_close(ops.rbf(x, centres, impl=impl), torch.cdist(x, centres).square())
    far = torch.full((1, 3), 1e4, dtype=torch.float32)
    assert_close(ops.rbf(far, far + 0.5, impl=impl), torch.full((1, 1), 0.75))  # the expanded square gives 0 or 32
