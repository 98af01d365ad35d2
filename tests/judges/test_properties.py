"""What holds of every operator, whatever the numbers, on geometries that hypothesis draws."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from judge_bench import operators, ours, tensors
from judge_draws import draw
from torch.testing import assert_close

from striate import ops

twenty = settings(deadline=None, max_examples=20, derandomize=True)
seeds = st.integers(0, 10**6)
implementations = st.sampled_from(["aten", "reference"])

# the operands in which each operator is linear, or affine once the bias is left out
LINEAR = {
    "conv": ("x", "w"),
    "conv_transpose": ("x", "w"),
    "deform_conv": ("x", "w", "mask"),
    "avg_pool": ("x",),
    "max_unpool": ("x",),
    "subsample": ("x", "weight"),
}
BIASES = ("b", "bias")


def call_of(operator, seed):
    """A random call and its operands, the biases zero."""
    call = draw(operator, seed)
    operands = tensors(call)
    return call, {name: x * 0 if name in BIASES else x for name, x in operands.items()}


def randn_like(x, seed):
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype)


@pytest.mark.parametrize("operator", LINEAR)
@twenty
@given(seeds, implementations)
def test_linear_in_each(operator, seed, impl):
    call, operands = call_of(operator, seed)
    y = ours(call, operands, impl)
    for name in set(LINEAR[operator]) & set(operands):
        other = randn_like(operands[name], seed)
        mixed = ours(call, {**operands, name: 2 * operands[name] - 3 * other}, impl)
        assert_close(mixed, 2 * y - 3 * ours(call, {**operands, name: other}, impl))


@pytest.mark.parametrize("operator", LINEAR)
@twenty
@given(seeds, implementations)
def test_gradients_are_the_adjoints(operator, seed, impl):
    """<y, op(x)> = <x, grad(y)> for every operand in which it is linear."""
    call, operands = call_of(operator, seed)
    operands = {name: x.requires_grad_() for name, x in operands.items()}
    z = ours(call, operands, impl)
    y = randn_like(z, seed)
    for name in set(LINEAR[operator]) & set(operands):
        (grad,) = torch.autograd.grad(z, operands[name], y, retain_graph=True)
        assert_close((operands[name] * grad).sum(), (z * y).sum())


@pytest.mark.parametrize("operator", operators())
@twenty
@given(seeds, implementations)
def test_images_of_a_batch_do_not_meet(operator, seed, impl):
    """Turning the batch around turns the result around."""
    call, operands = call_of(operator, seed)
    per_image = [name for name in ("x", "offset", "mask", "h", "t") if name in operands]
    turned = {**operands, **{name: operands[name].flip(0) for name in per_image}}
    fixed = {name: array[::-1].copy() for name, array in call.fixed.items()}
    assert_close(ours(call._replace(fixed=fixed), turned, impl).flip(0), ours(call, operands, impl))


@twenty
@given(seeds, implementations)
def test_transposed_is_conv_of_zero_stuffed_input(seed, impl):
    """Section 5.5.1: a stride of the transposed convolution is an upsampling of the other."""
    call, operands = call_of("conv_transpose", seed)
    x, w, words, groups = operands["x"], operands["w"], call.words, call.words["groups"]
    extents = [(m - 1) * d for m, d in zip(w.shape[2:], words["dilation"], strict=True)]
    ends = zip(extents, words["padding"], words["output_padding"], strict=True)
    y = ops.conv(
        x,
        torch.cat([part.transpose(0, 1) for part in w.chunk(groups)]),
        operands.get("b"),
        upsample=words["stride"],
        padding=tuple((m - low, m - high + more) for m, (low, high), more in ends),
        dilation=words["dilation"],
        groups=groups,
        flip=not words["flip"],
    )
    assert_close(ours(call, operands, impl), y)


@twenty
@given(seeds, implementations)
def test_transposed_groups_are_side_by_side(seed, impl):
    call, operands = call_of("conv_transpose", seed)
    groups, words = call.words["groups"], {**call.words, "groups": 1}
    parts = zip(operands["x"].chunk(groups, 1), operands["w"].chunk(groups), strict=True)
    assert_close(
        ours(call, operands, impl), torch.cat([ops.conv_transpose(*part, **words, impl=impl) for part in parts], 1)
    )


@twenty
@given(seeds, implementations, st.integers(1, 3))
def test_shifting_the_input_of_a_transposed_convolution(seed, impl, shift):
    """A shift of the input by one is a shift of the output by the stride, where nothing is cropped."""
    call, operands = call_of("conv_transpose", seed)
    words = {name: call.words[name] for name in ("stride", "dilation", "groups", "flip")}
    x, w = operands["x"], operands["w"]
    moved = ops.conv_transpose(F.pad(x, (shift, 0)), w, **words, impl=impl)
    y = ops.conv_transpose(x, w, **words, impl=impl)
    assert_close(moved[..., shift * words["stride"][-1] :], y)


@twenty
@given(seeds, implementations, st.integers(-2, 2), st.integers(-2, 2))
def test_equal_whole_offsets_shift_the_image(seed, impl, down, right):
    """An offset of (down, right) everywhere is an image moved up and left, with zeros behind it."""
    call, operands = call_of("deform_conv", seed)
    shift = torch.tensor([down, right], dtype=torch.float64).repeat(operands["offset"].shape[1] // 2)
    offset = torch.zeros_like(operands["offset"]) + shift.view(-1, 1, 1)
    ends = tuple((low - by, high + by) for (low, high), by in zip(call.words["padding"], (down, right), strict=True))
    plain = {"x": operands["x"], "offset": torch.zeros_like(offset), "w": operands["w"]}
    moved = call._replace(words={**call.words, "padding": ends})
    assert_close(ours(call, {**plain, "offset": offset}, impl), ours(moved, plain, impl))


@twenty
@given(seeds, implementations)
def test_a_maximum_is_a_value_of_its_window(seed, impl):
    """Pooling commutes with every increasing function, and its switches point at its values."""
    call, operands = call_of("max_pool", seed)
    x = operands["x"]
    words = {**call.words, "return_switches": True}
    values, switches = ours(call._replace(words=words), operands, impl)
    assert torch.equal(x.flatten(2).gather(2, switches.flatten(2)), values.flatten(2))
    assert torch.equal(ours(call, {"x": x.exp()}, impl), values.exp())


@twenty
@given(seeds, implementations)
def test_unpooling_undoes_pooling(seed, impl):
    """Where windows do not overlap: pooling what was unpooled gives the maxima back, if they are positive."""
    call, _ = call_of("max_unpool", seed)
    kernel, size = call.words["kernel"], call.words["output_size"]
    x = randn_like(torch.empty(2, 2, *size, dtype=torch.float64), seed).abs()
    values, switches = ops.max_pool(x, kernel, return_switches=True, impl=impl)
    unpooled = ops.max_unpool(values, switches, kernel, output_size=size, impl=impl)
    assert torch.equal(ops.max_pool(unpooled, kernel), values)
    assert_close(unpooled.sum(), values.sum())
    assert torch.equal(unpooled[unpooled > 0], x[unpooled > 0])


@twenty
@given(seeds, implementations)
def test_a_mean_is_a_depthwise_convolution(seed, impl):
    call, operands = call_of("avg_pool", seed)
    words = {**call.words, "ceil": False, "count_padding": True}
    w = torch.ones(2, 1, *words["kernel"], dtype=torch.float64) / torch.Size(words["kernel"]).numel()
    expected = ops.conv(operands["x"], w, groups=2, stride=words["stride"], padding=words["padding"])
    assert_close(ours(call._replace(words=words), operands, impl), expected)


@twenty
@given(seeds, implementations)
def test_normalising_scales(seed, impl):
    """A factor of the input is a factor of the result once alpha gives it back."""
    call, operands = call_of("local_response_norm", seed)
    less = call._replace(words={**call.words, "alpha": call.words["alpha"] / 4})
    assert_close(ours(less, {"x": 2 * operands["x"]}, impl), 2 * ours(call, operands, impl))
    none = call._replace(words={**call.words, "alpha": 0.0})
    assert_close(ours(none, operands, impl), operands["x"] / call.words["k"] ** call.words["beta"])


@twenty
@given(seeds, implementations)
def test_a_gate_chooses(seed, impl):
    call, operands = call_of("highway", seed)
    shut, open_ = torch.zeros_like(operands["t"]), torch.ones_like(operands["t"])
    assert torch.equal(ours(call, {**operands, "t": shut}, impl), operands["x"])
    assert torch.equal(ours(call, {**operands, "t": open_}, impl), operands["h"])
    other_way = {"x": operands["h"], "h": operands["x"], "t": 1 - operands["t"]}
    assert_close(ours(call, other_way, impl), ours(call, operands, impl))
