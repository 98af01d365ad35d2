"""The scaled hyperbolic tangent in C++: its values to a few units in the last place, its layouts, where it is taken."""

import pytest
import torch

from kernel_checks import LAST, SETS, check_bits, check_second_derivatives, compare, images, needs_extension
from striate import ops
from striate.errors import InputError
from striate.ops.impl.native import library, scaled_tanh

pytestmark = needs_extension

MANY = 2**13  # elements, the fewest that it computes


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("span", [1e-30, 1e-3, 0.7, 4.0, 30.0, 1e30])
def test_values_are_right_to_a_few_units_in_the_last_place(name, span):
    x = torch.linspace(-span, span, MANY + 3)
    with library.use_instruction_set(name):
        y = ops.scaled_tanh(x, amplitude=1.0, slope=1.0, impl="native")
    torch.testing.assert_close(y.double(), x.double().tanh(), rtol=4e-7, atol=0.0)


@pytest.mark.parametrize("name", SETS)
def test_no_value_is_larger_than_the_end(name):
    """Near the end the quotient may be larger than 1; a gradient had from the result must not become negative."""
    x = torch.linspace(-12, 12, 2 * MANY)
    with library.use_instruction_set(name):
        y = ops.scaled_tanh(x, amplitude=1.0, slope=1.0, impl="native")
    assert float(y.abs().max()) == 1.0
    assert torch.equal(y[x > 9.5], torch.ones_like(y[x > 9.5]))


@pytest.mark.parametrize("name", SETS)
def test_gradients(name):
    with library.use_instruction_set(name):
        for words in ({}, {"amplitude": -2.5, "slope": 0.3}):
            given = [images(4, 33, 16, 16) * 2]
            compare(lambda x, impl, words=words: ops.scaled_tanh(x, **words, impl=impl), given, bound=5e-7)


def test_the_ends_are_reached_and_what_is_no_number_stays_none():
    x = torch.zeros(MANY)
    x[:4] = torch.tensor([torch.inf, -torch.inf, torch.nan, -0.0])
    y = ops.scaled_tanh(x, impl="native")
    amplitude = torch.tensor(1.7159)
    assert y[0] == amplitude
    assert y[1] == -amplitude
    assert y[2].isnan()
    assert not y[3:].any()


def test_any_layout():
    x = images(6, 32, 16, 12)
    y = ops.scaled_tanh(x, impl="native")
    assert y.is_contiguous(memory_format=LAST)
    for other in (x.contiguous(), x.permute(3, 0, 2, 1).contiguous().permute(1, 3, 2, 0), x[:, :, :, ::1]):
        assert torch.equal(ops.scaled_tanh(other, impl="native"), y)
    strided = torch.randn(2 * MANY)[::2].requires_grad_()
    result = ops.scaled_tanh(strided, impl="native")
    (grad,) = torch.autograd.grad(result, strided, torch.ones(1).expand(MANY))
    torch.testing.assert_close(grad, 1.7159 * 2 / 3 / (2 / 3 * strided.detach()).cosh() ** 2, rtol=1e-4, atol=1e-6)


def test_neither_threads_nor_the_rest_of_the_batch_change_a_bit():
    check_bits(lambda x: ops.scaled_tanh(x, impl="native"), [torch.randn(5, MANY + 1)], in_batch=1)


def test_second_derivatives():
    check_second_derivatives(lambda x, impl: ops.scaled_tanh(x, impl=impl), [torch.randn(MANY)])


def test_registered_as_pytorch_wants_it():
    torch.library.opcheck(scaled_tanh._scaled_tanh, (images(2, 3, 4, 5).requires_grad_(), 1.5, 0.5))


def test_few_elements_are_left_to_pytorch():
    assert ops.explain_dispatch("scaled_tanh", torch.zeros(MANY))["native"] == "taken"
    few = ops.explain_dispatch("scaled_tanh", torch.zeros(MANY - 1))
    assert few["native"] == "passed over: fewer than 8192 elements, where it is not faster"
    assert few["aten"] == "taken"
    with pytest.raises(InputError, match="amplitude=0"):
        ops.scaled_tanh(torch.zeros(MANY), amplitude=0.0, impl="native")
