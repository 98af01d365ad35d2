"""Deformable convolution by C++: against float64 on every instruction set; determinism, numbers that are none."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel_checks import (
    LAST,
    SETS,
    check_bits,
    check_second_derivatives,
    compare,
    images,
    needs_extension,
    with_gradients,
)
from striate import ops
from striate.errors import InputError
from striate.geometry import make_window, output_size
from striate.ops.impl.native import deform_conv, library

pytestmark = needs_extension


def operands(batch, size, channels, outputs, groups, offset_groups, kernel, words, *, scale=2.0):
    """An input, offsets of about `scale` pixels, a weight, a bias and a mask."""
    places = output_size(size, make_window(2, kernel, **words, size=size))
    taps = offset_groups * kernel[0] * kernel[1]
    return [
        images(batch, channels, *size),
        images(batch, 2 * taps, *places, seed=1) * scale,
        images(outputs, channels // groups, *kernel, seed=2),
        images(outputs, seed=3),
        images(batch, taps, *places, seed=4).sigmoid(),
    ]


def call(*given, impl, **words):
    mask = given[4] if len(given) == 5 else None
    return ops.deform_conv(*given[:4], mask=mask, **words, impl=impl)


@pytest.mark.parametrize("name", SETS)
@settings(max_examples=12, deadline=None)
@given(
    batch=st.integers(1, 3),
    size=st.tuples(st.integers(3, 8), st.integers(3, 8)),
    layout=st.sampled_from([(6, 4, 1, 1), (12, 8, 2, 3), (24, 10, 1, 2), (36, 6, 3, 2), (5, 7, 1, 5), (16, 4, 4, 2)]),
    kernel=st.sampled_from([(3, 3), (1, 2), (1, 1)]),
    stride=st.integers(1, 2),
    padding=st.sampled_from(["valid", "same", 1, ((0, 2), (1, -1))]),
    masked=st.booleans(),
    scale=st.sampled_from([0.3, 2.0, 20.0]),
)
def test_values_and_gradients(name, batch, size, layout, kernel, stride, padding, masked, scale):
    channels, outputs, groups, offset_groups = layout
    words = {"stride": stride, "padding": padding}
    given = operands(batch, size, channels, outputs, groups, offset_groups, kernel, words, scale=scale)
    words |= {"groups": groups, "offset_groups": offset_groups}
    with library.use_instruction_set(name):
        compare(lambda *a, impl: call(*a, impl=impl, **words), given if masked else given[:4])


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize(
    ("layout", "size"),
    [((80, 70, 1, 1), (6, 7)), ((140, 5, 1, 1), (6, 7)), ((160, 8, 2, 1), (6, 7)), ((37, 6, 1, 1), (12, 13))],
)
def test_slices_of_channels_and_panels_of_outputs(name, layout, size):
    """More channels than a slice has or than vectors divide, more outputs than a panel, more pixels than a block."""
    channels, outputs, groups, offset_groups = layout
    words = {"padding": 1, "dilation": 2}
    given = operands(2, size, channels, outputs, groups, offset_groups, (3, 3), words)
    with library.use_instruction_set(name):
        compare(lambda *a, impl: call(*a, impl=impl, **words, groups=groups), given, bound=5e-6)


def test_without_offsets_it_is_the_convolution():
    x, offset, w, b, _ = operands(2, (7, 6), 8, 5, 1, 1, (3, 3), {"padding": 1})
    y = ops.deform_conv(x, torch.zeros_like(offset), w, b, padding=1, impl="native")
    torch.testing.assert_close(y, ops.conv(x, w, b, padding=1))


def test_at_whole_pixels_the_gradient_of_the_offset_is_the_one_of_the_right():
    x, offset, w, b, mask = operands(2, (6, 5), 4, 3, 1, 1, (3, 3), {"padding": 1})
    compare(lambda *a, impl: call(*a, impl=impl, padding=1), [x, offset.round(), w, b, mask], bound=2e-6)


def test_what_is_no_number_stays_in_its_place():
    """A NaN offset spoils the output that reads it; an infinite pixel spoils no output that does not read it."""
    x, offset, w, b, mask = operands(1, (6, 6), 4, 3, 1, 1, (3, 3), {"padding": 1}, scale=0.0)
    offset[0, 3, 2, 2] = torch.nan
    y = ops.deform_conv(x, offset, w, b, mask=mask, padding=1, impl="native")
    spoilt = y.isnan().any(1)[0]
    assert spoilt[2, 2]
    assert spoilt.sum() == 1
    x[0, :, 0, 0] = torch.inf
    far = ops.deform_conv(x, offset.nan_to_num() + 30.0, w, b, mask=mask, padding=1, impl="native")
    torch.testing.assert_close(far, b.view(1, -1, 1, 1).expand_as(far))


def test_neither_threads_nor_the_rest_of_the_batch_change_a_bit():
    x, offset, w, b, mask = operands(5, (9, 8), 72, 6, 1, 2, (3, 3), {"padding": 1})
    check_bits(
        lambda x, o, m, w, b: ops.deform_conv(x, o, w, b, mask=m, padding=1, offset_groups=2, impl="native"),
        [x, offset, mask, w, b],
        in_batch=3,
    )


def test_second_derivatives():
    given = operands(2, (5, 4), 4, 3, 1, 1, (2, 2), {})
    check_second_derivatives(lambda *a, impl: call(*a, impl=impl), given)


@pytest.mark.parametrize("batch", [0, 1])
def test_small_batches(batch):
    given = [x.requires_grad_() for x in operands(batch, (5, 4), 4, 3, 1, 1, (3, 3), {"padding": 1})]
    y = call(*given, impl="native", padding=1)
    assert y.shape == (batch, 3, 5, 4)
    grads = torch.autograd.grad(y.sum(), given)
    assert all(grad.shape == x.shape for grad, x in zip(grads, given, strict=True))
    if not batch:
        assert not grads[2].any()


@pytest.mark.parametrize(("groups", "offset_groups"), [(1, 1), (2, 2), (2, 4), (4, 1)])
def test_weights_with_their_channels_innermost(groups, offset_groups):
    """The values and gradients of contiguous weights, and a gradient that lies as the weights do where that is free."""
    words = {"padding": 1, "groups": groups, "offset_groups": offset_groups, "impl": "native"}
    given = operands(2, (6, 7), 24, 8, groups, offset_groups, (3, 2), {"padding": 1})
    given[2] = given[2].contiguous()
    expected = with_gradients(lambda *a: call(*a, **words), given)
    given[2] = given[2].contiguous(memory_format=LAST)
    found = with_gradients(lambda *a: call(*a, **words), given)
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)
    assert found[3].is_contiguous(memory_format=LAST) == (offset_groups <= groups)


def test_registered_as_pytorch_wants_it():
    x, offset, w, b, mask = (t.requires_grad_() for t in operands(2, (5, 4), 4, 3, 1, 1, (3, 3), {}))
    torch.library.opcheck(deform_conv._deform_conv, (x, offset, w, b, mask, [3, 3, 1, 1, 0, 0, 1, 1], [0, 0], 1, 1))
    torch.library.opcheck(deform_conv._deform_conv, (x, offset, w, None, None, [3, 3, 1, 1, 0, 0, 1, 1], [0, 0], 1, 1))
    w = w.detach().contiguous(memory_format=LAST).requires_grad_()
    torch.library.opcheck(deform_conv._deform_conv, (x, offset, w, b, mask, [3, 3, 1, 1, 0, 0, 1, 1], [0, 0], 1, 1))


def test_what_is_refused_is_said():
    x, offset, w, b, _ = operands(1, (5, 4), 4, 3, 1, 1, (3, 3), {})
    with pytest.raises(InputError, match="'native' does not support a memory layout other than channels last"):
        ops.deform_conv(x.contiguous(), offset, w, b, impl="native")
    with pytest.raises(InputError, match=r"'native' does not support torch.float64 on cpu"):
        ops.deform_conv(x.double(), offset.double(), w.double(), impl="native")


def test_preferred_it_computes_where_it_pays():
    for channels, verdict in ((4, "taken"), (140, "passed over: more than 16384 pairs of channels in a group, where")):
        x, offset, w, *_ = operands(1, (3, 3), channels, channels, 1, 1, (1, 1), {})
        with ops.prefer(deform_conv="native"):
            assert ops.explain_dispatch("deform_conv", x, offset, w)["native"].startswith(verdict)
