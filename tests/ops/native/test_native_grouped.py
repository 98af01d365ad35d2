"""3 x 3 convolution in small groups by C++: against float64 on every instruction set; what it refuses."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel_checks import LAST, SETS, check_bits, check_second_derivatives, compare, images, needs_extension
from striate import ops
from striate.errors import InputError
from striate.ops.impl.native import grouped, library

pytestmark = needs_extension


@pytest.mark.parametrize("name", SETS)
@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(0, 3),
    size=st.tuples(st.integers(1, 16), st.integers(1, 16)),
    group=st.sampled_from([1, 2, 4, 8]),
    groups=st.integers(2, 7),
    stride=st.integers(1, 2),
    padding=st.sampled_from(["valid", "same", "full", 1, 3, ((0, 2), (1, 0)), ((-1, 1), (2, 1))]),
    bias=st.booleans(),
)
def test_values_and_gradients(name, batch, size, group, groups, stride, padding, bias):
    channels = group * groups
    inputs = [images(batch, channels, *size), images(channels, group, 3, 3, seed=1)]
    inputs += [images(channels, seed=2)] if bias else []
    words = {"stride": stride, "padding": padding, "groups": groups}
    try:
        ops.conv(*inputs, **words)
    except InputError:  # the kernel is larger than the padded input
        return
    with library.use_instruction_set(name):
        if batch:
            compare(lambda *a, impl: ops.conv(*a, **words, impl=impl), inputs)
        else:
            assert ops.conv(*inputs, **words, impl="native").shape == ops.conv(*inputs, **words).shape


@pytest.mark.parametrize("name", SETS)
def test_more_channels_than_a_vector_and_a_tail(name):
    with library.use_instruction_set(name):
        for group, channels in ((1, 37), (2, 38), (4, 44), (8, 56)):
            inputs = [images(2, channels, 9, 17), images(channels, group, 3, 3, seed=1)]
            words = {"padding": 1, "groups": channels // group}
            compare(lambda *a, impl, words=words: ops.conv(*a, **words, impl=impl), inputs, bound=2e-6)


def test_a_pixel_outside_is_zero_whatever_the_image_holds():
    x = images(1, 4, 5, 5)
    x[0, :, 4, 4] = torch.inf
    y = ops.conv(x, images(4, 1, 3, 3, seed=1), padding=1, groups=4, impl="native")
    assert y[0, :, :3, :3].isfinite().all()
    assert not y[0, :, 3:, 3:].isfinite().any()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("group", [1, 4])
def test_neither_threads_nor_the_rest_of_the_batch_change_a_bit(group, stride):
    x, w = images(5, 24, 14, 11), images(24, group, 3, 3, seed=1)
    check_bits(
        lambda x, w: ops.conv(x, w, stride=stride, padding=1, groups=24 // group, impl="native"), [x, w], in_batch=1
    )


def test_second_derivatives():
    inputs = [images(2, 8, 6, 5), images(8, 2, 3, 3, seed=1), images(8, seed=2)]
    check_second_derivatives(lambda *a, impl: ops.conv(*a, stride=2, padding=1, groups=4, impl=impl), inputs)


def test_registered_as_pytorch_wants_it():
    x, w, b = images(2, 8, 6, 5).requires_grad_(), images(8, 2, 3, 3, seed=1).requires_grad_(), images(8, seed=2)
    torch.library.opcheck(grouped._conv, (x, w, b, 1, [1, 1, 0, 2]))
    torch.library.opcheck(grouped._conv, (x, w, None, 2, [1, 0, 0, 2]))


def test_weights_of_any_layout():
    x, w = images(1, 8, 5, 5), images(8, 4, 3, 3, seed=1)
    y = ops.conv(x, w, groups=2, impl="native")
    assert torch.equal(ops.conv(x, w.contiguous(), groups=2, impl="native"), y)
    assert torch.equal(ops.conv(x, w.transpose(0, 1).contiguous().transpose(0, 1), groups=2, impl="native"), y)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ({"stride": 3}, "windows other than 3 x 3 of stride 1 or 2"),
        ({"stride": (1, 2)}, "windows other than 3 x 3 of stride 1 or 2"),
        ({"dilation": 2}, "without dilation"),
        ({"flip": True}, "upsampling and turned kernels"),
        ({"upsample": 2}, "upsampling and turned kernels"),
    ],
)
def test_what_is_refused_is_said(words, reason):
    with pytest.raises(InputError, match=f"'native' does not support .*{reason}"):
        ops.conv(images(1, 4, 8, 8), images(4, 1, 3, 3), groups=4, **words, impl="native")
    with pytest.raises(InputError, match="a memory layout other than channels last"):
        ops.conv(images(1, 4, 8, 8).contiguous(), images(4, 1, 3, 3), groups=4, impl="native")


def test_preferred_it_computes_where_it_pays():
    x, small = images(2, 64, 32, 32), images(1, 64, 7, 7)
    w, depthwise = images(64, 4, 3, 3, seed=1), images(64, 1, 3, 3, seed=1)
    with ops.prefer(conv="native"):
        assert ops.explain_dispatch("conv", x, w, groups=16)["native"] == "taken"
        wanted, kernel = (t.clone(memory_format=LAST).requires_grad_() for t in (x, depthwise))
        assert ops.explain_dispatch("conv", wanted, kernel, groups=64)["native"] == "taken"
        for why, given, stride in (
            ("without gradients", (x, depthwise), 1),
            ("without gradients", (wanted, depthwise), 1),
            ("stride 2", (wanted, kernel), 2),
            ("fewer than 32 channels", (images(2, 24, 64, 64).requires_grad_(), kernel[:24]), 1),
        ):
            verdict = ops.explain_dispatch("conv", *given, stride=stride, groups=len(given[1]))["native"]
            assert verdict.startswith("passed over: depthwise convolution")
            assert why in verdict
        assert "values of the input" in ops.explain_dispatch("conv", small, w, groups=16)["native"]


def test_the_result_is_channels_last():
    assert ops.conv(images(2, 8, 6, 5), images(8, 2, 3, 3), groups=4, impl="native").is_contiguous(memory_format=LAST)
