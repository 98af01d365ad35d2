"""torch.compile and torch.func: every operator goes through PyTorch's, the reference says what it cannot."""

import pytest
import torch
from test_op_table import CASES, operands
from torch.testing import assert_close

from striate.errors import InputError

NAMES = pytest.mark.parametrize("name", CASES)


def numbers(name):
    return [operand.detach() for operand in operands(CASES[name])]


def loss(name, impl="aten"):
    return lambda *given: CASES[name](given, impl).sin().sum()


@NAMES
def test_compile_in_one_graph_forward(name):
    torch.compiler.reset()
    given = numbers(name)
    compiled = torch.compile(lambda *given: CASES[name](given, "aten"), backend="eager", fullgraph=True)
    assert_close(compiled(*given), CASES[name](given, "aten"))


def check_gradients(name, backend):
    torch.compiler.reset()
    given, every = operands(CASES[name]), tuple(range(len(CASES[name].shapes)))
    compiled = torch.compile(loss(name), backend=backend, fullgraph=True)
    expected = torch.func.grad(loss(name), every)(*numbers(name))
    for ours, theirs in zip(torch.autograd.grad(compiled(*given), given), expected, strict=True):
        assert_close(ours, theirs)


@pytest.mark.parametrize(
    "name", ["conv, links", "conv_transpose, groups", "deform_conv, mask", "max_unpool, overlapping"]
)
def test_compile_with_gradients(name):
    check_gradients(name, "aot_eager")


@pytest.mark.slow
@NAMES
def test_compile_by_inductor(name):
    check_gradients(name, "inductor")


@NAMES
def test_vmap_is_a_loop(name):
    """Over values and gradients; over one operand alone, too."""
    given = numbers(name)
    stacked = [torch.stack([operand, 0.5 * operand, -operand]) for operand in given]
    every = tuple(range(len(given)))
    grad = torch.func.grad(loss(name), every)
    mapped = torch.func.vmap(grad)(*stacked)
    for at in range(3):
        for ours, theirs in zip(mapped, grad(*(operand[at] for operand in stacked)), strict=True):
            assert_close(ours[at], theirs)
    in_dims = (0, *(None for _ in given[1:]))
    ys = torch.func.vmap(lambda *given: CASES[name](given, "aten"), in_dims)(stacked[0], *given[1:])
    assert_close(ys[1], CASES[name]([stacked[0][1], *given[1:]], "aten"))


@NAMES
def test_functional_gradients(name):
    """torch.func.grad of both implementations; the reference refuses what it cannot do and says what can."""
    given, every = numbers(name), tuple(range(len(CASES[name].shapes)))
    for ours, theirs in zip(
        torch.func.grad(loss(name), every)(*given), torch.func.grad(loss(name, "reference"), every)(*given), strict=True
    ):
        assert_close(ours, theirs)
    with pytest.raises(InputError, match=r"NumPy, which torch\.func\.vmap cannot map: use impl='aten'"):
        torch.func.vmap(loss(name, "reference"))(*(operand[None] for operand in given))


def test_the_reference_refuses_second_derivatives():
    (x, w, _) = operands(CASES["conv 1-D"])
    y = CASES["conv 1-D"]((x, w, torch.zeros(4, dtype=torch.float64)), "reference")
    (grad,) = torch.autograd.grad(y.pow(2).sum(), x, create_graph=True)
    with pytest.raises(InputError, match="the reference has first derivatives only: use impl='aten'"):
        torch.autograd.grad(grad.sum(), w)


def test_compile_breaks_at_the_reference_but_goes_on():
    given = numbers("conv 2-D")
    compiled = torch.compile(lambda *given: 2 * CASES["conv 2-D"](given, "reference"), backend="eager")
    assert_close(compiled(*given), 2 * CASES["conv 2-D"](given, "reference"))
