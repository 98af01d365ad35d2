"""Convolution the direct way with packed weights, and dense layers by it: against float64, at awkward sizes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel_checks import CONTRACT, SETS, check_bits_of_values, error, images, needs_extension
from striate import ops
from striate.errors import InputError
from striate.geometry import Window
from striate.ops.impl.native import direct_conv, library

pytestmark = needs_extension

ROUNDING = 2**-8  # of a result of bfloat16, relative to itself; sums are of float32
DTYPES = [torch.float32] + [torch.bfloat16] * library.multiplies_bf16()


def window(kernel=(1, 1), stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1)):
    return Window(kernel, stride, padding, dilation, (1, 1))


def convolve(x, w, form, b=None, groups=1, **words):
    """By the kernels, in the type of x; w is rounded to it."""
    return direct_conv.Plan(direct_conv.pack(w, groups, x.dtype), x.shape, x.dtype, form)(x, b, **words)


def truth(x, w, form, b=None, groups=1):
    (top, bottom), (left, right) = form.padding
    x = torch.nn.functional.pad(x.double(), (left, right, top, bottom))
    b = None if b is None else b.double()
    return torch.conv2d(x, w.double(), b, form.stride, 0, form.dilation, groups)


@pytest.mark.parametrize("name", SETS)
@settings(max_examples=60, deadline=None)
@given(
    bf16=st.booleans(),
    batch=st.integers(0, 3),
    channels=st.tuples(st.sampled_from([1, 2, 5, 16, 17, 40]), st.sampled_from([1, 15, 16, 33, 64, 70, 130])),
    groups=st.sampled_from([1, 1, 2, 3]),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(
        st.tuples(st.integers(-1, 3), st.integers(0, 3)), st.tuples(st.integers(0, 3), st.integers(-1, 3))
    ),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    size=st.tuples(st.integers(8, 15), st.integers(8, 15)),
)
def test_any_window(name, bf16, batch, channels, groups, kernel, stride, padding, dilation, size):
    """The low end may be cropped too; products of bfloat16 are exact in float32, so only the result is rounded."""
    with library.use_instruction_set(name):
        dtype = torch.bfloat16 if bf16 and library.multiplies_bf16() else torch.float32
        form = window(kernel, stride, padding, dilation)
        x = images(batch, channels[0] * groups, *size).to(dtype)
        w, b = (
            images(channels[1] * groups, channels[0], *kernel, seed=1).to(dtype).float(),
            images(channels[1] * groups),
        )
        y = convolve(x, w, form, b, groups)
        assert y.dtype == dtype
        assert error(y, truth(x, w, form, b, groups)) <= (CONTRACT if dtype == torch.float32 else ROUNDING)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("outputs", [16, 90, 300])
@pytest.mark.parametrize("size", [(1, 1), (7, 7), (31, 33)])
def test_many_channels(name, outputs, size):
    """Several groups of panels, several pieces of the outputs, a last panel that is not full."""
    with library.use_instruction_set(name):
        for dtype in DTYPES if name == SETS[0] else DTYPES[:1]:
            x, w = images(2, 320, *size).to(dtype), images(outputs, 320, 1, 1, seed=1).to(dtype).float()
            bound = CONTRACT if dtype == torch.float32 else ROUNDING
            assert error(convolve(x, w, window()), truth(x, w, window())) <= bound


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1e-20, 1e15])
def test_tiny_and_large_numbers(dtype, scale):
    x, w = (images(1, 33, 6, 5) * scale).to(dtype), images(20, 33, 3, 3, seed=1).to(dtype).float()
    form = window((3, 3), padding=((1, 1), (1, 1)))
    assert error(convolve(x, w, form), truth(x, w, form)) <= (CONTRACT if dtype == torch.float32 else ROUNDING)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_follows_is_fused(dtype):
    form = window((3, 2), (2, 1), ((1, 0), (0, 1)))
    x, w, b = images(2, 21, 9, 8).to(dtype), images(40, 21, 3, 2, seed=1).to(dtype).float(), images(40, seed=2)
    exact = truth(x, w, form, b)
    other = images(*exact.shape, seed=3).to(dtype)
    bound = CONTRACT if dtype == torch.float32 else ROUNDING
    assert error(convolve(x, w, form, b, other=other, relu=True), (exact + other.double()).relu()) <= bound
    assert error(convolve(x, w, form, b, other=other), exact + other.double()) <= bound
    assert error(convolve(x, w, form, b, relu=True), exact.relu()) <= bound


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kernel", "size"), [((1, 1), (29, 30)), ((3, 3), (7, 7))])
def test_neither_threads_nor_the_rest_of_the_batch_change_a_bit(dtype, kernel, size):
    form = window(kernel, padding=((kernel[0] // 2,) * 2, (kernel[1] // 2,) * 2))
    x, w = images(5, 70, *size).to(dtype), images(150, 70, *kernel, seed=1)
    check_bits_of_values(lambda x: convolve(x, w, form), x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_not_a_number_stays_where_it_is(dtype):
    """An odd number of channels is multiplied in pairs, whose last neighbour is the next pixel's: it is not read."""
    x, w = images(1, 17, 4, 5).to(dtype), images(16, 17, 1, 1, seed=1)
    clean = convolve(x, w, window())
    x[0, 0, 2, 3] = torch.nan
    y = convolve(x, w, window())
    assert y[0, :, 2, 3].isnan().all()
    y[0, :, 2, 3] = clean[0, :, 2, 3]
    assert torch.equal(y, clean)


