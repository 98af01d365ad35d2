"""Large dense layers by oneDNN: against float64, where they are taken, and what else may be asked of them."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from striate.nn import Linear
from striate.ops import _linear, linear, onednn_linear

pytestmark = pytest.mark.skipif(not _linear._built(), reason="PyTorch has no oneDNN here")

INPUTS, OUTPUTS = 1030, 1950  # 2.0 million weights, no round numbers


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of each product that oneDNN computes."""
    rows: list[int] = []
    times = _linear._times

    def counted(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
        rows.append(a.shape[0])
        return times(a, b, bias)

    monkeypatch.setattr(_linear, "_times", counted)
    return rows


def operands(rows: int = 9, inputs: int = INPUTS, outputs: int = OUTPUTS) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, w, b = ((rows, inputs), (outputs, inputs), (outputs,))
    return tuple(torch.randn(shape, generator=generator) for shape in (x, w, b))  # type: ignore[return-value]


def results(x: Tensor, w: Tensor, b: Tensor | None, grad: Tensor | None = None) -> list[Tensor]:
    """The layer's output and the gradients of all that it is made of."""
    leaves = [t.detach().clone().requires_grad_() for t in (x, w, b) if t is not None]
    y = linear(*leaves)
    return [y.detach(), *torch.autograd.grad(y, leaves, torch.ones_like(y) if grad is None else grad.to(y.dtype))]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("expanded", [True, False])
def test_it_is_the_same_product(taken: list[int], *, bias: bool, expanded: bool) -> None:
    x, w, b = operands()
    grad = torch.ones(1, 1).expand(9, OUTPUTS) if expanded else torch.randn(OUTPUTS, 9).t()
    with onednn_linear():
        found = results(x, w, b if bias else None, grad)
    assert taken == [9, 9, OUTPUTS]
    expected = results(x.double(), w.double(), b.double() if bias else None, grad)
    assert len(found) == 3 + bias
    for a, e in zip(found, expected, strict=True):
        assert a.shape == e.shape
        assert float((a.double() - e).abs().max() / e.abs().max()) < 2e-6


@pytest.mark.parametrize(
    ("x", "w"),
    [
        (torch.zeros(7, INPUTS), torch.zeros(OUTPUTS, INPUTS)),  # few rows
        (torch.zeros(0, INPUTS), torch.zeros(OUTPUTS, INPUTS)),
        (torch.zeros(9, 1000), torch.zeros(1999, 1000)),  # few weights
        (torch.zeros(9, INPUTS).double(), torch.zeros(OUTPUTS, INPUTS).double()),
        (torch.zeros(9, INPUTS).bfloat16(), torch.zeros(OUTPUTS, INPUTS).bfloat16()),
        (torch.zeros(9, 1, INPUTS), torch.zeros(OUTPUTS, INPUTS)),
        (torch.zeros(9, INPUTS, device="meta"), torch.zeros(OUTPUTS, INPUTS, device="meta")),
    ],
)
def test_what_is_left_to_pytorch(taken: list[int], x: Tensor, w: Tensor) -> None:
    with onednn_linear():
        y = linear(x, w)
    assert (y.shape, y.dtype, y.device) == ((*x.shape[:-1], len(w)), x.dtype, x.device)
    assert taken == []


def test_only_where_it_was_asked_for(taken: list[int]) -> None:
    x, w, b = operands()
    assert torch.equal(linear(x, w, b), F.linear(x, w, b))
    with onednn_linear():
        pass
    with pytest.raises(ZeroDivisionError), onednn_linear():
        raise ZeroDivisionError
    linear(x, w, b)
    assert taken == []
    with onednn_linear():
        with torch.autocast("cpu", torch.bfloat16):
            assert linear(x, w, b).dtype == torch.bfloat16
        assert torch.func.vmap(lambda row: linear(row, w))(x[:, None].expand(9, 9, INPUTS)).shape == (9, 9, OUTPUTS)
        assert taken == []
        linear(x, w, b)
    assert taken == [9]


def test_half_of_the_gradients(taken: list[int]) -> None:
    """A frozen layer, and the first layer of a network."""
    x, w, _ = operands()
    for x_needs, w_needs in ((True, False), (False, True)):
        a, c = x.clone().requires_grad_(x_needs), w.clone().requires_grad_(w_needs)
        with onednn_linear():
            linear(a, c).sum().backward()  # type: ignore[no-untyped-call]
        assert (a.grad is not None, c.grad is not None) == (x_needs, w_needs)
        if a.grad is not None:
            torch.testing.assert_close(a.grad, w.sum(0).expand(9, -1), rtol=1e-4, atol=1e-4)
    assert taken == [9, 9]


def test_second_derivatives() -> None:
    x, w, _ = operands()

    def second(x: Tensor, w: Tensor) -> Tensor:
        leaf = x.clone().requires_grad_()
        (first,) = torch.autograd.grad(linear(leaf, w.clone().requires_grad_()).square().sum(), leaf, create_graph=True)
        return torch.autograd.grad(first.square().sum(), leaf)[0]

    with onednn_linear():
        found = second(x, w)
    expected = second(x.double(), w.double())
    assert float((found.double() - expected).abs().max() / expected.abs().max()) < 1e-5


def test_registered_and_compiled(taken: list[int]) -> None:
    x, w, b = operands()
    torch.library.opcheck(_linear._linear, (x.requires_grad_(), w.requires_grad_(), b.requires_grad_()))
    torch.compiler.reset()
    with onednn_linear():
        compiled = torch.compile(linear, backend="aot_eager", fullgraph=True)
        assert torch.equal(compiled(x, w, b), linear(x, w, b))


def test_the_module() -> None:
    layer = Linear(5, 3)
    x = torch.randn(2, 4, 5)
    assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))
    assert repr(layer) == "Linear(in_features=5, out_features=3, bias=True)"
    assert set(layer.state_dict()) == {"weight", "bias"}
