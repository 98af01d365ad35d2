"""Kernels on bfloat16 images: Winograd convolution against float64, beside plain bfloat16; maximum pooling."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel_checks import LAST, POOLING, SETS, check_bits_of_values, images, needs_extension
from striate import ops
from striate.errors import InputError
from striate.ops.impl.native import conv as native
from striate.ops.impl.native import library, winograd

pytestmark = needs_extension

TILES = {"2x2": (2, 2), "4x2": (4, 2), "4x4": (4, 4)}
# root mean square error, relative to what the products of random signs sum to; 2.4e-3 is that of plain bfloat16
ERRORS = {"f32": 1.9e-3, "2x2": 4.6e-3, "4x2": 7.6e-3, "4x4": 1.3e-2}
products = pytest.mark.skipif(not library.multiplies_bf16(), reason="no products of bfloat16 here (AVX512_BF16)")
WAYS = ["f32", *(pytest.param(way, marks=products) for way in TILES)]


def narrow(*shape: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    return (images(*shape, seed=seed) * scale).bfloat16()


def packed(way: str, w: torch.Tensor, groups: int = 1) -> winograd.Packed:
    return winograd.pack(w, groups, 4) if way == "f32" else winograd.pack_bf16(w, groups, TILES[way])


def padded(x, top, bottom, left, right):
    return torch.nn.functional.pad(x.double(), (left, right, top, bottom))


def off(found, x, w, b, padding, groups=1):
    """The root mean square of the errors, relative to that of the roots of the products' summed squares."""
    x, w = padded(x, *padding), w.double()
    expected = torch.conv2d(x, w, None if b is None else b.double(), groups=groups)
    size = torch.conv2d(x.square(), w.square(), None if b is None else b.double().square(), groups=groups)
    assert found.shape == expected.shape
    assert found.dtype == torch.bfloat16
    assert found.is_contiguous(memory_format=LAST)
    if not found.numel():
        return 0.0
    return float(((found.double() - expected).square().mean() / size.mean()).sqrt())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("inputs", "outputs", "side"), [(64, 64, 28), (200, 48, 14), (512, 320, 7), (320, 512, 9)])
def test_accuracy_beside_plain_bfloat16(way, inputs, outputs, side):
    """Products of float32 are better than plain bfloat16; the others lose as much as their transforms grow."""
    x, w = narrow(2, inputs, side, side), images(outputs, inputs, 3, 3, seed=1)
    around = (1, 1, 1, 1)
    plain = off(torch.conv2d(x, w.bfloat16(), padding=1).contiguous(memory_format=LAST), x, w, None, around)
    found = off(winograd.conv(x, packed(way, w), None, around), x, w, None, around)
    assert 2.2e-3 < plain < 2.7e-3
    assert 0.6 * ERRORS[way] < found < ERRORS[way]
    assert (found < plain) == (way == "f32")


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(0, 3),
    size=st.tuples(st.integers(3, 13), st.integers(3, 13)),
    channels=st.tuples(st.integers(16, 40), st.integers(16, 70)),
    groups=st.integers(1, 2),
    padding=st.sampled_from([(0, 0, 0, 0), (1, 1, 1, 1), (2, 2, 2, 2), (0, 2, 1, 0), (-1, 1, 2, 1)]),
    bias=st.booleans(),
    scale=st.sampled_from([1.0, 1e-30, 1e30]),
)
def test_any_shape(name, way, batch, size, channels, groups, padding, bias, scale):
    """Odd channels and sizes, groups, no picture at all, large and small numbers; twice the error, of few outputs."""
    x = narrow(batch, channels[0] * groups, *size, scale=scale)
    w = images(channels[1] * groups, channels[0], 3, 3, seed=1)
    b = images(channels[1] * groups, seed=2) * scale if bias else None
    with library.use_instruction_set(name):
        if way != "f32" and not library.multiplies_bf16():
            return
        found = winograd.conv(x, packed(way, w, groups), b, padding)
    assert off(found, x, w, b, padding, groups) < 2 * ERRORS[way]


