"""Convolution by a link table in C++: against float64 on every instruction set, with LeNet-5's table among them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel_checks import LAST, SETS, check_bits, check_second_derivatives, compare, images, needs_extension
from striate import ops
from striate.errors import InputError
from striate.ops.impl.native import library, linked

pytestmark = needs_extension

# LeCun et al. 1998, table I: the six maps of S2 (columns there, here in rows of C3's sixteen)
LENET = [[(d - p) % 6 < 3 for d in range(6)] for p in range(6)]
LENET += [[(d - p) % 6 < 4 for d in range(6)] for p in range(6)]
LENET += [[(d - p) % 6 in {0, 1, 3, 4} for d in range(6)] for p in range(3)] + [[True] * 6]


@pytest.mark.parametrize("name", SETS)
@settings(max_examples=20, deadline=None)
@given(
    batch=st.integers(0, 19),
    size=st.tuples(st.integers(2, 9), st.integers(2, 17)),
    kernel=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    table=st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=5).filter(
        lambda rows: any(map(any, rows))
    ),
    padding=st.sampled_from(["valid", "same", "full", 1, ((0, 2), (1, 0)), ((-1, 1), (1, -1))]),
    bias=st.booleans(),
    flip=st.booleans(),
    last=st.booleans(),
)
def test_values_and_gradients(name, batch, size, kernel, table, padding, bias, flip, last):
    x = images(batch, 3, *size)
    given = [x if last else x.contiguous(), images(sum(map(sum, table)), *kernel, seed=1)]
    given += [images(len(table), seed=2)] if bias else []
    words = {"padding": padding, "links": table, "flip": flip}
    try:
        expected = ops.conv(*given, **words)
    except InputError:  # the kernel is larger than the padded input
        return
    with library.use_instruction_set(name):
        if batch:
            compare(lambda *a, impl: ops.conv(*a, **words, impl=impl), given)
        else:
            assert ops.conv(*given, **words, impl="native").shape == expected.shape


@pytest.mark.parametrize("name", SETS)
def test_the_third_layer_of_lenet(name):
    assert sum(map(sum, LENET)) == 60
    given = [images(21, 6, 14, 14), images(60, 5, 5, seed=1), images(16, seed=2)]
    with library.use_instruction_set(name):
        compare(lambda *a, impl: ops.conv(*a, links=LENET, impl=impl), given, bound=2e-6)


def test_the_layout_is_that_of_the_input():
    x, w = images(2, 6, 7, 6), images(60, 3, 3, seed=1)
    assert ops.conv(x, w, links=LENET, impl="native").is_contiguous(memory_format=LAST)
    assert ops.conv(x.contiguous(), w, links=LENET, impl="native").is_contiguous()
    turned = x.permute(0, 1, 3, 2)
    torch.testing.assert_close(
        ops.conv(turned, w, links=LENET, impl="native"), ops.conv(turned, w, links=LENET, impl="aten")
    )


def test_neither_threads_nor_the_rest_of_the_batch_change_a_bit():
    check_bits(
        lambda x, w: ops.conv(x, w, padding=1, links=LENET, impl="native"),
        [images(37, 6, 9, 8), images(60, 5, 5, seed=1)],
        in_batch=1,
    )


def test_second_derivatives():
    given = [images(3, 6, 6, 5), images(60, 3, 3, seed=1), images(16, seed=2)]
    check_second_derivatives(lambda *a, impl: ops.conv(*a, links=LENET, padding=1, impl=impl), given)


def test_registered_as_pytorch_wants_it():
    x, w, b = (t.requires_grad_() for t in (images(3, 6, 5, 4), images(60, 3, 3, seed=1), images(16, seed=2)))
    table = [torch.from_numpy(part) for part in linked._links(ops.link_rows(LENET))]
    torch.library.opcheck(linked._linked_conv, (x, w, b, *table, [1, 0, 0, 2]))
    torch.library.opcheck(linked._linked_conv, (x, w, None, *table, [0, 0, 0, 0]))


@pytest.mark.parametrize("words", [{"stride": 2}, {"dilation": 2}, {"upsample": 2}])
def test_what_is_refused_is_said(words):
    with pytest.raises(InputError, match="'native' does not support link tables but on images, with stride 1"):
        ops.conv(images(1, 6, 9, 9), images(60, 3, 3), links=LENET, **words, impl="native")


def test_preferred_it_computes_where_it_pays():
    w = images(60, 5, 5, seed=1)
    with ops.prefer(conv="native"):
        assert ops.explain_dispatch("conv", images(16, 6, 14, 14), w, links=LENET)["native"] == "taken"
        refused = ops.explain_dispatch("conv", images(15, 6, 14, 14), w, links=LENET)["native"]
    assert refused == "passed over: link tables for fewer than 16 images, where it is not faster"
