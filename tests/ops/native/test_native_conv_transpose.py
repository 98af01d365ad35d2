"""Transposed convolution by C++: against float64 on every instruction set; bilinear upsampling; what it refuses."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel_checks import SETS, check_bits, check_second_derivatives, compare, images, needs_extension
from striate import ops
from striate.errors import InputError
from striate.ops.impl.native import conv_transpose, library

pytestmark = needs_extension


@pytest.mark.parametrize("name", SETS)
@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(0, 2),
    size=st.tuples(st.integers(1, 5), st.integers(1, 6)),
    channels=st.tuples(st.integers(1, 20), st.integers(1, 9)),
    kernel=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    stride=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    padding=st.sampled_from(["valid", "same", 1, ((0, 2), (1, 0)), ((-1, 0), (0, -2))]),
    output_padding=st.integers(0, 2),
    depthwise=st.booleans(),
    bias=st.booleans(),
    flip=st.booleans(),
)
def test_values_and_gradients(
    name, batch, size, channels, kernel, stride, padding, output_padding, depthwise, bias, flip
):
    inputs, outputs = (channels[0], channels[0]) if depthwise else channels
    given = [images(batch, inputs, *size), images(inputs, 1 if depthwise else outputs, *kernel, seed=1)]
    given += [images(outputs, seed=2)] if bias else []
    words = {"stride": stride, "padding": padding, "groups": inputs if depthwise else 1, "flip": flip}
    words["output_padding"] = 0 if padding == "same" else output_padding
    try:
        expected = ops.conv_transpose(*given, **words)
    except InputError:  # all outputs are cropped
        return
    with library.use_instruction_set(name):
        if batch:
            compare(lambda *a, impl: ops.conv_transpose(*a, **words, impl=impl), given)
        else:
            assert ops.conv_transpose(*given, **words, impl="native").shape == expected.shape


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize(("groups", "channels"), [(1, 21), (21, 21)])
def test_upsampling_as_fcn_does(name, groups, channels):
    given = [images(2, channels, 4, 5), images(channels, channels // groups, 16, 16, seed=1)]
    words = {"stride": 8, "groups": groups, "padding": ((4, 5), (4, 3))}
    with library.use_instruction_set(name):
        compare(lambda *a, impl: ops.conv_transpose(*a, **words, impl=impl), given, bound=2e-6)


@pytest.mark.parametrize("name", SETS)
def test_more_positions_than_are_taken_at_once(name):
    given = [images(2, 3, 15, 16), images(3, 2, 4, 4, seed=1), images(2, seed=2)]
    with library.use_instruction_set(name):
        compare(lambda *a, impl: ops.conv_transpose(*a, stride=2, impl=impl), given, bound=2e-6)


def test_bilinear_kernels_interpolate():
    """Long et al. 2015, section 3.3: a kernel of 2 s with the weights of bilinear interpolation."""
    s, channels = 4, 5
    ramp = 1 - (torch.arange(2 * s) - s + 0.5).abs() / s
    x = images(1, channels, 6, 7)
    w = torch.outer(ramp, ramp).expand(channels, 1, 2 * s, 2 * s)
    y = ops.conv_transpose(x, w, stride=s, padding=s // 2, groups=channels, impl="native")
    expected = torch.nn.functional.interpolate(x, scale_factor=s, mode="bilinear")
    inside = (..., slice(s, -s), slice(s, -s))
    torch.testing.assert_close(y[inside], expected[inside])


@pytest.mark.parametrize("groups", [1, 6])
def test_neither_threads_nor_the_rest_of_the_batch_change_a_bit(groups):
    check_bits(
        lambda x, w: ops.conv_transpose(x, w, stride=4, padding=1, groups=groups, impl="native"),
        [images(5, 6, 9, 8), images(6, 6 // groups, 8, 8, seed=1)],
        in_batch=1,
    )


@pytest.mark.parametrize("groups", [1, 3])
def test_second_derivatives(groups):
    given = [images(2, 3, 4, 3), images(3, 3 // groups, 4, 4, seed=1), images(3, seed=2)]
    check_second_derivatives(lambda *a, impl: ops.conv_transpose(*a, stride=2, groups=groups, impl=impl), given)


def test_registered_as_pytorch_wants_it():
    x, w, b = (t.requires_grad_() for t in (images(2, 3, 4, 3), images(3, 2, 4, 3, seed=1), images(2, seed=2)))
    torch.library.opcheck(conv_transpose._conv_transpose, (x, w, b, [2, 1], [1, 0, 0, 0], [9, 5], 1))
    w = images(3, 1, 2, 2).requires_grad_()
    torch.library.opcheck(conv_transpose._conv_transpose, (x, w, None, [2, 2], [0, 0, 0, 0], [8, 6], 3))


@pytest.mark.parametrize(
    ("words", "reason"),
    [({"dilation": 2}, "dilation"), ({"groups": 2}, "groups of more than one channel in and out")],
)
def test_what_is_refused_is_said(words, reason):
    x, w = images(1, 4, 5, 4), images(4, 2, 4, 4, seed=1)
    with pytest.raises(InputError, match=f"'native' does not support {reason}"):
        ops.conv_transpose(x, w, **words, impl="native")
    with pytest.raises(InputError, match="a memory layout other than channels last"):
        ops.conv_transpose(x.contiguous(), w, impl="native")


def test_preferred_it_computes_where_it_pays():
    x, w = images(1, 4, 5, 4), images(4, 2, 4, 4, seed=1)
    with ops.prefer(conv_transpose="native"):
        assert ops.explain_dispatch("conv_transpose", x, w, stride=8)["native"] == "taken"
        refused = ops.explain_dispatch("conv_transpose", x, w, stride=2)["native"]
    assert refused == "passed over: strides under 8, where it is not faster"