@pytest.mark.parametrize("way", WAYS)
def test_what_follows_is_fused(way):
    x, w, b, other = narrow(2, 21, 6, 5), images(24, 21, 3, 3, seed=1), images(24, seed=2), narrow(2, 24, 6, 5, seed=3)
    y = winograd.conv(x, packed(way, w), b, (1, 1, 1, 1), other=other, relu=True)
    expected = (torch.conv2d(x.double(), w.double(), b.double(), padding=1) + other.double()).relu()
    assert float((y.double() - expected).square().mean().sqrt() / expected.square().mean().sqrt()) < ERRORS[way]
    assert float(y.min()) == 0.0


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("way", WAYS)
def test_outputs_are_rounded_to_nearest_even(name, way):
    """Of zeros the outputs are the biases: ties, what rounds up to infinity, infinities and NaN."""
    ties = torch.tensor([1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8, 1 + 2**-8 + 2**-20, 3.4e38, -3.4e38, 1e-38 * 2])
    b = torch.cat([ties, torch.tensor([torch.inf, -torch.inf, torch.nan]), images(27, seed=4) * 1e20])
    signalling = torch.tensor([0x7F800001, 0x7FFFFFFF], dtype=torch.int32).view(torch.float32)
    b = torch.cat([b, signalling])
    with library.use_instruction_set(name):
        if way != "f32" and not library.multiplies_bf16():
            return
        w = images(len(b), 16, 3, 3)
        y = winograd.conv(narrow(1, 16, 3, 3) * 0, packed(way, w), b, (0, 0, 0, 0))
    torch.testing.assert_close(y.flatten(), b.bfloat16(), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("way", WAYS)
def test_weights_of_any_layout(way):
    """Only the weights themselves are read, though an odd number of channels is packed in pairs."""
    x, w = narrow(1, 17, 5, 6), images(20, 17, 3, 3, seed=1)
    beside = torch.full((20, 18, 3, 3), torch.nan)
    beside[:, :17] = w
    y = winograd.conv(x, packed(way, w), None, (1, 1, 1, 1))
    assert torch.equal(winograd.conv(x, packed(way, beside[:, :17]), None, (1, 1, 1, 1)), y)
    assert torch.equal(winograd.conv(x, packed(way, w.contiguous()), None, (1, 1, 1, 1)), y)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("outputs", [24, 520])
def test_neither_threads_nor_the_rest_of_the_batch_change_a_bit(way, outputs):
    """In blocks of tiles and, with many channels, in shared phases."""
    x, w = narrow(5, 150, 14, 11), images(outputs, 150, 3, 3, seed=1)
    weights = packed(way, w)
    check_bits_of_values(lambda x: winograd.conv(x, weights, None, (1, 1, 1, 1)), x)


@pytest.mark.parametrize("way", WAYS)
def test_a_convolution_with_packed_weights(way):
    """The way that is asked for, with what is added in another type and layout."""
    x, w, b = images(2, 20, 9, 8), images(33, 20, 3, 3, seed=1), images(33, seed=2)
    conv = ops.PackedConv(w, b, {"padding": "same"}, relu=True, precision="bf16", way=way)
    other = images(2, 33, 9, 8, seed=3).contiguous()
    y = conv(x, other)
    assert conv.computed_by == "winograd"
    assert y.dtype == torch.bfloat16
    expected = (torch.conv2d(x.double(), w.double(), b.double(), padding=1) + other.double()).relu()
    assert float((y.double() - expected).square().mean().sqrt() / expected.square().mean().sqrt()) < 2 * ERRORS[way]
    assert torch.equal(conv(x.bfloat16(), other), y)
    assert conv(x[:0], other[:0]).shape == (0, 33, 9, 8)


def test_matrix_tiles_are_left_to_onednn(monkeypatch):
    """With AMX oneDNN computes, without Winograd; explicitly either way."""
    x, w = images(1, 16, 20, 20), images(16, 16, 3, 3)
    for tiles, way, expected in ((True, "auto", False), (False, "auto", True), (True, "f32", True)):
        monkeypatch.setattr(native, "has_matrix_tiles", lambda tiles=tiles: tiles)
        conv = ops.PackedConv(w, None, {}, precision="bf16", way=way)
        conv(x)
        if way != "auto" or library.instruction_set() != "plain":
            assert (conv.computed_by == "winograd") == expected
    monkeypatch.setattr(native, "has_matrix_tiles", lambda: False)
    with library.use_instruction_set("plain"):
        assert native.fastest_in_bf16() is None
    for name in {"avx2", "avx512"} & set(library.instruction_sets()):
        with library.use_instruction_set(name):
            assert native.fastest_in_bf16() == ("4x2" if library.multiplies_bf16() else "f32")


def test_what_is_refused_is_said():
    w = images(16, 16, 3, 3)

    def refused(words, precision="bf16", way="4x4", w=w):
        with pytest.raises(InputError) as told:
            ops.PackedConv(w, None, words, precision=precision, way=way)(images(1, 16, 9, 9))
        return str(told.value)

    with library.use_instruction_set("plain"):
        assert refused({}) == (
            "PackedConv: way='4x4' was asked for and does not support products of bfloat16 with the instruction set"
            " plain: they need AVX512_BF16 beside avx512"
        )
    assert "way='f32' was asked for and does not support windows other than 3 x 3" in refused({"stride": 2}, way="f32")
    assert "fewer than 16 channels" in refused({"groups": 2}, way="f32", w=w[:, :8])
    if library.multiplies_bf16():
        assert "products of bfloat16 for images of torch.float32" in refused({}, precision="high")


@products
def test_products_of_bfloat16_belong_to_their_instruction_set():
    for name in SETS:
        with library.use_instruction_set(name):
            assert library.multiplies_bf16() == (name == "avx512")


@pytest.mark.parametrize("name", SETS)
@settings(max_examples=40, deadline=None)
@given(**POOLING, batch=st.integers(0, 2), channels=st.sampled_from([1, 5, 16, 19, 31, 32, 33, 64, 72]))
def test_max_pooling(name, batch, kernel, stride, padding, dilation, ceil, size, channels):
    """Equal to PyTorch's: of negative and positive numbers, infinities, and NaN of both signs, which win."""
    x = narrow(batch, channels, *size) * 3
    if batch:
        x[0, 0, 1, 2], x[0, -1, 2, 1] = torch.inf, -torch.inf
        bits = x.view(torch.int16)
        bits[0, channels // 2, 3, 3], bits[-1, -1, 0, 0] = 0x7FC0, -0x3F  # 0xFFC1
    words = {"stride": stride, "padding": padding, "dilation": dilation, "ceil": ceil}
    try:
        expected = ops.max_pool(x.float(), kernel, **words)
    except InputError:
        return
    leaf, wide = x.clone(memory_format=torch.preserve_format).requires_grad_(), x.float().requires_grad_()
    with library.use_instruction_set(name):
        found = ops.max_pool(x, kernel, **words, impl="native")
        graded = ops.max_pool(leaf, kernel, **words, impl="native")
        grad = narrow(*graded.shape, seed=5)
        (slope,) = torch.autograd.grad(graded, leaf, grad)
    for result in (found, graded.detach()):
        assert result.is_contiguous(memory_format=LAST)
        torch.testing.assert_close(result, expected.bfloat16(), rtol=0, atol=0, equal_nan=True)
    (expected,) = torch.autograd.grad(ops.max_pool(wide, kernel, **words, impl="aten"), wide, grad.float())
    slope, expected = (
        grad.masked_fill(x == -torch.inf, 0.0) for grad in (slope, expected)
    )  # padding of aten's takes it
    torch.testing.assert_close(slope, expected.bfloat16(), rtol=0, atol=0, msg="summed in float32, rounded once")


def test_max_pooling_of_numbers_of_every_size():
    """Each of two numbers beside the other, over all exponents and both signs."""
    every = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    x = torch.stack([every, every[torch.randperm(len(every), generator=torch.Generator().manual_seed(0))]])
    x = x.reshape(1, 2, 1, -1, 32).permute(0, 4, 1, 3, 2).squeeze(4).contiguous(memory_format=LAST)
    assert x.shape == (1, 32, 2, 2048)
    found = ops.max_pool(x, (2, 1), impl="native")
    torch.testing.assert_close(found, torch.maximum(x[:, :, :1], x[:, :, 1:]), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", SETS)
def test_who_pools_in_bfloat16(name):
    """The kernel where it is preferred and has a wide register of channels, with gradients or without."""
    x = narrow(2, 32, 128, 128)
    few = x[:, :16].contiguous(memory_format=LAST)
    wanted = x.clone(memory_format=torch.preserve_format).requires_grad_()
    assert ops.explain_dispatch("max_pool", x, 2)["aten"] == "taken"
    with ops.prefer(max_pool="native"), library.use_instruction_set(name):
        verdicts = [ops.explain_dispatch("max_pool", images, 2)["native"] for images in (x, wanted, few)]
    if name == "plain":
        assert set(verdicts) == {"passed over: processors without AVX2, with which it was not measured"}
    else:
        assert verdicts == ["taken", "taken", "passed over: fewer than 32 channels, where it is not faster"]