@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_and_images_of_any_layout(dtype):
    x, w = images(2, 24, 6, 7).to(dtype), images(20, 24, 3, 3, seed=1)
    y = convolve(x, w, window((3, 3)))
    beside = torch.full((20, 26, 3, 3), torch.nan)
    beside[:, 1:25] = w
    assert torch.equal(convolve(x.contiguous(), beside[:, 1:25], window((3, 3))), y)
    wide = torch.full((2, 24, 6, 9), torch.nan, dtype=dtype)
    wide[..., 1:8] = x
    assert torch.equal(convolve(wide[..., 1:8], w, window((3, 3))), y)


@pytest.mark.parametrize("precision", ["exact", "high", "bf16"])
def test_in_a_convolution_with_packed_weights(precision):
    """Chosen where the processor is known to be fast so; what is added must have the shape of the outputs."""
    x, w, b = images(2, 20, 9, 8), images(33, 20, 1, 1, seed=1), images(33, seed=2)
    conv = ops.PackedConv(w, b, {"stride": 2}, relu=True, precision=precision)
    other = images(2, 33, 5, 4, seed=3).contiguous()
    expected = (torch.conv2d(x.double(), w.double(), b.double(), 2) + other.double()).relu()
    assert error(conv(x, other), expected) <= (1.5e-2 if precision == "bf16" else CONTRACT)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    assert (conv.computed_by == "direct") == direct_conv.multiplies_fastest(dtype)
    assert conv(x[:0], other[:0]).shape == (0, 33, 5, 4)
    message = r"PackedConv: `other` must have the shape of the outputs, \(2, 33, 5, 4\), got \(2, 33, 5, 5\)"
    biases = b.new_full((66,), torch.nan)
    biases[::2] = b
    apart = ops.PackedConv(w, biases[::2], {"stride": 2}, relu=True, precision=precision)
    assert torch.equal(apart(x, other), conv(x, other))
    operator = ops.PackedConv(w.flip(2, 3), b, {"stride": 2, "flip": True}, relu=True, precision=precision)
    assert error(operator(x, other.to(dtype)), expected) <= (1.5e-2 if precision == "bf16" else CONTRACT)
    assert operator.computed_by == "operator"
    for packed in (conv, operator):
        with pytest.raises(InputError, match=message):
            packed(x, images(2, 33, 5, 5))
    beside = ops.PackedConv(w, b, {"stride": 2}, relu=True, precision=precision, way="onednn")
    assert error(beside(x, other), expected) <= (1.5e-2 if precision == "bf16" else CONTRACT)
    assert beside.computed_by == "onednn"


def test_matrix_tiles_are_left_to_onednn(monkeypatch):
    """With AMX oneDNN multiplies bfloat16; without vectors it multiplies everything."""
    monkeypatch.setattr(direct_conv, "has_matrix_tiles", lambda: True)
    assert not direct_conv.multiplies_fastest(torch.bfloat16)
    monkeypatch.setattr(direct_conv, "has_matrix_tiles", lambda: False)
    assert direct_conv.multiplies_fastest(torch.bfloat16) == library.multiplies_bf16()
    assert not direct_conv.multiplies_fastest(torch.float64)
    with library.use_instruction_set("plain"):
        assert not direct_conv.multiplies_fastest(torch.float32)
        assert not direct_conv.multiplies_fastest(torch.bfloat16)
        conv = ops.PackedConv(images(16, 16, 1, 1), None)
        conv(images(1, 16, 4, 4))
        assert conv.computed_by == "onednn"


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("precision", ["high", "bf16"])
@pytest.mark.parametrize("shape", [(0, 5), (1, 5), (7, 33), (3, 4, 20), (20,)])
def test_dense_layers(fast, precision, shape, monkeypatch):
    """By the kernels and without: with and without a bias and a ReLU, rows in another layout."""
    if not fast:
        monkeypatch.setattr(direct_conv, "multiplies_fastest", lambda dtype: False)
    inputs = shape[-1]
    x, w, b = images(*shape), images(70, inputs, seed=1), images(70, seed=2)
    exact = x.double() @ w.double().t()
    bound = 1.5e-2 if precision == "bf16" else CONTRACT
    plain, full = ops.PackedLinear(w, precision=precision), ops.PackedLinear(w, b, relu=True, precision=precision)
    assert error(plain(x), exact) <= bound
    assert error(full(x), (exact + b.double()).relu()) <= bound
    columns, biases = x.new_full((*shape[:-1], inputs * 2), torch.nan), b.new_full((140,), torch.nan)
    columns[..., ::2], biases[::2] = x, b
    assert torch.equal(plain(columns[..., ::2]), plain(x))
    apart = ops.PackedLinear(w.t().contiguous().t(), biases[::2], relu=True, precision=precision)
    assert torch.equal(apart(x), full(x))


def test_what_a_dense_layer_refuses_is_said():
    with pytest.raises(InputError, match=r"PackedLinear: x must be N x 5, got \(2, 6\)"):
        ops.PackedLinear(images(3, 5))(images(2, 6))
    with pytest.raises(InputError, match=r"w must be outputs x inputs and b outputs or None, got \(3, 5\) and \(5,\)"):
        ops.PackedLinear(images(3, 5), images(5))
